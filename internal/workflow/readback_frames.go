package workflow

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/layout"
)

// frameEntries reads a tar and holds each entry to what the entries object says.
func (r *readback) frameEntries(ctx context.Context, f *feed, frames iter.Seq2[*archive.PlainFrame, error]) (layout.Files, error) {
	plain := archive.PlainReader(frames)
	defer plain.Close()
	aligned := true
	res, err := archive.ScanTree(ctx, plain, archive.ScanOptions{}, func(row *archive.TreeRow) error {
		r.last, r.seen = row.Path, true
		if aligned {
			var err error
			if aligned, err = r.match(f, row); err != nil {
				return err
			}
		}
		return received(r.entry(row))
	})
	r.plain = res.Plain
	if err != nil || !aligned {
		return filesOf(res), err
	}
	switch more, err := f.row(); {
	case err == io.EOF: //nolint:errorlint // as feed gives it
	case err != nil:
		return filesOf(res), err
	default:
		r.differ(Difference{Between: BetweenEntries, Kind: string(archive.DiffMissing), Path: more.Entry.Path, HasPath: true})
	}
	return filesOf(res), nil
}

// match holds an entry of the archive to the next row. Once the two name different
// entries the rest cannot be compared, and it returns false.
func (r *readback) match(f *feed, row *archive.TreeRow) (aligned bool, err error) {
	next, err := f.row()
	if err == io.EOF { //nolint:errorlint // as feed gives it
		r.differ(Difference{Between: BetweenEntries, Kind: string(archive.DiffAdded), Path: row.Path, HasPath: true})
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, got := *next.Entry, entryOf(row)
	got.Subvolume = want.Subvolume // a tar has no word for it
	if want.Path != got.Path || want.At != got.At {
		r.differ(Difference{
			Between: BetweenEntries, Kind: string(archive.DiffOrder), Path: row.Path, HasPath: true,
			Want: fmt.Sprintf("./%s at byte %d", want.Path, want.At), Got: fmt.Sprintf("./%s at byte %d", got.Path, got.At),
		})
		return false, nil
	}
	if sameEntry(want, got) {
		return true, nil
	}
	for _, d := range unlike(&want, &got) {
		d.Between, d.Path, d.HasPath = BetweenEntries, row.Path, true
		r.differ(d)
	}
	return true, nil
}

func sameEntry(a, b layout.TreeEntry) bool {
	if !sameSum(a.Xattrs, b.Xattrs) || !sameSum(a.SHA256, b.SHA256) {
		return false
	}
	a.Xattrs, a.SHA256, b.Xattrs, b.SHA256 = nil, nil, nil, nil
	return a == b
}

func sameSum(a, b *[32]byte) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// unlike lists in what two rows of the same entry differ.
func unlike(a, b *layout.TreeEntry) []Difference {
	var all []Difference
	for _, c := range []struct {
		kind      archive.DiffKind
		want, got string
	}{
		{archive.DiffType, string(a.Type), string(b.Type)},
		{archive.DiffMode, fmt.Sprintf("%04o", a.Mode), fmt.Sprintf("%04o", b.Mode)},
		{archive.DiffOwner, fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID)},
		{archive.DiffTime, a.MTime.String(), b.MTime.String()},
		{archive.DiffSize, fmt.Sprintf("%d, %d of them stored", a.Size, a.Data), fmt.Sprintf("%d, %d of them stored", b.Size, b.Data)},
		{archive.DiffTarget, a.Link, b.Link},
		{archive.DiffDevice, fmt.Sprintf("%d:%d", a.Major, a.Minor), fmt.Sprintf("%d:%d", b.Major, b.Minor)},
		{archive.DiffXattrs, hashText(a.Xattrs), hashText(b.Xattrs)},
		{archive.DiffContent, hashText(a.SHA256), hashText(b.SHA256)},
		{archive.DiffHoles, fmt.Sprintf("sparse %t, runs %t", a.Sparse, a.Runs), fmt.Sprintf("sparse %t, runs %t", b.Sparse, b.Runs)},
	} {
		if c.want != c.got {
			all = append(all, Difference{Kind: string(c.kind), Want: c.want, Got: c.got})
		}
	}
	return all
}

func hashText(sum *[32]byte) string {
	if sum == nil {
		return "none"
	}
	return fmt.Sprintf("sha256 %x", *sum)
}

// frameBlocks reads an image and holds its blocks to what the entries say.
func (r *readback) frameBlocks(ctx context.Context, f *feed, frames iter.Seq2[*archive.PlainFrame, error]) error {
	listed := func(yield func(archive.BlockRun, error) bool) {
		for {
			row, err := f.row()
			if err == io.EOF { //nolint:errorlint // as feed gives it
				return
			}
			if !yield(runOf(row), err) || err != nil {
				return
			}
		}
	}
	read := func(yield func(archive.BlockRun, error) bool) {
		if err := r.readBlocks(frames, func(run archive.BlockRun) bool { return yield(run, nil) }); err != nil {
			yield(archive.BlockRun{}, err)
		}
	}
	_, err := archive.DiffImages(ctx, math.MaxInt64, listed, read, func(d archive.BlockDifference) error {
		if d.Kind != archive.DiffDamaged { // which was told with its frame
			r.differ(Difference{Between: BetweenEntries, Kind: string(d.Kind), Off: d.Off, Len: d.Len})
		}
		return nil
	})
	return err
}

// readBlocks reads the frames of an image to the end, or until yield has enough.
func (r *readback) readBlocks(frames iter.Seq2[*archive.PlainFrame, error], yield func(archive.BlockRun) bool) error {
	enough := false
	blocks := archive.NewBlockMerger(func(run archive.BlockRun) error {
		if err := r.blocks(run); err != nil {
			return received(err)
		}
		enough = !yield(run)
		return nil
	})
	for f, err := range frames {
		if err != nil {
			return err
		}
		if f.Damage != nil {
			r.damaged(f.Damage)
		}
		r.plain += f.PlainLen
		if err := blocks.Add(f); err != nil || enough {
			return err
		}
	}
	return blocks.Flush()
}

// runOf is a row of an image's entries as a run of blocks.
func runOf(row layout.Row) archive.BlockRun {
	switch {
	case row.Absent != nil:
		return archive.BlockRun{From: row.Absent.From, Count: row.Absent.Count, Zero: true}
	case row.Zero != nil:
		return archive.BlockRun{From: row.Zero.From, Count: row.Zero.Count, Zero: true}
	case row.Data != nil:
		return archive.BlockRun{From: row.Data.From, Count: int64(len(row.Data.Sums)), Sums: row.Data.Sums}
	}
	return archive.BlockRun{}
}
