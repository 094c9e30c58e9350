//go:build linux

package treetest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// nastyNames are names that some program has mistaken for something else.
func nastyNames() []string {
	names := []string{
		"plain", "new\nline", "trailing newline\n", "tab\there", "control\x01\x1b[31m\x7f", "return\r",
		"invalid\xff\xfe\x80utf8", "cut\xe2\x82", "\xef\xbb\xbfbom", "nfc \u00fa", "nfd u\u0301", "\u202egnp.exe",
		"__proto__", "-rf", "--checkpoint-action=exec=false", "--", "-", " leading", "trailing ", " ", "\t",
		"...", "....", ".hidden", ".. ", "'single'", `"double"`, `back\slash`, `back\nslash`, `\`, `trailing\`,
		"100%", "%3D", "%", "a=b", "=", "*?[glob]{a,b}", "$HOME`x`", "!history", "#comment#", "a;b&c|d", "~", "c:drive",
		"Case", "case", "@LongLink", "././@LongLink"[4:], "PaxHeaders", "GNUSparseFile.0", "lost+found",
		strings.Repeat("n", 255), strings.Repeat("\u00e9", 127) + "x", strings.Repeat("\xff", 255), strings.Repeat("\n", 255),
	}
	// Around the ends of the fields of an old header: name 100, prefix 155, and
	// both with a slash between.
	for _, n := range [...]int{93, 94, 95, 98, 99, 100, 101, 154, 155, 156} {
		names = append(names, fmt.Sprintf("%03d", n)+strings.Repeat("x", n-3))
	}
	unique := names[:0]
	seen := map[string]bool{}
	for _, n := range names {
		if !seen[n] {
			unique = append(unique, n)
		}
		seen[n] = true
	}
	return unique
}

// names has each name as a file, a folder, a target and the other end of a hard
// link: tar writes each of these in its own place.
func (m *maker) names() {
	for _, f := range [...]string{"files", "folders", "targets", "linked"} {
		m.folder("names", f)
	}
	for i, n := range nastyNames() {
		p := m.file(fmt.Sprintf("name %d\n", i), "names", "files", n)
		m.folder("names", "folders", n)
		m.file("", "names", "folders", n, "f")
		m.must("name", os.Symlink(n, m.at("names", "targets", fmt.Sprintf("%03d", i))))
		m.must("name", os.Link(p, m.at("names", "linked", fmt.Sprintf("%03d", i))))
	}
	long := []string{"names", "prefix", strings.Repeat("p", 120)}
	m.folder(long...)
	for _, n := range [...]int{98, 99, 100, 101, 120, 121, 255} {
		m.file("", append(long[:len(long):len(long)], strings.Repeat("s", n))...)
	}
}

// deep nests folders until their path is longer than any call takes (4,096), so
// that only those reach the bottom who walk by descriptors.
func (m *maker) deep() {
	fd, err := unix.Open(m.folder("deep"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	m.must("deep", err)
	length := len("./deep")
	for level := 0; length < 5200; level++ {
		// Files on the way lie on both sides of the limit.
		m.fileAt(fd, "file", fmt.Sprintf("level %d, path of %d bytes\n", level, length))
		name := fmt.Sprintf("%03d%s", level, strings.Repeat("d", 100+level*5))
		m.must("deep", unix.Mkdirat(fd, name, 0o700+uint32(level%8)))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		m.must("deep", err)
		closeFD(fd)
		fd = next
		length += 1 + len(name)
	}
	defer closeFD(fd)
	m.fileAt(fd, "bottom", "the bottom\n")
	m.must("deep", unix.Linkat(fd, "bottom", fd, "linked", 0))
	m.must("deep", unix.Symlinkat("bottom", fd, "symlink"))
	m.must("deep", unix.Mkdirat(fd, "empty", 0o755))
	m.must("deep", unix.Mknodat(fd, "fifo", unix.S_IFIFO|0o640, 0))
	m.set("deep xattr", fmt.Sprintf("/proc/self/fd/%d/bottom", fd), "user.deep", "down here")
}

func (m *maker) fileAt(dir int, name, content string) {
	m.t.Helper()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	m.must(name, err)
	f := os.NewFile(uintptr(fd), name)
	_, err = f.WriteString(content)
	m.must(name, err)
	m.must(name, f.Close())
}

// links has hard links to each type, with the path that sorts first in another
// folder than the rest, and to files of which more than the content counts.
func (m *maker) links() {
	m.folder("links", "a")
	m.folder("links", "z")
	link := func(from, to string) { m.must("link "+to, os.Link(m.at("links", from), m.at("links", to))) }

	m.file("three names\n", "links", "m")
	link("m", "a/first")
	link("m", "z/last")
	m.file("", "links", "empty")
	link("empty", "z/empty")
	m.must("links", os.Symlink("nowhere", m.at("links", "symlink")))
	link("symlink", "z/symlink")
	link("symlink", "a/symlink")
	m.must("links", unix.Mknod(m.at("links", "char"), unix.S_IFCHR|0o620, int(unix.Mkdev(1, 3))))
	link("char", "z/char")
	m.must("links", unix.Mknod(m.at("links", "block"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 200))))
	link("block", "z/block")
	m.must("links", unix.Mkfifo(m.at("links", "fifo"), 0o604))
	link("fifo", "z/fifo")

	rich := m.file("setuid, with attributes\n", "links", "rich")
	link("rich", "z/rich")
	m.must("links", os.Lchown(rich, 1000, 1001))
	m.must("links", unix.Chmod(rich, 0o4755))
	m.set("links xattr", rich, "user.rich", "yes")
	m.set("links capability", rich, "security.capability", netRaw)
	m.set("links acl", rich, accessACL, fullACL(5))
	m.touch("links mtime", rich, Time{1000000000, 1})

	sparse := m.at("links", "sparse")
	m.sparseFile("links/sparse", sparse, 1<<20, Extent{512 << 10, 4096})
	link("sparse", "z/sparse")
}

// symlinks are dangling, of the lengths where filesystems and tars store them
// another way: 59 in the inode of ext4, 100 in a header, 1,023 the most of xfs.
func (m *maker) symlinks() {
	m.folder("symlinks")
	for _, n := range [...]int{1, 59, 60, 99, 100, 101, 155, 156, 255, 256, 1023, 1024, 4095} {
		what := fmt.Sprintf("symlinks %d", n)
		target := (fmt.Sprintf("%d:", n) + strings.Repeat("target/", n/7+1))[:n]
		if m.try(what, plainErr(os.Symlink(target, m.at("symlinks", fmt.Sprintf("%04d", n))))) && n == 101 {
			p := m.at("symlinks", "0101")
			m.must(what, os.Lchown(p, 65536, 2097152))
			m.touch("symlinks mtime", p, Time{-5, 999999999})
		}
	}
	for name, target := range map[string]string{
		"absolute": "/nowhere/at/all", "newline": "new\nline\n", "invalid": "\xff\xfe", "dot": ".", "up": "../../../..",
		"itself": "itself", "slashes": "a//b///", "blank": " ", "dash": "-rf", "device": "/dev/zero",
	} {
		m.must("symlink", os.Symlink(target, m.at("symlinks", name)))
	}
	p := m.at("symlinks", "xattr")
	m.must("symlink", os.Symlink("xattr is on me", p))
	m.set("symlinks trusted", p, "trusted.link", "on the symlink")
	m.set("symlinks selinux", p, selinux, "system_u:object_r:link_t:s0\x00")
}
