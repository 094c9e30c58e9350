package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
)

func TestTimestamps(t *testing.T) {
	tests := []struct {
		time Timestamp
		text string
	}{
		{Timestamp{}, "0.000000000"},
		{Timestamp{1_700_000_000, 1}, "1700000000.000000001"},
		{Timestamp{-1, 0}, "-1.000000000"},
		{Timestamp{-1, 500_000_000}, "-0.500000000"},
		{Timestamp{-2, 500_000_000}, "-1.500000000"},
		{Timestamp{-1, 999_999_999}, "-0.000000001"},
		{Timestamp{math.MaxInt64, 999_999_999}, "9223372036854775807.999999999"},
		{Timestamp{math.MinInt64, 0}, "-9223372036854775808.000000000"},
		{Timestamp{math.MinInt64, 1}, "-9223372036854775807.999999999"},
	}
	for _, tt := range tests {
		if got := tt.time.String(); got != tt.text {
			t.Errorf("%+v is %q, want %q", tt.time, got, tt.text)
		}
		if got, err := parseTimestamp(tt.text); err != nil || got != tt.time {
			t.Errorf("%q is %+v, %v, want %+v", tt.text, got, err, tt.time)
		}
	}
	for _, text := range []string{
		"", "1", "1.5", "1.0000000000", ".000000000", "-.000000000", "1.00000000x", "+1.000000000", "--1.000000000",
		"9223372036854775808.000000000", "-9223372036854775808.000000001", "-18446744073709551615.000000001",
		"99999999999999999999.000000000", "1_0.000000000", "1e3.000000000", "1.-00000000", " 1.000000000",
	} {
		if got, err := parseTimestamp(text); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q is %+v, %v, want ErrDamaged", text, got, err)
		}
	}
}

func TestTimestampsOfAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Timestamp{rapid.Int64().Draw(t, "sec"), rapid.Uint32Range(0, perSecond-1).Draw(t, "nsec")}
		if got, err := parseTimestamp(want.String()); err != nil || got != want {
			t.Fatalf("%q is %+v, %v, want %+v", want.String(), got, err, want)
		}
	})
}

// The order is that of the paths' components, compared as bytes.
func TestComparePaths(t *testing.T) {
	ascending := []string{"", "\x01", "a", "a/x", "a/x/y", "a/y", "a\x01", "a ", "a.b", "a0", "aa", "b", "é", "\xff", "\xff/\x01"}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := ComparePaths(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("ComparePaths(%q, %q) is %d", a, b, got)
			}
		}
	}
	name := rapid.StringMatching("[\x01-\x30a-c]{0,3}")
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if got, want := ComparePaths(a, b), slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")); (got < 0) != (want < 0) && a != "" && b != "" {
			t.Fatalf("ComparePaths(%q, %q) is %d, by component %d", a, b, got, want)
		}
	})
}

// tar is a made-up tree with an entry of every kind.
func tar() []TreeEntry {
	sum, attrs := sum256([]byte("content")), sum256([]byte("xattrs"))
	return []TreeEntry{
		{Type: Folder, Mode: 0o1755, MTime: Timestamp{Sec: 1}, At: 0},
		{Path: "a", Type: Folder, Mode: 0o2750, UID: 1000, GID: 1000, MTime: Timestamp{-2, 500_000_000}, Xattrs: &attrs, At: 512},
		{Path: "a/block", Type: BlockDevice, Mode: 0o660, GID: 6, Major: 259, Minor: 1 << 19, At: 1024},
		{Path: "a/char", Type: CharDevice, Mode: 0o666, Major: 1, Minor: 3, At: 1536},
		{Path: "a/empty", Type: File, SHA256: &sum, At: 2048},
		{Path: "a/fifo", Type: Fifo, Mode: 0o600, At: 2560},
		{Path: "a/file", Type: File, Mode: 0o4711, UID: math.MaxUint32, GID: math.MaxUint32, MTime: Timestamp{1_700_000_000, 1}, Size: 700, Xattrs: &attrs, SHA256: &sum, At: 3072},
		{Path: "a/link", Type: Symlink, Mode: 0o777, Link: "/etc/\xffpasswd\n", Xattrs: &attrs, At: 5120},
		{Path: "a/sub", Type: Folder, Mode: 0o755, Subvolume: true, At: 5632},
		{Path: "a/sub/big", Type: File, Mode: 0o644, Size: 1 << 40, SHA256: &sum, Runs: true, Sparse: true, Data: 4096, At: 6144},
		{Path: "a/sub/hole", Type: File, Mode: 0o644, Size: 1 << 20, SHA256: &sum, Sparse: true, At: 11776},
		{Path: "a/sub.x", Type: HardLink, Mode: 0o4711, MTime: Timestamp{1_700_000_000, 1}, Link: "a/file", At: 12800},
		{Path: "b\xfe\"\\\x1f<é\u0085\u2028\x7f>", Type: File, SHA256: &sum, At: 13312},
		{Path: "\"\\\t<é\u0080\u009f\u00a0\u2028\x7f>&", Type: File, SHA256: &sum, At: 13824},
	}
}

// sorted is tar in order.
func sorted() []TreeEntry {
	all := tar()
	last := len(all) - 1
	all[last].At = 512 // it comes behind the root
	for i := 1; i < last; i++ {
		all[i].At += 512
	}
	all = slices.Insert(all[:last], 1, all[last])
	return all
}

// What is written for each kind of entry, to the byte.
func TestTreeRows(t *testing.T) {
	sum := `"7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="` // printf content | openssl dgst -sha256 -binary | base64
	attrs := `"` + encoded(sum256([]byte("xattrs"))) + `"`
	if sum != `"`+encoded(sum256([]byte("content")))+`"` {
		t.Fatalf("the hash is %s", encoded(sum256([]byte("content"))))
	}
	want := []string{
		`{"path":".","type":"folder","mode":1005,"uid":0,"gid":0,"mtime":"1.000000000","at":0}`,
		`{"path":"\"\\\u0009<é\u0080\u009f` + "\u00a0\u2028" + `\u007f>&","type":"file","mode":0,"uid":0,"gid":0,"mtime":"0.000000000","size":0,"sha256":` + sum + `,"at":512}`,
		`{"path":"a","type":"folder","mode":1512,"uid":1000,"gid":1000,"mtime":"-1.500000000","xattrs":` + attrs + `,"at":1024}`,
		`{"path":"a/block","type":"block","mode":432,"uid":0,"gid":6,"mtime":"0.000000000","major":259,"minor":524288,"at":1536}`,
		`{"path":"a/char","type":"char","mode":438,"uid":0,"gid":0,"mtime":"0.000000000","major":1,"minor":3,"at":2048}`,
		`{"path":"a/empty","type":"file","mode":0,"uid":0,"gid":0,"mtime":"0.000000000","size":0,"sha256":` + sum + `,"at":2560}`,
		`{"path":"a/fifo","type":"fifo","mode":384,"uid":0,"gid":0,"mtime":"0.000000000","at":3072}`,
		`{"path":"a/file","type":"file","mode":2505,"uid":4294967295,"gid":4294967295,"mtime":"1700000000.000000001","size":700,"xattrs":` + attrs + `,"sha256":` + sum + `,"at":3584}`,
		`{"path":"a/link","type":"symlink","mode":511,"uid":0,"gid":0,"mtime":"0.000000000","link_b64":"L2V0Yy//cGFzc3dkCg==","xattrs":` + attrs + `,"at":5632}`,
		`{"path":"a/sub","type":"folder","mode":493,"uid":0,"gid":0,"mtime":"0.000000000","at":6144,"subvolume":true}`,
		`{"path":"a/sub/big","type":"file","mode":420,"uid":0,"gid":0,"mtime":"0.000000000","size":1099511627776,"sha256":` + sum + `,"runs":true,"data":4096,"at":6656}`,
		`{"path":"a/sub/hole","type":"file","mode":420,"uid":0,"gid":0,"mtime":"0.000000000","size":1048576,"sha256":` + sum + `,"data":0,"at":12288}`,
		`{"path":"a/sub.x","type":"hardlink","mode":2505,"uid":0,"gid":0,"mtime":"1700000000.000000001","link":"a/file","at":13312}`,
		`{"path_b64":"Yv4iXB88w6nCheKAqH8+","type":"file","mode":0,"uid":0,"gid":0,"mtime":"0.000000000","size":0,"sha256":` + sum + `,"at":13824}`,
	}
	var b bytes.Buffer
	writeTree(t, &b, sorted())
	rows := strings.Split(string(unpack(t, b.Bytes())), "\n")
	if diff := cmp.Diff(want, rows[1:len(want)+1]); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if want := `{"entries":1,"kind":"tar","archive":"vol-1/x.1.tar.zstd","snapshot":"snap-1","run":"r-1","codec":"zstd","frame_size":4194304}`; rows[0] != want {
		t.Errorf("header %s, want %s", rows[0], want)
	}
	if diff := cmp.Diff(sorted(), readTree(t, b.Bytes())); diff != "" {
		t.Errorf("entries (-written +read):\n%s", diff)
	}
}

// Any bytes in names come back, whichever members they are in.
func TestTreeRowsOfAnyNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.StringMatching("[\x00-\x1f\x7f-\u00a0\u2028\"\\\\]*"))
		e := TreeEntry{
			Path: name.Draw(t, "path"), Type: Symlink, Link: name.Draw(t, "link"), Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"),
			UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"), At: rapid.Int64().Draw(t, "at"),
		}
		if e.Path == "." {
			e.Path = ""
		}
		line := appendEntry(nil, &e)
		if !json.Valid(line) || bytes.ContainsFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
			t.Fatalf("%q is not JSON, or has control characters", line)
		}
		row, known, err := parseRow(line)
		if err != nil || !known || row.Entry == nil {
			t.Fatalf("%q was not read: %v", line, err)
		}
		if diff := cmp.Diff(e, *row.Entry); diff != "" {
			t.Fatalf("%q (-written +read):\n%s", line, diff)
		}
	})
}

// Of the longest names all fits into a row; longer ones are refused with a way on.
func TestLongNames(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("\x01", 255)+"/", MaxPath/256), "/")
	for _, name := range []string{long, strings.ReplaceAll(long, "\x01", "\xff")} {
		var all []TreeEntry
		for i := 0; i <= len(name); i++ {
			if i == len(name) || name[i] == '/' {
				all = append(all, TreeEntry{Path: name[:i], Type: Folder, At: int64(i+1) * tarBlock})
			}
		}
		all = slices.Insert(all, 0, TreeEntry{Type: Folder})
		last := all[len(all)-1]
		all = append(all, TreeEntry{Path: last.Path + "x", Type: Symlink, Link: name + name[:1], At: last.At + tarBlock})
		var b bytes.Buffer
		writeTree(t, &b, all)
		if diff := cmp.Diff(all, readTree(t, b.Bytes())); diff != "" {
			t.Errorf("entries (-written +read):\n%s", diff)
		}
		x, err := OpenEntries(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range all {
			if i%17 != 0 && i < len(all)-2 {
				continue
			}
			if got, err := x.Lookup(want.Path); err != nil || got != want {
				t.Fatalf("a path of %d bytes: %+v, %v", len(want.Path), got.Type, err)
			}
		}
	}
	e := NewEntriesWriter(&bytes.Buffer{}, tarHeader())
	err := errors.Join(e.Entry(TreeEntry{Type: Folder}), e.Entry(TreeEntry{Path: strings.Repeat("x", MaxPath+1), Type: Folder, At: 512}))
	if err == nil || !strings.Contains(err.Error(), "too long: a path of 65537 bytes; entries hold 65536") || len(err.Error()) > 600 || hint.Of(err) == "" {
		t.Errorf("a longer path: %v, hint %q", err, hint.Of(err))
	}
}
