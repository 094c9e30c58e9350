package bill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	chunkSize  = 256 << 10
	chunksHeld = 6 // 1.5 MiB between the goroutine that unpacks and the one that reads lines
)

// ahead reads in a goroutine of its own, so that unpacking and parsing each have
// a core. It is an io.Reader; end ends the goroutine.
type ahead struct {
	full, free chan []byte
	stop       chan struct{}
	done       chan struct{}
	failed     error  // of the source; may be read after full is closed
	now, whole []byte // what is left of a chunk, and that chunk
	cancelled  <-chan struct{}
	cause      func() error // of cancelled
}

func readAhead(ctx context.Context, r io.Reader) *ahead {
	a := &ahead{
		full: make(chan []byte, chunksHeld), free: make(chan []byte, chunksHeld),
		stop: make(chan struct{}), done: make(chan struct{}), cancelled: ctx.Done(), cause: ctx.Err,
	}
	for range chunksHeld {
		a.free <- make([]byte, chunkSize)
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		n, err := 0, error(nil)
		for n < chunkSize && err == nil {
			var read int
			read, err = r.Read(b[n:chunkSize])
			n += read
		}
		if n > 0 {
			a.full <- b[:n] // never blocks: there are no more chunks than places
		}
		if err != nil {
			a.failed = err // io.EOF at a proper end
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now) == 0 {
		if a.whole != nil {
			a.free <- a.whole
			a.whole = nil
		}
		select {
		case b, ok := <-a.full:
			if !ok {
				return 0, a.failed
			}
			a.now, a.whole = b, b[:chunkSize]
		case <-a.cancelled:
			return 0, a.cause()
		}
	}
	n := copy(p, a.now)
	a.now = a.now[n:]
	return n, nil
}

// end makes the goroutine stop after its current read.
func (a *ahead) end() { close(a.stop) }

// wait waits for the goroutine, which must have been told to end.
func (a *ahead) wait() { <-a.done }

// counted counts the bytes of a source, for progress, and keeps its error.
type counted struct {
	r   io.Reader
	n   *atomic.Int64
	err error // but io.EOF; for the goroutine that reads
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != io.EOF {
		c.err = err
	}
	return n, err
}

// countedAt is the same for random access.
type countedAt struct {
	io.ReaderAt
	n *atomic.Int64
}

func (c countedAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

var errDamaged = errors.New("the file is damaged")

// unpacked tells errors of unpacking from those of the source.
type unpacked struct {
	io.Reader
	source *counted // nil: any error is one of unpacking
}

func (u unpacked) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || u.source != nil && u.source.err != nil {
		return n, err
	}
	return n, fmt.Errorf("%w: %w", errDamaged, err)
}
