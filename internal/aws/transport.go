package aws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second // below any sensible Stall, so that no idle connection stalls
	// Deadlines are moved this seldom, to keep the timer out of the profile.
	deadlineStep = time.Second
	// One write to a socket is cut into these, so that a large one that makes
	// progress is not taken for one that does not.
	writeStep = 256 << 10
)

// newHTTPClient makes the client of all services. No request has a time-out of
// its own, since a part of 5 GiB takes what it takes; instead a connection that
// moves no byte in either direction for stall is given up.
//
// It speaks HTTP/1.1 only (as S3 and EC2 do): one connection serves one request
// at a time, and so its silence is that request's. It stays the SDK's own client type,
// which AWS_CA_BUNDLE needs.
func newHTTPClient(stall time.Duration) *awshttp.BuildableClient {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return awshttp.NewBuildableClient().
		// The SDK's read time-out would end an upload: it heeds reads only.
		WithReadTimeout(0).
		WithTransportOptions(func(t *http.Transport) {
			t.ForceAttemptHTTP2 = false
			t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			t.MaxIdleConnsPerHost = 64
			t.IdleConnTimeout = min(idleTimeout, stall/2)
			t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return newRollingConn(conn, stall), nil
			}
		})
}

// StallError says that a connection moved no byte for too long. It is a
// time-out, so the SDK tries again.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string { return fmt.Sprintf("no byte moved for %v", e.After) }

// Timeout is true: net.Error.
func (*StallError) Timeout() bool { return true }

// Temporary is true: net.Error.
func (*StallError) Temporary() bool { return true }

// rollingConn moves its deadline with every byte that passes, either way: the
// answer is awaited by a Read that begins with the request, so a long upload
// must keep that Read alive too.
type rollingConn struct {
	net.Conn
	usual   time.Duration
	stall   atomic.Int64 // nanoseconds, usual unless a Patient request is under way
	started time.Time
	moved   atomic.Int64 // nanoseconds from started: when the deadline was last set
}

func newRollingConn(conn net.Conn, stall time.Duration) *rollingConn {
	c := &rollingConn{Conn: conn, usual: stall, started: time.Now()}
	c.setStall(stall)
	return c
}

func (c *rollingConn) setStall(d time.Duration) {
	c.stall.Store(int64(d))
	c.moved.Store(-int64(time.Hour)) // the next byte sets the deadline
}

// extend sets the deadline anew, unless that was done a moment ago.
func (c *rollingConn) extend() error {
	now := time.Now()
	since := now.Sub(c.started)
	stall := time.Duration(c.stall.Load())
	if since-time.Duration(c.moved.Load()) < min(deadlineStep, stall/8) {
		return nil
	}
	c.moved.Store(int64(since))
	return c.SetDeadline(now.Add(stall))
}

func (c *rollingConn) Read(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	return n, c.stalled(err)
}

func (c *rollingConn) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := c.extend(); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if err != nil || written == len(p) {
			return written, c.stalled(err)
		}
	}
}

func (c *rollingConn) stalled(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &StallError{After: time.Duration(c.stall.Load())}
	}
	return err
}

// Patient lets the requests made with the returned context wait longer for a
// silent server: a store may be busy putting an object's parts together.
func Patient(ctx context.Context, stall time.Duration) context.Context {
	var used atomic.Pointer[rollingConn]
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if wrapped, ok := conn.(*tls.Conn); ok {
				conn = wrapped.NetConn()
			}
			if rolling, ok := conn.(*rollingConn); ok {
				rolling.setStall(max(stall, rolling.usual))
				used.Store(rolling)
			}
		},
		PutIdleConn: func(error) {
			if rolling := used.Load(); rolling != nil {
				rolling.setStall(rolling.usual)
			}
		},
	})
}
