package archive_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem/treetest"
)

// archived writes a folder as a tar, and returns the plain stream in a file.
func archived(t *testing.T, folder string) (string, *treeRows) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar.zst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := &treeRows{}
	if _, err := archive.WriteTree(t.Context(), openTree(t, folder), f, rows, archive.TreeOptions{Codec: mustCodec("zstd", 1)}); err != nil {
		t.Fatal(err)
	}
	return path, rows
}

func plainOf(t *testing.T, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := codec.NewReader("zstd", f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// The measure of the format: what GNU tar makes of the archive on a filesystem of
// the same type is the tree, in everything that can be asked of it.
func TestGNUTarRestoresTheTree(t *testing.T) {
	for _, fs := range treetest.Filesystems() {
		t.Run(fs, func(t *testing.T) {
			from := treetest.Mounted(t, treetest.Image(t, fs, 400<<20), 0)
			treetest.Make(t, from, treetest.Options{Filesystem: fs, Huge: true})
			restores(t, from, treetest.Mounted(t, treetest.Image(t, fs, 400<<20), 0))
		})
	}
}

// restores archives a folder and wants GNU tar to make the same of it in another,
// but for what GNU tar has no way to make: paths over 4,095 bytes, and sockets.
func restores(t *testing.T, from, into string) {
	t.Helper()
	want := treetest.Read(t, from, treetest.ReadOptions{})
	path, rows := archived(t, from)
	r := treetest.Untar(t, plainOf(t, path), into)
	tooLong := 0
	for _, w := range want {
		if len("./"+w.Path) > 4095 {
			tooLong++
		}
	}
	if r.Code != 2 || tooLong == 0 || strings.Count(r.Stderr, "File name too long") == 0 {
		t.Errorf("code %d, want 2 for the %d paths that are too long: %s", r.Code, tooLong, r.Stderr)
	}
	for line := range strings.Lines(r.Stderr) {
		if !strings.Contains(line, "time stamp") && !strings.Contains(line, "File name too long") &&
			line != "tar: Ignoring unknown extended header keyword 'hdrcharset'\n" &&
			line != "tar: Exiting with failure status due to previous errors\n" {
			t.Errorf("unexpected message: %.300s", line)
		}
	}
	var reachable []treetest.Record
	for _, w := range want {
		if len("./"+w.Path) <= 4095 {
			reachable = append(reachable, w)
		}
	}
	for _, line := range treetest.Diff(reachable, treetest.Read(t, into, treetest.ReadOptions{}), treetest.DiffOptions{IgnoreSockets: true}) {
		t.Errorf("%.600s", line)
	}
	// The stream holds all of it, in the order of the rows.
	if len(rows.entries)+sockets(want) != len(want) {
		t.Errorf("%d entries of %d", len(rows.entries), len(want))
	}
}

func sockets(all []treetest.Record) (n int) {
	for _, r := range all {
		if r.Type == treetest.Socket {
			n++
		}
	}
	return n
}

// A second reader of the format understands it, and GNU tar's own comparison
// finds nothing. Files that are nearly all hole are left out: both read holes.
func TestOtherReadersAgree(t *testing.T) {
	treetest.RequirePrograms(t, "bsdtar")
	from := treetest.Mounted(t, treetest.Image(t, "ext4", 400<<20), 0)
	treetest.Make(t, from, treetest.Options{Filesystem: "ext4", Without: []string{"deep", "special"}})
	path, rows := archived(t, from)
	if r := treetest.TarDiff(t, plainOf(t, path), from); r.Code != 0 || r.Stdout != "" {
		t.Errorf("tar -d: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	r := treetest.BsdtarList(t, plainOf(t, path))
	if lines := strings.Count(r.Stdout, "\n"); r.Code != 0 || lines != len(rows.entries) {
		t.Errorf("bsdtar: code %d, %d lines for %d entries\n%s", r.Code, lines, len(rows.entries), r.Stderr)
	}
}

func TestManyFilesInOneFolder(t *testing.T) {
	from := treetest.Mounted(t, treetest.Image(t, "ext4", 900<<20, "-N", "130000"), 0)
	without := []string{"names", "links", "symlinks", "sparse", "sizes", "acls", "owners", "times", "modes", "special", "xattrs", "empty", "root"}
	treetest.Make(t, from, treetest.Options{Filesystem: "ext4", Many: 100_000, Without: without})
	restores(t, from, treetest.Mounted(t, treetest.Image(t, "ext4", 900<<20, "-N", "130000"), 0))
}

// What stands twice in a stream would be restored to what came last.
func TestEntriesAreEachThereOnce(t *testing.T) {
	dir, _ := writeSome(t)
	_, rows := archived(t, dir)
	seen := map[string]bool{}
	for _, r := range rows.entries {
		if seen[r.Path] {
			t.Errorf("%q is there twice", r.Path)
		}
		seen[r.Path] = true
	}
}
