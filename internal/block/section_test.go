package block_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/block"
)

func sparseFile(t *testing.T, size int64, data map[int64]string) *block.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for at, text := range data {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	src, err := block.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// A section reads as the same bytes of its volume do, lent memory or not, and
// ends where it ends.
func TestSectionReadsAsItsVolume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	disk := sparseFile(t, int64(len(content)), map[int64]string{0: string(content)})
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(0, int64(len(content))).Draw(t, "off")
		size := rapid.Int64Range(0, int64(len(content))-off).Draw(t, "size")
		s, err := block.Section(disk, off, size)
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.Int64Range(0, size+10).Draw(t, "at")
		n := rapid.IntRange(0, 2000).Draw(t, "n")
		want := content[min(off+at, off+size):min(off+at+int64(n), off+size)]
		for name, read := range map[string]func(context.Context, []byte, int64) (int, error){
			"ReadAt": s.ReadAt, "ReadLent": s.(block.LentReader).ReadLent,
		} {
			p := make([]byte, n)
			got, err := read(context.Background(), p, at)
			if !bytes.Equal(p[:got], want) {
				t.Fatalf("%s of %d bytes at %d in %d+%d: %d bytes, want %d", name, n, at, off, size, got, len(want))
			}
			if short := got < n; short != (err == io.EOF) || !short && err != nil {
				t.Fatalf("%s: %d of %d bytes and %v", name, got, n, err)
			}
		}
	})
}

func TestSectionHasTheExtentsInside(t *testing.T) {
	const mib = 1 << 20
	disk := sparseFile(t, 8*mib, map[int64]string{0: "a", 2 * mib: "b", 5 * mib: "c"})
	s, err := block.Section(disk, mib, 3*mib)
	if err != nil {
		t.Fatal(err)
	}
	var got []block.Extent
	for e, err := range s.Extents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if diff := cmp.Diff([]block.Extent{{Off: mib, Len: block.Size}}, got); diff != "" {
		t.Error(diff)
	}
	for _, outside := range [][2]int64{{-1, 1}, {0, 8*mib + 1}, {8*mib + 1, 0}, {0, -1}} {
		if _, err := block.Section(disk, outside[0], outside[1]); err == nil {
			t.Errorf("a section of %d bytes at %d", outside[1], outside[0])
		}
	}
}

func TestIsZero(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		data map[int64]string
		want bool
	}{
		"nothing":      {nil, true},
		"zeros":        {map[int64]string{3 * mib: "\x00\x00\x00"}, true},
		"last byte":    {map[int64]string{70*mib + 6: "x"}, false},
		"in the midst": {map[int64]string{mib: "\x00", 40*mib + 77: "x"}, false},
	} {
		got, err := block.IsZero(t.Context(), sparseFile(t, 70*mib+7, c.data))
		if err != nil || got != c.want {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if _, err := block.IsZero(ended, sparseFile(t, mib, map[int64]string{0: "x"})); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("an ended context: %v", err)
	}
}
