package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func openTree(t *testing.T, path string) *Tree {
	t.Helper()
	root, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &Tree{Root: root}
}

func write(t *testing.T, path string, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// paths walks the whole tree and fails on any error.
func paths(t *testing.T, tree *Tree) []string {
	t.Helper()
	var all []string
	for e, err := range tree.Walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Path)
	}
	return all
}

func TestWalkIsInByteOrder(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"a/x", "a/b/c", "a.b", "a-", "B", "\xff\xfe", "ä", "z/\n", "z/-", "z/ "} {
		write(t, filepath.Join(dir, p), p)
	}
	want := []string{"", "B", "a", "a/b", "a/b/c", "a/x", "a-", "a.b", "z", "z/\n", "z/ ", "z/-", "ä", "\xff\xfe"}
	if diff := cmp.Diff(want, paths(t, openTree(t, dir))); diff != "" {
		t.Error(diff)
	}
}

// Whatever the shape of a tree, each name comes once, and where the standard
// library's walk of sorted names has it.
func TestWalkOfManyShapes(t *testing.T) {
	dir := t.TempDir()
	for i := range 700 { // more than a batch, in one folder and in many
		write(t, filepath.Join(dir, "flat", fmt.Sprintf("%d", i)), strings.Repeat("x", i*50))
		write(t, filepath.Join(dir, fmt.Sprintf("wide%d", i%90), fmt.Sprintf("%d", i)), "")
	}
	write(t, filepath.Join(dir, strings.Repeat("deep/", 60), "end"), "end")
	for i := range 30 {
		if err := os.MkdirAll(filepath.Join(dir, "empty", fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		want = append(want, strings.TrimPrefix(rel, "."))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, paths(t, openTree(t, dir))); diff != "" {
		t.Error(diff)
	}
}

// A folder that is listed ahead of its turn is listed to its end when its turn
// comes.
func TestFoldersWithMoreNamesThanAreListedAhead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "")
	large := filepath.Join(dir, "b")
	if err := os.Mkdir(large, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range namesEach + 5000 {
		if err := unix.Mknod(filepath.Join(large, fmt.Sprintf("%06d", i)), unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	all := paths(t, openTree(t, dir))
	if len(all) != 3+namesEach+5000 || !slices.IsSortedFunc(all, strings.Compare) {
		t.Errorf("%d names, sorted: %t", len(all), slices.IsSorted(all))
	}
}

func TestEntriesTellAll(t *testing.T) {
	dir := t.TempDir()
	small, large := strings.Repeat("s", 1000), strings.Repeat("l", smallFile+1)
	write(t, filepath.Join(dir, "large"), large)
	write(t, filepath.Join(dir, "small"), small)
	if err := os.Chtimes(filepath.Join(dir, "small"), time.Time{}, time.Unix(-5, 7)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "small"), 0o751|fs.ModeSetuid|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "small"), filepath.Join(dir, "zlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("t", 300), filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]Entry{}
	opened := false
	var links Links
	for e, err := range openTree(t, dir).Walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		first, before := links.First(e)
		if before != (e.Path == "zlink") || before && first != "small" {
			t.Errorf("%q: came before: %t, as %q", e.Path, before, first)
		}
		if f := e.File(); f != nil {
			opened = e.Path == "large"
			p := make([]byte, e.Size)
			if err := f.ReadFull(p, 0); err != nil || string(p) != large {
				t.Errorf("%s: %v", e.Path, err)
			}
			if err := f.ReadFull(make([]byte, 1), e.Size); err == nil {
				t.Error("a read behind the end is no error")
			}
		}
		if e.Path == "small" && string(e.Content) != small {
			t.Errorf("content %q", e.Content)
		}
		seen[e.Path] = *e
	}
	if e := seen["small"]; e.Mode != 0o5751 || e.Sec != -5 || e.Nsec != 7 || e.Size != 1000 || e.Links != 2 || e.Type != Regular {
		t.Errorf("small: %+v", e)
	}
	if e := seen["symlink"]; e.Type != Symlink || e.Target != strings.Repeat("t", 300) {
		t.Errorf("symlink: %+v", e)
	}
	if seen["fifo"].Type != Fifo || seen[""].Type != Folder || !opened {
		t.Errorf("%+v", seen)
	}
	if len(links.open) > 0 {
		t.Errorf("links are remembered when all were seen: %v", links.open)
	}
}

func TestHolesAreFound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{1 << 20, 5<<20 - 100} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(8 << 20); err != nil {
		t.Fatal(err)
	}
	for e, err := range openTree(t, dir).Walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Path != "f" {
			continue
		}
		if !e.Sparse || len(e.Data) != 2 || e.Data[0].Off > 1<<20 || e.Data[0].Off < 1<<20-64<<10 || e.Data[1].Len > 128<<10 {
			t.Errorf("sparse %t, data %v", e.Sparse, e.Data)
		}
	}
}

// The content of a small file may spare asking for its holes, and tells the same.
func TestHolesOfSmallFiles(t *testing.T) {
	dir := t.TempDir()
	const unit = 4 << 10
	for shape := range 1 << 4 { // which of four blocks have data
		for _, size := range []int64{4 * unit, 4*unit - 100, 3*unit + 1} {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%04b %d", shape, size)))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for i := range int64(4) {
				if shape>>i&1 != 0 {
					_, err = f.WriteAt(bytes.Repeat([]byte{'x'}, unit), i*unit)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
		}
	}
	for e, err := range openTree(t, dir).Walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != Regular {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, whole, err := dataMap(int(f.Fd()), e.Size)
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			data = nil
		}
		if e.Sparse == whole || !slices.Equal(e.Data, data) || whole && int64(len(e.Content)) != e.Size || !whole && e.Content != nil {
			t.Errorf("%s: sparse %t, data %v, %d bytes of content; want %v", e.Path, e.Sparse, e.Data, len(e.Content), data)
		}
	}
}

// What cannot be read is told by name, and does not end the walk. A mount below
// the root is such a thing: what it hides would be missing without a word.
func TestUnreadableEntriesAreNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hidden", "f"), "")
	write(t, filepath.Join(dir, "other"), "")
	if err := unix.Mount("none", filepath.Join(dir, "hidden"), "tmpfs", 0, ""); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(dir, "hidden"), 0); err != nil {
			t.Error(err)
		}
	})
	tree := openTree(t, dir)
	var bad, good []string
	for e, err := range tree.Walk(t.Context()) {
		if _, ok := errors.AsType[*PathError](err); ok {
			bad = append(bad, e.Path)
		} else if err == nil {
			good = append(good, e.Path)
		}
	}
	if !slices.Equal(bad, []string{"hidden"}) || !slices.Equal(good, []string{"", "other"}) {
		t.Errorf("bad %q, good %q", bad, good)
	}
	if _, err := tree.Survey(t.Context()); err == nil || err.Error() != "1 entry cannot be read: ./hidden: another filesystem is mounted there" {
		t.Errorf("survey: %v", err)
	}
}

// A walk that is left in the middle, or whose context ends, leaves neither
// goroutines nor descriptors behind.
func TestWalksThatEndEarlyLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		write(t, filepath.Join(dir, fmt.Sprint(i%50), fmt.Sprint(i)), strings.Repeat("x", smallFile+1))
	}
	tree := openTree(t, dir)
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(all)
	}
	goroutines, before := runtime.NumGoroutine(), descriptors()
	for stop := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		n, over := 0, error(nil)
		for _, err := range tree.Walk(ctx) {
			if err != nil {
				over = err
				break
			}
			if n++; n == stop*17+1 {
				if stop%2 == 0 {
					break
				}
				cancel()
			}
		}
		if stop%2 == 1 && !errors.Is(over, context.Canceled) {
			t.Errorf("after %d: %v, want that the context has ended", n, over)
		}
		cancel()
	}
	if now := descriptors(); now != before {
		t.Errorf("%d descriptors, before %d", now, before)
	}
	for i := 0; runtime.NumGoroutine() > goroutines; i++ {
		if i == 100 {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), goroutines)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// A filesystem that gives nothing any more ends the walk. A pipe stands for it: a
// listing that never comes.
func TestStalledWalkEnds(t *testing.T) {
	w := &walker{t: &Tree{Stall: 50 * time.Millisecond}}
	start := time.Now()
	if _, _, err := wait(t.Context(), w, make(chan *batch)); err == nil || !strings.Contains(err.Error(), "given nothing for 50ms") {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took < 50*time.Millisecond || took > 5*time.Second {
		t.Errorf("after %v", took)
	}
}

func TestSurveyCounts(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/one"), strings.Repeat("1", 5000))
	write(t, filepath.Join(dir, "a/two"), "22")
	if err := os.Link(filepath.Join(dir, "a/one"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	t.Chdir(dir) // a socket's path is short
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "sock"}); err != nil {
		t.Fatal(err)
	}
	s, err := openTree(t, dir).Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Entries != 6 || s.Regular != 2 || s.Folders != 2 || s.Sockets != 1 || !slices.Equal(s.Sample, []string{"sock"}) || s.Data < 5002 {
		t.Errorf("%+v", s)
	}
}
