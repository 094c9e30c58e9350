package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/filesystem"
)

// readBack is what the tar of the standard library reads from header blocks
// followed by size zero bytes.
func readBack(t *rapid.T, head []byte, size int64) *tar.Header {
	t.Helper()
	h, err := tar.NewReader(io.MultiReader(bytes.NewReader(head), io.LimitReader(zeroReader{}, size+padding(size)))).Next()
	if err != nil {
		t.Fatalf("archive/tar: %v\n%q", err, head)
	}
	return h
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func anyName(t *rapid.T, label string, most int) string {
	b := rapid.SliceOfN(rapid.Byte().Filter(func(b byte) bool { return b != 0 && b != '/' }), 1, most).Draw(t, label)
	if s := string(b); s != "." && s != ".." {
		return s
	}
	return "dots"
}

func anyPath(t *rapid.T) string {
	var parts []string
	for range rapid.IntRange(1, 6).Draw(t, "depth") {
		parts = append(parts, anyName(t, "name", 255))
	}
	return strings.Join(parts, "/")
}

// Whatever an entry is called and whatever numbers it has, another reader of tar
// gets the same out of its header.
func TestHeadersSayWhatTheyWereTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &filesystem.Entry{
			Path: anyPath(t), Type: filesystem.Type(rapid.IntRange(int(filesystem.Regular), int(filesystem.Fifo)).Draw(t, "type")),
			Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
			Sec: rapid.Int64Range(-1<<40, 1<<40).Draw(t, "sec"), Nsec: rapid.Uint32Range(0, 999_999_999).Draw(t, "nsec"),
		}
		want := &tar.Header{Name: tarName(e), Typeflag: typeFlag(e.Type), Uid: int(e.UID), Gid: int(e.GID), ModTime: time.Unix(e.Sec, int64(e.Nsec))}
		switch e.Type {
		case filesystem.Symlink:
			e.Target = anyPath(t)
			want.Linkname = e.Target
		case filesystem.CharDevice, filesystem.BlockDevice:
			e.Major, e.Minor = rapid.Uint32Range(0, 1<<12-1).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor")
			want.Devmajor, want.Devminor = int64(e.Major), int64(e.Minor)
		case filesystem.Regular:
			e.Size = rapid.Int64Range(0, 1<<40).Draw(t, "size")
			want.Size = e.Size
		}
		cut, err := cutFile(e)
		if err != nil {
			t.Fatal(err)
		}
		head, err := new(headers).entry(e, "", cut)
		if err != nil {
			t.Fatal(err)
		}
		if len(head)%tarBlock != 0 {
			t.Fatalf("%d bytes of headers", len(head))
		}
		got := readBack(t, head, 0)
		if got.Name != want.Name || got.Linkname != want.Linkname || got.Typeflag != want.Typeflag || got.Size != want.Size ||
			got.Uid != want.Uid || got.Gid != want.Gid || got.Devmajor != want.Devmajor || got.Devminor != want.Devminor ||
			uint32(got.Mode) != e.Mode || !got.ModTime.Equal(want.ModTime) {
			t.Fatalf("got %+v\nof %+v", got, e)
		}
	})
}

func TestXattrsAreRecords(t *testing.T) {
	e := &filesystem.Entry{Path: "f", Type: filesystem.Regular, Xattrs: []filesystem.Xattr{
		{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0}},
		{Name: "security.selinux", Value: []byte("system_u:object_r:etc_t:s0\x00")},
		{Name: "system.posix_acl_access", Value: acl(aclEntries{{aclUserObj, 6, aclUndefined}, {aclUser, 4, 4294967294}, {aclGroupObj, 4, aclUndefined}, {aclMask, 4, aclUndefined}, {aclOther, 0, aclUndefined}})},
		{Name: "user.a=b%c\nd", Value: []byte("x=y\n\x00z")},
		{Name: "user.empty"},
		{Name: "user.large", Value: bytes.Repeat([]byte{7}, 60<<10)},
	}}
	head, err := new(headers).entry(e, "", pieces{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(bytes.NewReader(head)).Next()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00",
		"RHT.security.selinux":             "system_u:object_r:etc_t:s0",
		"SCHILY.acl.access":                "user::rw-\nuser:4294967294:r--\ngroup::r--\nmask::r--\nother::---\n",
		"SCHILY.xattr.user.a%3Db%25c\nd":   "x=y\n\x00z",
		"SCHILY.xattr.user.empty":          "",
		"SCHILY.xattr.user.large":          strings.Repeat("\x07", 60<<10),
	}
	if diff := cmp.Diff(want, h.PAXRecords); diff != "" {
		t.Error(diff)
	}
}

type aclEntries []struct {
	tag, perm uint16
	id        uint32
}

func acl(entries aclEntries) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func TestACLsThatAreNone(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty":     nil,
		"short":     {2, 0, 0},
		"version":   {3, 0, 0, 0},
		"half":      {2, 0, 0, 0, 1, 0, 0},
		"kind":      acl(aclEntries{{0x40, 1, 0}}),
		"nobody":    acl(aclEntries{{aclUser, 1, aclUndefined}}),
		"permitted": acl(aclEntries{{aclUserObj, 8, aclUndefined}}),
	} {
		if text, err := aclText(raw); err == nil {
			t.Errorf("%s: %q, want an error", name, text)
		}
	}
}

func TestPAXTimes(t *testing.T) {
	for _, c := range []struct {
		sec  int64
		nsec uint32
		want string
	}{
		{0, 0, "0"},
		{0, 1, "0.000000001"},
		{1, 500_000_000, "1.5"},
		{-1, 0, "-1"},
		{-2, 500_000_000, "-1.5"},
		{-1, 999_999_999, "-0.000000001"},
		{1 << 40, 999_999_999, "1099511627776.999999999"},
		{math.MinInt64, 0, "-9223372036854775808"},
		{7, 120_000, "7.00012"},
	} {
		if got := paxTime(c.sec, c.nsec); got != c.want {
			t.Errorf("%d s + %d ns: %s, want %s", c.sec, c.nsec, got, c.want)
		}
	}
}

// A sparse file is what other readers make of its map.
func TestSparseFilesAreReadByOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []byte
		e := &filesystem.Entry{Path: anyName(t, "path", 255), Type: filesystem.Regular, Sparse: true}
		var stored bytes.Buffer
		for range rapid.IntRange(0, 8).Draw(t, "pieces") {
			want = append(want, make([]byte, tarBlock*rapid.IntRange(1, 9).Draw(t, "hole"))...)
			data := bytes.Repeat([]byte{byte(len(want)>>9) | 1}, tarBlock*rapid.IntRange(1, 9).Draw(t, "data"))
			e.Data = append(e.Data, filesystem.Extent{Off: int64(len(want)), Len: int64(len(data))})
			want = append(want, data...)
			stored.Write(data)
		}
		want = append(want, make([]byte, rapid.IntRange(0, 3000).Draw(t, "end"))...)
		e.Size = int64(len(want))
		cut, err := cutFile(e)
		if err != nil {
			t.Fatal(err)
		}
		head, err := new(headers).entry(e, "", cut)
		if err != nil {
			t.Fatal(err)
		}
		stream := append(append(bytes.Clone(head), cut.sparse...), stored.Bytes()...)
		r := tar.NewReader(bytes.NewReader(append(stream, make([]byte, padding(int64(len(stream)))+2*tarBlock)...)))
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || h.Name != "./"+e.Path || !bytes.Equal(got, want) {
			t.Fatalf("%q, %d bytes of %d, equal %t, %v", h.Name, len(got), len(want), bytes.Equal(got, want), err)
		}
	})
}

func TestFilesWhoseMapsMakeNoSense(t *testing.T) {
	for name, data := range map[string][]filesystem.Extent{
		"behind the end": {{Off: 0, Len: 5000}},
		"backwards":      {{Off: 1024, Len: 512}, {Off: 0, Len: 512}},
		"empty":          {{Off: 0, Len: 0}},
		"unaligned":      {{Off: 100, Len: 512}},
		"huge":           {{Off: 1 << 62, Len: 1 << 62}},
	} {
		if _, err := cutFile(&filesystem.Entry{Size: 4096, Sparse: true, Data: data}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestByteSum(t *testing.T) {
	t.Parallel()
	for _, value := range []byte{0, 1, 0x80, 0xFF} {
		if got := byteSum(bytes.Repeat([]byte{value}, tarBlock)); got != tarBlock*int64(value) {
			t.Errorf("of bytes %d: %d", value, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		block := rapid.SliceOfN(rapid.Byte(), tarBlock, tarBlock).Draw(t, "block")
		want := int64(0)
		for _, b := range block {
			want += int64(b)
		}
		if got := byteSum(block); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}

// The hash of content does not depend on how it was cut, nor that over runs on
// where the holes are.
func TestContentSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 12).Draw(t, "blocks") // 2: data, else zeros
		var content []byte
		for i, kind := range blocks {
			b := make([]byte, runBlock)
			if kind == 2 {
				b[i*37%runBlock] = byte(i + 1)
			}
			content = append(content, b...)
		}
		content = content[:len(content)-rapid.IntRange(0, runBlock-1).Draw(t, "short")]
		size := int64(len(content))
		plain, byRuns := newContentSum(size, 0), newContentSum(size, manyHoles+1)
		for off := 0; off < len(content); {
			n := min(rapid.SampledFrom([]int{512, 1024, 4096, 8192, 5120, 1 << 20}).Draw(t, "cut"), len(content)-off)
			part := content[off : off+n]
			// Zeros may be a hole, or not.
			if len(bytes.Trim(part, "\x00")) > 0 || rapid.Bool().Draw(t, "stored") {
				plain.write(part, int64(off))
				byRuns.write(part, int64(off))
			}
			off += n
		}
		if got := plain.end(); *got != sha256.Sum256(content) {
			t.Fatal("the hash is not that of the content")
		}
		if got := byRuns.end(); *got != sumOfRuns(content) {
			t.Fatal("the hash over runs is another")
		}
	})
}

// sumOfRuns is docs/format.md, word for word.
func sumOfRuns(content []byte) [32]byte {
	var all []byte
	number := func(n int) { all = binary.LittleEndian.AppendUint64(all, uint64(n)) }
	start := -1
	for off := 0; off <= len(content); off += runBlock {
		var b []byte
		if off < len(content) {
			b = content[off:min(off+runBlock, len(content))]
		}
		data := len(bytes.Trim(b, "\x00")) > 0
		switch {
		case data && start < 0:
			start = off
			number(off)
			all = append(all, b...)
		case data:
			all = append(all, b...)
		case start >= 0:
			number(min(off, len(content)) - start)
			start = -1
		}
	}
	if start >= 0 {
		number(len(content) - start)
	}
	number(len(content))
	return sha256.Sum256(all)
}
