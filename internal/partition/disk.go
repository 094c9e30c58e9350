package partition

import (
	"context"
	"fmt"

	"snap-to-s3/internal/block"
)

// The sizes of a disk's sectors.
const (
	sector512 = 512
	sector4Kn = 4096
)

// disk reads a volume in the blocks of its snapshot, as a part of one takes as
// long as all of it, and keeps the last few: 4 MiB.
type disk struct {
	src  block.Source
	size int64
	kept []keptBlock // the last one read is the last
}

type keptBlock struct {
	number int64
	data   []byte
}

const maxKept = 8

// read returns n bytes, which nobody may change.
func (d *disk) read(ctx context.Context, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > d.size-n {
		return nil, fmt.Errorf("%d bytes at %d are not on a disk of %d", n, off, d.size)
	}
	if n == 0 {
		return nil, nil
	}
	first := off / block.Size
	if (off+n-1)/block.Size == first {
		data, err := d.block(ctx, first)
		if err != nil {
			return nil, err
		}
		return data[off%block.Size:][:n:n], nil
	}
	p := make([]byte, 0, n)
	for int64(len(p)) < n {
		at := off + int64(len(p))
		data, err := d.block(ctx, at/block.Size)
		if err != nil {
			return nil, err
		}
		data = data[at%block.Size:]
		p = append(p, data[:min(int64(len(data)), n-int64(len(p)))]...)
	}
	return p, nil
}

func (d *disk) block(ctx context.Context, number int64) ([]byte, error) {
	for i, k := range d.kept {
		if k.number == number {
			d.kept = append(append(d.kept[:i:i], d.kept[i+1:]...), k)
			return k.data, nil
		}
	}
	off := number * block.Size
	data := make([]byte, min(block.Size, d.size-off))
	if n, err := d.src.ReadAt(ctx, data, off); n != len(data) {
		return nil, fmt.Errorf("%d bytes at %d: %w", len(data), off, err)
	}
	if len(d.kept) == maxKept {
		d.kept = d.kept[1:]
	}
	d.kept = append(d.kept, keptBlock{number, data})
	return data, nil
}
