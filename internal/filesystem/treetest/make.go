//go:build linux

package treetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Options say what Make makes.
type Options struct {
	Filesystem string // "ext2", "ext3", "ext4", "xfs" or "btrfs"
	Many       int    // files in one folder; 0: 2,000
	// Huge adds files of 1 TiB to 1 EiB, nearly all hole, where the filesystem
	// holds those. A reader that does not know holes never ends.
	Huge bool
	// Without leaves out folders of the root: "names", "deep", "links",
	// "symlinks", "sparse", "sizes", "acls", "owners", "times", "modes",
	// "special", "xattrs", "many", "empty", "root" (what the root itself has).
	Without []string
	// Refused is what this filesystem does not hold; nil: what Refusals says of
	// one made by Image without arguments.
	Refused []string
}

// Make fills the folder root with every case. What the filesystem refuses must
// be just what o.Refused names, so that no case is lost unseen.
func Make(t testing.TB, root string, o Options) {
	t.Helper()
	Require(t)
	m := &maker{t: t, root: root, o: o}
	if m.o.Many == 0 {
		m.o.Many = 2000
	}
	steps := [...]struct {
		name string
		fill func()
	}{
		{"names", m.names},
		{"deep", m.deep},
		{"links", m.links},
		{"symlinks", m.symlinks},
		{"sparse", m.sparse},
		{"sizes", m.sizes},
		{"acls", m.acls},
		{"owners", m.owners},
		{"times", m.times},
		{"modes", m.modes},
		{"special", m.special},
		{"xattrs", m.xattrs},
		{"many", m.many},
		{"empty", m.empty},
		{"huge", m.huge},
		{"root", m.rootItself},
	}
	for _, s := range steps {
		if !slices.Contains(o.Without, s.name) && (s.name != "huge" || o.Huge) {
			s.fill()
		}
	}
	m.checkRefused()
}

// Require skips the test where it cannot run: without root, or without one of
// the programs.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes devices, foreign owners and trusted xattrs")
	}
	RequirePrograms(t, programs...)
}

type maker struct {
	t       testing.TB
	root    string
	o       Options
	refused []string
}

// at is a path under the root.
func (m *maker) at(names ...string) string {
	p := m.root
	for _, n := range names {
		p += "/" + n // filepath.Join would clean names away
	}
	return p
}

func (m *maker) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("make %s: %v", what, err)
	}
}

// try says whether a case could be made. An errno is an answer of the
// filesystem; anything else is a fault of this package.
func (m *maker) try(what string, err error) bool {
	m.t.Helper()
	if err == nil {
		return true
	}
	var no unix.Errno
	if !errors.As(err, &no) {
		m.t.Fatalf("make %s: %v", what, err)
	}
	m.refused = append(m.refused, what+": "+unix.ErrnoName(no))
	return false
}

func (m *maker) checkRefused() {
	m.t.Helper()
	want := m.o.Refused
	if want == nil {
		want = Refusals(m.o.Filesystem)
	}
	// Names begin with the folder they are about: those left out say nothing.
	left := slices.DeleteFunc(slices.Clone(want), func(r string) bool {
		first, _, _ := cutAny(r, " :/")
		return slices.Contains(m.o.Without, first) || first == "huge" && !m.o.Huge
	})
	slices.Sort(left)
	slices.Sort(m.refused)
	if !slices.Equal(left, m.refused) {
		m.t.Fatalf("%s refused\n%q\nwant\n%q", m.o.Filesystem, m.refused, left)
	}
}

func (m *maker) folder(names ...string) string {
	m.t.Helper()
	p := m.at(names...)
	m.must("folder", os.MkdirAll(p, 0o755))
	return p
}

// file makes a file with the content and returns its path.
func (m *maker) file(content string, names ...string) string {
	m.t.Helper()
	p := m.at(names...)
	m.must("file", os.WriteFile(p, []byte(content), 0o644))
	return p
}

// noise is n bytes without any zero, the same in each run.
func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, (n+7)/8*8)
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64()|0x0101010101010101)
	}
	return p[:n]
}

// set gives p an xattr and makes sure that it is there as it was given.
func (m *maker) set(what, p, name, value string) {
	m.t.Helper()
	if !m.try(what, unix.Lsetxattr(p, name, []byte(value), 0)) {
		return
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Lgetxattr(p, name, buf)
	m.must("xattr "+what, err)
	if string(buf[:n]) != value {
		m.t.Fatalf("make %s: xattr %q: set %q, it is %q", what, name, value, buf[:n])
	}
}

// touch sets the mtime. A filesystem that holds less changes it without a word.
func (m *maker) touch(what, p string, mtime Time) {
	m.t.Helper()
	ts := []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: mtime.Sec, Nsec: mtime.Nsec}}
	if !m.try(what, unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW)) {
		return
	}
	var st unix.Stat_t
	m.must(what, unix.Lstat(p, &st))
	if got := (Time{st.Mtim.Sec, st.Mtim.Nsec}); got != mtime {
		m.refused = append(m.refused, fmt.Sprintf("%s: becomes %s", what, got))
	}
}

func (m *maker) many() {
	dir := m.folder("many")
	for i := range m.o.Many {
		content := ""
		if i%3 != 0 {
			content = fmt.Sprintf("file %d\n", i)
		}
		m.must("many", os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%07d", i)), []byte(content), 0o644))
	}
}

func (m *maker) empty() {
	m.folder("empty", "folder")
	m.folder("empty", "in", "an", "empty", "folder")
}

// rootItself gives the root folder what archives like to forget. It is last: its
// default ACL would be inherited.
func (m *maker) rootItself() {
	m.must("root", os.Chown(m.root, 12, 34))
	m.set("root xattr", m.root, "user.root", "of the root")
	m.set("root acl", m.root, defaultACL, fullACL(5))
	m.must("root", unix.Chmod(m.root, 0o1751))
	m.touch("root mtime", m.root, Time{981173106, 123456789})
}
