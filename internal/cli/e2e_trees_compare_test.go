package cli

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
)

// isTree wants GNU tar to make the tree of the archive, and the rows to tell of
// the same.
func (d treeDisk) isTree(t *testing.T, p treePart, rows []layout.Row, stored []byte) {
	t.Helper()
	if p.Want == nil {
		t.Fatalf("the plan does not tell what is in partition %d", p.Number)
	}
	var plain []byte
	decode(t, d.codec, stored, func(r io.Reader) {
		var err error
		if plain, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	})
	into := t.TempDir()
	if r := treetest.Untar(t, bytes.NewReader(plain), into); r.Code != 0 || r.Stderr != "" {
		t.Errorf("tar -x of partition %d: code %d: %s", p.Number, r.Code, r.Stderr)
	}
	for _, line := range treetest.Diff(p.Want, treetest.Read(t, into, treetest.ReadOptions{}), treetest.DiffOptions{}) {
		t.Errorf("partition %d: %s", p.Number, line)
	}
	want := map[string]layout.TreeEntry{}
	for _, r := range p.Want {
		e := entryOf(t, r, into)
		want[e.Path] = e
	}
	got, digest := map[string]layout.TreeEntry{}, sha256.New()
	var end int64
	for _, row := range rows {
		switch {
		case row.Entry != nil:
			e := *row.Entry
			isHeaderOf(t, plain, e)
			e.At, e.Subvolume = 0, false
			got[e.Path] = e
		case row.Frames != nil:
			for range row.Frames.Count {
				sum := sha256.Sum256(stored[end : end+row.Frames.First.StoredLen])
				end += row.Frames.First.StoredLen
				digest.Write(sum[:])
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries of partition %d (-tree +rows):\n%s", p.Number, diff)
	}
	last := rows[len(rows)-1].End
	if sum := hex.EncodeToString(digest.Sum(nil)); end != int64(len(stored)) || last.PlainSize != int64(len(plain)) || sum != last.Digest {
		t.Errorf("the rows of partition %d tell of %+v; there are %d of %d stored bytes, %d plain ones, and the digest is %s",
			p.Number, last, end, len(stored), len(plain), sum)
	}
}

// isHeaderOf wants the header of an entry at the place that its row says.
func isHeaderOf(t *testing.T, plain []byte, e layout.TreeEntry) {
	t.Helper()
	h, err := tar.NewReader(bytes.NewReader(plain[e.At:])).Next()
	if err != nil {
		t.Errorf("%q: at %d of the tar: %v", e.Path, e.At, err)
		return
	}
	if name := strings.TrimSuffix(h.Name, "/"); filepath.Clean(name) != filepath.Clean("./"+e.Path) {
		t.Errorf("%q: at %d of the tar is %q", e.Path, e.At, h.Name)
	}
}

// entryOf is the row that docs/format.md wants for an entry of a tree, but for its
// place. The content is read from where the tree was restored.
func entryOf(t *testing.T, r treetest.Record, root string) layout.TreeEntry {
	t.Helper()
	path := func(p string) string {
		if p == "." {
			return ""
		}
		return p
	}
	e := layout.TreeEntry{
		Path: path(r.Path), Mode: r.Mode, UID: r.UID, GID: r.GID,
		MTime: layout.Timestamp{Sec: r.Mtime.Sec, Nsec: uint32(r.Mtime.Nsec)},
	}
	if r.Link != "" {
		e.Type, e.Link = layout.HardLink, r.Link
		return e
	}
	e.Xattrs = xattrSum(r.Xattrs)
	switch r.Type {
	case treetest.Folder:
		e.Type = layout.Folder
	case treetest.Symlink:
		e.Type, e.Link = layout.Symlink, r.Target
	case treetest.File:
		data, err := os.ReadFile(filepath.Join(root, r.Path))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		e.Type, e.Size, e.SHA256 = layout.File, r.Size, &sum
		var there int64
		for _, x := range r.Data {
			there += x.Len
		}
		if e.Sparse = there < r.Size; e.Sparse {
			e.Data = there
		}
	default:
		t.Fatalf("the tree has a %s, which these tests do not make", r.Type)
	}
	return e
}

// xattrSum is the hash of extended attributes (docs/format.md, "Digests").
func xattrSum(xattrs map[string]string) *[32]byte {
	if len(xattrs) == 0 {
		return nil
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		for _, text := range []string{name, xattrs[name]} {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
			b = append(b, text...)
		}
	}
	sum := sha256.Sum256(b)
	return &sum
}
