package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
)

// treeRows keeps what is told of a tree.
type treeRows struct {
	entries []archive.TreeRow
	frames  []codec.Frame
	fail    func(entry int) error
}

func (r *treeRows) Entry(t *archive.TreeRow) error {
	r.entries = append(r.entries, *t)
	if r.fail != nil {
		return r.fail(len(r.entries))
	}
	return nil
}

func (r *treeRows) Frame(f codec.Frame) error {
	r.frames = append(r.frames, f)
	return nil
}

// writeSome makes a folder with files of all sizes around those that matter, and
// returns their contents.
func writeSome(t testing.TB) (string, map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	contents := map[string][]byte{}
	sizes := []int{0, 1, 511, 512, 513, 16 << 10, 16<<10 + 1, 512<<10 - 1, 512 << 10, 512<<10 + 1, 4 << 20, 9<<20 + 77}
	for range 300 {
		sizes = append(sizes, random.IntN(40<<10))
	}
	for i, size := range sizes {
		path := fmt.Sprintf("%02d/%03d", i%7, i)
		content := make([]byte, size)
		for j := range content {
			content[j] = byte(random.IntN(50))
		}
		contents[path] = content
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir, contents
}

func openTree(t testing.TB, path string) *filesystem.Tree {
	t.Helper()
	root, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &filesystem.Tree{Root: root}
}

// The stream is a tar, and the rows say what is in it and where.
func TestTreeIsATarAndRowsAgree(t *testing.T) {
	t.Parallel()
	dir, contents := writeSome(t)
	if err := os.Link(filepath.Join(dir, "00/000"), filepath.Join(dir, "zz")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lz4", "zstd"} {
		var stored bytes.Buffer
		rows := &treeRows{}
		res, err := archive.WriteTree(t.Context(), openTree(t, dir), &stored, rows, archive.TreeOptions{Codec: mustCodec(name, 1), Workers: 3, Reads: 5})
		if err != nil {
			t.Fatal(err)
		}
		plainReader, err := codec.NewReader(name, bytes.NewReader(stored.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(plainReader)
		if err != nil {
			t.Fatal(err)
		}
		if res.Plain != int64(len(plain)) || res.Stored != int64(stored.Len()) || res.Entries != int64(len(rows.entries)) ||
			res.Regular != int64(len(contents)) || res.Folders != 8 {
			t.Errorf("%+v, of %d bytes plain and %d stored, %d rows", res, len(plain), stored.Len(), len(rows.entries))
		}
		checkFrames(t, res, rows.frames, stored.Bytes())
		checkStream(t, plain, rows.entries, contents)
	}
}

func checkFrames(t *testing.T, res archive.TreeResult, frames []codec.Frame, stored []byte) {
	t.Helper()
	all := sha256.New()
	var plainAt, storedAt int64
	for i, f := range frames {
		if f.PlainOff != plainAt || f.StoredOff != storedAt || f.PlainLen != codec.FrameSize && i < len(frames)-1 {
			t.Fatalf("frame %d: %+v, want it at %d and %d", i, f, plainAt, storedAt)
		}
		if sha256.Sum256(stored[f.StoredOff:f.StoredOff+f.StoredLen]) != f.Hash {
			t.Errorf("frame %d has another hash", i)
		}
		plainAt, storedAt = plainAt+f.PlainLen, storedAt+f.StoredLen
		all.Write(f.Hash[:])
	}
	if [32]byte(all.Sum(nil)) != res.Digest || plainAt != res.Plain || storedAt != res.Stored {
		t.Error("the frames do not add up to the result")
	}
}

func checkStream(t *testing.T, plain []byte, rows []archive.TreeRow, contents map[string][]byte) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(plain))
	for i := 0; ; i++ {
		h, err := r.Next()
		if err == io.EOF {
			if i != len(rows) {
				t.Errorf("%d entries, %d rows", i, len(rows))
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		row := rows[i]
		path := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
		if row.Path != path {
			t.Fatalf("entry %d is %q, its row %q", i, path, row.Path)
		}
		at, err := tar.NewReader(bytes.NewReader(plain[row.At:])).Next()
		if err != nil || at.Name != h.Name {
			t.Fatalf("%q is not at %d: %v", path, row.At, err)
		}
		want, file := contents[path]
		if !file {
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: %d bytes of %d (%v)", path, len(got), len(want), err)
		}
		if row.Sum == nil || *row.Sum != sha256.Sum256(want) || row.Size != int64(len(want)) {
			t.Errorf("%q: its row has another hash or size", path)
		}
	}
}

func TestTreesAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	dir, _ := writeSome(t)
	var first []byte
	for i := range 3 {
		var b bytes.Buffer
		if _, err := archive.WriteTree(t.Context(), openTree(t, dir), &b, &treeRows{}, archive.TreeOptions{Codec: mustCodec("lz4", 1), Workers: i + 1, Reads: 1 + 20*i}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			t.Errorf("run %d gave another stream", i)
		}
	}
}

// brokenTree has entries that cannot be read among those of a real tree.
type brokenTree struct {
	*filesystem.Tree
	every int   // each so manieth
	last  error // at the end
}

func (b brokenTree) Walk(ctx context.Context) iter.Seq2[*filesystem.Entry, error] {
	return func(yield func(*filesystem.Entry, error) bool) {
		n := 0
		for e, err := range b.Tree.Walk(ctx) {
			if n++; b.every > 0 && n%b.every == 0 {
				e, err = &filesystem.Entry{Path: e.Path}, &filesystem.PathError{Path: e.Path, Err: errBoom}
			}
			if !yield(e, err) {
				return
			}
		}
		if b.last != nil {
			yield(nil, b.last)
		}
	}
}

func TestUnreadableFilesFailTheTreeAndAreNamed(t *testing.T) {
	t.Parallel()
	dir, _ := writeSome(t)
	for every, want := range map[int]int{150: 2, 3: filesystem.Named} {
		_, err := archive.WriteTree(t.Context(), brokenTree{Tree: openTree(t, dir), every: every}, io.Discard, &treeRows{}, archive.TreeOptions{Codec: mustCodec("lz4", 1)})
		bad, ok := errors.AsType[*filesystem.UnreadableError](err)
		if !ok || len(bad.Errs) != want {
			t.Errorf("each %dth: %v, want %d named", every, err, want)
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errBoom
	}
	return len(p), nil
}

// Each error ends the writing, is the one that is returned, and leaves nothing.
func TestTreeErrorsEndIt(t *testing.T) {
	dir, _ := writeSome(t)
	files := openTree(t, dir)
	goroutines := runtime.NumGoroutine()
	o := archive.TreeOptions{Codec: mustCodec("lz4", 1)}
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errBoom)
	for name, run := range map[string]func() error{
		"writer": func() error {
			_, err := archive.WriteTree(t.Context(), files, &failingWriter{3 << 20}, &treeRows{}, o)
			return err
		},
		"rows": func() error {
			_, err := archive.WriteTree(t.Context(), files, io.Discard, &treeRows{fail: func(n int) error {
				if n == 40 {
					return errBoom
				}
				return nil
			}}, o)
			return err
		},
		"walk": func() error {
			_, err := archive.WriteTree(t.Context(), brokenTree{Tree: files, last: errBoom}, io.Discard, &treeRows{}, o)
			return err
		},
		"context": func() error {
			_, err := archive.WriteTree(cancelled, files, io.Discard, &treeRows{}, o)
			return err
		},
	} {
		if err := run(); !errors.Is(err, errBoom) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; runtime.NumGoroutine() > goroutines; i++ {
		if i == 1000 {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), goroutines)
		}
		runtime.Gosched()
	}
}
