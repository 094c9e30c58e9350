//go:build linux

package treetest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "snap-to-s3/internal/filesystem/treetest"
)

// member is one entry of a hand-made tar: archive/tar refuses much of what
// Linux allows, and what is asked here is what GNU tar makes of it.
type member struct {
	name, target string
	kind         byte // as in the header
	mode         int64
	major, minor int64
	pax          []string // key, value, …
	data         string
}

// craft writes a tar in the PAX format.
func craft(members ...member) *bytes.Buffer {
	var b bytes.Buffer
	for i, m := range members {
		if len(m.pax) > 0 {
			var records strings.Builder
			for k := 0; k < len(m.pax); k += 2 {
				records.WriteString(record(m.pax[k], m.pax[k+1]))
			}
			writeMember(&b, member{name: fmt.Sprintf("./PaxHeaders/%d", i), kind: 'x', mode: 0o644, data: records.String()})
		}
		writeMember(&b, m)
	}
	b.Write(make([]byte, 1024))
	return &b
}

// record is "length key=value\n", its own length counted.
func record(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for len(strconv.Itoa(n))+len(rest) != n {
		n = len(strconv.Itoa(n)) + len(rest)
	}
	return strconv.Itoa(n) + rest
}

func writeMember(b *bytes.Buffer, m member) {
	h := make([]byte, 512)
	copy(h, m.name)
	octal := func(at, width int, v int64) { copy(h[at:], fmt.Sprintf("%0*o", width-1, v)) }
	octal(100, 8, m.mode)
	octal(108, 8, 0)
	octal(116, 8, 0)
	octal(124, 12, int64(len(m.data)))
	octal(136, 12, 1000000000)
	h[156] = m.kind
	copy(h[157:], m.target)
	copy(h[257:], "ustar\x0000")
	octal(329, 8, m.major)
	octal(337, 8, m.minor)
	copy(h[148:], "        ")
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h)
	b.WriteString(m.data)
	b.Write(make([]byte, (512-len(m.data)%512)%512))
}

// What GNU tar makes of each way to write a thing down: which of them may stand
// in an archive follows from this.
func TestWhatGNUTarRestores(t *testing.T) {
	const acl = "user::rwx,user:0:rw-,user:4294967294:---,group::r-x,group:65534:--x,mask::r-x,other::r--"
	const rawACL = "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x06\x00\x00\x00\x00\x00\x02\x00\x00\x00\xfe\xff\xff\xff" +
		"\x04\x00\x05\x00\xff\xff\xff\xff\x08\x00\x01\x00\xfe\xff\x00\x00\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	const capability = "\x01\x00\x00\x02\x00\x20\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	has := func(xattrs ...string) Record {
		r := plainRecord()
		for i := 0; i < len(xattrs); i += 2 {
			if r.Xattrs == nil {
				r.Xattrs = map[string]string{}
			}
			r.Xattrs[xattrs[i]] = xattrs[i+1]
		}
		return r
	}
	at := func(sec, nsec int64) Record { r := plainRecord(); r.Mtime = Time{Sec: sec, Nsec: nsec}; return r }
	withACL := has("system.posix_acl_access", rawACL)
	withACL.Mode = 0o754
	owned := plainRecord()
	owned.UID, owned.GID = 4294967294, 2097152
	capable := has("security.capability", capability)
	capable.UID, capable.Mode = 1000, 0o4755
	cases := []struct {
		name   string
		member member // its name is set
		want   Record
		stderr string // a part of the message that it ends with code 2 for
	}{
		{"acl with commas", member{pax: []string{"SCHILY.acl.access", acl}}, withACL, ""},
		{"acl with lines", member{pax: []string{"SCHILY.acl.access", strings.ReplaceAll(acl, ",", "\n") + "\n"}}, withACL, ""},
		{"acl as xattr is lost", member{pax: []string{"SCHILY.xattr.system.posix_acl_access", rawACL}}, has(), ""},
		{"selinux", member{pax: []string{"RHT.security.selinux", "a:b:c:s0"}}, has("security.selinux", "a:b:c:s0\x00"), ""},
		{"selinux with its zero", member{pax: []string{"RHT.security.selinux", "a:b:c:s0\x00"}}, has("security.selinux", "a:b:c:s0\x00"), ""},
		{"selinux as xattr", member{pax: []string{"SCHILY.xattr.security.selinux", "a:b:c:s0"}}, has("security.selinux", "a:b:c:s0"), ""},
		{"equals must be escaped", member{pax: []string{"SCHILY.xattr.user.a=b", "v"}}, has("user.a", "b=v"), ""},
		{"equals escaped", member{pax: []string{"SCHILY.xattr.user.a%3Db", "v"}}, has("user.a=b", "v"), ""},
		{"only in capitals", member{pax: []string{"SCHILY.xattr.user.a%3db", "v"}}, has("user.a%3db", "v"), ""},
		{"percent must be escaped", member{pax: []string{"SCHILY.xattr.user.%3D", "v"}}, has("user.=", "v"), ""},
		{"percent escaped", member{pax: []string{"SCHILY.xattr.user.%253D", "v"}}, has("user.%3D", "v"), ""},
		{"nothing else is", member{pax: []string{"SCHILY.xattr.user.%41", "v"}}, has("user.%41", "v"), ""},
		{"newline in a name", member{pax: []string{"SCHILY.xattr.user.new\nline", "v\nw"}}, has("user.new\nline", "v\nw"), ""},
		{"bytes in a name", member{pax: []string{"SCHILY.xattr.user.\xff", "v"}}, has("user.\xff", "v"), ""},
		{"empty value", member{pax: []string{"SCHILY.xattr.user.e", ""}}, has("user.e", ""), ""},
		{"zeros in a value", member{pax: []string{"SCHILY.xattr.user.n", "\x00a\x00"}}, has("user.n", "\x00a\x00"), ""},
		{"long value", member{pax: []string{"SCHILY.xattr.trusted.l", strings.Repeat("q", 3000)}}, has("trusted.l", strings.Repeat("q", 3000)), ""},
		{"capability, owner, setuid", member{mode: 0o4755, pax: []string{"uid", "1000", "SCHILY.xattr.security.capability", capability}}, capable, ""},
		{"time before 1970", member{pax: []string{"mtime", "-0.999999999"}}, at(-1, 1), ""},
		{"time before 1970, once more", member{pax: []string{"mtime", "-1.999999999"}}, at(-2, 1), ""},
		{"time without a digit before the point", member{pax: []string{"mtime", "-.5"}}, at(1000000000, 0), "invalid mtime"},
		{"time after 2262", member{pax: []string{"mtime", "13569465600.999999999"}}, at(13569465600, 999999999), ""},
		{"owner", member{pax: []string{"uid", "4294967294", "gid", "2097152"}}, owned, ""},
		{"unknown record", member{pax: []string{"SNAP.any", "1", "hdrcharset", "BINARY"}}, has(), ""},
		{"sparse ends in data", sparse("1052672", "1\n1048576\n4096\n", 4096), sparseRecord(1052672, Extent{Off: 1048576, Len: 4096}), ""},
		{"sparse ends in a hole", sparse("2097152", "2\n4096\n4096\n2097152\n0\n", 4096), sparseRecord(2097152, Extent{Off: 4096, Len: 4096}), ""},
		{"sparse is all hole", sparse("2097152", "1\n2097152\n0\n", 0), sparseRecord(2097152), ""},
		{"sparse without an end is cut", sparse("2097152", "1\n4096\n4096\n", 4096), sparseRecord(8192, Extent{Off: 4096, Len: 4096}), ""},
		{"sparse without pieces is empty", sparse("2097152", "0\n", 0), sparseRecord(0), ""},
		{"sparse of an exbibyte", sparse("1152921504606846976", "2\n1152921504606842880\n4096\n1152921504606846976\n0\n", 4096), sparseRecord(1<<60, Extent{Off: 1<<60 - 4096, Len: 4096}), ""},
	}
	root := Mounted(t, Image(t, "xfs", 300<<20), 0)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			into := filepath.Join(root, strconv.Itoa(i))
			if err := os.Mkdir(into, 0o755); err != nil {
				t.Fatal(err)
			}
			m := c.member
			m.name, m.kind = "./x", '0'
			if m.mode == 0 {
				m.mode = 0o644
			}
			r := Untar(t, craft(m), into)
			if wantCode := map[bool]int{false: 2, true: 0}[c.stderr == ""]; r.Code != wantCode || !strings.Contains(r.Stderr, c.stderr) {
				t.Errorf("code %d, want %d, and %q in\n%s", r.Code, wantCode, c.stderr, r.Stderr)
			}
			got := Read(t, into, ReadOptions{})[1:]
			if len(got) == 1 && len(c.want.Data) > 0 && len(c.want.Data) == len(got[0].Data) {
				c.want.Content = got[0].Content // where the data is, is what counts here
			}
			if c.want.Content == "" {
				c.want.Content = emptyContent
			}
			if d := Diff([]Record{c.want}, got, DiffOptions{}); len(d) > 0 {
				t.Errorf("%q\n%s", d, r.Stderr)
			}
		})
	}
}

// emptyContent is the content of a file without a byte that is not zero: the
// SHA-256 of nothing.
const emptyContent = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func plainRecord() Record {
	return Record{Path: "x", Type: File, Mode: 0o644, Mtime: Time{Sec: 1000000000}, Nlink: 1}
}

// sparse is a file in GNU's sparse format 1.0: the map, filled up to a block,
// lies before the data.
func sparse(size, table string, data int) member {
	return member{
		data: table + strings.Repeat("\x00", 512-len(table)) + strings.Repeat("z", data),
		pax:  []string{"GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "./x", "GNU.sparse.realsize", size},
	}
}

func sparseRecord(size int64, data ...Extent) Record {
	r := plainRecord()
	r.Size, r.Data = size, data
	return r
}

// Hard links to what is no file, devices at the limits, and names of any bytes,
// which need several entries or another type.
func TestWhatGNUTarRestoresOfOtherTypes(t *testing.T) {
	into := Mounted(t, Image(t, "ext4", 64<<20), 0)
	r := Untar(t, craft(
		member{name: "./char", kind: '3', mode: 0o620, major: 4095, minor: 1048575},
		member{name: "./char link", kind: '1', target: "./char"},
		member{name: "./fifo", kind: '6', mode: 0o4602},
		member{name: "./fifo link", kind: '1', pax: []string{"linkpath", "./fifo"}},
		member{name: "./symlink", kind: '2', target: "x", mode: 0o777, pax: []string{"SCHILY.xattr.trusted.s", "v"}},
		member{name: "./symlink link", kind: '1', target: "./symlink"},
		member{name: "./any", kind: '0', mode: 0o600, pax: []string{"path", "./\xff\xfe\n"}},
		member{name: "./dots", kind: '5', mode: 0o1777, pax: []string{"path", "./.../"}},
	), into)
	if r.Code != 0 {
		t.Errorf("code %d: %s", r.Code, r.Stderr)
	}
	node := func(r Record) Record { r.Mtime = Time{Sec: 1000000000}; return r }
	want := []Record{
		node(Record{Path: "char", Type: Char, Mode: 0o620, Nlink: 2, Major: 4095, Minor: 1048575}),
		node(Record{Path: "char link", Type: Char, Mode: 0o620, Nlink: 2, Major: 4095, Minor: 1048575, Link: "char"}),
		node(Record{Path: "fifo", Type: Fifo, Mode: 0o4602, Nlink: 2}),
		node(Record{Path: "fifo link", Type: Fifo, Mode: 0o4602, Nlink: 2, Link: "fifo"}),
		node(Record{Path: "symlink", Type: Symlink, Mode: 0o777, Nlink: 2, Target: "x", Xattrs: map[string]string{"trusted.s": "v"}}),
		node(Record{Path: "symlink link", Type: Symlink, Mode: 0o777, Nlink: 2, Target: "x", Link: "symlink", Xattrs: map[string]string{"trusted.s": "v"}}),
		node(Record{Path: "\xff\xfe\n", Type: File, Mode: 0o600, Nlink: 1, Content: emptyContent}),
		node(Record{Path: "...", Type: Folder, Mode: 0o1777}),
	}
	if d := Diff(want, Read(t, into, ReadOptions{Without: []string{"lost+found"}})[1:], DiffOptions{}); len(d) > 0 {
		t.Errorf("%q", d)
	}
}
