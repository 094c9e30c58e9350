package awssim

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// maxTrace bounds the memory of a sandbox that stays up: older calls go.
const maxTrace = 200_000

// Call is one call in the trace, and what a fault hook decides by.
type Call struct {
	N       int    // how many calls of this action came so far, this one included
	Service string // "ec2", "ebs", "s3", "imds"
	Action  string // "CreateTags", "UploadPart"
	Region  string // of the credential scope
	Bucket  string // S3
	Key     string // S3
	Part    int    // S3: UploadPart's number
	Target  string // EC2: the first resource id named, "" if none
	Summary string // a short human line: key parameters; in a fault hook what is known before the handler ran
	Status  int    // HTTP status of the answer; 0: none was sent
	Code    string // AWS error code, "" for success
	Fault   string // what a fault did: "before", "after", "cut", "lost", "hang", "cut body", "hang body", "short range", "throttle"
	Time    time.Time
}

// String is the line for a golden trace: action and key parameters.
func (c Call) String() string {
	line := c.Service + " " + c.Action
	if c.Summary != "" {
		line += " " + c.Summary
	}
	if c.Code != "" {
		line += " → " + c.Code
	}
	return line
}

type trace struct {
	mu    sync.Mutex
	calls []Call
	count map[string]int
}

// number counts a call of an action, before its fate is known.
func (t *trace) number(service, action string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = map[string]int{}
	}
	t.count[service+":"+action]++
	return t.count[service+":"+action]
}

func (t *trace) add(c Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.calls) >= maxTrace {
		t.calls = slices.Delete(t.calls, 0, maxTrace/2)
	}
	t.calls = append(t.calls, c)
}

// Calls is the trace: every call so far in the order of their answers.
func (s *Server) Calls() []Call {
	s.trace.mu.Lock()
	defer s.trace.mu.Unlock()
	return slices.Clone(s.trace.calls)
}

// ResetCalls empties the trace and the counters behind Call.N.
func (s *Server) ResetCalls() {
	s.trace.mu.Lock()
	defer s.trace.mu.Unlock()
	s.trace.calls, s.trace.count = nil, nil
}

func (s *Server) record(c Call) {
	s.trace.add(c)
	s.log.Debug("simulated call", slog.String("service", c.Service), slog.String("action", c.Action),
		slog.String("summary", c.Summary), slog.Int("status", c.Status), slog.String("code", c.Code), slog.String("fault", c.Fault))
}
