package archive

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"snap-to-s3/internal/codec"
)

// frame is one frame on its way: a plain buffer is filled, by several reads at
// once; then it is hashed and compressed; then it is written.
type frame struct {
	size   int // plain bytes
	plain  []byte
	stored []byte // buffer, then the frame
	hash   [32]byte

	unread atomic.Int32  // what is still to be filled in
	ready  chan struct{} // closed when nothing is
	done   chan struct{} // closed when the frame is made
}

// begin takes a plain buffer. The caller holds the frame open until it has asked
// for all that is to be filled in.
func (f *frame) begin(ctx context.Context, memory *ring) (err error) {
	if f.plain, err = memory.plain.get(ctx); err != nil {
		return err
	}
	f.ready, f.done = make(chan struct{}), make(chan struct{})
	f.unread.Store(1)
	return nil
}

// filled says that one more part is there, or that all was asked for.
func (f *frame) filled() {
	if f.unread.Add(-1) == 0 {
		close(f.ready)
	}
}

// framed is a frame of some kind of archive.
type framed interface {
	of() *frame
	// encode hashes the frame and compresses it into its stored buffer; with a nil
	// encoder it hashes the contents alone.
	encode(e codec.Encoder) error
}

// encoders are the stages from a filled frame to a made one:
//
//	admit   one goroutine: takes a compressed buffer, in order, and waits until the frame is filled
//	encode  workers goroutines: hash and compress, and give the plain buffer back
//
// With the zero Codec nothing is compressed: what is read is only hashed.
type encoders struct {
	memory   *ring
	codec    codec.Codec
	workers  int
	admitted chan framed // in order; closed by who sends
	work     chan framed
}

func newEncoders(memory *ring, c codec.Codec, workers int) *encoders {
	return &encoders{
		memory: memory, codec: c, workers: workers,
		admitted: make(chan framed, cap(memory.plain.free)), work: make(chan framed),
	}
}

// stages runs what the goroutines of an archive do, until all is done or ctx
// ends; an error goes to fail.
type stages struct {
	wg   sync.WaitGroup
	fail context.CancelCauseFunc
}

func (s *stages) run(ctx context.Context, count int, stage func(context.Context) error) {
	for range count {
		s.wg.Go(func() {
			if err := stage(ctx); err != nil {
				s.fail(err)
			}
		})
	}
}

func (n *encoders) start(ctx context.Context, s *stages) {
	s.run(ctx, 1, n.admit)
	s.run(ctx, n.workers, n.encode)
}

func (n *encoders) admit(ctx context.Context) error {
	defer close(n.work)
	for {
		next, ok, err := receive(ctx, n.admitted)
		if !ok {
			return err
		}
		f := next.of()
		if f.stored, err = n.memory.stored.get(ctx); err != nil {
			return err
		}
		select {
		case <-f.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := send(ctx, n.work, next); err != nil {
			return err
		}
	}
}

func (n *encoders) encode(ctx context.Context) error {
	if n.codec.Name() == "" {
		return n.encodeAll(ctx, nil)
	}
	e, err := n.codec.NewEncoder()
	if err != nil {
		return err
	}
	err = n.encodeAll(ctx, e)
	return errors.Join(err, e.Close())
}

func (n *encoders) encodeAll(ctx context.Context, e codec.Encoder) error {
	for {
		next, ok, err := receive(ctx, n.work)
		if !ok {
			return err
		}
		if err := next.encode(e); err != nil {
			return err
		}
		f := next.of()
		n.memory.plain.put(f.plain)
		f.plain = nil
		close(f.done)
	}
}
