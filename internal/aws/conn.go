package aws

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// StallError says that a connection moved no byte for too long. It is a
// time-out, so the SDK tries again.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string { return fmt.Sprintf("no byte moved for %v", e.After) }

// Timeout is true: net.Error.
func (*StallError) Timeout() bool { return true }

// Temporary is true: net.Error.
func (*StallError) Temporary() bool { return true }

const (
	// One write to a socket is cut into these, so that a large one that makes
	// progress is not taken for one that does not.
	writeStep = 256 << 10
	// A connection is looked at so many times in its stall time.
	looks = 4
)

// rollingConn gives up when no byte moved for the stall time, either way: the
// answer is awaited by a Read that begins with the request, so an upload must
// keep that Read alive too. Bytes that the kernel still has to send count when
// they leave it: on a slow line the last megabytes of a part take their time
// after the last Write.
type rollingConn struct {
	net.Conn
	raw   *net.TCPConn // nil where it is none
	usual time.Duration
	stall atomic.Int64 // nanoseconds; usual unless a Patient request is under way

	started  time.Time
	progress atomic.Int64 // nanoseconds from started: when a byte moved last
	armed    atomic.Int64 // likewise: when the deadline was set last

	mu   sync.Mutex
	left int  // bytes in the kernel's queue at the last look
	gone bool // given up: what fails from now on fails for that
}

func newRollingConn(conn net.Conn, stall time.Duration) *rollingConn {
	raw, _ := conn.(*net.TCPConn)
	c := &rollingConn{Conn: conn, raw: raw, usual: stall, started: time.Now()}
	c.setStall(stall)
	return c
}

func (c *rollingConn) setStall(d time.Duration) {
	c.stall.Store(int64(d))
	c.armed.Store(-int64(time.Hour)) // the next byte sets the deadline
}

// arm sets the deadline to the next look, unless that was done a moment ago.
func (c *rollingConn) arm() error {
	since := time.Since(c.started)
	next := time.Duration(c.stall.Load()) / looks
	if since-time.Duration(c.armed.Load()) < next/looks {
		return nil
	}
	c.armed.Store(int64(since))
	return c.SetDeadline(c.started.Add(since + next))
}

func (c *rollingConn) Read(p []byte) (int, error) {
	for {
		err := c.arm()
		n := 0
		if err == nil {
			n, err = c.Conn.Read(p)
		}
		if n > 0 || err == nil {
			c.moved()
		}
		if n > 0 || !c.goOn(err) {
			return n, c.reason(err)
		}
	}
}

func (c *rollingConn) Write(p []byte) (int, error) {
	written := 0
	for {
		err := c.arm()
		n := 0
		if err == nil {
			n, err = c.Conn.Write(p[written:min(len(p), written+writeStep)])
		}
		written += n
		if n > 0 {
			c.moved()
		}
		if err == nil && written < len(p) {
			continue
		}
		if !c.goOn(err) {
			return written, c.reason(err)
		}
	}
}

func (c *rollingConn) moved() { c.progress.Store(int64(time.Since(c.started))) }

// goOn tells whether an error is only a look at a connection that is not
// stalled yet.
func (c *rollingConn) goOn(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	queued := c.queued()
	if queued < c.left {
		c.moved()
	}
	c.left = queued
	idle := time.Since(c.started) - time.Duration(c.progress.Load())
	if idle >= time.Duration(c.stall.Load()) {
		c.gone = true
		return false
	}
	c.armed.Store(-int64(time.Hour))
	return true
}

// reason names why an error happened. The transport closes a connection whose
// Read gave up, and its Write then only learns that it is closed.
func (c *rollingConn) reason(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return &StallError{After: time.Duration(c.stall.Load())}
	}
	return err
}

// queued is how many bytes the kernel has that the other side has not taken.
func (c *rollingConn) queued() int {
	if c.raw == nil {
		return 0
	}
	n := 0
	raw, err := c.raw.SyscallConn()
	if err != nil {
		return 0
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) //nolint:gosec // a descriptor
	if controlErr != nil || err != nil {
		return 0 // a closed connection has nothing left to send
	}
	return n
}
