package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/codec"
)

func openTree(t testing.TB, all []TreeEntry) (*EntriesIndex, *countingReaderAt) {
	t.Helper()
	var b bytes.Buffer
	writeTree(t, &b, all)
	r := &countingReaderAt{data: b.Bytes()}
	x, err := OpenEntries(r, int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	r.reads = 0
	return x, r
}

// Any entry is found from the tail by one read, and any frame of the tar.
func TestLookup(t *testing.T) {
	all := files(20_000)
	x, r := openTree(t, all)
	if x.Kind() != Tar || len(x.index) < 3 {
		t.Fatalf("kind %s, %d frames of entries: the test shows nothing", x.Kind(), len(x.index))
	}
	for i := 0; i < len(all); i += 331 {
		r.reads = 0
		got, err := x.Lookup(all[i].Path)
		if diff := cmp.Diff(all[i], got); err != nil || diff != "" || r.reads != 1 {
			t.Fatalf("entry %d: %v after %d reads (-want +got):\n%s", i, err, r.reads, diff)
		}
		r.reads = 0
		f, err := x.FrameAt(got.At)
		if err != nil || f.PlainOff > got.At || f.PlainOff+f.PlainLen <= got.At || r.reads != 1 {
			t.Fatalf("frame of byte %d: %+v, %v after %d reads", got.At, f, err, r.reads)
		}
	}
	for _, p := range x.named { // at the borders
		if got, err := x.Lookup(p.path); err != nil || got.Path != p.path {
			t.Errorf("%q: %q, %v", p.path, got.Path, err)
		}
	}
	for _, path := range []string{"a", "folder-00000000/", "folder-00000000/some", "zzz", "folder-00000000.x", strings.Repeat("x", 1<<20)} {
		if got, err := x.Lookup(path); !errors.Is(err, ErrNoEntry) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %+v, %v, want ErrNoEntry", path, got, err)
		}
	}
	if _, err := x.FrameAt(all[len(all)-1].At + 1<<30); !errors.Is(err, io.EOF) {
		t.Errorf("a frame behind the end: %v, want io.EOF", err)
	}
}

// Paths that are alike for longer than the trailer tells are found, too.
func TestLookupAlike(t *testing.T) {
	all := []TreeEntry{{Type: Folder}}
	sum := sum256(nil)
	add := func(path string, k EntryType) {
		e := TreeEntry{Path: path, Type: k, At: int64(len(all)) * 512}
		if k == File {
			e.SHA256 = &sum
		}
		all = append(all, e)
	}
	deep := ""
	for range 4 {
		deep = strings.TrimPrefix(deep+"/"+strings.Repeat("d", 200), "/")
		add(deep, Folder)
	}
	for i := range 5000 {
		add(fmt.Sprintf("%s/%06d", deep, i), File)
	}
	add("e", Folder)
	x, r := openTree(t, all)
	if len(x.index) < 4 {
		t.Fatalf("only %d frames of entries: the test shows nothing", len(x.index))
	}
	for i, want := range all {
		if i > 5 && i%311 != 0 && i < len(all)-2 {
			continue
		}
		r.reads = 0
		if got, err := x.Lookup(want.Path); err != nil || got.Path != want.Path || r.reads > 5 {
			t.Fatalf("%q: %q, %v after %d reads", want.Path, got.Path, err, r.reads)
		}
	}
	for _, path := range []string{deep + "/", deep + "/0000005", deep + "/x", deep + "x", deep[:600], deep[:512]} {
		if got, err := x.Lookup(path); !errors.Is(err, ErrNoEntry) {
			t.Errorf("%q: %+v, %v, want ErrNoEntry", path, got, err)
		}
	}
}

// A file of many frames leaves frames of entries without an entry.
func TestLookupBesideLargeFile(t *testing.T) {
	sum := sum256(nil)
	var b bytes.Buffer
	w := *NewEntriesWriter(&b, tarHeader())
	large := TreeEntry{Path: "large", Type: File, Size: 20_000 * codec.FrameSize, SHA256: &sum, At: 512}
	small := TreeEntry{Path: "small", Type: File, SHA256: &sum, At: 20_000*codec.FrameSize + 1024}
	if err := errors.Join(w.Entry(TreeEntry{Type: Folder}), w.Entry(large)); err != nil {
		t.Fatal(err)
	}
	f := codec.Frame{PlainLen: codec.FrameSize}
	for i := range 20_001 {
		f.StoredLen = int64(i%2 + 1) // each a row of its own
		if err := w.Frame(f); err != nil {
			t.Fatal(err)
		}
		f.PlainOff, f.StoredOff = f.PlainOff+f.PlainLen, f.StoredOff+f.StoredLen
	}
	if err := errors.Join(w.Entry(small), w.Close()); err != nil {
		t.Fatal(err)
	}
	x, err := OpenEntries(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(x.named) == len(x.index) {
		t.Fatalf("all of %d frames have entries: the test shows nothing", len(x.index))
	}
	for _, want := range []TreeEntry{{Type: Folder}, large, small} {
		got, err := x.Lookup(want.Path)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", want.Path, err, diff)
		}
	}
	for _, off := range []int64{0, 10_000*codec.FrameSize + 7, small.At} {
		if f, err := x.FrameAt(off); err != nil || f.PlainOff != off-off%codec.FrameSize {
			t.Errorf("frame of byte %d: %+v, %v", off, f, err)
		}
	}
}

func TestLookupInImage(t *testing.T) {
	_, data := large(t)
	x, err := OpenEntries(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := x.Lookup(""); err == nil || errors.Is(err, ErrNoEntry) || x.Kind() != Image {
		t.Errorf("entry %+v, %v, kind %s", e, err, x.Kind())
	}
}

// The rows of trailers, and what is refused in them.
func TestParseIndex(t *testing.T) {
	row := func(at int, what string) string {
		return fmt.Sprintf(`{"at":%d,"size":10,"plain_size":20,%s"offset":0}`+"\n", at, what)
	}
	tests := []struct {
		name, rows string
		kind       Kind // "": refused
	}{
		{"image", row(0, `"block":0,`) + row(10, `"block":7,`), Image},
		{"tar", row(0, `"path":".",`) + row(10, ``) + row(20, `"path":"a",`) + row(30, `"path":"a",`) + row(40, `"path_b64":"/w==",`), Tar},
		{"nothing", "", ""},
		{"both", row(0, `"block":0,`) + row(10, `"path":"a",`), ""},
		{"both forms", row(0, `"path":"a","path_b64":"eA==",`), ""},
		{"descending paths", row(0, `"path":".",`) + row(10, `"path":"b",`) + row(20, `"path":"a",`), ""},
		{"descending paths around one without", row(0, `"path":"b",`) + row(10, ``) + row(20, `"path":"a",`), ""},
		{"descending blocks", row(0, `"block":0,`) + row(10, `"block":7,`) + row(20, `"block":6,`), ""},
		{"first block", row(0, `"block":1,`), ""},
		{"empty path", row(0, `"path":"",`), ""},
		{"long path", row(0, `"path":"`+strings.Repeat("x", 513)+`",`), ""},
		{"gap", row(0, `"path":".",`) + row(11, ``), ""},
	}
	for _, tt := range tests {
		kind, index, err := parseIndex([]byte(tt.rows), int64(10*strings.Count(tt.rows, "\n")))
		if kind != tt.kind || (err == nil) != (tt.kind != "") || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %q, %d rows, %v, want %q", tt.name, kind, len(index), err, tt.kind)
			continue
		}
		again := []byte(nil)
		for i := range index {
			again = appendPlace(again, kind, &index[i])
		}
		if err == nil && string(again) != tt.rows {
			t.Errorf("%s: written again\n%s, want\n%s", tt.name, again, tt.rows)
		}
	}
}

func FuzzLookup(f *testing.F) {
	var b bytes.Buffer
	writeTree(f, &b, sorted())
	f.Add(b.Bytes(), "a/file")
	f.Add(b.Bytes(), "a/sub")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		x, err := OpenEntries(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if e, err := x.Lookup(path); err == nil && (e.Path != path || e.check() != nil) {
			t.Errorf("%q: found %+v", path, e)
		}
	})
}
