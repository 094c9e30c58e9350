package archive

import (
	"context"
	"io"
	"slices"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// SumTree reads a tree as WriteTree does, writes nothing, and tells visit what it
// has learned of each entry, in the order of the tree: what an archive of it must
// say. o.Codec is not used.
func SumTree(ctx context.Context, tree Tree, o TreeOptions, visit func(*TreeRow) error) (TreeResult, error) {
	o.Codec = codec.Codec{}
	return WriteTree(ctx, tree, io.Discard, sumRows(visit), o)
}

// sumRows are rows of which only the entries matter.
type sumRows func(*TreeRow) error

func (visit sumRows) Entry(r *TreeRow) error  { return visit(r) }
func (visit sumRows) Frame(codec.Frame) error { return nil }

// BlockRun is neighbouring blocks of an image that are known in the same way.
type BlockRun struct {
	From, Count int64
	Zero        bool       // all zeros, or absent
	Damaged     bool       // they cannot be told: the frame that holds them is damaged
	Sums        [][32]byte // of each block; nil of zeros and of what is damaged
}

// SumImage reads a volume as WriteImage does, writes nothing, and tells visit of
// its blocks, in order and without a gap. o.Codec is not used.
func SumImage(ctx context.Context, src block.Source, o ImageOptions, visit func(BlockRun) error) (ImageResult, error) {
	o.Codec = codec.Codec{}
	return WriteImage(ctx, src, io.Discard, runRows(visit), o)
}

// runRows are rows of an image as runs.
type runRows func(BlockRun) error

func (visit runRows) Absent(from, count int64) error {
	return visit(BlockRun{From: from, Count: count, Zero: true})
}

func (visit runRows) Zero(from, count int64) error {
	return visit(BlockRun{From: from, Count: count, Zero: true})
}
func (visit runRows) Frame(codec.Frame) error { return nil }

func (visit runRows) Data(from int64, sums [][32]byte) error {
	return visit(BlockRun{From: from, Count: int64(len(sums)), Sums: slices.Clone(sums)})
}

// BlockMerger makes runs of single blocks, for one goroutine. Flush comes last.
type BlockMerger struct {
	visit func(BlockRun) error
	run   BlockRun
}

// NewBlockMerger gives its runs to visit.
func NewBlockMerger(visit func(BlockRun) error) *BlockMerger { return &BlockMerger{visit: visit} }

// Add adds the blocks of a frame, which follow those added before.
func (m *BlockMerger) Add(f *PlainFrame) error {
	from := f.PlainOff / block.Size
	if f.Damage != nil {
		return m.add(BlockRun{From: from, Count: (f.PlainLen + block.Size - 1) / block.Size, Damaged: true})
	}
	for i, zero := range f.Zero {
		one := BlockRun{From: from + int64(i), Count: 1, Zero: zero}
		if !zero {
			one.Sums = f.Sums[i : i+1]
		}
		if err := m.add(one); err != nil {
			return err
		}
	}
	return nil
}

func (m *BlockMerger) add(more BlockRun) error {
	r := &m.run
	if r.Count > 0 && (r.Zero != more.Zero || r.Damaged != more.Damaged || len(r.Sums) >= MaxRowBlocks) {
		if err := m.Flush(); err != nil {
			return err
		}
	}
	if r.Count == 0 {
		*r = BlockRun{From: more.From, Zero: more.Zero, Damaged: more.Damaged}
	}
	r.Count += more.Count
	r.Sums = append(r.Sums, more.Sums...)
	return nil
}

// Flush gives away what is held.
func (m *BlockMerger) Flush() error {
	r := m.run
	m.run = BlockRun{}
	if r.Count == 0 {
		return nil
	}
	return m.visit(r)
}
