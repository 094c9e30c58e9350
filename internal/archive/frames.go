package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"sync/atomic"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// maxFrame is the most plain bytes that a frame may say it holds: 64 MiB, 16
// times what is written. A table that asks for more is not ours.
const maxFrame = 64 << 20

// FrameOptions says how frames are read back.
type FrameOptions struct {
	Codec   string
	Image   bool // the blocks are hashed, and a frame's hash is over theirs; else it is over its stored bytes
	Workers int  // goroutines that decode and hash; 0: one a core
}

// PlainFrame is a frame that was read back.
type PlainFrame struct {
	codec.Frame
	Plain []byte // valid until the next frame; of an image's frame of zeros, nil
	// Of an image: the SHA-256 of each block, and whether it is all zeros.
	Sums [][32]byte
	Zero []bool
	// Damage, unless nil, says why the frame is not what the table says. Plain is
	// undefined then.
	Damage *FrameError
}

// FrameError says that a frame of an archive is not what the archive's frame table
// says.
type FrameError struct {
	Frame codec.Frame
	Err   error
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("frame of %d bytes at byte %d (plain bytes %d to %d): %v",
		e.Frame.StoredLen, e.Frame.StoredOff, e.Frame.PlainOff, e.Frame.PlainOff+e.Frame.PlainLen, e.Err)
}

// Unwrap returns what is wrong with the frame.
func (e *FrameError) Unwrap() error { return e.Err }

// errHash: a frame's bytes are not those that were written.
var errHash = errors.New("its hash is not the one in the entries")

// ReadFrames reads a stored stream frame by frame, in the order of table, which
// ends with io.EOF. Each is decoded by itself and held to its hash and length; the
// one that fails is yielded with its damage, and the next is read. The frames lie one
// behind the other, in the stream and in what is in it; the first may be any. An
// error is one of r, of table or of ctx, or says that the stream is shorter or longer
// than the table; what was read before it is yielded first, unless ctx has ended.
//
// Its memory is workers + 2 frames, plain and stored. All goroutines have ended
// when the sequence has.
func ReadFrames(ctx context.Context, r io.Reader, table func() (codec.Frame, error), o FrameOptions) iter.Seq2[*PlainFrame, error] {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return func(yield func(*PlainFrame, error) bool) {
		ctx, fail := context.WithCancelCause(ctx)
		d := newFrameDecoding(o)
		s := &stages{fail: fail}
		s.run(ctx, 1, func(ctx context.Context) error { return d.read(ctx, r, table) })
		s.run(ctx, o.Workers, d.decode)
		err := d.deliver(ctx, yield)
		fail(err) // a stop of the caller's ends the rest, too
		s.wg.Wait()
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped: the caller wants no more frames.
var errStopped = errors.New("no more frames are wanted")

// decoding is a frame on its way back.
type decoding struct {
	PlainFrame
	stored, plain []byte // buffers
	done          chan struct{}
	end           error // in place of a frame: why there are no more
}

// frameDecoding turns a stream into frames, in these stages:
//
//	read     one goroutine: the stored bytes of each frame
//	decode   workers goroutines: decode and hash
//	deliver  the caller's: in order
type frameDecoding struct {
	o     FrameOptions
	free  chan *decoding
	order chan *decoding
	work  chan *decoding
	zeros atomic.Pointer[zeroStored]
	sum   [32]byte // of a block of zeros
}

// zeroStored is what a frame of zeros looks like: a sparse volume is little else.
type zeroStored struct {
	plain  int64
	stored []byte
	hash   [32]byte
}

func newFrameDecoding(o FrameOptions) *frameDecoding {
	inFlight := o.Workers + 2
	d := &frameDecoding{
		o: o, free: make(chan *decoding, inFlight), order: make(chan *decoding, inFlight),
		work: make(chan *decoding, inFlight), sum: zeroSum(),
	}
	for range inFlight {
		d.free <- &decoding{}
	}
	return d
}

// read ends with its error behind the frames that it has read.
func (d *frameDecoding) read(ctx context.Context, r io.Reader, table func() (codec.Frame, error)) error {
	err := d.readAll(ctx, r, table)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return send(ctx, d.order, &decoding{end: err})
	}
	close(d.order)
	close(d.work)
	return nil
}

func (d *frameDecoding) readAll(ctx context.Context, r io.Reader, table func() (codec.Frame, error)) error {
	at, plain := int64(0), int64(-1)
	for {
		f, err := table()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := d.possible(f, at, plain); err != nil {
			return err
		}
		plain = f.PlainOff + f.PlainLen
		next, _, err := receive(ctx, d.free)
		if err != nil {
			return err
		}
		next.PlainFrame = PlainFrame{Frame: f, Sums: next.Sums[:0], Zero: next.Zero[:0]}
		next.stored = sized(next.stored, int(f.StoredLen))
		n, err := io.ReadFull(r, next.stored)
		if at += int64(n); err != nil {
			return cutError(err, at)
		}
		next.done = make(chan struct{})
		if err := send(ctx, d.order, next); err != nil {
			return err
		}
		if err := send(ctx, d.work, next); err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("the archive goes on behind its last frame, which ends at byte %d", at)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// possible says why a frame cannot be the next: at is where it begins in the stream,
// plain where its bytes do in what is in that, or -1 where that is not known.
func (d *frameDecoding) possible(f codec.Frame, at, plain int64) error {
	ok := f.StoredOff == at && f.StoredLen > 0 && f.StoredLen <= 2*maxFrame && f.PlainLen >= 0 && f.PlainLen <= maxFrame &&
		f.PlainOff >= 0 && f.PlainOff <= math.MaxInt64-maxFrame && (plain < 0 || f.PlainOff == plain)
	if ok && d.o.Image { // their blocks have numbers
		ok = f.PlainOff%block.Size == 0 && f.PlainLen > 0
	}
	if ok {
		return nil
	}
	return fmt.Errorf("a frame of %d bytes at byte %d for %d plain bytes at %d, where byte %d is next: no frame of this tool",
		f.StoredLen, f.StoredOff, f.PlainLen, f.PlainOff, at)
}

// cutError is the error of a stream that ends inside a frame.
func cutError(err error, at int64) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // as io.ReadFull makes them: the stream's own errors are others
		return fmt.Errorf("the archive ends at byte %d, inside a frame: %w", at, io.ErrUnexpectedEOF)
	}
	return err
}

func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func (d *frameDecoding) decode(ctx context.Context) error {
	dec, err := codec.NewDecoder(d.o.Codec)
	if err != nil {
		return err
	}
	defer dec.Close()
	for {
		next, ok, err := receive(ctx, d.work)
		if !ok {
			return err
		}
		if err := d.decodeOne(dec, next); err != nil {
			next.Damage = &FrameError{next.Frame, err}
		}
		close(next.done)
	}
}

func (d *frameDecoding) decodeOne(dec *codec.Decoder, f *decoding) error {
	if !d.o.Image {
		if sha256.Sum256(f.stored) != f.Hash {
			return errHash
		}
		f.plain = sized(f.plain, int(f.PlainLen))
		f.Plain = f.plain
		return dec.DecodeFrame(f.plain, f.stored)
	}
	if z := d.zeros.Load(); z != nil && z.plain == f.PlainLen && bytes.Equal(z.stored, f.stored) {
		for range (f.PlainLen + block.Size - 1) / block.Size {
			f.Sums, f.Zero = append(f.Sums, d.sum), append(f.Zero, true)
		}
		return same(z.hash, f.Hash)
	}
	f.plain = sized(f.plain, int(f.PlainLen))
	if err := dec.DecodeFrame(f.plain, f.stored); err != nil {
		return err
	}
	f.Plain = f.plain
	all := sha256.New()
	zero := f.PlainLen%block.Size == 0
	for off := 0; off < len(f.plain); off += block.Size {
		b := f.plain[off:min(off+block.Size, len(f.plain))]
		none := block.AllZero(b)
		sum := d.sum
		if !none || len(b) < block.Size {
			sum = sha256.Sum256(b)
		}
		zero = zero && none
		f.Sums, f.Zero = append(f.Sums, sum), append(f.Zero, none)
		all.Write(sum[:])
	}
	hash := [32]byte(all.Sum(nil))
	if zero && d.zeros.Load() == nil {
		d.zeros.Store(&zeroStored{f.PlainLen, bytes.Clone(f.stored), hash})
	}
	return same(hash, f.Hash)
}

func same(got, want [32]byte) error {
	if got != want {
		return errHash
	}
	return nil
}

// deliver yields the frames in order.
func (d *frameDecoding) deliver(ctx context.Context, yield func(*PlainFrame, error) bool) error {
	for {
		if ctx.Err() != nil { // before what is ready: of both one is picked at random
			return context.Cause(ctx)
		}
		f, ok, err := receive(ctx, d.order)
		if !ok {
			return err
		}
		if f.end != nil {
			return f.end
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !yield(&f.PlainFrame, nil) {
			return errStopped
		}
		d.free <- f
	}
}

// PlainReader is the plain bytes of frames. Its error is that of the sequence, or the
// damage of the first frame that is damaged. Close ends the sequence.
func PlainReader(frames iter.Seq2[*PlainFrame, error]) io.ReadCloser {
	r := &plainReader{}
	r.next, r.stop = iter.Pull2(frames)
	return r
}

type plainReader struct {
	next func() (*PlainFrame, error, bool)
	stop func()
	rest []byte
	err  error
}

func (r *plainReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		f, err, ok := r.next()
		switch {
		case !ok:
			r.err = io.EOF
		case err != nil:
			r.err = err
		case f.Damage != nil:
			r.err = f.Damage
		default:
			r.rest = f.Plain
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *plainReader) Close() error {
	r.stop()
	r.rest, r.err = nil, errors.New("read of closed frames")
	return nil
}
