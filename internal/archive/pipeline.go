package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// chunk is one frame of an image on its way, or a run of absent ones (run > 0),
// which has nothing but its place.
type chunk struct {
	frame
	zeroSum *[32]byte
	number  int64 // of the frame in the image
	run     int64

	present uint8
	zero    [frameBlocks]bool // by the readers: read, and all zero
	sums    [frameBlocks][32]byte
	allZero bool // the ready-made frame stands for it
}

func (c *chunk) of() *frame { return &c.frame }

func (c *chunk) blocks() int { return (c.size + block.Size - 1) / block.Size }

func (c *chunk) isPresent(i int) bool { return c.present>>i&1 != 0 }

// block is the plain bytes of block i.
func (c *chunk) block(i int) []byte { return c.plain[i*block.Size : min((i+1)*block.Size, c.size)] }

type readJob struct {
	c     *chunk
	block int
}

// pipeline reads frames, in these stages before those of encoders:
//
//	dispatch  one goroutine: takes a plain buffer, asks for the reads
//	read      o.Reads goroutines: a block each; the zero test, while it is in the cache
//
// They come out of order, a chunk at a time, to be waited for and written.
type pipeline struct {
	*encoders
	src     block.Source
	readAt  func(ctx context.Context, p []byte, off int64) (int, error)
	reading int
	zeroSum [32]byte

	order chan *chunk // all chunks, in order; those with reads are admitted, too
	reads chan readJob
}

func newPipeline(src block.Source, memory *ring, o ImageOptions) *pipeline {
	p := &pipeline{
		encoders: newEncoders(memory, o.Codec, o.Workers),
		src:      src, readAt: src.ReadAt, reading: o.Reads, zeroSum: zeroSum(),
		order: make(chan *chunk, cap(memory.plain.free)), reads: make(chan readJob),
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
	s := &stages{fail: fail}
	s.run(ctx, 1, p.dispatch)
	s.run(ctx, p.reading, p.read)
	p.encoders.start(ctx, s)
	return s.wg.Wait
}

func (p *pipeline) dispatch(ctx context.Context) error {
	size := p.src.Size()
	for s, err := range plan(size, p.src.Extents(ctx)) {
		if err != nil {
			return err
		}
		off := s.frame * codec.FrameSize
		c := &chunk{zeroSum: &p.zeroSum, number: s.frame, present: s.present}
		c.size = int(min(size-off, codec.FrameSize))
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

func (p *pipeline) dispatchReads(ctx context.Context, c *chunk) error {
	if err := c.begin(ctx, p.memory); err != nil {
		return err
	}
	if err := send(ctx, p.order, c); err != nil {
		return err
	}
	if err := send[framed](ctx, p.admitted, c); err != nil {
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
	c.filled()
	return nil
}

func (p *pipeline) read(ctx context.Context) error {
	for {
		job, ok, err := receive(ctx, p.reads)
		if !ok {
			return err
		}
		c, to := job.c, job.c.block(job.block)
		off := c.number*codec.FrameSize + int64(job.block)*block.Size
		n, err := p.readAt(ctx, to, off)
		if err = readError(ctx, n, len(to), err); err != nil {
			if _, placed := errors.AsType[*block.ReadError](err); placed || ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("read %d bytes at offset %d: %w", len(to), off, err)
		}
		c.zero[job.block] = block.AllZero(to)
		c.filled()
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

// encode fills in the hashes of c and makes zeros of its absent blocks, or finds
// that the ready-made frame will do.
func (c *chunk) encode(e codec.Encoder) (err error) {
	c.allZero = c.size == codec.FrameSize
	for i := range c.blocks() {
		c.allZero = c.allZero && (c.zero[i] || !c.isPresent(i))
	}
	if c.allZero {
		return nil
	}
	all := sha256.New()
	for i := range c.blocks() {
		b := c.block(i)
		if !c.isPresent(i) {
			clear(b)
		}
		if len(b) == block.Size && (c.zero[i] || !c.isPresent(i)) {
			c.sums[i] = *c.zeroSum
		} else {
			c.sums[i] = sha256.Sum256(b)
		}
		all.Write(c.sums[i][:])
	}
	all.Sum(c.hash[:0])
	if e == nil {
		return nil
	}
	c.stored, err = e.AppendFrame(c.stored[:0], c.plain[:c.size])
	return err
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
