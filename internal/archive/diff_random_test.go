package archive_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
)

func byPath(a, b *archive.TreeRow) int { return layout.ComparePaths(a.Path, b.Path) }

// drawTree is a tree in the order of a tar, with hard links to first names.
func drawTree(t *rapid.T) []*archive.TreeRow {
	paths := rapid.SliceOfNDistinct(rapid.StringMatching(`([ab.\x01\xff]/){0,2}[ab.\x01\xff]{0,2}`), 0, 30, rapid.ID[string]).Draw(t, "paths")
	slices.SortFunc(paths, layout.ComparePaths)
	var tree, linked []*archive.TreeRow // linked: first names
	for _, path := range paths {
		if len(linked) > 0 && rapid.IntRange(0, 2).Draw(t, "links") == 0 {
			first := rapid.SampledFrom(linked).Draw(t, "to")
			first.Links++
			tree = append(tree, link(path, first.Path))
			continue
		}
		r := row(path, typed(rapid.SampledFrom([]filesystem.Type{
			filesystem.Folder, filesystem.Symlink, filesystem.CharDevice, filesystem.BlockDevice, filesystem.Fifo,
		}).Draw(t, "type")))
		if rapid.Bool().Draw(t, "regular") {
			r = row(path)
		}
		if r.Type != filesystem.Folder && path != "" {
			linked = append(linked, r)
		}
		tree = append(tree, r)
	}
	return tree
}

// harm is one damage to a row, and what is then found.
type harm struct {
	kind archive.DiffKind
	fine bool // not found where it is coarse
	of   func(r *archive.TreeRow) bool
	do   func(r *archive.TreeRow)
}

func harms() []harm {
	first := func(r *archive.TreeRow) bool { return r.Link == "" }
	is := func(types ...filesystem.Type) func(*archive.TreeRow) bool {
		return func(r *archive.TreeRow) bool { return first(r) && slices.Contains(types, r.Type) }
	}
	return []harm{
		{archive.DiffType, false, first, func(r *archive.TreeRow) { r.Type = r.Type%6 + 1 }},
		{archive.DiffContent, false, is(filesystem.Regular), func(r *archive.TreeRow) { r.Sum = sumOf("damaged") }},
		{archive.DiffSize, false, is(filesystem.Regular), func(r *archive.TreeRow) { r.Size++ }},
		{archive.DiffMode, false, first, func(r *archive.TreeRow) { r.Mode ^= 0o1000 }},
		{archive.DiffOwner, false, first, func(r *archive.TreeRow) { r.GID++ }},
		{archive.DiffTime, false, first, func(r *archive.TreeRow) { r.Sec-- }},
		{archive.DiffTime, true, first, func(r *archive.TreeRow) { r.Nsec = 999999999 }},
		{archive.DiffTarget, false, is(filesystem.Symlink), func(r *archive.TreeRow) { r.Target += "/" }},
		{archive.DiffDevice, false, is(filesystem.BlockDevice, filesystem.CharDevice), func(r *archive.TreeRow) { r.Minor++ }},
		{archive.DiffXattrs, true, first, func(r *archive.TreeRow) { r.XattrSum = nil }},
		{archive.DiffHoles, true, is(filesystem.Regular), func(r *archive.TreeRow) { r.Map = sumOf("damaged") }},
		{archive.DiffLink, false, func(r *archive.TreeRow) bool { return !first(r) }, func(r *archive.TreeRow) { r.Link += "~" }},
	}
}

type found struct {
	path string
	kind archive.DiffKind
}

// damage changes some rows of a tree, and says what is to be found.
func damage(t *rapid.T, tree []*archive.TreeRow, coarse bool) (damaged []*archive.TreeRow, want []found) {
	lost := map[string]bool{}
	for _, r := range tree {
		copied := *r
		var kinds []archive.DiffKind
		switch what := rapid.IntRange(0, 9).Draw(t, "what happens to "+r.Path); {
		case what == 0:
			lost[r.Path] = true
			want = append(want, found{r.Path, archive.DiffMissing})
			continue
		case what == 1:
			want = append(want, found{r.Path, archive.DiffOrder})
			damaged = append(damaged, row(r.Path))
		case what == 2:
			extra := row(r.Path + "!") // sorts before all that is below r.Path or begins with it, but for \x01
			if slices.ContainsFunc(tree, func(o *archive.TreeRow) bool {
				return layout.ComparePaths(r.Path, o.Path) < 0 && layout.ComparePaths(o.Path, extra.Path) <= 0
			}) {
				break
			}
			defer func() {
				damaged = append(damaged, extra)
				want = append(want, found{extra.Path, archive.DiffAdded})
				slices.SortStableFunc(damaged, byPath)
			}()
		case what < 6:
			kinds = hurt(t, &copied, coarse)
		}
		if copied.Link != "" && lost[copied.Link] && copied.Link == r.Link {
			kinds = []archive.DiffKind{archive.DiffLink}
		}
		for _, k := range kinds {
			want = append(want, found{r.Path, k})
		}
		damaged = append(damaged, &copied)
	}
	return damaged, want
}

// hurt does harms to one row.
func hurt(t *rapid.T, r *archive.TreeRow, coarse bool) (kinds []archive.DiffKind) {
	was := *r
	for _, h := range harms() {
		if !h.of(&was) || !rapid.Bool().Draw(t, string(h.kind)) {
			continue
		}
		h.do(r)
		if h.kind == archive.DiffType {
			return []archive.DiffKind{archive.DiffType}
		}
		if !(coarse && h.fine) && !slices.Contains(kinds, h.kind) {
			kinds = append(kinds, h.kind)
		}
	}
	return kinds
}

// Whatever is damaged is found, and nothing else.
func TestDiffTreesFindsEachDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, coarse := drawTree(t), rapid.Bool().Draw(t, "coarse")
		damaged, want := damage(t, tree, coarse)
		var got []found
		_, err := archive.DiffTrees(t.Context(), yields(nil, tree...), yields(nil, damaged...), archive.DiffOptions{Coarse: coarse},
			func(d archive.Difference) error {
				got = append(got, found{d.Path, d.Kind})
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(got, func(a, b found) int { return layout.ComparePaths(a.path, b.path) }) {
			t.Errorf("not in the order of paths: %q", got)
		}
		sort := func(all []found) {
			slices.SortFunc(all, func(a, b found) int {
				return cmp.Or(layout.ComparePaths(a.path, b.path), strings.Compare(string(a.kind), string(b.kind)))
			})
		}
		sort(got)
		sort(want)
		if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(found{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
