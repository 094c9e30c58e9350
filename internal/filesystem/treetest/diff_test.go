//go:build linux

package treetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	. "snap-to-s3/internal/filesystem/treetest"
)

// damage is something that goes wrong with the tree of smallTree, and all that
// Diff must say of it.
type damage struct {
	name string
	do   func(at func(string) string) error
	want []string // the line up to the values
}

func damages() []damage {
	setxattr := func(p, name, value string) error { return unix.Lsetxattr(p, name, []byte(value), 0) }
	fill := func(p string, off, n int64, b byte) error {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte(strings.Repeat(string(rune(b)), int(n))), off)
		return err
	}
	return []damage{
		{"nothing", func(func(string) string) error { return nil }, nil},
		{"missing", func(at func(string) string) error { return os.Remove(at("file")) }, []string{`"file": missing`}},
		{"missing folder", func(at func(string) string) error { return os.Remove(at("empty")) }, []string{`"empty": missing`}},
		{"extra", func(at func(string) string) error { return os.WriteFile(at("more\n"), nil, 0o644) }, []string{`"more\n": extra`}},
		{"type", func(at func(string) string) error {
			if err := os.Remove(at("fifo")); err != nil {
				return err
			}
			return os.Symlink("x", at("fifo"))
		}, []string{`"fifo": type`}},
		{"mode", func(at func(string) string) error { return unix.Chmod(at("file"), 0o4644) }, []string{`"file": mode`}},
		{"root mode", func(at func(string) string) error { return unix.Chmod(at("."), 0o1755) }, []string{`".": mode`}},
		{"owner", func(at func(string) string) error { return os.Lchown(at("symlink"), 1, -1) }, []string{`"symlink": owner`}},
		{"group", func(at func(string) string) error { return os.Lchown(at("folder"), -1, 1) }, []string{`"folder": owner`}},
		{"mtime", func(at func(string) string) error {
			ts := []unix.Timespec{{Sec: 9}, {Sec: 1000000000, Nsec: 1}}
			return unix.UtimesNanoAt(unix.AT_FDCWD, at("symlink"), ts, unix.AT_SYMLINK_NOFOLLOW)
		}, []string{`"symlink": mtime`}},
		{"atime", func(at func(string) string) error {
			ts := []unix.Timespec{{Sec: 9}, {Nsec: unix.UTIME_OMIT}}
			return unix.UtimesNanoAt(unix.AT_FDCWD, at("file"), ts, unix.AT_SYMLINK_NOFOLLOW)
		}, nil},
		{"size", func(at func(string) string) error { return os.Truncate(at("zeros"), 8191) }, []string{`"zeros": size`, `"zeros": holes`}},
		{"hard link apart", func(at func(string) string) error {
			if err := os.Remove(at("two")); err != nil {
				return err
			}
			return os.WriteFile(at("two"), []byte("names\n"), 0o644)
		}, []string{`"one": links`, `"two": links`, `"two": hard link`}},
		{"hard link to another", func(at func(string) string) error {
			if err := os.Remove(at("two")); err != nil {
				return err
			}
			return os.Link(at("other"), at("two"))
		}, []string{`"one": links`, `"other": links`, `"two": hard link`, `"two": content`}},
		{"target", func(at func(string) string) error {
			if err := os.Remove(at("symlink")); err != nil {
				return err
			}
			return os.Symlink("somewhere", at("symlink"))
		}, []string{`"symlink": target`}},
		{"device", func(at func(string) string) error {
			if err := os.Remove(at("char")); err != nil {
				return err
			}
			return unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 4)))
		}, []string{`"char": device`}},
		{"xattr value", func(at func(string) string) error { return setxattr(at("file"), "user.a", "v\x00") }, []string{`"file": xattr "user.a"`}},
		{"xattr more", func(at func(string) string) error { return setxattr(at("file"), "user.b", "") }, []string{`"file": xattr "user.b"`}},
		{"xattr less", func(at func(string) string) error { return unix.Lremovexattr(at("file"), "user.a") }, []string{`"file": xattr "user.a"`}},
		{"xattr of a symlink", func(at func(string) string) error { return setxattr(at("symlink"), "trusted.a", "v") }, []string{`"symlink": xattr "trusted.a"`}},
		{"default acl", func(at func(string) string) error { return unix.Lremovexattr(at("folder"), "system.posix_acl_default") }, []string{`"folder": xattr "system.posix_acl_default"`}},
		{"content", func(at func(string) string) error { return fill(at("other"), 0, 1, 'O') }, []string{`"other": content`}},
		{"last byte", func(at func(string) string) error { return fill(at("sparse"), 1<<20+4095, 1, 'x') }, []string{`"sparse": content`}},
		{"data elsewhere", func(at func(string) string) error { return fill(at("sparse"), 1<<21, 1, 'x') }, []string{`"sparse": content`, `"sparse": holes`}},
		{"hole filled with zeros", func(at func(string) string) error { return fill(at("sparse"), 1<<21, 4096, 0) }, []string{`"sparse": holes`}},
		{"data became a hole", func(at func(string) string) error {
			if err := os.Truncate(at("zeros"), 0); err != nil {
				return err
			}
			return os.Truncate(at("zeros"), 8192)
		}, []string{`"zeros": holes`}},
	}
}

// smallTree is one of each kind; all times are the same.
func smallTree(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("folder"), 0o755))
	must(os.Mkdir(at("empty"), 0o755))
	for name, content := range map[string]string{
		"file": "content\n", "one": "names\n", "other": "other\n", "zeros": strings.Repeat("\x00", 8192), "sparse": "",
	} {
		must(os.WriteFile(at(name), []byte(content), 0o644))
	}
	must(os.Link(at("one"), at("two")))
	must(os.Symlink("nowhere", at("symlink")))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	must(unix.Lsetxattr(at("file"), "user.a", []byte("v"), 0))
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	must(unix.Lsetxattr(at("folder"), "system.posix_acl_default", []byte(acl), 0))
	f, err := os.OpenFile(at("sparse"), os.O_RDWR, 0)
	must(err)
	_, err = f.WriteAt([]byte(strings.Repeat("d", 4096)), 1<<20)
	must(err)
	must(f.Truncate(3 << 20))
	must(f.Close())
	settle(t, root)
}

// settle gives everything one time, so that a damage changes no other.
func settle(t *testing.T, root string) {
	t.Helper()
	ts := []unix.Timespec{{Sec: 5}, {Sec: 1000000000}}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(names(entries), ".") {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, e), ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
}

func names(entries []os.DirEntry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestDiffNamesEachDamage(t *testing.T) {
	for _, fs := range [...]string{"ext4", "xfs", "btrfs"} {
		at := Mounted(t, Image(t, fs, 320<<20), 0)
		for i, d := range damages() {
			t.Run(fs+" "+d.name, func(t *testing.T) {
				root := filepath.Join(at, "tree"+string(rune('A'+i)))
				if err := os.Mkdir(root, 0o755); err != nil {
					t.Fatal(err)
				}
				smallTree(t, root)
				want := Read(t, root, ReadOptions{})
				if err := d.do(func(name string) string { return filepath.Join(root, name) }); err != nil {
					t.Fatal(err)
				}
				if d.name != "mtime" {
					settle(t, root)
				}
				var kinds []string
				for _, line := range Diff(want, Read(t, root, ReadOptions{}), DiffOptions{}) {
					kind, values, _ := strings.Cut(line, ": want ")
					if values == "" {
						kind, _, _ = strings.Cut(line, ": got ")
					}
					kinds = append(kinds, kind)
				}
				if diff := cmp.Diff(d.want, kinds); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestDiffOptions(t *testing.T) {
	want := []Record{
		{Path: "a", Type: Socket},
		{Path: "b", Type: Folder},
		{Path: "b/c", Type: File},
		{Path: "bc", Type: File, Data: []Extent{{Off: 0, Len: 4096}}},
	}
	got := []Record{{Path: "bc", Type: File, Data: []Extent{{Off: 0, Len: 1024}}}}
	o := DiffOptions{IgnoreSockets: true, IgnoreHoles: true, Without: []string{"b"}}
	if d := Diff(want, got, o); len(d) > 0 {
		t.Errorf("all is left out, and still %q", d)
	}
	if d := Diff(want, got, DiffOptions{}); len(d) != 4 {
		t.Errorf("got %q, want 4 differences", d)
	}
}

// Two long values that begin alike must not look alike.
func TestDiffTellsLongValuesApart(t *testing.T) {
	long := strings.Repeat("x", 5000)
	var pieces []Extent
	for i := range int64(50) {
		pieces = append(pieces, Extent{Off: i * 8192, Len: 4096})
	}
	others := append([]Extent(nil), pieces...)
	others[40].Len = 8192
	want := []Record{{Path: "f", Type: File, Data: pieces, Xattrs: map[string]string{"user.a": long + "a"}}}
	got := []Record{{Path: "f", Type: File, Data: others, Xattrs: map[string]string{"user.a": long + "b"}}}
	if d := Diff(want, got, DiffOptions{}); len(d) != 2 {
		t.Errorf("got %q, want 2 differences", d)
	}
}

func TestReadLeavesOut(t *testing.T) {
	root := t.TempDir()
	for _, dir := range [...]string{"a/b", "ab", "c"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, r := range Read(t, root, ReadOptions{Without: []string{"a", "c"}}) {
		paths = append(paths, r.Path)
	}
	if diff := cmp.Diff([]string{".", "ab"}, paths); diff != "" {
		t.Error(diff)
	}
}
