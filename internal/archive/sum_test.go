package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
)

// eachBlock is the runs of an image block by block, which must follow each other.
func eachBlock(t *rapid.T, runs []archive.BlockRun) (zero []bool, sums [][32]byte) {
	for _, r := range runs {
		if r.From != int64(len(zero)) || r.Count <= 0 || r.Count > archive.MaxRowBlocks && !r.Zero && !r.Damaged || r.Zero != (r.Sums == nil) && !r.Damaged {
			t.Fatalf("run of %d blocks at %d, with %d sums, zero %t, behind block %d", r.Count, r.From, len(r.Sums), r.Zero, len(zero))
		}
		for i := range r.Count {
			zero = append(zero, r.Zero)
			sum := [32]byte{}
			if r.Sums != nil {
				sum = r.Sums[i]
			}
			sums = append(sums, sum)
		}
	}
	return zero, sums
}

// What a volume is summed up to is what reading its image back gives, and what the
// reference says.
func TestSumImageIsWhatTheImageHas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := drawVolume(t)
		var summed, read []archive.BlockRun
		res, err := archive.SumImage(context.Background(), v, archive.ImageOptions{}, func(r archive.BlockRun) error {
			summed = append(summed, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var stored bytes.Buffer
		rows := &frameRows{}
		if _, err := archive.WriteImage(context.Background(), v, &stored, rows, archive.ImageOptions{Codec: mustCodec("lz4", 1)}); err != nil {
			t.Fatal(err)
		}
		merger := archive.NewBlockMerger(func(r archive.BlockRun) error {
			r.Sums = slices.Clone(r.Sums)
			read = append(read, r)
			return nil
		})
		for f, err := range archive.ReadFrames(context.Background(), &stored, table(io.EOF, rows.frames...), archive.FrameOptions{Codec: "lz4", Image: true}) {
			if err == nil {
				err = merger.Add(f)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := merger.Flush(); err != nil {
			t.Fatal(err)
		}
		e := expect(v)
		zero, sums := eachBlock(t, summed)
		for i, kind := range e.kinds {
			if zero[i] != (kind != 'd') || sums[i] != e.sums[i] {
				t.Errorf("block %d: zero %t, sum %x, want kind %c, %x", i, zero[i], sums[i], kind, e.sums[i])
			}
		}
		readZero, readSums := eachBlock(t, read)
		if len(readZero) != len(zero) || res.Plain != v.Size() {
			t.Fatalf("%d blocks were read of %d; %d bytes", len(readZero), len(zero), res.Plain)
		}
		found, _, err := diffBlocks(context.Background(), v.Size(), yieldsRuns(summed), yieldsRuns(read))
		if err != nil || len(found) > 0 {
			t.Errorf("summed up and read back they differ: %v, %v\n%v\n%v", found, err, sums, readSums)
		}
	})
}

func yieldsRuns(runs []archive.BlockRun) func(func(archive.BlockRun, error) bool) {
	return func(yield func(archive.BlockRun, error) bool) {
		for _, r := range runs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// What is damaged keeps its place among the others.
func TestBlockMergerTellsOfDamage(t *testing.T) {
	t.Parallel()
	f := framedImage(t, "lz4", noisyFrames(3, 9))
	frames := slices.Clone(f.frames)
	frames[1].Hash[5] ^= 1
	var runs []archive.BlockRun
	m := archive.NewBlockMerger(func(r archive.BlockRun) error {
		r.Sums = nil
		runs = append(runs, r)
		return nil
	})
	for got, err := range archive.ReadFrames(t.Context(), bytes.NewReader(f.stored), table(io.EOF, frames...), f.options()) {
		if err == nil {
			err = m.Add(got)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	want := []archive.BlockRun{{From: 0, Count: 8}, {From: 8, Count: 8, Damaged: true}, {From: 16, Count: 8, Zero: true}, {From: 24, Count: 1}}
	if diff := cmp.Diff(want, runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	broken := errors.New("broken")
	m = archive.NewBlockMerger(func(archive.BlockRun) error { return broken })
	for got, err := range archive.ReadFrames(t.Context(), bytes.NewReader(f.stored), table(io.EOF, frames...), f.options()) {
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Add(got); err != nil {
			if !errors.Is(err, broken) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the error of who is told was lost")
}

// The rows of a tree that is summed up are those of one that is written.
func TestSumTreeIsWhatTheTreeHas(t *testing.T) {
	t.Parallel()
	dir, _ := writeSome(t)
	if err := os.Link(filepath.Join(dir, "00", "000"), filepath.Join(dir, "zz")); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var written treeRows
	var stored bytes.Buffer
	res, err := archive.WriteTree(t.Context(), &filesystem.Tree{Root: root}, &stored, &written, archive.TreeOptions{Codec: mustCodec("lz4", 1)})
	if err != nil {
		t.Fatal(err)
	}
	var summed []archive.TreeRow
	sum, err := archive.SumTree(t.Context(), &filesystem.Tree{Root: root}, archive.TreeOptions{}, func(r *archive.TreeRow) error {
		summed = append(summed, *r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Entries != res.Entries || sum.Bytes != res.Bytes || sum.Plain != res.Plain {
		t.Errorf("summed up to %+v, written as %+v", sum, res)
	}
	if len(summed) != len(written.entries) {
		t.Fatalf("%d rows, want %d", len(summed), len(written.entries))
	}
	for i, r := range summed {
		w := written.entries[i]
		if r.Path != w.Path || r.Link != w.Link || r.At != w.At || r.Mode != w.Mode || !cmp.Equal(r.Sum, w.Sum) || !cmp.Equal(r.Map, w.Map) || !cmp.Equal(r.XattrSum, w.XattrSum) {
			t.Errorf("row %+v, want %+v", r, w)
		}
	}
	broken := errors.New("broken")
	_, err = archive.SumTree(t.Context(), &filesystem.Tree{Root: root}, archive.TreeOptions{}, func(*archive.TreeRow) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("the error of who is told: %v", err)
	}
	_, err = archive.SumImage(t.Context(), whole(noisyFrames(1, 0)), archive.ImageOptions{}, func(archive.BlockRun) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("the error of who is told of an image: %v", err)
	}
}
