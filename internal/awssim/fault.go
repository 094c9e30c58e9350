package awssim

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Error is an AWS error to be answered on order. With Status 200 S3 sends it as
// the body of a success, as CompleteMultipartUpload may.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) api() *apiError {
	message := e.Message
	if message == "" {
		message = "A fault that was ordered."
	}
	return &apiError{Status: e.Status, Code: e.Code, Message: message}
}

// Fault is what goes wrong with one call. The zero value is no fault. Delay
// comes before anything else; of the rest the first that is set counts.
type Fault struct {
	Delay      time.Duration
	CutBefore  bool   // the connection is cut; no effect
	Hang       bool   // no effect and no answer until the client goes away
	Throttle   bool   // the service's throttling error; no effect
	Before     *Error // this error; no effect
	After      *Error // the effect takes place, then this error
	LoseAnswer bool   // the effect takes place, then the connection is cut
	HangAfter  bool   // the effect takes place, the answer never comes
	CutBody    int64  // if over 0: of the answer's body only so many bytes, then the connection is cut
	HangBody   int64  // if over 0: so many bytes, then nothing until the client goes away
	ShortRange int64  // if over 0: a GET of a range is answered with so many bytes of it, and says so (RFC 9110, section 15.3.7)
}

type faultHook struct {
	mu   sync.Mutex
	hook func(Call) Fault
}

// SetFault asks hook for each EC2 and S3 call that has passed signature and
// policy. It may be called by several calls at once. Nil ends it.
func (s *Server) SetFault(hook func(Call) Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.hook = hook
}

func (f *faultHook) ask(c Call) Fault {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return Fault{}
	}
	return hook(c)
}

// Times makes a hook that gives f to the first n calls for which match holds.
func Times(n int, match func(Call) bool, f Fault) func(Call) Fault {
	var mu sync.Mutex
	return func(c Call) Fault {
		mu.Lock()
		defer mu.Unlock()
		if n <= 0 || !match(c) {
			return Fault{}
		}
		n--
		return f
	}
}

// Action makes a match for Times: every call of one action.
func Action(name string) func(Call) bool {
	return func(c Call) bool { return c.Action == name }
}

// KMSDenied is how S3 says that the caller may not use a key.
func (s *Server) KMSDenied(action, keyID string) *Error {
	e := kmsDenied(principal{s.userARN()}, action, s.kmsARN(s.cfg.Region, keyID))
	return &Error{Status: e.Status, Code: e.Code, Message: e.Message}
}

// throttled is each service's own way to say "slow down" to the n-th call of an
// action.
func throttled(service string, n int) *apiError {
	switch service {
	case "ebs":
		return ebsThrottled(n)
	case "ec2":
		return &apiError{Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	}
	return &apiError{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."}
}

// hang waits until the client or the server goes. The body is read first, since
// only then the HTTP server sees a client that leaves; when either goes, its
// connection ends and so does the read.
func (s *Server) hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // nobody will be answered
	select {
	case <-r.Context().Done():
	case <-s.closing:
	}
}

// pause waits, unless the client or the server goes first.
func (s *Server) pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-s.closing:
	}
}
