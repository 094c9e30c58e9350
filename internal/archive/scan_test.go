package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
)

// entriesTree is entries as a tree, in the order that they have.
type entriesTree []filesystem.Entry

func (all entriesTree) Walk(context.Context) iter.Seq2[*filesystem.Entry, error] {
	return func(yield func(*filesystem.Entry, error) bool) {
		for i := range all {
			if !yield(&all[i], nil) {
				return
			}
		}
	}
}

// keptRows keeps what is told of a tree.
type keptRows struct{ rows []*TreeRow }

func (k *keptRows) Entry(r *TreeRow) error  { k.rows = append(k.rows, r); return nil }
func (k *keptRows) Frame(codec.Frame) error { return nil }

// tarOf writes a tree, and returns the plain stream.
func tarOf(t interface {
	Helper()
	Fatal(...any)
}, ctx context.Context, tree Tree,
) ([]byte, []*TreeRow, TreeResult) {
	t.Helper()
	c, err := codec.New("lz4", 1)
	if err != nil {
		t.Fatal(err)
	}
	var stored bytes.Buffer
	kept := &keptRows{}
	res, err := WriteTree(ctx, tree, &stored, kept, TreeOptions{Codec: c})
	if err != nil {
		t.Fatal(err)
	}
	r, err := codec.NewReader("lz4", &stored)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain, kept.rows, res
}

func scanAll(ctx context.Context, r io.Reader) (rows []*TreeRow, res TreeResult, err error) {
	res, err = ScanTree(ctx, r, ScanOptions{}, func(row *TreeRow) error {
		rows = append(rows, row)
		return nil
	})
	return rows, res, err
}

// scanSmall is scanAll with the least buffer, to be made many times.
func scanSmall(ctx context.Context, plain []byte) (rows []*TreeRow, err error) {
	in := &scanReader{r: bufio.NewReaderSize(bytes.NewReader(plain), atOnce)}
	_, err = scanTree(ctx, in, ScanOptions{}, func(r *TreeRow) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// asScanned are rows without what a tar does not say.
func asScanned(rows []*TreeRow) []*TreeRow {
	var all []*TreeRow
	for _, r := range rows {
		c := *r
		c.Allocated, c.Links, c.Device, c.Inode, c.Subvolume = 0, 0, 0, 0, false
		if c.Type == filesystem.Folder {
			c.Size = 0
		}
		if c.Link != "" {
			c.Type, c.Size, c.Target, c.Major, c.Minor, c.Sparse = filesystem.Regular, 0, "", 0, 0, false
		}
		all = append(all, &c)
	}
	return all
}

func sameRows(got, want []*TreeRow) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(filesystem.Entry{}), cmpopts.EquateEmpty())
}

func anyACL(t *rapid.T) []byte {
	all := aclEntries{{aclUserObj, 7, aclUndefined}}
	perm := rapid.Uint16Range(0, 7)
	for range rapid.IntRange(0, 3).Draw(t, "acl users") {
		all = append(all, aclEntries{{aclUser, perm.Draw(t, "perm"), rapid.Uint32Range(0, aclUndefined-1).Draw(t, "id")}}...)
	}
	return acl(append(all, aclEntries{{aclGroupObj, perm.Draw(t, "perm"), aclUndefined}, {aclMask, 5, aclUndefined}, {aclOther, 0, aclUndefined}}...))
}

func anyXattrs(t *rapid.T) []filesystem.Xattr {
	all := map[string][]byte{}
	value := rapid.SliceOfN(rapid.Byte(), 0, 40)
	for range rapid.IntRange(0, 3).Draw(t, "xattrs") {
		switch rapid.IntRange(0, 4).Draw(t, "xattr") {
		case 0:
			all[aclAccess] = anyACL(t)
		case 1:
			all[aclDefault] = anyACL(t)
		case 2:
			all[selinux] = append(value.Draw(t, "context"), rapid.SampledFrom([]string{"", "\x00"}).Draw(t, "zero")...)
		default:
			name := rapid.SliceOfN(rapid.SampledFrom([]byte("ab=%25\n \xff")), 1, 9).Draw(t, "xattr name")
			all["user."+string(name)] = value.Draw(t, "value")
		}
	}
	var sorted []filesystem.Xattr
	for name, v := range all {
		sorted = append(sorted, filesystem.Xattr{Name: name, Value: v})
	}
	slices.SortFunc(sorted, func(a, b filesystem.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return sorted
}

func anyEntry(t *rapid.T, i int) filesystem.Entry {
	e := filesystem.Entry{
		Path: fmt.Sprintf("%d%s", i, anyPath(t)), Type: filesystem.Type(rapid.IntRange(int(filesystem.Regular), int(filesystem.Fifo)).Draw(t, "type")),
		Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		Sec:  rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 1<<33)).Draw(t, "sec"),
		Nsec: rapid.SampledFrom([]uint32{0, 1, 500_000_000, 999_999_999}).Draw(t, "nsec"), Xattrs: anyXattrs(t), Links: 1,
	}
	switch e.Type {
	case filesystem.Symlink:
		e.Target = anyPath(t)
	case filesystem.CharDevice, filesystem.BlockDevice:
		e.Major, e.Minor = rapid.Uint32Range(0, 1<<12-1).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor")
	case filesystem.Regular:
		e.Content = rapid.SliceOfN(rapid.Byte(), 0, 1300).Draw(t, "content")
		e.Size = int64(len(e.Content))
	}
	return e
}

// What was written is what is read, in every field.
func TestScanReadsWhatWriteTreeWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := entriesTree{{Type: filesystem.Folder, Mode: 0o755, Size: 4096, Xattrs: anyXattrs(t)}}
		for i := range rapid.IntRange(0, 8).Draw(t, "entries") {
			e := anyEntry(t, i)
			if e.Type != filesystem.Folder && rapid.IntRange(0, 3).Draw(t, "linked") == 0 {
				e.Links, e.Inode = 2, uint64(i+1)
				other := e
				other.Path += "-link"
				tree = append(tree, e, other)
				continue
			}
			tree = append(tree, e)
		}
		plain, want, wrote := tarOf(t, context.Background(), tree)
		var r io.Reader = bytes.NewReader(plain)
		if rapid.Bool().Draw(t, "byte by byte") {
			r = iotest.OneByteReader(r)
		}
		got, res, err := scanAll(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameRows(got, asScanned(want)); diff != "" {
			t.Fatal(diff)
		}
		wrote.Stored, wrote.Digest = 0, [32]byte{}
		if res != wrote {
			t.Fatalf("result %+v, want %+v", res, wrote)
		}
	})
}

// someEntries is a tree with one of each.
func someEntries() entriesTree {
	deep := strings.Repeat("d/", 70) + strings.Repeat("n", 120)
	return entriesTree{
		{Type: filesystem.Folder, Mode: 0o755},
		{Path: "a", Type: filesystem.Regular, Mode: 0o644, Sec: 1_700_000_000, Nsec: 5, Size: 5, Content: []byte("hello"), Links: 2, Inode: 7, Xattrs: []filesystem.Xattr{
			{Name: selinux, Value: []byte("ctx\x00")}, {Name: aclAccess, Value: acl(aclEntries{{aclUserObj, 6, aclUndefined}, {aclUser, 4, 1234}, {aclGroupObj, 4, aclUndefined}, {aclMask, 4, aclUndefined}, {aclOther, 0, aclUndefined}})}, {Name: "user.a=b%c", Value: []byte("x=\x00\n")},
		}},
		{Path: "a.link", Type: filesystem.Regular, Mode: 0o644, Links: 2, Inode: 7},
		{Path: deep, Type: filesystem.Symlink, Mode: 0o777, Target: strings.Repeat("t", 200), Sec: -2, Nsec: 500_000_000},
		{Path: "f", Type: filesystem.Fifo, Mode: 0o600, UID: 4294967294, GID: 1 << 30},
		{Path: "n", Type: filesystem.CharDevice, Mode: 0o600, Major: 511, Minor: 1048575},
		{Path: "not utf-8: \xff", Type: filesystem.Regular, Mode: 0o4755, Size: 700, Content: bytes.Repeat([]byte("ab"), 350)},
		{Path: "o", Type: filesystem.Folder, Mode: 0o1777},
	}
}

// sparseTar is one sparse file, which fake trees cannot have.
func sparseTar(t testing.TB) ([]byte, *TreeRow) {
	t.Helper()
	e := &filesystem.Entry{Path: "sparse", Type: filesystem.Regular, Mode: 0o600, Size: 16 << 10, Sparse: true, Data: []filesystem.Extent{{Off: 4096, Len: 512}, {Off: 8192, Len: 1024}}}
	cut, err := cutFile(e)
	if err != nil {
		t.Fatal(err)
	}
	head, err := new(headers).entry(e, "", cut)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, e.Size)
	plain := append(bytes.Clone(head), cut.sparse...)
	for i, d := range e.Data {
		part := bytes.Repeat([]byte{byte(i + 1)}, int(d.Len))
		copy(content[d.Off:], part)
		plain = append(plain, part...)
	}
	sum := sha256.Sum256(content)
	row := &TreeRow{Entry: *e, Stored: 1536, Map: mapSum(e.Data), Sum: &sum}
	row.Data = nil
	return append(plain, make([]byte, 1024)...), row
}

func TestScanReadsHoles(t *testing.T) {
	plain, want := sparseTar(t)
	got, _, err := scanAll(t.Context(), bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	if diff := sameRows(got, []*TreeRow{want}); diff != "" {
		t.Error(diff)
	}
}

// A stream that ends early is an error wherever that is.
func TestScanOfATarThatEndsEarly(t *testing.T) {
	whole, _, _ := tarOf(t, t.Context(), someEntries())
	sparse, _ := sparseTar(t)
	for name, plain := range map[string][]byte{"some": whole, "sparse": sparse} {
		for n := 0; n < len(plain); n += 3 { // 512 is no multiple of it
			if _, _, err := scanAll(t.Context(), bytes.NewReader(plain[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: %d bytes of %d: %v", name, n, len(plain), err)
			}
		}
	}
}

// No bit of a tar can change unseen.
func TestScanSeesEachBit(t *testing.T) {
	whole, _, _ := tarOf(t, t.Context(), someEntries())
	sparse, _ := sparseTar(t)
	for name, plain := range map[string][]byte{"some": whole, "sparse": sparse} {
		want, err := scanSmall(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(plain) {
			plain[bit/8] ^= 1 << (bit % 8)
			got, err := scanSmall(t.Context(), plain)
			if err == nil && rowsEqual(got, want) {
				t.Errorf("%s: bit %d of byte %d (%q, in %q)", name, bit%8, bit/8, plain[bit/8], plain[bit/8/512*512:][:100])
			}
			plain[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// rowsEqual is sameRows, for many times.
func rowsEqual(a, b []*TreeRow) bool {
	same := func(a, b *[32]byte) bool { return a == b || a != nil && b != nil && *a == *b }
	return slices.EqualFunc(a, b, func(a, b *TreeRow) bool {
		return a.Path == b.Path && a.Type == b.Type && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Sec == b.Sec && a.Nsec == b.Nsec &&
			a.Size == b.Size && a.Target == b.Target && a.Link == b.Link && a.Major == b.Major && a.Minor == b.Minor && a.Sparse == b.Sparse &&
			a.Stored == b.Stored && a.At == b.At && same(a.Sum, b.Sum) && same(a.Map, b.Map) && same(a.XattrSum, b.XattrSum)
	})
}

func TestScanErrorsOfOthers(t *testing.T) {
	boom := errors.New("boom")
	whole, _, _ := tarOf(t, t.Context(), someEntries())
	if _, err := ScanTree(t.Context(), bytes.NewReader(whole), ScanOptions{}, func(*TreeRow) error { return boom }); err != boom {
		t.Errorf("visit: %v", err)
	}
	for _, n := range []int{0, 100, 512, len(whole) - 600, len(whole)} {
		for _, cause := range []error{boom, io.ErrUnexpectedEOF} {
			r := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(cause))
			if _, _, err := scanAll(t.Context(), r); !errors.Is(err, cause) {
				t.Errorf("reader at %d: %v, want %v", n, err, cause)
			}
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := ScanTree(ctx, io.MultiReader(bytes.NewReader(whole), zeroReader{}), ScanOptions{}, func(*TreeRow) error {
		cancel(boom)
		return nil
	})
	if err != boom {
		t.Errorf("context: %v", err)
	}
}

func TestScanTellsProgress(t *testing.T) {
	content := bytes.Repeat([]byte{1}, 9<<20)
	plain, _, _ := tarOf(t, t.Context(), entriesTree{{Type: filesystem.Folder}, {Path: "a", Type: filesystem.Regular, Size: int64(len(content)), Content: content}})
	var at []int64
	var last string
	res, err := ScanTree(t.Context(), bytes.NewReader(plain), ScanOptions{Progress: func(bytes, _ int64, path string) {
		at, last = append(at, bytes), path
	}}, func(*TreeRow) error { return nil })
	if err != nil || len(at) < 3 || at[len(at)-1] != res.Plain || !slices.IsSorted(at) || last != "a" {
		t.Errorf("progress at %d, of %q; %d bytes, %v", at, last, res.Plain, err)
	}
}

// What is stored whole may be a hole on the other side.
func TestScanOfALargeFileStoredWhole(t *testing.T) {
	size := int64(manyHoles + 4096)
	e := &filesystem.Entry{Path: "f", Type: filesystem.Regular, Size: size}
	head, err := new(headers).entry(e, "", pieces{bytes: size})
	if err != nil {
		t.Fatal(err)
	}
	want := newContentSum(size, size)
	want.write([]byte("data"), 4096)
	island := append(make([]byte, 4096), "data"...)
	rows, _, err := scanAll(t.Context(), io.MultiReader(bytes.NewReader(head), bytes.NewReader(island), io.LimitReader(zeroReader{}, size-int64(len(island))+1024)))
	if err != nil {
		t.Fatal(err)
	}
	if r := rows[0]; r.Runs || r.Sum == nil || r.RunSum == nil || *r.RunSum != *want.end() {
		t.Errorf("%+v: its hash over runs is another", r)
	}
}

// FuzzScanTree: nothing panics or takes long, and the standard library has the
// same of what both take.
func FuzzScanTree(f *testing.F) {
	for _, seed := range scanSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		fixChecksums(plain)
		rows, err := scanSmall(t.Context(), plain)
		if err != nil {
			return
		}
		r := tar.NewReader(bytes.NewReader(plain))
		for _, row := range rows {
			h, err := r.Next()
			if err != nil || h.Typeflag == tar.TypeXGlobalHeader { // it leaves these to its caller
				return
			}
			checkWithStdlib(t, row, h, r)
		}
		if h, err := r.Next(); err == nil && h.Typeflag != tar.TypeXGlobalHeader {
			t.Errorf("no row of %q", h.Name)
		}
	})
}

// fixChecksums makes a header of whatever looks like one.
func fixChecksums(plain []byte) {
	for b := range slices.Chunk(plain, tarBlock) {
		if len(b) == tarBlock && (string(b[257:262]) == "ustar" || b[154] == 0 && b[155] == ' ') {
			copy(b[148:156], "        ")
			copy(b[148:156], fmt.Sprintf("%06o\x00 ", byteSum(b)))
		}
	}
}

func checkWithStdlib(t *testing.T, row *TreeRow, h *tar.Header, content io.Reader) {
	t.Helper()
	path := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if path == "." {
		path = ""
	}
	if path != row.Path || int64(row.UID) != int64(h.Uid) || int64(row.GID) != int64(h.Gid) || row.Mode != uint32(h.Mode)&0o7777 {
		t.Errorf("%q: %+v, and the standard library has %+v", row.Path, row, h)
	}
	if row.Type == filesystem.Symlink && row.Target != h.Linkname {
		t.Errorf("%q: it points to %q and %q", row.Path, row.Target, h.Linkname)
	}
	if row.Type != filesystem.Regular || row.Link != "" {
		return
	}
	if row.Size != h.Size {
		t.Errorf("%q: %d bytes and %d", row.Path, row.Size, h.Size)
	}
	if h.Size > 16<<20 {
		return
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil || [32]byte(sum.Sum(nil)) != *row.Sum {
		t.Errorf("%q: another content (%v)", row.Path, err)
	}
}
