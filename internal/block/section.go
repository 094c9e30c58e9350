package block

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
)

// Section is a part of a volume, a volume itself: a partition. Closing it closes
// nothing.
func Section(src Source, off, size int64) (Source, error) {
	if off < 0 || size < 0 || off > src.Size()-size {
		return nil, errors.New("a section that is not inside its volume")
	}
	s := &section{src: src, off: off, size: size}
	if lent, ok := src.(LentReader); ok {
		return &lentSection{s, lent}, nil
	}
	return s, nil
}

type section struct {
	src       Source
	off, size int64
}

func (s *section) Size() int64  { return s.size }
func (s *section) Close() error { return nil }

// ReadAt implements Source.
func (s *section) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return s.read(ctx, p, off, s.src.ReadAt)
}

func (s *section) read(ctx context.Context, p []byte, off int64, read func(context.Context, []byte, int64) (int, error)) (int, error) {
	if off < 0 || off >= s.size {
		if off >= 0 && len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	end := error(nil)
	if rest := s.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	n, err := read(ctx, p, s.off+off)
	if n == len(p) && (err == nil || err == io.EOF) { //nolint:errorlint // the end of the volume is not ours
		return n, end
	}
	return n, err
}

// Extents implements Source.
func (s *section) Extents(ctx context.Context) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for e, err := range s.src.Extents(ctx) {
			from, to := max(e.Off, s.off), min(e.Off+e.Len, s.off+s.size)
			switch {
			case err != nil:
				yield(Extent{}, err)
				return
			case e.Off >= s.off+s.size:
				return
			case from < to && !yield(Extent{from - s.off, to - from}, nil):
				return
			}
		}
	}
}

type lentSection struct {
	*section
	lent LentReader
}

// ReadLent implements LentReader.
func (s *lentSection) ReadLent(ctx context.Context, p []byte, off int64) (int, error) {
	return s.read(ctx, p, off, s.lent.ReadLent)
}

// zeroReads is how many reads IsZero has in flight.
const zeroReads = 16

// IsZero tells whether all of a volume is zero. It ends at the first read that
// shows otherwise, and reads nothing of what is absent.
func IsZero(ctx context.Context, src Source) (bool, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	places := make(chan int64)
	var readers sync.WaitGroup
	for range zeroReads {
		readers.Go(func() {
			buf := AlignedBuffer(Size)
			for off := range places {
				n, err := src.ReadAt(ctx, buf[:min(Size, src.Size()-off)], off)
				if err == nil && !AllZero(buf[:n]) {
					err = errData
				}
				if err != nil {
					stop(err)
				}
			}
		})
	}
	err := eachBlock(ctx, src, places)
	close(places)
	readers.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, errData) {
		return false, nil
	}
	return err == nil, err
}

var errData = errors.New("there is data")

// eachBlock sends the offset of each block that may hold data.
func eachBlock(ctx context.Context, src Source, to chan<- int64) error {
	next := int64(0)
	for e, err := range src.Extents(ctx) {
		if err != nil {
			return err
		}
		for next = max(next, e.Off-e.Off%Size); next < e.Off+e.Len; next += Size {
			select {
			case to <- next:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
