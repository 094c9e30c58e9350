package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/minio/crc64nvme"
)

// ReadOptions says how NewReader reads. The zero value is the whole object.
type ReadOptions struct {
	Streams int   // ranges in flight; 0: 4
	Chunk   int64 // bytes of one range; 0: 4 MiB
	Off     int64 // the first byte that is read
	Len     int64 // bytes that are read; 0: to the object's end

	// Tries is how often a range is asked for again, in a row, without that enough
	// bytes come in between; 0: 6.
	Tries int
	// Backoff is the wait before the first of these tries; each further one waits
	// twice as long, up to 64 times this. 0: half a second, so half a minute in all.
	Backoff time.Duration
	Log     *slog.Logger
}

const (
	readStreams = 4
	readChunk   = 4 * mib
	readTries   = 6
	readBackoff = 500 * time.Millisecond
	maxDoubling = 6
	// progressMade is how many bytes make a try one that helped: a store that cuts
	// after each byte must not be asked eight million times for a range.
	progressMade = 256 << 10
)

func (o ReadOptions) orUsual() ReadOptions {
	if o.Streams <= 0 {
		o.Streams = readStreams
	}
	if o.Chunk <= 0 {
		o.Chunk = readChunk
	}
	if o.Tries <= 0 {
		o.Tries = readTries
	}
	if o.Backoff <= 0 {
		o.Backoff = readBackoff
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

var errReaderClosed = errors.New("objstore: the reader is closed")

// Reader reads one object, or a part of it, in order, by several ranges at a time.
// It is for one goroutine.
type Reader struct {
	store   Store
	info    Info
	options ReadOptions

	ctx     func() context.Context // of the requests: it ends with the caller's, and with Close
	stop    context.CancelCauseFunc
	running sync.WaitGroup

	next, end int64    // bytes that no range was asked for yet
	started   bool     // an empty object takes one request too
	queue     []*fetch // under way, by offset
	rest      []byte   // of the range that is handed out
	spent     []byte   // that range's memory
	free      [][]byte

	crc uint64
	err error // what Read says once rest is empty
}

// fetch is one range on its way.
type fetch struct {
	off  int64
	data []byte
	done chan struct{} // closed when data is complete or err is set
	err  error
}

// NewReader reads the object that Stat or List told of, that one only: where it is
// replaced meanwhile, Read says ErrChanged. Nothing is asked for before the first Read.
//
// A range that is cut off, hangs or comes short is asked for again from the byte
// where it stopped. What Store.Open refuses is final. Memory is (Streams+1) ×
// Chunk, less for a small object, which is one request. Requests live as long as
// ctx, and end with Close, after which no goroutine is left.
func NewReader(ctx context.Context, s Store, info Info, o ReadOptions) *Reader {
	requests, stop := context.WithCancelCause(ctx)
	r := &Reader{
		store: s, info: info, options: o.orUsual(), stop: stop,
		// io.Reader has no context; what Read starts lives in NewReader's.
		ctx:  func() context.Context { return requests },
		next: o.Off, end: info.Size, started: info.Size > 0,
	}
	if o.Len > 0 {
		r.end = o.Off + o.Len
	}
	switch {
	case info.ETag == "":
		r.err = fmt.Errorf("read %s: the store gives no ETag, so nothing tells whether it stays the same object", info.Key)
	case o.Off < 0 || o.Len < 0 || o.Off > info.Size || o.Len > info.Size-o.Off:
		r.err = fmt.Errorf("read %s, %d bytes from byte %d on: the object has %d bytes", info.Key, o.Len, o.Off, info.Size)
	}
	return r
}

// Read gives the next bytes. An error names the object and the byte.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.took(n)
	return n, nil
}

// WriteTo gives all that is left to w, without a copy in between.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := r.fill()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(r.rest)
		if n < 0 || n > len(r.rest) || n < len(r.rest) && err == nil {
			return total, io.ErrShortWrite
		}
		r.took(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// took is for n bytes of rest that were handed out.
func (r *Reader) took(n int) {
	r.crc = crc64nvme.Update(r.crc, r.rest[:n])
	r.rest = r.rest[n:]
}

// CRC64NVME is the checksum of the whole object as S3 writes it, "" unless it was
// read from its first byte to io.EOF.
func (r *Reader) CRC64NVME() string {
	if !errors.Is(r.err, io.EOF) || r.options.Off != 0 || r.end != r.info.Size {
		return ""
	}
	return FormatCRC64NVME(r.crc)
}

// Close ends all requests and waits for them.
func (r *Reader) Close() error {
	r.stop(errReaderClosed)
	r.running.Wait()
	if r.err == nil {
		r.err = errReaderClosed
	}
	r.queue, r.rest, r.spent, r.free = nil, nil, nil, nil
	return nil
}

// fill waits until there is a byte to hand out. Its error stays.
func (r *Reader) fill() error {
	for len(r.rest) == 0 && r.err == nil {
		r.recycle()
		r.ask()
		if len(r.queue) == 0 {
			r.fail(io.EOF)
			break
		}
		first := r.queue[0]
		r.queue = r.queue[1:]
		select {
		case <-first.done:
		case <-r.ctx().Done():
			// The fetch sees it too, but a store may be slow to.
			r.fail(fmt.Errorf("read %s at byte %d: %w", r.info.Key, first.off, context.Cause(r.ctx())))
			continue
		}
		r.rest, r.spent = first.data, first.data
		if first.err != nil {
			r.rest = nil
			r.fail(first.err)
			continue
		}
		r.ask()
	}
	if len(r.rest) > 0 {
		return nil
	}
	return r.err
}

// fail ends the other requests: nobody will read what they bring.
func (r *Reader) fail(err error) {
	r.err = err
	r.stop(err)
}

// recycle gives back the memory of a range that was handed out.
func (r *Reader) recycle() {
	if r.spent != nil {
		r.free = append(r.free, r.spent[:cap(r.spent)])
		r.rest, r.spent = nil, nil
	}
}

// ask sees to it that as many ranges are under way as there may be.
func (r *Reader) ask() {
	for len(r.queue) < r.options.Streams && (r.next < r.end || !r.started) {
		f := &fetch{off: r.next, done: make(chan struct{})}
		f.data = r.buffer(min(r.options.Chunk, r.end-r.next))
		r.next += int64(len(f.data))
		r.started = true
		r.queue = append(r.queue, f)
		r.running.Go(func() {
			defer close(f.done)
			f.err = r.fetch(r.ctx(), f.off, f.data)
		})
	}
}

func (r *Reader) buffer(size int64) []byte {
	if n := len(r.free); n > 0 && int64(cap(r.free[n-1])) >= size {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b[:size]
	}
	return make([]byte, size)
}
