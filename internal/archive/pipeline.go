package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// chunk is one frame on its way, or a run of absent ones (run > 0), which has
// nothing but its place.
type chunk struct {
	frame int64 // number in the image
	run   int64
	size  int // plain bytes

	present uint8
	zero    [frameBlocks]bool // by the readers: read, and all zero
	sums    [frameBlocks][32]byte
	hash    [32]byte
	plain   []byte
	stored  []byte // buffer, then the frame
	allZero bool   // the ready-made frame stands for it

	unread atomic.Int32  // blocks
	ready  chan struct{} // closed when all blocks are read
	done   chan struct{} // closed when the frame is made
}

func (c *chunk) blocks() int { return (c.size + block.Size - 1) / block.Size }

func (c *chunk) isPresent(i int) bool { return c.present>>i&1 != 0 }

// block is the plain bytes of block i.
func (c *chunk) block(i int) []byte { return c.plain[i*block.Size : min((i+1)*block.Size, c.size)] }

func (c *chunk) blockRead() {
	if c.unread.Add(-1) == 0 {
		close(c.ready)
	}
}

type readJob struct {
	c     *chunk
	block int
}

// pipeline reads, hashes and compresses frames. Each goes through these stages:
//
//	dispatch  one goroutine: takes a plain buffer, asks for the reads
//	read      o.Reads goroutines: a block each; the zero test, while it is in the cache
//	admit     one goroutine: takes a compressed buffer, in order, and waits for the reads
//	encode    o.Workers goroutines: hash and compress, and give the plain buffer back
//
// and comes out of order, a chunk at a time, to be waited for and written.
type pipeline struct {
	src     block.Source
	readAt  func(ctx context.Context, p []byte, off int64) (int, error)
	memory  *ring
	o       ImageOptions
	zeroSum [32]byte

	order    chan *chunk // all chunks, in order
	admitted chan *chunk // those with reads, in order
	reads    chan readJob
	work     chan *chunk
}

func newPipeline(src block.Source, memory *ring, o ImageOptions) *pipeline {
	ahead := cap(memory.plain.free)
	p := &pipeline{
		src: src, readAt: src.ReadAt, memory: memory, o: o, zeroSum: zeroSum(),
		order: make(chan *chunk, ahead), admitted: make(chan *chunk, ahead),
		reads: make(chan readJob), work: make(chan *chunk),
	}
	// An error ends the pipeline, and no buffer is used after that: the memory
	// can be lent.
	if lent, ok := src.(block.LentReader); ok {
		p.readAt = lent.ReadLent
	}
	return p
}

// start runs the stages until all is done or ctx ends; an error goes to fail.
func (p *pipeline) start(ctx context.Context, fail context.CancelCauseFunc) (wait func()) {
	var wg sync.WaitGroup
	stage := func(count int, run func(context.Context) error) {
		for range count {
			wg.Go(func() {
				if err := run(ctx); err != nil {
					fail(err)
				}
			})
		}
	}
	stage(1, p.dispatch)
	stage(p.o.Reads, p.read)
	stage(1, p.admit)
	stage(p.o.Workers, p.encode)
	return wg.Wait
}

func (p *pipeline) dispatch(ctx context.Context) error {
	size := p.src.Size()
	for s, err := range plan(size, p.src.Extents(ctx)) {
		if err != nil {
			return err
		}
		off := s.frame * codec.FrameSize
		c := &chunk{frame: s.frame, present: s.present, size: int(min(size-off, codec.FrameSize))}
		if s.present == 0 && c.size == codec.FrameSize {
			c.run = s.count
			if err := send(ctx, p.order, c); err != nil {
				return err
			}
			continue
		}
		if err := p.dispatchReads(ctx, c); err != nil {
			return err
		}
	}
	// Only here: after an error the end must not look like that of the volume.
	close(p.order)
	close(p.admitted)
	close(p.reads)
	return nil
}

func (p *pipeline) dispatchReads(ctx context.Context, c *chunk) (err error) {
	if c.plain, err = p.memory.plain.get(ctx); err != nil {
		return err
	}
	c.ready, c.done = make(chan struct{}), make(chan struct{})
	c.unread.Store(1) // until all reads are asked for
	if err := send(ctx, p.order, c); err != nil {
		return err
	}
	if err := send(ctx, p.admitted, c); err != nil {
		return err
	}
	for i := range c.blocks() {
		if !c.isPresent(i) {
			continue
		}
		c.unread.Add(1)
		if err := send(ctx, p.reads, readJob{c, i}); err != nil {
			return err
		}
	}
	c.blockRead()
	return nil
}

func (p *pipeline) read(ctx context.Context) error {
	for {
		job, ok, err := receive(ctx, p.reads)
		if !ok {
			return err
		}
		c, to := job.c, job.c.block(job.block)
		off := c.frame*codec.FrameSize + int64(job.block)*block.Size
		n, err := p.readAt(ctx, to, off)
		if err = readError(ctx, n, len(to), err); err != nil {
			if _, placed := errors.AsType[*block.ReadError](err); placed || ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("read %d bytes at offset %d: %w", len(to), off, err)
		}
		c.zero[job.block] = isZero(to)
		c.blockRead()
	}
}

// readError holds a Source to its contract: all that was asked for, or an error.
// All reads lie inside the volume, so an end is none that was expected.
func readError(ctx context.Context, n, want int, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF), err == nil && n != want:
		return fmt.Errorf("only %d bytes came: %w", n, io.ErrUnexpectedEOF)
	}
	return err
}

func (p *pipeline) admit(ctx context.Context) error {
	defer close(p.work)
	for {
		c, ok, err := receive(ctx, p.admitted)
		if !ok {
			return err
		}
		if c.stored, err = p.memory.stored.get(ctx); err != nil {
			return err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := send(ctx, p.work, c); err != nil {
			return err
		}
	}
}

func (p *pipeline) encode(ctx context.Context) error {
	e, err := p.o.Codec.NewEncoder()
	if err != nil {
		return err
	}
	err = p.encodeAll(ctx, e)
	return errors.Join(err, e.Close())
}

func (p *pipeline) encodeAll(ctx context.Context, e codec.Encoder) error {
	for {
		c, ok, err := receive(ctx, p.work)
		if !ok {
			return err
		}
		p.hash(c)
		if !c.allZero {
			if c.stored, err = e.AppendFrame(c.stored[:0], c.plain[:c.size]); err != nil {
				return err
			}
		}
		p.memory.plain.put(c.plain)
		c.plain = nil
		close(c.done)
	}
}

// hash fills in the hashes of c and makes zeros of its absent blocks, or finds
// that the ready-made frame will do.
func (p *pipeline) hash(c *chunk) {
	c.allZero = c.size == codec.FrameSize
	for i := range c.blocks() {
		c.allZero = c.allZero && (c.zero[i] || !c.isPresent(i))
	}
	if c.allZero {
		return
	}
	all := sha256.New()
	for i := range c.blocks() {
		b := c.block(i)
		if !c.isPresent(i) {
			clear(b)
		}
		if len(b) == block.Size && (c.zero[i] || !c.isPresent(i)) {
			c.sums[i] = p.zeroSum
		} else {
			c.sums[i] = sha256.Sum256(b)
		}
		all.Write(c.sums[i][:])
	}
	all.Sum(c.hash[:0])
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// receive returns ok unless from is closed or ctx has ended.
func receive[T any](ctx context.Context, from <-chan T) (v T, ok bool, err error) {
	select {
	case v, ok = <-from:
		return v, ok, nil
	case <-ctx.Done():
		return v, false, context.Cause(ctx)
	}
}
