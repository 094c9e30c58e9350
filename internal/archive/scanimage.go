package archive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// ImageScanOptions says how an image is read.
type ImageScanOptions struct {
	Workers int // goroutines that hash; 0: one a core
	// Progress is told how far it is, from one goroutine. It may be nil.
	Progress func(plainBytes int64)
}

// ScanImage reads a plain image to its end and tells visit of its blocks, in
// order, up to eight a call: number of the first, SHA-256 of each, and which are
// all zeros. Blocks are of block.Size, the last may be shorter. visit must not keep
// the slices, and runs in the caller's goroutine, as r does; blocks are hashed in
// others, which have ended when it returns. Memory: 4 MiB for each of them and 4
// more.
//
// An error of r is returned with its place, one of visit as it is; when ctx has
// ended, its cause. A stream that is cut ends early: plain, its bytes, tells.
func ScanImage(ctx context.Context, r io.Reader, o ImageScanOptions, visit func(from int64, sums [][32]byte, zero []bool) error) (plain int64, err error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	s := imageScan{visit: visit, progress: o.Progress, zeroSum: zeroSum(), jobs: make(chan *imagePiece, o.Workers+1)}
	for range o.Workers + 1 {
		s.free = append(s.free, &imagePiece{plain: make([]byte, codec.FrameSize), done: make(chan struct{}, 1)})
	}
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(func() {
			for p := range s.jobs {
				p.sum(&s.zeroSum)
				p.done <- struct{}{}
			}
		})
	}
	err = s.run(ctx, r)
	close(s.jobs)
	workers.Wait()
	return s.read, err
}

// imagePiece is eight blocks, or what is left.
type imagePiece struct {
	from  int64 // number of the first
	plain []byte
	size  int
	sums  [frameBlocks][32]byte
	zero  [frameBlocks]bool
	done  chan struct{} // gets one when sums and zero are there
}

func (p *imagePiece) blocks() int { return (p.size + block.Size - 1) / block.Size }

func (p *imagePiece) sum(zeros *[32]byte) {
	for i := range p.blocks() {
		b := p.plain[i*block.Size : min((i+1)*block.Size, p.size)]
		if p.zero[i] = block.AllZero(b); p.zero[i] && len(b) == block.Size {
			p.sums[i] = *zeros
		} else {
			p.sums[i] = sha256.Sum256(b)
		}
	}
}

// imageScan reads and visits in one goroutine, so that neither is left behind
// when the other ends.
type imageScan struct {
	visit    func(int64, [][32]byte, []bool) error
	progress func(int64)
	zeroSum  [32]byte
	jobs     chan *imagePiece // holds all pieces
	free     []*imagePiece
	under    []*imagePiece // being hashed, in order
	read     int64
}

func (s *imageScan) run(ctx context.Context, r io.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(s.free) == 0 {
			if err := s.oldest(); err != nil {
				return err
			}
		}
		p := s.free[len(s.free)-1]
		n, end, err := fill(r, p.plain)
		p.from, p.size = s.read/block.Size, n
		s.read += int64(n)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the image at byte %d: %w", s.read, err)
		}
		if n > 0 {
			s.free = s.free[:len(s.free)-1]
			s.under = append(s.under, p)
			s.jobs <- p
		}
		if end {
			break
		}
	}
	for len(s.under) > 0 {
		if err := s.oldest(); err != nil {
			return err
		}
	}
	return nil
}

// fill reads until p is full or r has ended. io.ReadFull does not tell the end of a
// stream from a reader's own io.ErrUnexpectedEOF.
func fill(r io.Reader, p []byte) (n int, end bool, err error) {
	for idle := 0; n < len(p); {
		more, err := r.Read(p[n:])
		n += more
		switch {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return n, false, err
		case more > 0:
			idle = 0
		case idle == 100:
			return n, false, io.ErrNoProgress
		default:
			idle++
		}
	}
	return n, false, nil
}

// oldest waits for the piece that comes next, and tells of it.
func (s *imageScan) oldest() error {
	p := s.under[0]
	<-p.done
	s.under = s.under[1:]
	s.free = append(s.free, p)
	n := p.blocks()
	if err := s.visit(p.from, p.sums[:n], p.zero[:n]); err != nil {
		return err
	}
	s.progress(p.from*block.Size + int64(p.size))
	return nil
}
