// Package block reads volumes as bytes at offsets: disk images and devices. It
// knows nothing of what is on them.
package block

import (
	"context"
	"iter"
)

// Size is the block of an EBS snapshot in bytes: 512 KiB. Every list of blocks,
// hash of a block and hole in this tool is in this unit.
const Size = 512 << 10

// Extent is a range of a volume, in bytes.
type Extent struct{ Off, Len int64 }

// Source is a read-only volume. It is safe for concurrent use. Holes read as
// zeros.
type Source interface {
	// ReadAt fills p from off and returns len(p), nil; a short count comes
	// only with an error, io.EOF past the end. It returns soon after ctx ends.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// Size is the volume's size in bytes.
	Size() int64
	// Extents yields, ascending and without overlap, the ranges that may hold
	// data. The rest is absent: the volume never held data there. It ends after
	// the first error.
	Extents(ctx context.Context) iter.Seq2[Extent, error]
	// Close releases the volume; reads under way are ended by their contexts
	// first.
	Close() error
}
