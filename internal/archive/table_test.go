package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
)

// failer is what tests and properties have alike.
type failer interface {
	Helper()
	Fatal(...any)
	Context() context.Context
}

func sorted(t failer, table *archive.Table) ([]*archive.TreeRow, error) {
	t.Helper()
	var all []*archive.TreeRow
	for r, err := range table.Sorted(t.Context()) {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// sortThrough adds rows to a table and reads them back.
func sortThrough(t failer, o archive.TableOptions, rows []*archive.TreeRow) []*archive.TreeRow {
	t.Helper()
	table := archive.NewTable(o)
	for _, r := range rows {
		if err := table.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := sorted(t, table)
	if err = errors.Join(err, table.Close()); err != nil {
		t.Fatal(err)
	}
	return got
}

func diffRows(want, got []*archive.TreeRow) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(filesystem.Entry{}), cmpopts.EquateEmpty())
}

// inMemory is what a table does, with maps.
func inMemory(rows []*archive.TreeRow) []*archive.TreeRow {
	var all []*archive.TreeRow
	last, was := map[string]*archive.TreeRow{}, map[string]*archive.TreeRow{}
	names := map[string][]*archive.TreeRow{} // that link to a name
	for _, r := range rows {
		copied := *r
		all = append(all, &copied)
		last[r.Path], was[r.Path] = &copied, r
		if r.Link != "" {
			names[r.Link] = append(names[r.Link], &copied)
		}
	}
	for target, links := range names {
		file := last[target]
		slices.SortFunc(links, byPath)
		first := links[0].Path
		if file == nil || was[target].Link != "" || byPath(file, links[0]) <= 0 {
			continue
		}
		what := *was[target]
		for _, l := range append(links, file) { // was: another file's names may have changed it
			if l.Path == first {
				*l = what
				l.Path = first
				continue
			}
			l.Link = first
			l.Stored, l.XattrSum, l.Sum, l.Runs, l.Map, l.RunSum = 0, nil, nil, false, nil, nil
		}
	}
	slices.SortStableFunc(all, byPath)
	return all
}

// drawRow is a row with anything in it: also what comes twice, and links to
// nothing, to links and to themselves.
func drawRow(t *rapid.T) *archive.TreeRow {
	path := rapid.OneOf(
		rapid.StringMatching(`([ab.\xff]/){0,2}[ab.\x01]{1,2}`), rapid.StringMatching(`[ab]`), rapid.Just(strings.Repeat("long/", 300)+"x"),
	)
	sum := func(name string) *[32]byte {
		if rapid.Bool().Draw(t, name) {
			return sumOf(rapid.String().Draw(t, name))
		}
		return nil
	}
	r := &archive.TreeRow{XattrSum: sum("xattrs"), Sum: sum("sum"), Map: sum("map"), RunSum: sum("run sum")}
	r.Path = path.Draw(t, "path")
	if rapid.IntRange(0, 2).Draw(t, "is a link") == 0 {
		r.Link = path.Draw(t, "link")
	}
	r.Target = rapid.StringN(0, 10, -1).Draw(t, "target")
	r.Type = filesystem.Type(rapid.Byte().Draw(t, "type"))
	r.Size, r.Sec, r.At = rapid.Int64().Draw(t, "size"), rapid.Int64().Draw(t, "sec"), rapid.Int64().Draw(t, "at")
	r.Device, r.UID = rapid.Uint64().Draw(t, "device"), rapid.Uint32().Draw(t, "uid")
	return r
}

func TestTableSortsAsMemoryDoes(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(drawRow), 0, 300).Draw(t, "rows")
		memory := rapid.SampledFrom([]int64{1, 1 << 10, 16 << 10, 0}).Draw(t, "memory")
		got := sortThrough(t, archive.TableOptions{Folder: folder, Memory: memory}, rows)
		if diff := diffRows(inMemory(rows), got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// An archive whose hard links were found in another order is the same archive.
func TestTableMakesHardLinksCanonical(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		for i, r := range tree {
			r.At = int64(i) // moves with what is known of the file
		}
		shuffled := rapid.Permutation(tree).Draw(t, "order")
		first := map[string]*archive.TreeRow{} // by the canonical first name: the name that comes first
		var tar []*archive.TreeRow
		for _, r := range shuffled {
			name, copied := r.Path, *r
			if r.Link != "" {
				name = r.Link
			}
			if f := first[name]; f != nil {
				copied.Link, copied.Sum, copied.XattrSum, copied.Map, copied.Stored = f.Path, nil, nil, nil, 0
			} else {
				copied = *tree[slices.IndexFunc(tree, func(o *archive.TreeRow) bool { return o.Path == name })]
				copied.Path = r.Path
				first[name] = &copied
			}
			tar = append(tar, &copied)
		}
		got := sortThrough(t, archive.TableOptions{Folder: folder, Memory: 1 << 10}, tar)
		if differ, n := differences(t, tree, got, archive.DiffOptions{}); len(differ) > 0 || n != int64(len(tree)) {
			t.Errorf("%d of %d compared: %v", n, len(tree), differ)
		}
		for _, r := range got {
			if r.Link == "" && r.At != tree[slices.IndexFunc(tree, func(o *archive.TreeRow) bool { return o.Path == r.Path })].At {
				t.Errorf("%q has what is known of another file", r.Path)
			}
		}
	})
}

// Every field of a row comes back, those too that are added some day.
func TestTableKeepsEveryField(t *testing.T) {
	lent := []string{"Content", "Data", "Xattrs", "file", "Path", "Link"} // rows are without them, or they are the key
	fill := func(r *archive.TreeRow, n int) {
		var set func(v reflect.Value)
		set = func(v reflect.Value) {
			for f, field := range v.Fields() {
				switch {
				case f.Anonymous:
					set(field)
				case slices.Contains(lent, f.Name):
				case field.Kind() == reflect.Bool:
					field.SetBool(n&1 == 1)
				case field.CanInt():
					field.SetInt(-1 << (n % 63))
				case field.CanUint():
					field.SetUint(1<<(field.Type().Bits()-1) - uint64(n))
				case field.Kind() == reflect.String:
					field.SetString(fmt.Sprintf("%s\x00%d", f.Name, n))
				case field.Type() == reflect.TypeFor[*[32]byte]():
					field.Set(reflect.ValueOf(sumOf(fmt.Sprint(f.Name, n))))
				default:
					t.Fatalf("a field %s that this test does not know", f.Name)
				}
			}
		}
		set(reflect.ValueOf(r).Elem())
	}
	var rows []*archive.TreeRow
	for n := range 64 {
		r := &archive.TreeRow{}
		r.Path = fmt.Sprintf("%02d", n)
		fill(r, n)
		rows = append(rows, r)
	}
	rows = append(rows, &archive.TreeRow{Link: "z"})
	rows[64].Path = "65"
	if diff := diffRows(rows, sortThrough(t, archive.TableOptions{Folder: t.TempDir(), Memory: 1}, rows)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTableRefuses(t *testing.T) {
	table := archive.NewTable(archive.TableOptions{Folder: t.TempDir()})
	for name, r := range map[string]*archive.TreeRow{
		"a path with a NUL":     row("a\x00b"),
		"a link with a NUL":     link("a", "a\x00b"),
		"a path without an end": row(strings.Repeat("x", 17<<20)),
	} {
		if err := table.Add(r); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if got, err := sorted(t, table); len(got) > 0 || err != nil {
		t.Errorf("%d rows are there, error %v", len(got), err)
	}
	if _, err := sorted(t, table); err == nil {
		t.Error("it is read twice")
	}
	if table.Add(row("a")) == nil {
		t.Error("it takes a row after it was read")
	}
}

// Long records do not add up to more than the bound.
func TestTableSpillsLongRecords(t *testing.T) {
	var rows []*archive.TreeRow
	for n := range 40 {
		rows = append(rows, row(fmt.Sprintf("%02d", 39-n), typed(filesystem.Symlink), func(r *archive.TreeRow) { r.Target = strings.Repeat("t", n<<14) }))
	}
	want := inMemory(rows)
	if diff := diffRows(want, sortThrough(t, archive.TableOptions{Folder: t.TempDir(), Memory: 1 << 20}, rows)); diff != "" {
		t.Error("rows differ")
	}
}

// spilled is a table with more rows than it holds.
func spilled(t *testing.T, folder string, n int) (*archive.Table, error) {
	t.Helper()
	table := archive.NewTable(archive.TableOptions{Folder: folder, Memory: 1 << 16})
	t.Cleanup(func() { table.Close() })
	for i := range n {
		if err := table.Add(link(fmt.Sprintf("%07d", n-i), fmt.Sprintf("%07d", i+n))); err != nil {
			return table, err
		}
	}
	return table, nil
}

// synctest says where a goroutine is left.
func TestTableLeavesNothingBehind(t *testing.T) { synctest.Test(t, tableLeavesNothingBehind) }

func tableLeavesNothingBehind(t *testing.T) {
	folder := t.TempDir()
	descriptors := openFiles(t)
	table, err := spilled(t, folder, 20000)
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(folder)
	if err != nil || len(names) > 0 {
		t.Errorf("in the folder: %v %v", names, err)
	}
	if openFiles(t) == descriptors {
		t.Error("nothing was spilled")
	}
	n := 0
	for _, err := range table.Sorted(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 10 {
			break
		}
	}
	if err := errors.Join(table.Close(), table.Close()); err != nil {
		t.Error(err)
	}
	if now := openFiles(t); now != descriptors {
		t.Errorf("%d open files, %d before", now, descriptors)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	return len(names)
}

func TestTableNamesTheFolderThatIsNotThere(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	_, err := spilled(t, folder, 20000)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), folder) || !strings.Contains(hint.Of(err), "TMPDIR") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestTableNamesTheFolderThatIsFull(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "size=256k"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, 0); err != nil {
			t.Error(err)
		}
	})
	t.Run("", func(t *testing.T) { // its table is closed before the folder is unmounted
		_, err := spilled(t, folder, 20000)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), folder) || !strings.Contains(hint.Of(err), "TMPDIR") {
			t.Errorf("%v, hint %q", err, hint.Of(err))
		}
	})
}
