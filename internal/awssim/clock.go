package awssim

import (
	"net/http"
	"sync"
	"time"
)

// clock is the server's time, which may differ from the host's.
type clock struct {
	mu  sync.Mutex
	now func() time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		return time.Now()
	}
	return c.now()
}

// SetClock replaces the server's clock: the Date header, signatures' age,
// expiring credentials, modification times, thaws. Nil is the host's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	s.clock.now = now
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// isoTime is the form of times in S3's XML.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
