package archive

import (
	"context"
	"iter"

	"snap-to-s3/internal/block"
)

// DiffDamaged is a part of an archive that cannot be read back.
const DiffDamaged DiffKind = "damaged"

// BlockDifference is a range in which an image differs from the volume, in whole
// blocks as far as the image goes: neighbours that differ in the same way are one.
type BlockDifference struct {
	Off, Len int64 // bytes
	Kind     DiffKind
}

// DiffImages compares the blocks of a snapshot with those of its image; both come in
// order and without a gap, and size is that of the snapshot in bytes. found is told
// of each difference: DiffContent; DiffDamaged where the image cannot be read;
// DiffMissing and DiffAdded where one is longer than the other. It returns how many
// bytes were compared. An error of either side or of found ends it and is returned
// as it is; what was found before an error of a side is told.
func DiffImages(ctx context.Context, size int64, snapshot, archive iter.Seq2[BlockRun, error], found func(BlockDifference) error) (compared int64, err error) {
	d := imageDiff{size: size, found: found}
	d.want.next, d.want.stop = iter.Pull2(snapshot)
	defer d.want.stop()
	d.got.next, d.got.stop = iter.Pull2(archive)
	defer d.got.stop()
	err = d.run(ctx)
	return min(d.compared*block.Size, size), err
}

// runs is one side of a comparison of images.
type blockRuns struct {
	next func() (BlockRun, error, bool)
	stop func()
	run  BlockRun // what is left of it
}

// fill makes sure that there is something left of a run, unless the side has ended.
func (r *blockRuns) fill() (ok bool, err error) {
	for r.run.Count == 0 {
		run, err, ok := r.next()
		if !ok || err != nil {
			return false, err
		}
		r.run = run
	}
	return true, nil
}

// take takes n blocks off the run.
func (r *blockRuns) take(n int64) BlockRun {
	head := r.run
	head.Count = n
	r.run.From += n
	r.run.Count -= n
	if head.Sums != nil {
		head.Sums, r.run.Sums = head.Sums[:n], r.run.Sums[n:]
	}
	return head
}

type imageDiff struct {
	size      int64
	want, got blockRuns
	found     func(BlockDifference) error
	open      BlockDifference // in blocks; Len 0: none
	compared  int64           // blocks
}

func (d *imageDiff) run(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := d.want.fill()
		if err != nil {
			return d.flushed(err)
		}
		other, err := d.got.fill()
		if err != nil {
			return d.flushed(err)
		}
		switch {
		case !more && !other:
			return d.flush()
		case !more:
			r := d.got.take(d.got.run.Count)
			err = d.differ(r.From, r.Count, DiffAdded)
		case !other:
			r := d.want.take(d.want.run.Count)
			err = d.differ(r.From, r.Count, DiffMissing)
		default:
			n := min(d.want.run.Count, d.got.run.Count)
			err = d.compare(d.want.take(n), d.got.take(n))
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// compare compares two runs of the same length.
func (d *imageDiff) compare(a, b BlockRun) error {
	d.compared += a.Count
	switch {
	case b.Damaged:
		return d.differ(a.From, a.Count, DiffDamaged)
	case a.Zero && b.Zero:
		return nil
	case a.Zero != b.Zero: // a data run may hold the zeros of a short last block
		return d.differ(a.From, a.Count, DiffContent)
	}
	for i := range a.Sums {
		if a.Sums[i] == b.Sums[i] {
			continue
		}
		if err := d.differ(a.From+int64(i), 1, DiffContent); err != nil {
			return err
		}
	}
	return nil
}

// differ adds blocks that differ.
func (d *imageDiff) differ(from, count int64, kind DiffKind) error {
	if d.open.Len > 0 && d.open.Kind == kind && d.open.Off+d.open.Len == from {
		d.open.Len += count
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.open = BlockDifference{Off: from, Len: count, Kind: kind}
	return nil
}

// flushed tells what was found before a side has ended with err.
func (d *imageDiff) flushed(err error) error {
	if told := d.flush(); told != nil {
		return told
	}
	return err
}

func (d *imageDiff) flush() error {
	if d.open.Len == 0 {
		return nil
	}
	b := d.open
	d.open = BlockDifference{}
	b.Off *= block.Size
	b.Len *= block.Size
	if b.Kind != DiffAdded {
		b.Len = min(b.Len, d.size-b.Off)
	}
	return d.found(b)
}
