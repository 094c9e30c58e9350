package archive_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
)

func sumOf(text string) *[32]byte {
	sum := sha256.Sum256([]byte(text))
	return &sum
}

// row is a row of a file with something in every field that is compared.
func row(path string, change ...func(*archive.TreeRow)) *archive.TreeRow {
	r := &archive.TreeRow{Sum: sumOf("content"), XattrSum: sumOf("xattrs"), Map: sumOf("map"), Stored: 4096}
	r.Path, r.Type, r.Mode, r.UID, r.GID, r.Sec, r.Nsec, r.Size, r.Links = path, filesystem.Regular, 0o644, 1000, 1001, 1763870706, 1, 8192, 1
	for _, f := range change {
		f(r)
	}
	return r
}

func link(path, first string) *archive.TreeRow {
	r := row(path)
	r.Link, r.Links, r.Sum, r.XattrSum, r.Map, r.Stored = first, 2, nil, nil, nil, 0
	return r
}

func typed(t filesystem.Type) func(*archive.TreeRow) {
	return func(r *archive.TreeRow) {
		r.Type, r.Size, r.Sum, r.Map, r.Stored = t, 0, nil, nil, 0
		if t == filesystem.Symlink {
			r.Target = "../x"
		}
	}
}

func links(n uint32) func(*archive.TreeRow) { return func(r *archive.TreeRow) { r.Links = n } }

// yields is rows one by one, and then err if it is not nil.
func yields(err error, rows ...*archive.TreeRow) iter.Seq2[*archive.TreeRow, error] {
	return func(yield func(*archive.TreeRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func differences(t failer, snapshot, tar []*archive.TreeRow, o archive.DiffOptions) ([]archive.Difference, int64) {
	t.Helper()
	var all []archive.Difference
	n, err := archive.DiffTrees(t.Context(), yields(nil, snapshot...), yields(nil, tar...), o, func(d archive.Difference) error {
		all = append(all, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, n
}

const (
	hashContent = "sha256 ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
	hashOther   = "sha256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
)

func TestDiffTreesTellsEachKind(t *testing.T) {
	big := func(runs bool, sum, runSum *[32]byte) func(*archive.TreeRow) {
		return func(r *archive.TreeRow) { r.Size, r.Runs, r.Sum, r.RunSum, r.Map = 4<<30, runs, sum, runSum, nil }
	}
	changed := func(f func(*archive.TreeRow)) *archive.TreeRow { return row("f", f) }
	tests := map[string]struct {
		snapshot, archive *archive.TreeRow
		want              []archive.Difference // of snapshot against archive, without the path
		coarse            bool                 // also seen where it is coarse
	}{
		"equal": {row("f"), row("f"), nil, true},
		"what is not compared": {
			row("f"),
			changed(func(r *archive.TreeRow) {
				r.Allocated, r.Links, r.Device, r.Inode, r.At, r.Subvolume, r.Stored = 1, 2, 3, 4, 5, true, 6
			}), nil, true,
		},
		"size of folders": {row("f", typed(filesystem.Folder)), row("f", typed(filesystem.Folder), func(r *archive.TreeRow) { r.Size = 4096 }), nil, true},
		"type": {
			row("f", typed(filesystem.Folder)), row("f"),
			[]archive.Difference{{"", archive.DiffType, "folder", "file"}},
			true,
		},
		"types": {
			row("f", typed(filesystem.CharDevice)), row("f", typed(filesystem.BlockDevice)),
			[]archive.Difference{{"", archive.DiffType, "character device", "block device"}},
			true,
		},
		"unknown type": {
			row("f", typed(filesystem.Fifo)), row("f", typed(99)),
			[]archive.Difference{{"", archive.DiffType, "fifo", "entry of type 99"}},
			true,
		},
		"content": {
			row("f"), changed(func(r *archive.TreeRow) { r.Sum = sumOf("other") }),
			[]archive.Difference{{"", archive.DiffContent, hashContent, hashOther}},
			true,
		},
		"size and content": {
			row("f"), changed(func(r *archive.TreeRow) { r.Size, r.Sum = 1, sumOf("other") }),
			[]archive.Difference{{"", archive.DiffContent, hashContent, hashOther}, {"", archive.DiffSize, "8192 bytes", "1 bytes"}},
			true,
		},
		"no hash": {
			row("f"), changed(func(r *archive.TreeRow) { r.Sum = nil }),
			[]archive.Difference{{"", archive.DiffContent, hashContent, "no hash"}},
			true,
		},
		"runs against whole, equal": {changed(big(true, sumOf("content"), nil)), changed(big(false, sumOf("other"), sumOf("content"))), nil, true},
		"runs against whole": {
			changed(big(true, sumOf("content"), nil)), changed(big(false, sumOf("content"), sumOf("other"))),
			[]archive.Difference{{"", archive.DiffContent, hashContent + ", over runs", hashOther + ", over runs"}},
			true,
		},
		"runs against another size": {
			changed(big(true, sumOf("content"), nil)), changed(func(r *archive.TreeRow) { r.Map, r.Size = nil, 1 }),
			[]archive.Difference{{"", archive.DiffSize, "4294967296 bytes", "1 bytes"}},
			true,
		},
		"runs against what cannot be compared": {
			changed(big(true, sumOf("content"), nil)), changed(big(false, sumOf("content"), nil)),
			[]archive.Difference{{"", archive.DiffContent, hashContent + ", over runs", hashContent}},
			true,
		},
		"both whole": {changed(big(false, sumOf("content"), nil)), changed(big(false, sumOf("content"), sumOf("other"))), nil, true},
		"mode": {
			row("f"), changed(func(r *archive.TreeRow) { r.Mode = 0o4755 }),
			[]archive.Difference{{"", archive.DiffMode, "0644", "4755"}},
			true,
		},
		"owner": {
			row("f"), changed(func(r *archive.TreeRow) { r.UID = 0 }),
			[]archive.Difference{{"", archive.DiffOwner, "1000:1001", "0:1001"}},
			true,
		},
		"group": {
			row("f"), changed(func(r *archive.TreeRow) { r.GID = 0 }),
			[]archive.Difference{{"", archive.DiffOwner, "1000:1001", "1000:0"}},
			true,
		},
		"fraction of a second": {
			row("f"), changed(func(r *archive.TreeRow) { r.Nsec = 0 }),
			[]archive.Difference{{"", archive.DiffTime, "2025-11-23T04:05:06.000000001Z", "2025-11-23T04:05:06.000000000Z"}},
			false,
		},
		"time out of reach": {
			row("f"), changed(func(r *archive.TreeRow) { r.Sec = 1 << 62 }),
			[]archive.Difference{{"", archive.DiffTime, "2025-11-23T04:05:06.000000001Z", "4611686018427387904 seconds and 1 ns since 1970"}},
			true,
		},
		"target": {
			row("f", typed(filesystem.Symlink)), row("f", typed(filesystem.Symlink), func(r *archive.TreeRow) { r.Target = "a\n" }),
			[]archive.Difference{{"", archive.DiffTarget, `"../x"`, `"a\n"`}},
			true,
		},
		"device": {
			row("f", typed(filesystem.BlockDevice)), row("f", typed(filesystem.BlockDevice), func(r *archive.TreeRow) { r.Major, r.Minor = 8, 1 }),
			[]archive.Difference{{"", archive.DiffDevice, "0:0", "8:1"}},
			true,
		},
		"xattrs": {
			row("f", func(r *archive.TreeRow) { r.XattrSum = sumOf("content") }), changed(func(r *archive.TreeRow) { r.XattrSum = nil }),
			[]archive.Difference{{"", archive.DiffXattrs, hashContent, "none"}},
			false,
		},
		"holes": {
			row("f", func(r *archive.TreeRow) { r.Map = sumOf("content") }), changed(func(r *archive.TreeRow) { r.Map = nil }),
			[]archive.Difference{{"", archive.DiffHoles, "4096 of 8192 bytes are data, map " + hashContent, "stored whole"}},
			false,
		},
		"hard link":  {link("f", "a"), row("f"), []archive.Difference{{"", archive.DiffLink, `hard link to "a"`, "file"}}, true},
		"of another": {link("f", "a"), link("f", "b"), []archive.Difference{{"", archive.DiffLink, `hard link to "a"`, `hard link to "b"`}}, true},
		"equal links": {
			link("f", "a"),
			func() *archive.TreeRow {
				l := link("f", "a")
				l.Mode, l.Type, l.Sec, l.Size = 0, filesystem.Symlink, 0, 0
				return l
			}(), nil, true,
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			var mirror []archive.Difference
			for i := range c.want {
				c.want[i].Path = "f"
				d := c.want[i]
				mirror = append(mirror, archive.Difference{Path: "f", Kind: d.Kind, Snapshot: d.Archive, Archive: d.Snapshot})
			}
			got, n := differences(t, []*archive.TreeRow{c.snapshot}, []*archive.TreeRow{c.archive}, archive.DiffOptions{})
			if diff := cmp.Diff(c.want, got); diff != "" || n != 1 {
				t.Errorf("%d entries compared, differences (-want +got):\n%s", n, diff)
			}
			got, _ = differences(t, []*archive.TreeRow{c.archive}, []*archive.TreeRow{c.snapshot}, archive.DiffOptions{})
			if diff := cmp.Diff(mirror, got); diff != "" {
				t.Errorf("the other way round (-want +got):\n%s", diff)
			}
			got, _ = differences(t, []*archive.TreeRow{c.snapshot}, []*archive.TreeRow{c.archive}, archive.DiffOptions{Coarse: true})
			if seen := len(got) > 0; seen && !c.coarse || !seen && c.coarse && len(c.want) > 0 {
				t.Errorf("coarse, it finds %v", got)
			}
		})
	}
}

func TestDiffTreesComparesWholeSecondsWhereItIsCoarse(t *testing.T) {
	later := row("f", func(r *archive.TreeRow) { r.Sec, r.Nsec = r.Sec+1, 0 })
	got, _ := differences(t, []*archive.TreeRow{row("f")}, []*archive.TreeRow{later}, archive.DiffOptions{Coarse: true})
	want := []archive.Difference{{"f", archive.DiffTime, "2025-11-23T04:05:06Z", "2025-11-23T04:05:07Z"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// GNU tar stores each name of a device and of a fifo as an entry of its own. All
// else of it is compared.
func TestDiffTreesTakesEachNameOfANodeWhereItIsCoarse(t *testing.T) {
	for _, of := range []filesystem.Type{filesystem.CharDevice, filesystem.BlockDevice, filesystem.Fifo, filesystem.Regular, filesystem.Symlink} {
		further := link("f", "a")
		typed(of)(further)
		further.Sum = nil
		alone := row("f", typed(of))
		node := of != filesystem.Regular && of != filesystem.Symlink
		coarse := archive.DiffOptions{Coarse: true}
		if got, _ := differences(t, []*archive.TreeRow{further}, []*archive.TreeRow{alone}, coarse); (len(got) == 0) != node {
			t.Errorf("type %d: %v", of, got)
		}
		if got, _ := differences(t, []*archive.TreeRow{further}, []*archive.TreeRow{alone}, archive.DiffOptions{}); len(got) != 1 || got[0].Kind != archive.DiffLink {
			t.Errorf("type %d, not coarse: %v", of, got)
		}
		// The other way round it is none that GNU tar makes.
		if got, _ := differences(t, []*archive.TreeRow{alone}, []*archive.TreeRow{further}, coarse); len(got) != 1 {
			t.Errorf("type %d, the other way round: %v", of, got)
		}
		if !node {
			continue
		}
		other := row("f", typed(of), func(r *archive.TreeRow) { r.Mode = 0o600 })
		if got, _ := differences(t, []*archive.TreeRow{further}, []*archive.TreeRow{other}, coarse); len(got) != 1 || got[0].Kind != archive.DiffMode {
			t.Errorf("type %d of another mode: %v", of, got)
		}
		file := row("f")
		want := []archive.Difference{{"f", archive.DiffType, map[filesystem.Type]string{
			filesystem.CharDevice: "character device", filesystem.BlockDevice: "block device", filesystem.Fifo: "fifo",
		}[of], "file"}}
		got, _ := differences(t, []*archive.TreeRow{further}, []*archive.TreeRow{file}, coarse)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a file in its place (-want +got):\n%s", diff)
		}
	}
}

func TestDiffTreesWalksAlongBothSides(t *testing.T) {
	rows := func(paths string) (all []*archive.TreeRow) {
		for path := range strings.FieldsSeq(paths) {
			path, first, linked := strings.Cut(path, "=")
			if path == "/" {
				path = ""
			}
			if linked {
				all = append(all, link(path, first))
			} else {
				all = append(all, row(path, links(3)))
			}
		}
		return all
	}
	tests := map[string]struct {
		snapshot, archive string
		want              []string // path: kind: snapshot|archive
		both              int64
	}{
		"nothing at all":         {"", "", nil, 0},
		"no archive":             {"/ a", "", []string{": missing: file|", "a: missing: file|"}, 0},
		"no snapshot":            {"", "/ a=b", []string{": added: |file", `a: added: |hard link to "b"`}, 0},
		"equal":                  {"/ a a/x a.b", "/ a a/x a.b", nil, 4},
		"interleaved":            {"/ a c e", "/ b c d", []string{"a: missing: file|", "b: added: |file", "d: added: |file", "e: missing: file|"}, 2},
		"order of components":    {"a a/x a.b", "a a.b", []string{"a/x: missing: file|"}, 2},
		"too late":               {"a b c d", "a c b d", []string{"b: missing: file|", `b: order: |comes after "c"`}, 3},
		"the root comes last":    {"/ a b", "a b /", []string{": missing: file|", `: order: |comes after "b"`}, 2},
		"all too late":           {"a b c", "c b a", []string{"a: missing: file|", "b: missing: file|", `b: order: |comes after "c"`, `a: order: |comes after "c"`}, 1},
		"twice":                  {"a b c", "a b b c", []string{"b: order: |comes 2 times"}, 3},
		"three times, added":     {"a", "a b b b", []string{"b: order: |comes 3 times", "b: added: |file"}, 1},
		"behind what is missing": {"a b c", "a c c", []string{"b: missing: file|", "c: order: |comes 2 times"}, 2},
		"again, later":           {"a b c", "a c b c", []string{"b: missing: file|", `b: order: |comes after "c"`, "c: order: |comes once more later"}, 2},
		"the last one counts":    {"a b=a", "a b b=a", []string{"b: order: |comes 2 times"}, 2},
		"links to a lost name": {
			"a b=a c=a d", "b=a d",
			[]string{
				"a: missing: file|", `b: hard link: hard link to "a"|hard link to "a", which the archive lacks`,
				`c: missing: hard link to "a"|`,
			},
			2,
		},
		"links to a name that never was": {"a b", "a b=x", []string{`b: hard link: file|hard link to "x"`}, 2},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			got, n := differences(t, rows(c.snapshot), rows(c.archive), archive.DiffOptions{})
			var texts []string
			for _, d := range got {
				texts = append(texts, d.Path+": "+string(d.Kind)+": "+d.Snapshot+"|"+d.Archive)
			}
			if diff := cmp.Diff(c.want, texts); diff != "" || n != c.both {
				t.Errorf("%d entries compared, %d wanted; differences (-want +got):\n%s", n, c.both, diff)
			}
		})
	}
}

func TestDiffTreesEnds(t *testing.T) {
	broken := errors.New("broken")
	some := []*archive.TreeRow{row("a"), row("b"), row("c")}
	other := []*archive.TreeRow{row("a"), row("b", func(r *archive.TreeRow) { r.Mode = 0 }), row("c")}
	ignore := func(archive.Difference) error { return nil }
	refuse := func(archive.Difference) error { return broken }
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	tests := map[string]struct {
		ctx               context.Context
		snapshot, archive iter.Seq2[*archive.TreeRow, error]
		found             func(archive.Difference) error
		both              int64
		is                error
		text              string
	}{
		"by the snapshot":                            {t.Context(), yields(broken, some[:2]...), yields(nil, some...), ignore, 2, broken, ""},
		"by the archive":                             {t.Context(), yields(nil, some...), yields(broken, some[:2]...), ignore, 2, broken, ""},
		"by the snapshot, at once":                   {t.Context(), yields(broken), yields(nil, some...), ignore, 0, broken, ""},
		"by the archive, at once":                    {t.Context(), yields(nil), yields(broken), ignore, 0, broken, ""},
		"by the archive, behind what comes too late": {t.Context(), yields(nil, some...), yields(broken, some[1], some[0]), ignore, 1, broken, ""},
		"by found":                                   {t.Context(), yields(nil, some...), yields(nil, other...), refuse, 2, broken, ""},
		"by found, missing":                          {t.Context(), yields(nil, some...), yields(nil), refuse, 0, broken, ""},
		"by found, added":                            {t.Context(), yields(nil), yields(nil, some...), refuse, 0, broken, ""},
		"by found, order":                            {t.Context(), yields(nil, some...), yields(nil, some[0], some[0]), refuse, 0, broken, ""},
		"by found, late":                             {t.Context(), yields(nil, some[1:]...), yields(nil, some[1], some[0]), refuse, 1, broken, ""},
		"by ctx":                                     {ctx, yields(nil, some...), yields(nil, some...), ignore, 0, broken, ""},
		"by disorder of the snapshot": {
			t.Context(), yields(nil, some[1], some[0]), yields(nil, some...), ignore, 1, nil,
			`the snapshot's entries are not in order: "a" comes after "b"`,
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			both, err := archive.DiffTrees(c.ctx, c.snapshot, c.archive, archive.DiffOptions{}, c.found)
			if err == nil || c.is != nil && err != c.is || c.text != "" && err.Error() != c.text || both != c.both {
				t.Errorf("%d compared, error %v; want %d, error %v%s", both, err, c.both, c.is, c.text)
			}
		})
	}
}

// What was found before an error of a side is told.
func TestDiffTreesTellsAllBeforeAnError(t *testing.T) {
	var paths []string
	_, err := archive.DiffTrees(t.Context(), yields(nil, row("a"), row("b")), yields(errors.New("cut"), link("a", "x")), archive.DiffOptions{},
		func(d archive.Difference) error {
			paths = append(paths, d.Path)
			return nil
		})
	if err == nil || !slices.Equal(paths, []string{"a"}) {
		t.Errorf("told of %q, error %v", paths, err)
	}
}
