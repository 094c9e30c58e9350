package block

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func collect(t interface {
	Helper()
	Fatal(...any)
}, s Source,
) []Extent {
	t.Helper()
	var all []Extent
	for e, err := range s.Extents(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// sparse makes a file of that size with a byte at each offset.
func sparse(t interface{ Fatal(...any) }, path string, size int64, at ...int64) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range at {
		if _, err := f.WriteAt([]byte{1}, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// needHoles skips where the filesystem of the tests cannot tell holes.
func needHoles(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe")
	sparse(t, path, 64<<20)
	if len(collect(t, openFile(t, path))) != 0 {
		t.Skip("this filesystem has no SEEK_DATA")
	}
}

func TestExtents(t *testing.T) {
	t.Parallel()
	needHoles(t)
	const mib = 1 << 20
	for _, x := range []struct {
		name string
		size int64
		at   []int64
		want []Extent
	}{
		{"empty", 0, nil, nil},
		{"all a hole", 64 * mib, nil, nil},
		{"one byte at the start", 64 * mib, []int64{0}, []Extent{{0, Size}}},
		{"one byte in the middle of a block", 64 * mib, []int64{5*mib + 300_000}, []Extent{{5 * mib, Size}}},
		{"neighbours are one", 64 * mib, []int64{5 * mib, 5*mib + Size}, []Extent{{5 * mib, 2 * Size}}},
		{"two in a block", 64 * mib, []int64{5 * mib, 5*mib + 400_000}, []Extent{{5 * mib, Size}}},
		{"apart", 64 * mib, []int64{0, 20 * mib, 40*mib + Size}, []Extent{{0, Size}, {20 * mib, Size}, {40*mib + Size, Size}}},
		{"the end is no block", 10*mib + 5000, []int64{10*mib + 4999}, []Extent{{10 * mib, 5000}}},
		{"2 TiB", 2 << 40, []int64{1 << 40}, []Extent{{1 << 40, Size}}},
	} {
		path := filepath.Join(t.TempDir(), "image")
		sparse(t, path, x.size, x.at...)
		if d := cmp.Diff(x.want, collect(t, openFile(t, path))); d != "" {
			t.Errorf("%s: -want +got\n%s", x.name, d)
		}
	}
}

// Whatever is written lies in an extent; extents are in order, apart, and whole
// blocks; and what is far from any data is in none.
func TestExtentsProperty(t *testing.T) {
	t.Parallel()
	needHoles(t)
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 40<<20).Draw(t, "size")
		at := rapid.SliceOfN(rapid.Int64Range(0, size-1), 0, 12).Draw(t, "at")
		path := filepath.Join(dir, "image")
		sparse(t, path, size, at...)
		defer os.Remove(path)
		f, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		extents := collect(t, f)
		end, total := int64(-1), int64(0)
		for _, e := range extents {
			if e.Off <= end || e.Len <= 0 || e.Off%Size != 0 || e.Len%Size != 0 && e.Off+e.Len != size || e.Off+e.Len > size {
				t.Fatalf("extent %+v after %d in a file of %d", e, end, size)
			}
			end, total = e.Off+e.Len, total+e.Len
		}
		if total > int64(len(at))*Size {
			t.Fatalf("%d bytes in extents for %d written blocks", total, len(at))
		}
		for _, off := range at {
			found := false
			for _, e := range extents {
				found = found || e.Off <= off && off < e.Off+e.Len
			}
			if !found {
				t.Fatalf("the byte at %d is in no extent of %+v", off, extents)
			}
		}
	})
}

func TestExtentsEndWithTheContext(t *testing.T) {
	t.Parallel()
	f := openFile(t, imageFile(t, noise(Size)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got []error
	for _, err := range f.Extents(ctx) {
		got = append(got, err)
	}
	if len(got) != 1 || !errors.Is(got[0], context.Canceled) {
		t.Errorf("got %v", got)
	}
}
