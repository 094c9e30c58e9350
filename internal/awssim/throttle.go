package awssim

import (
	"sync"
	"time"
)

// Quota is a token bucket over an action ("s3:UploadPart") or a service ("ec2").
type Quota struct {
	PerSecond float64
	Burst     float64
}

type quotas struct {
	mu      sync.Mutex
	buckets map[string]*tokens
}

type tokens struct {
	Quota
	left float64
	last time.Time
}

// SetQuota throttles an action or a whole service beyond q: EC2 with
// RequestLimitExceeded, S3 with SlowDown, EBS by turns with ThrottlingException
// and RequestThrottleException. The zero Quota ends it. It runs by
// the host's clock.
func (s *Server) SetQuota(action string, q Quota) {
	s.quotas.mu.Lock()
	defer s.quotas.mu.Unlock()
	if s.quotas.buckets == nil {
		s.quotas.buckets = map[string]*tokens{}
	}
	if q == (Quota{}) {
		delete(s.quotas.buckets, action)
		return
	}
	s.quotas.buckets[action] = &tokens{Quota: q, left: q.Burst, last: time.Now()}
}

// take says whether a call fits in its quotas.
func (q *quotas) take(service, action string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, name := range []string{service + ":" + action, service} {
		b, ok := q.buckets[name]
		if !ok {
			continue
		}
		b.left = min(b.Burst, b.left+now.Sub(b.last).Seconds()*b.PerSecond)
		b.last = now
		if b.left < 1 {
			return false
		}
		b.left--
	}
	return true
}
