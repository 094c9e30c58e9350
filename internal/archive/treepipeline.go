package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
)

// piece is one frame of a tar stream on its way.
type piece struct {
	frame
	shares []share
	rows   []*TreeRow // of the entries that end in it
}

func (c *piece) of() *frame { return &c.frame }

// encode hashes the frame as it is stored.
func (c *piece) encode(e codec.Encoder) (err error) {
	if e == nil {
		return nil
	}
	if c.stored, err = e.AppendFrame(c.stored[:0], c.plain[:c.size]); err != nil {
		return err
	}
	c.hash = sha256.Sum256(c.stored)
	return nil
}

type fileRead struct {
	c    *piece
	file *filesystem.File
	to   []byte
	off  int64
}

// treePipeline makes frames of a tree, in these stages before those of encoders:
//
//	lay   one goroutine: takes entries in order, writes headers and small files into frames, asks for reads of others
//	read  o.Reads goroutines: up to 512 KiB each, straight into the frames
//	sum   one goroutine, in order: the SHA-256 of each file, over all frames that it is in
type treePipeline struct {
	*encoders
	o     TreeOptions
	layer *layer

	order chan *piece // all frames, in order
	laid  chan *piece // the same, on their way to sum
	reads chan fileRead

	answered   atomic.Int64 // entries and reads
	unreadable unreadable
}

func newTreePipeline(memory *ring, o TreeOptions) *treePipeline {
	ahead := cap(memory.plain.free)
	p := &treePipeline{
		encoders: newEncoders(memory, o.Codec, o.Workers), o: o,
		order: make(chan *piece, ahead), laid: make(chan *piece, ahead), reads: make(chan fileRead),
	}
	p.layer = &layer{p: p}
	return p
}

func (p *treePipeline) start(ctx context.Context, tree Tree, fail context.CancelCauseFunc) (wait func()) {
	s := &stages{fail: fail}
	s.run(ctx, 1, func(ctx context.Context) error { return p.lay(ctx, tree) })
	s.run(ctx, 1, p.sum)
	p.encoders.start(ctx, s)
	// Reads have no end of their own: a device that hangs holds them.
	var reading sync.WaitGroup
	for range p.o.Reads {
		reading.Go(func() {
			if err := p.read(ctx); err != nil {
				fail(err)
			}
		})
	}
	return func() {
		s.wg.Wait()
		p.patience(&reading)
	}
}

// patience is how long reads are waited for that nobody needs any more.
const patience = 10 * time.Second

func (p *treePipeline) patience(reading *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		reading.Wait()
		close(ended)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

func (p *treePipeline) lay(ctx context.Context, tree Tree) error {
	for e, err := range tree.Walk(ctx) {
		p.answered.Add(1)
		switch {
		case err == nil:
			err = p.layer.entry(ctx, e)
		case isPathError(err):
			err = p.unreadable.add(err)
		}
		if err != nil {
			return err
		}
	}
	if err := p.layer.end(ctx); err != nil {
		return err
	}
	// Only here: after an error the end must not look like that of the tree.
	close(p.order)
	close(p.laid)
	close(p.reads)
	return nil
}

func isPathError(err error) bool {
	_, ok := errors.AsType[*filesystem.PathError](err)
	return ok
}

func (p *treePipeline) read(ctx context.Context) error {
	for {
		r, ok, err := receive(ctx, p.reads)
		if !ok {
			return err
		}
		err = r.file.ReadFull(r.to, r.off)
		r.file.Release()
		p.answered.Add(1)
		if err != nil {
			if err := p.unreadable.add(err); err != nil {
				return err
			}
		}
		r.c.filled()
	}
}

func (p *treePipeline) sum(ctx context.Context) error {
	defer close(p.admitted)
	for {
		c, ok, err := receive(ctx, p.laid)
		if !ok {
			return err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, s := range c.shares {
			if s.sum != nil {
				s.sum.write(c.plain[s.from:s.to], s.off)
			}
			if s.row == nil {
				continue
			}
			if s.sum != nil {
				s.row.Sum, s.row.Runs = s.sum.end(), s.sum.runs != nil
			}
			c.rows = append(c.rows, s.row)
		}
		if err := send[framed](ctx, p.admitted, c); err != nil {
			return err
		}
	}
}

// unreadable collects entries that cannot be read.
type unreadable struct {
	mu    sync.Mutex
	errs  []error
	first time.Time
}

// add keeps err, and returns what there is once that is enough.
func (u *unreadable) add(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.errs) == 0 {
		u.first = time.Now()
	}
	u.errs = append(u.errs, err)
	if len(u.errs) >= filesystem.Named || time.Since(u.first) > unreadableFor {
		return u.joined()
	}
	return nil
}

func (u *unreadable) joined() error {
	return &filesystem.UnreadableError{Errs: u.errs[:min(len(u.errs), filesystem.Named)]}
}

func (u *unreadable) err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.errs) == 0 {
		return nil
	}
	return u.joined()
}

// readSize is the most that one read of a file takes: a cold volume is slow by
// the read, and large reads do not wait for each other.
const readSize = block.Size
