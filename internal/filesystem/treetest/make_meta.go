//go:build linux

package treetest

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	selinux = "security.selinux"

	// netRaw is cap_net_raw=ep as linux/capability.h lays it out: version 2 with the
	// effective bit, then permitted and inheritable, twice 32 bits each.
	netRaw = "\x01\x00\x00\x02" + "\x00\x20\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
)

func (m *maker) acls() {
	dir := m.folder("acls")
	m.set("acls file", m.file("acl\n", "acls", "file"), accessACL, fullACL(7))
	m.set("acls tight mask", m.file("acl\n", "acls", "tight mask"), accessACL, fullACL(0))
	m.set("acls mask alone", m.file("acl\n", "acls", "mask alone"), accessACL, aclValue(
		aclEntry{aclUserObj, 6, aclNoID}, aclEntry{aclGroupObj, 7, aclNoID}, aclEntry{aclMask, 1, aclNoID}, aclEntry{aclOther, 0, aclNoID},
	))
	for _, n := range [...]int{20, 200, 1500} {
		what := fmt.Sprintf("acls %d users", n)
		m.set(what, m.file("acl\n", "acls", fmt.Sprintf("%d users", n)), accessACL, longACL(n))
	}
	m.set("acls access", m.folder("acls", "folder access"), accessACL, fullACL(5))
	m.set("acls default", m.folder("acls", "folder default"), defaultACL, fullACL(7))
	m.set("acls small default", m.folder("acls", "folder small default"), defaultACL, smallACL(7, 0, 0))
	// What tar makes below must not inherit: the ACLs are set after the files are
	// made here, so those have none.
	both := m.folder("acls", "folder both")
	m.file("no acl\n", "acls", "folder both", "file without")
	m.folder("acls", "folder both", "folder without")
	m.set("acls inner", m.file("acl\n", "acls", "folder both", "file with"), accessACL, fullACL(4))
	m.set("acls both access", both, accessACL, fullACL(7))
	m.set("acls both default", both, defaultACL, fullACL(6))
	m.must("acls", unix.Chmod(m.at("acls", "folder access"), 0o3770))

	fifo := m.at("acls", "fifo")
	m.must("acls", unix.Mkfifo(fifo, 0o600))
	m.set("acls fifo", fifo, accessACL, fullACL(6))
	char := m.at("acls", "char")
	m.must("acls", unix.Mknod(char, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
	m.set("acls char", char, accessACL, fullACL(6))
	m.touch("acls mtime", dir, Time{1111111111, 0})
}

// owners lie around the ends of 16 bits, of an octal field (2,097,151) and of 32
// bits less the one that means "leave it".
func (m *maker) owners() {
	m.folder("owners")
	ids := [...]int{0, 1, 65533, 65534, 65535, 65536, 2097151, 2097152, 2147483647, 2147483648, 4294967294}
	for i, uid := range ids {
		gid := ids[len(ids)-1-i]
		name := fmt.Sprintf("%d", uid)
		paths := []string{m.file("", "owners", "file "+name), m.folder("owners", "folder "+name), m.at("owners", "symlink "+name), m.at("owners", "fifo "+name)}
		m.must("owners", os.Symlink("x", paths[2]))
		m.must("owners", unix.Mkfifo(paths[3], 0o600))
		for _, p := range paths {
			m.must("owners", os.Lchown(p, uid, gid))
		}
	}
}

// times lie around zero, and the ends of 31 bits, 32 bits, an octal field (2242),
// int64 nanoseconds (2262) and ext4's 34 bits (2446).
func (m *maker) times() {
	m.folder("times")
	for _, s := range [...]int64{
		-1 << 31, -86400, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 8589934591, 8589934592, 9300000000, 13569465600, 23036313600,
	} {
		for _, ns := range [...]int64{0, 1, 100000000, 999999999} {
			name := fmt.Sprintf("%d.%09d", s, ns)
			m.touch("times "+name, m.file("", "times", "file "+name), Time{s, ns})
		}
	}
	// A folder gets its time last, after what is in it.
	dir := m.folder("times", "folder")
	m.file("in a folder with a time\n", "times", "folder", "file")
	m.touch("times folder", dir, Time{-1000000, 5})
	m.touch("times empty folder", m.folder("times", "empty folder"), Time{0, 0})
	p := m.at("times", "symlink")
	m.must("times", os.Symlink("x", p))
	m.touch("times symlink", p, Time{-1, 1})
	p = m.at("times", "fifo")
	m.must("times", unix.Mkfifo(p, 0o600))
	m.touch("times fifo", p, Time{4102444800, 123456789})
}

func (m *maker) modes() {
	m.folder("modes")
	for _, mode := range [...]uint32{0, 0o1, 0o100, 0o400, 0o777, 0o1644, 0o2755, 0o2644, 0o4755, 0o4644, 0o6711, 0o7777} {
		p := m.file("mode\n", "modes", fmt.Sprintf("file %04o", mode))
		// An owner other than root: a chown after the chmod takes setuid away.
		m.must("modes", os.Lchown(p, 1000, 1000))
		m.must("modes", unix.Chmod(p, mode))
	}
	for _, mode := range [...]uint32{0, 0o555, 0o700, 0o1777, 0o2775, 0o7777} {
		name := fmt.Sprintf("folder %04o", mode)
		p := m.folder("modes", name)
		m.file("in a folder\n", "modes", name, "file")
		m.must("modes", os.Lchown(p, 1000, 1000))
		m.must("modes", unix.Chmod(p, mode))
	}
}

func (m *maker) special() {
	m.folder("special")
	for _, d := range [...]struct {
		name         string
		kind         uint32
		major, minor uint32
	}{
		{"null", unix.S_IFCHR, 1, 3},
		{"zero", unix.S_IFBLK, 0, 0},
		{"loop", unix.S_IFBLK, 7, 300},
		{"minor 18 bits", unix.S_IFCHR, 511, 262143},
		{"minor 20 bits", unix.S_IFCHR, 511, 1048575},
		{"nvme", unix.S_IFBLK, 259, 65536},
		{"largest", unix.S_IFBLK, 4095, 1048575},
	} {
		p := m.at("special", d.name)
		if m.try("special "+d.name, unix.Mknod(p, d.kind|0o640, int(unix.Mkdev(d.major, d.minor)))) {
			m.must("special", os.Lchown(p, 3, 6))
		}
	}
	fifo := m.at("special", "fifo")
	m.must("special", unix.Mkfifo(fifo, 0o622))
	m.set("special fifo xattr", fifo, "trusted.fifo", "on the fifo")
	m.set("special char xattr", m.at("special", "null"), "trusted.char", "on the device")

	// A socket's address is at most 107 bytes, wherever the root is.
	dir, err := os.Open(m.at("special"))
	m.must("special", err)
	defer dir.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/socket", dir.Fd()), Net: "unix"})
	m.must("socket", err)
	l.SetUnlinkOnClose(false)
	m.must("socket", l.Close())
}

func (m *maker) xattrs() {
	m.folder("xattrs")
	one := func(file, name, value string) {
		m.t.Helper()
		m.set("xattrs "+file, m.file("xattr\n", "xattrs", file), name, value)
	}
	one("empty value", "user.empty", "")
	one("binary value", "user.binary", "\x00\x01\xff\x00\n=\x00")
	one("text value", "user.text", "line\nline = %41 \"quoted\"\n")
	one("name equals", "user.a=b", "equals")
	one("name only equals", "user.=", "equals")
	one("name percent", "user.50%", "percent")
	one("name percent 3D", "user.%3D", "percent 3D")
	one("name newline", "user.new\nline", "newline")
	one("name blank", "user. a b ", "blank")
	one("name invalid", "user.\xff\xfe", "invalid")
	one("name long", "user."+strings.Repeat("n", 250), "long")
	one("name glob", "user.*[a]?", "glob")
	one("trusted", "trusted.overlay.opaque", "y")
	one("security", "security.test", "any")
	one("selinux", selinux, "system_u:object_r:httpd_sys_content_t:s0:c1,c2\x00")
	one("selinux without end", selinux, "unconfined_u:object_r:user_home_t:s0")
	one("capability", "security.capability", netRaw)
	// Version 3 has the root of a user namespace behind it.
	one("capability 3", "security.capability", "\x01\x00\x00\x03"+netRaw[4:]+"\xa0\x86\x01\x00")
	for _, n := range [...]int{100, 1000, 3000, 16000, 60000, 65536} {
		one(fmt.Sprintf("value %d", n), "user.large", string(noise(n, uint64(n))))
	}
	several := m.file("xattr\n", "xattrs", "several")
	for _, n := range [...]string{"user.b", "user.a", "trusted.b", "security.a", "user.a.b", "user.A"} {
		m.set("xattrs several", several, n, "value of "+n)
	}
	m.set("xattrs several", several, accessACL, fullACL(6))
	dir := m.folder("xattrs", "folder")
	m.file("xattr\n", "xattrs", "folder", "file")
	m.set("xattrs folder user", dir, "user.folder", "on a folder")
	m.set("xattrs folder trusted", dir, "trusted.folder", "on a folder")
	m.set("xattrs folder selinux", dir, selinux, "system_u:object_r:usr_t:s0\x00")
	if m.o.Filesystem == "btrfs" {
		m.set("xattrs compression", m.file("", "xattrs", "compression"), "btrfs.compression", "zstd")
	}
	dir = m.folder("xattrs", "read only")
	m.set("xattrs on mode 000", m.file("xattr\n", "xattrs", "read only", "file"), "user.closed", "yes")
	m.must("xattrs", unix.Chmod(m.at("xattrs", "read only", "file"), 0))
	m.must("xattrs", unix.Chmod(dir, 0o555))
}
