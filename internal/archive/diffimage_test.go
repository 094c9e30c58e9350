package archive_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
)

// A disk of letters: "." is a block of zeros, "!" one that is damaged, and any other
// is its content. Runs end where a bar is, and where the kind of blocks changes.
func runsOf(text string, end error) iter.Seq2[archive.BlockRun, error] {
	return func(yield func(archive.BlockRun, error) bool) {
		at := int64(0)
		var run archive.BlockRun
		give := func() bool {
			if run.Count == 0 {
				return true
			}
			r := run
			run = archive.BlockRun{From: at}
			return yield(r, nil)
		}
		for _, c := range text {
			zero, damaged := c == '.', c == '!'
			if c == '|' || run.Count > 0 && (run.Zero != zero || run.Damaged != damaged) {
				if !give() {
					return
				}
			}
			if c == '|' {
				continue
			}
			run.Zero, run.Damaged = zero, damaged
			if !zero && !damaged {
				run.Sums = append(run.Sums, [32]byte{byte(c)})
			}
			run.Count++
			at++
		}
		if give() && end != nil {
			yield(archive.BlockRun{}, end)
		}
	}
}

type blockDiff struct {
	kind     archive.DiffKind
	off, len int64
}

func diffBlocks(ctx context.Context, size int64, want, got iter.Seq2[archive.BlockRun, error]) (found []blockDiff, compared int64, err error) {
	compared, err = archive.DiffImages(ctx, size, want, got, func(d archive.BlockDifference) error {
		found = append(found, blockDiff{d.Kind, d.Off, d.Len})
		return nil
	})
	return found, compared, err
}

func TestDiffImages(t *testing.T) {
	t.Parallel()
	of := func(kind archive.DiffKind, from, n int64) blockDiff {
		return blockDiff{kind, from * blockSize, n * blockSize}
	}
	const short = 100 // bytes of the last block
	for _, c := range []struct {
		want, got string
		found     []blockDiff
		compared  int64 // blocks
	}{
		{"", "", nil, 0},
		{"ab..c", "ab..c", nil, 5},
		{"ab..c", "a|b|.|.|c", nil, 5},
		{"ab..c", "aX..c", []blockDiff{of(archive.DiffContent, 1, 1)}, 5},
		{"abcd", "XXcX", []blockDiff{of(archive.DiffContent, 0, 2), of(archive.DiffContent, 3, 1)}, 4},
		{"a..b", "a.zb", []blockDiff{of(archive.DiffContent, 2, 1)}, 4},
		{"azyb", "a..b", []blockDiff{of(archive.DiffContent, 1, 2)}, 4},
		{"a|b|c|d", "XY..", []blockDiff{of(archive.DiffContent, 0, 4)}, 4},
		{"ab.cd", "!!!cX", []blockDiff{of(archive.DiffDamaged, 0, 3), of(archive.DiffContent, 4, 1)}, 5},
		{"abcd", "X!cd", []blockDiff{of(archive.DiffContent, 0, 1), of(archive.DiffDamaged, 1, 1)}, 4},
		{"abcd", "ab", []blockDiff{of(archive.DiffMissing, 2, 2)}, 2},
		{"ab", "abcd", []blockDiff{of(archive.DiffAdded, 2, 2)}, 2},
		{"", "..", []blockDiff{of(archive.DiffAdded, 0, 2)}, 0},
		{"..", "", []blockDiff{of(archive.DiffMissing, 0, 2)}, 0},
		{"abc", "abX|d", []blockDiff{of(archive.DiffContent, 2, 1), of(archive.DiffAdded, 3, 1)}, 3},
	} {
		blocks := int64(len(slices.DeleteFunc([]byte(c.want), func(b byte) bool { return b == '|' })))
		for _, tail := range []int64{0, short} {
			size, found := blocks*blockSize, slices.Clone(c.found)
			if tail > 0 && blocks > 0 {
				size += tail - blockSize
				for i, d := range found { // the last block of the snapshot is shorter
					if d.kind != archive.DiffAdded && d.off+d.len == blocks*blockSize {
						found[i].len += tail - blockSize
					}
				}
			}
			got, compared, err := diffBlocks(t.Context(), size, runsOf(c.want, nil), runsOf(c.got, nil))
			if err != nil || !slices.Equal(got, found) || compared != min(c.compared*blockSize, size) {
				t.Errorf("%q and %q, %d bytes: %v, want %v; %d bytes compared, %v", c.want, c.got, size, got, found, compared, err)
			}
		}
	}
}

// Each block that differs is in just one difference, and none that does not; how the
// sides are cut into runs does not matter.
func TestDiffImagesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(letters, name string) string {
			return string(rapid.SliceOfN(rapid.SampledFrom([]byte(letters)), 0, 30).Draw(t, name))
		}
		want, got := draw("ab..", "snapshot"), draw("ab..!", "archive")
		cut := func(s, name string) string {
			var b []byte
			for _, c := range []byte(s) {
				if b = append(b, c); rapid.Bool().Draw(t, name) {
					b = append(b, '|')
				}
			}
			return string(b)
		}
		found, _, err := diffBlocks(context.Background(), int64(len(want))*blockSize, runsOf(cut(want, "cut"), nil), runsOf(cut(got, "cut of it"), nil))
		if err != nil {
			t.Fatal(err)
		}
		var told []archive.DiffKind
		for i := range max(len(want), len(got)) {
			kind := archive.DiffKind("")
			switch {
			case i >= len(got):
				kind = archive.DiffMissing
			case i >= len(want):
				kind = archive.DiffAdded
			case got[i] == '!':
				kind = archive.DiffDamaged
			case want[i] != got[i]:
				kind = archive.DiffContent
			}
			told = append(told, kind)
		}
		end := int64(0)
		for i, d := range found {
			if d.off < end || d.len <= 0 || i > 0 && d.off == end && d.kind == found[i-1].kind {
				t.Errorf("differences are not apart: %v", found)
			}
			end = d.off + d.len
			for b := d.off / blockSize; b < end/blockSize; b++ {
				if told[b] != d.kind {
					t.Errorf("block %d of %q and %q: %v", b, want, got, d)
				}
				told[b] = ""
			}
		}
		if i := slices.IndexFunc(told, func(k archive.DiffKind) bool { return k != "" }); i >= 0 {
			t.Errorf("block %d of %q and %q was not told: %v", i, want, got, found)
		}
	})
}

func TestDiffImagesEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	const size = 4 * blockSize
	found, _, err := diffBlocks(t.Context(), size, runsOf("ab", broken), runsOf("aXcd", nil))
	if !errors.Is(err, broken) {
		t.Errorf("of the snapshot: %v, %v", found, err)
	}
	found, _, err = diffBlocks(t.Context(), size, runsOf("abcd", nil), runsOf("Xb", broken))
	if !errors.Is(err, broken) || len(found) != 1 {
		t.Errorf("of the archive: %v, %v: what differs before it must be told", found, err)
	}
	_, err = archive.DiffImages(t.Context(), size, runsOf("a", nil), runsOf("b", nil), func(archive.BlockDifference) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("of who is told: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, _, err = diffBlocks(ctx, size, runsOf("a", nil), runsOf("a", nil)); !errors.Is(err, broken) {
		t.Errorf("of ctx: %v", err)
	}
}
