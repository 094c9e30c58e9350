package block

import (
	"context"
	"errors"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

func wholeExtent(size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		if size > 0 {
			yield(Extent{0, size}, nil)
		}
	}
}

// dataExtents yields the data of a sparse file, rounded outwards to Size. The
// last extent ends with the file.
func dataExtents(ctx context.Context, f *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var held Extent // not yielded yet: the next may touch it when both are rounded
		for pos := int64(0); pos < size; {
			if ctx.Err() != nil {
				yield(Extent{}, context.Cause(ctx))
				return
			}
			data, hole, err := nextData(f, pos, size)
			if err != nil {
				yield(Extent{}, &ReadError{f.Name(), pos, err})
				return
			}
			if data == hole {
				break
			}
			from, to := data-data%Size, min(roundUp(hole, Size), size)
			if held.Len > 0 && from > held.Off+held.Len {
				if !yield(held, nil) {
					return
				}
				held.Len = 0
			}
			if held.Len == 0 {
				held.Off = from
			}
			held.Len = to - held.Off
			pos = max(to, hole)
		}
		if held.Len > 0 {
			yield(held, nil)
		}
	}
}

// nextData is the first range of data from pos on; empty if there is none.
func nextData(f *os.File, pos, size int64) (data, hole int64, err error) {
	fd := int(f.Fd())
	data, err = unix.Seek(fd, pos, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole up to the end
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP): // the filesystem cannot tell
		return pos, size, nil
	case err != nil:
		return 0, 0, err
	}
	hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return min(data, size), min(hole, size), nil
}
