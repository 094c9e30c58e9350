package layout

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/codec"
)

func encoded(sum [32]byte) string { return base64.StdEncoding.EncodeToString(sum[:]) }

// unpack is the inverse of pack.
func unpack(t testing.TB, object []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	rows, err := dec.DecodeAll(object, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func readTree(t testing.TB, object []byte) []TreeEntry {
	t.Helper()
	var all []TreeEntry
	for row, err := range ReadEntries(bytes.NewReader(object)) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Entry != nil {
			all = append(all, *row.Entry)
		}
	}
	return all
}

func TestTreeEnd(t *testing.T) {
	all := sorted()
	var b bytes.Buffer
	e := writeTree(t, &b, all)
	end, err := e.End()
	if err != nil {
		t.Fatal(err)
	}
	plain := all[len(all)-1].At + 3*tarBlock
	hash := sum256(make([]byte, 8))
	want := EntriesEnd{
		Files:  Files{Entries: 14, Regular: 6, Folders: 3, Bytes: 700 + 1<<40 + 1<<20},
		Frames: 1, PlainSize: plain, StoredSize: 1000, Digest: fmt.Sprintf("%x", sum256(hash[:])),
	}
	if diff := cmp.Diff(want, end); diff != "" {
		t.Errorf("end (-want +got):\n%s", diff)
	}
	rows := strings.Split(strings.TrimSuffix(string(unpack(t, b.Bytes())), "\n"), "\n")
	row := fmt.Sprintf(`{"end":{"files":{"entries":14,"regular":6,"folders":3,"bytes":1099512677052},"frames":1,"plain_size":%d,"stored_size":1000,"digest":"%s"}}`, plain, want.Digest)
	if got := rows[len(rows)-1]; got != row {
		t.Errorf("last row %s, want %s", got, row)
	}
}

// Names of partitions and filesystems are bytes, too.
func TestNamesInTheHeader(t *testing.T) {
	for _, name := range []string{"", "root <1>", "\xffé"} {
		h := tarHeader()
		h.Name, h.Label = name, name+"!"
		var b bytes.Buffer
		w := NewEntriesWriter(&b, h)
		if err := errors.Join(w.Entry(TreeEntry{Type: Folder}), w.Frame(codec.Frame{PlainLen: 1024, StoredLen: 9}), w.Close()); err != nil {
			t.Fatal(err)
		}
		for row, err := range ReadEntries(&b) {
			if err != nil {
				t.Fatal(err)
			}
			if row.Header != nil && (row.Header.Name != h.Name || row.Header.Label != h.Label) {
				t.Errorf("%q and %q came back as %q and %q", h.Name, h.Label, row.Header.Name, row.Header.Label)
			}
		}
	}
}

// What cannot be true of a tree is refused by the writer, and by the reader.
func TestTreeRefuses(t *testing.T) {
	sum := sum256(nil)
	root := TreeEntry{Type: Folder}
	folder := TreeEntry{Path: "b", Type: Folder, At: 512}
	file := TreeEntry{Path: "b/f", Type: File, Size: 9, SHA256: &sum, At: 1024}
	with := func(e TreeEntry, edit func(*TreeEntry)) []TreeEntry {
		edit(&e)
		return []TreeEntry{root, folder, e}
	}
	tests := []struct {
		name    string
		entries []TreeEntry
		text    string
	}{
		{"fine", []TreeEntry{root, folder, file}, ""},
		{"nothing", nil, "no entry, not even the root, is told of"},
		{"no root", []TreeEntry{folder}, "it is the first, and not the root folder"},
		{"root is a file", []TreeEntry{{Type: File, SHA256: &sum}}, "it is the first, and not the root folder"},
		{"two roots", []TreeEntry{root, {Type: Folder, At: 512}}, `it follows "./", but does not come behind it`},
		{"descending", []TreeEntry{root, folder, {Path: "a", Type: Folder, At: 1024}}, `entry "./a": it follows "./b", but does not come behind it`},
		{"twice", []TreeEntry{root, folder, {Path: "b", Type: Folder, At: 1024}}, `entry "./b": it follows "./b", but`},
		{"by bytes, not by component", []TreeEntry{root, folder, {Path: "b.c", Type: Folder, At: 1024}, {Path: "b/c", Type: Folder, At: 1536}}, `entry "./b/c": it follows "./b.c", but`},
		{"folder is missing", []TreeEntry{root, folder, {Path: "c/d", Type: Folder, At: 1024}}, `entry "./c/d": it follows "./b", but the folder that it is in did not`},
		{"below a file", []TreeEntry{root, folder, file, {Path: "b/f/g", Type: Folder, At: 4096}}, "the folder that it is in did not"},
		{"below a symlink", []TreeEntry{root, {Path: "a", Type: Symlink, Link: "/etc", At: 512}, {Path: "a/passwd", Type: File, SHA256: &sum, At: 1024}}, "the folder that it is in did not"},
		{"below half a name", []TreeEntry{root, {Path: "bc", Type: Folder, At: 512}, {Path: "bc/d", Type: Folder, At: 1024}, {Path: "bcd/e", Type: Folder, At: 2048}}, "the folder that it is in did not"},
		{"header not ascending", with(file, func(e *TreeEntry) { e.At = 512 }), "its header is at 512, not behind 512"},
		{"header not at a block", with(file, func(e *TreeEntry) { e.At = 1025 }), "its header is at 1025"},
		{"header behind the end", with(file, func(e *TreeEntry) { e.At = 1 << 20 }), "frames of 8192 bytes are told of, and a header at 1048576"},
		{"absolute", with(file, func(e *TreeEntry) { e.Path = "/b" }), `a path with a part ""`},
		{"upwards", with(file, func(e *TreeEntry) { e.Path = "b/../../etc" }), `a path with a part ".."`},
		{"dot", with(file, func(e *TreeEntry) { e.Path = "b/./f" }), `a path with a part "."`},
		{"slash at the end", with(file, func(e *TreeEntry) { e.Path = "b/f/" }), `a path with a part ""`},
		{"NUL", with(file, func(e *TreeEntry) { e.Path = "b/f\x00" }), "a path with a NUL"},
		{"no type", with(file, func(e *TreeEntry) { e.Type = "" }), `type is ""`},
		{"socket", with(file, func(e *TreeEntry) { e.Type = "socket" }), `type is "socket"`},
		{"mode with a type", with(file, func(e *TreeEntry) { e.Mode = 0o100644 }), "mode is 100644"},
		{"nanoseconds", with(file, func(e *TreeEntry) { e.MTime.Nsec = perSecond }), "mtime has 1000000000 nanoseconds"},
		{"file without a hash", with(file, func(e *TreeEntry) { e.SHA256 = nil }), "a file with the size or the hash of a file, or a file without"},
		{"negative size", with(file, func(e *TreeEntry) { e.Size = -1 }), "a file of -1 bytes"},
		{"more data than bytes", with(file, func(e *TreeEntry) { e.Sparse, e.Data = true, 10 }), "a file of 9 bytes with 10 of data"},
		{"data, but not sparse", with(file, func(e *TreeEntry) { e.Data = 1 }), "stored sparse: false"},
		{"runs, but not sparse", with(file, func(e *TreeEntry) { e.Runs = true }), "hashed so: true"},
		{"file with a link", with(file, func(e *TreeEntry) { e.Link = "b" }), "a file with a link of 1 bytes"},
		{"folder with a hash", with(file, func(e *TreeEntry) { e.Type, e.Size = Folder, 0 }), "a folder with the size or the hash"},
		{"folder with a size", with(folder, func(e *TreeEntry) { e.Path, e.Size = "c", 4096 }), "a folder with the size or the hash"},
		{"file as a subvolume", with(file, func(e *TreeEntry) { e.Subvolume = true }), "a file that is a subvolume or has xattrs"},
		{"file with numbers", with(file, func(e *TreeEntry) { e.Minor = 1 }), "a file with the numbers of a device"},
		{"symlink to nothing", []TreeEntry{root, {Path: "l", Type: Symlink, At: 512}}, "a symlink with a link of 0 bytes"},
		{"hard link with xattrs", []TreeEntry{root, folder, {Path: "l", Type: HardLink, Link: "b", Xattrs: &sum, At: 1024}}, "a hardlink that is a subvolume or has xattrs"},
		{"hard link forwards", []TreeEntry{root, folder, {Path: "l", Type: HardLink, Link: "z", At: 1024}}, `a hard link to "./z", which does not come before it`},
		{"hard link upwards", []TreeEntry{root, folder, {Path: "l", Type: HardLink, Link: "../x", At: 1024}}, `a path with a part ".."`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			w := NewEntriesWriter(&b, tarHeader())
			rows := []byte(`{"entries":1,"kind":"tar","frame_size":4194304}` + "\n")
			var err error
			told := true // what is wrong can be told in rows
			for _, e := range tt.entries {
				err = errors.Join(err, w.Entry(e))
				row := appendEntry(nil, &e)
				again, _, errRow := parseRow(row)
				told = told && (errRow != nil || cmp.Equal(&e, again.Entry))
				rows = append(rows, row...)
			}
			frame := codec.Frame{PlainLen: 8192, StoredLen: 9}
			if err == nil {
				err = errors.Join(w.Frame(frame), w.Close())
			}
			if tt.text == "" && err != nil || tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("writer: %v, want %q", err, tt.text)
			}
			rows = appendFrames(rows, FrameRun{frame, 1})
			rows = append(rows, `{"end":{"files":{"entries":3,"regular":1,"folders":2,"bytes":9},"frames":1,"plain_size":8192,"stored_size":9,"digest":"66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"}}`...)
			err = nil
			for _, e := range ReadEntries(bytes.NewReader(pack(t, string(rows)+"\n"))) {
				err = errors.Join(err, e)
			}
			if told && (err == nil) != (tt.text == "") || err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("reader: %v", err)
			}
		})
	}
}

// Rows of an image have no place among those of a tar, and the other way round.
func TestKindsDoNotMix(t *testing.T) {
	for name, do := range map[string]func(*EntriesWriter) error{
		"zero":   func(w *EntriesWriter) error { return w.Zero(0, 1) },
		"absent": func(w *EntriesWriter) error { return w.Absent(0, 1) },
		"data":   func(w *EntriesWriter) error { return w.Data(0, make([][32]byte, 1)) },
		"frame behind a short one": func(w *EntriesWriter) error {
			return errors.Join(w.Frame(codec.Frame{PlainLen: 512, StoredLen: 1}), w.Frame(codec.Frame{PlainOff: 512, PlainLen: 512, StoredOff: 1, StoredLen: 1}))
		},
		"frame that is too large": func(w *EntriesWriter) error { return w.Frame(codec.Frame{PlainLen: codec.FrameSize + 1, StoredLen: 1}) },
		"end inside of a block": func(w *EntriesWriter) error {
			return errors.Join(w.Entry(TreeEntry{Type: Folder}), w.Frame(codec.Frame{PlainLen: 1000, StoredLen: 1}), w.Close())
		},
	} {
		if err := do(NewEntriesWriter(io.Discard, tarHeader())); err == nil {
			t.Errorf("%s in a tar: no error", name)
		}
	}
	if err := NewEntriesWriter(io.Discard, entriesOf(1)).Entry(TreeEntry{Type: Folder}); err == nil {
		t.Error("entry in an image: no error")
	}
	known := tarHeader()
	known.PlainSize = 1024
	if err := NewEntriesWriter(io.Discard, known).Entry(TreeEntry{Type: Folder}); err == nil {
		t.Error("a tar of known size: no error")
	}
}

// The bytes of all files are counted up to what a number holds.
func TestBytesBeyondMeasure(t *testing.T) {
	sum := sum256(nil)
	all := []TreeEntry{{Type: Folder}}
	for i := range 3 {
		all = append(all, TreeEntry{
			Path: fmt.Sprint(i), Type: File, Size: math.MaxInt64, SHA256: &sum, Runs: true, Sparse: true, At: int64(i+1) * 512,
		})
	}
	var b bytes.Buffer
	end, err := writeTree(t, &b, all).End()
	if err != nil || end.Files.Bytes != math.MaxInt64 {
		t.Errorf("%+v, %v", end.Files, err)
	}
	if got := readTree(t, b.Bytes()); len(got) != len(all) {
		t.Errorf("%d entries, want %d", len(got), len(all))
	}
}

func TestReadHostileTreeRows(t *testing.T) {
	const good = `{"path":"x","type":"file","mode":420,"uid":0,"gid":0,"mtime":"0.000000000","size":1,"sha256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","at":512}`
	for name, edit := range map[string][2]string{
		"fine":                 {"", ""},
		"members in any order": {`{"path":"x","type":"file"`, `{"type":"file","path":"x"`},
		"unknown member":       {`,"at"`, `,"birth":"1.5","at"`},
	} {
		if _, known, err := parseRow([]byte(strings.Replace(good, edit[0], edit[1], 1))); err != nil || !known {
			t.Errorf("%s: known: %t, %v", name, known, err)
		}
	}
	for name, edit := range map[string][2]string{
		"two paths":       {`"type"`, `"path_b64":"eA==","type"`},
		"empty path":      {`"path":"x"`, `"path":""`},
		"null path":       {`"path":"x"`, `"path":null`},
		"no mode":         {`"mode":420,`, ``},
		"no owner":        {`"uid":0,`, ``},
		"no group":        {`"gid":0,`, ``},
		"no mtime":        {`"mtime":"0.000000000",`, ``},
		"mtime a number":  {`"0.000000000"`, `0`},
		"no size":         {`"size":1,`, ``},
		"no place":        {`,"at":512`, ``},
		"short hash":      {`AAAA`, ``},
		"hash not Base64": {`AAAA`, `****`},
		"negative owner":  {`"uid":0`, `"uid":-1`},
		"large owner":     {`"uid":0`, `"uid":4294967296`},
		"half a number":   {`"size":1`, `"size":1.5`},
		"device's number": {`"at"`, `"major":0,"at"`},
		"link":            {`"at"`, `"link":"x","at"`},
		"folder's data":   {`"type":"file","mode":420`, `"type":"folder","mode":420`},
		"cut":             {`"at":512}`, `"at":5`},
	} {
		if row, _, err := parseRow([]byte(strings.Replace(good, edit[0], edit[1], 1))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v, want ErrDamaged", name, row.Entry, err)
		}
	}
}

// fuzzTree reads rows as entries, and holds what comes out to the rules.
func fuzzTree(t *testing.T, object []byte) {
	last, folders := "", map[string]bool{}
	first := true
	for row, err := range ReadEntries(bytes.NewReader(object)) {
		if err != nil || row.Entry == nil {
			continue
		}
		e := row.Entry
		parent := e.Path[:max(strings.LastIndexByte(e.Path, '/'), 0)]
		if !first && (ComparePaths(last, e.Path) >= 0 || !folders[parent]) {
			t.Errorf("%q follows %q; its folder was there: %t", e.Path, last, folders[parent])
		}
		for _, part := range strings.Split(e.Path, "/") {
			if part == "" && e.Path != "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
				t.Errorf("path %q", e.Path)
			}
		}
		again, _, err := parseRow(appendEntry(nil, e))
		if diff := cmp.Diff(e, again.Entry); diff != "" || err != nil {
			t.Errorf("%v (-read +read again):\n%s", err, diff)
		}
		last, first, folders[e.Path] = e.Path, false, e.Type == Folder
	}
}

func FuzzReadTree(f *testing.F) {
	var b bytes.Buffer
	writeTree(f, &b, sorted())
	f.Add(unpack(f, b.Bytes()))
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rows []byte) { fuzzTree(t, enc.EncodeAll(rows, nil)) })
}
