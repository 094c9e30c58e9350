package filesystem

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Type is what an entry of a tree is.
type Type uint8

// The types of entries.
const (
	Regular Type = iota + 1
	Folder
	Symlink
	CharDevice
	BlockDevice
	Fifo
	Socket
)

// Entry is one name in a tree, as the kernel tells it. Content and Xattrs lend
// memory of the walk: they are the caller's until it asks for the next entry.
type Entry struct {
	Path         string // from the root, "a/b"; "" is the root itself. Any bytes but NUL
	Type         Type
	Mode         uint32 // permission bits with setuid, setgid and sticky: 07777
	UID, GID     uint32
	Sec          int64  // mtime, seconds since 1970
	Nsec         uint32 // of mtime, added to Sec
	Size         int64  // bytes of a regular file's content; of a folder what the filesystem says
	Allocated    int64  // bytes that the filesystem has given it
	Links        uint32 // names of this inode
	Device       uint64 // with Inode: two names of one file have the same
	Inode        uint64
	Major, Minor uint32 // of a device node
	Target       string // of a symlink
	Subvolume    bool   // a folder that is the root of a btrfs subvolume
	Xattrs       []Xattr
	// Sparse: only Data is data, ascending and without overlap, and what lies
	// between are holes. Otherwise all of it is.
	Sparse bool
	Data   []Extent
	// Content is all of a small regular file that is not sparse.
	Content []byte

	file *File
}

// Xattr is one extended attribute, raw, as the kernel gives it: ACLs are
// system.posix_acl_access and _default.
type Xattr struct {
	Name  string
	Value []byte
}

// Extent is a range of a file in bytes.
type Extent struct{ Off, Len int64 }

// File is an open regular file. It is safe for concurrent use.
type File struct {
	path string
	fd   int
	uses atomic.Int32
}

// File is the open file of a regular file that has content which Content does
// not hold, else nil. It is closed when the walk goes on, unless it was retained.
func (e *Entry) File() *File { return e.file }

// Retain keeps the file open until one more Release.
func (f *File) Retain() { f.uses.Add(1) }

// Release closes the file when nobody else uses it.
func (f *File) Release() {
	if f.uses.Add(-1) == 0 {
		closeFD(f.fd)
	}
}

// ReadFull fills p from off. A file that ends before is an error: its size was
// read from the same filesystem, which nobody writes to. Errors are *PathError.
func (f *File) ReadFull(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := pread(f.fd, p, off)
		if err != nil {
			return &PathError{f.path, fmt.Errorf("read at offset %d: %w", off, err)}
		}
		if n == 0 {
			return &PathError{f.path, fmt.Errorf("read at offset %d: the file is shorter than its inode says: %w", off, io.ErrUnexpectedEOF)}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// PathError is an entry that could not be read. The walk goes on after it.
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return "./" + e.Path + ": " + e.Err.Error() }

// Unwrap returns what the kernel said.
func (e *PathError) Unwrap() error { return e.Err }

// Named is how many unreadable entries are collected before a walk is given up.
const Named = 20

// UnreadableError names entries that could not be read, at most Named of them.
type UnreadableError struct{ Errs []error }

func (e *UnreadableError) Error() string {
	var texts []string
	for _, err := range e.Errs {
		texts = append(texts, err.Error())
	}
	what := "1 entry"
	switch {
	case len(e.Errs) >= Named:
		what = fmt.Sprintf("%d entries or more", Named)
	case len(e.Errs) > 1:
		what = fmt.Sprintf("%d entries", len(e.Errs))
	}
	return what + " cannot be read: " + strings.Join(texts, "; ")
}

// Unwrap returns the errors one by one.
func (e *UnreadableError) Unwrap() []error { return e.Errs }

// Links finds the names that are one file. Its memory is that of the files of
// which it has seen some names and not all.
type Links struct{ open map[inode]*linked }

type inode struct{ device, number uint64 }

type linked struct {
	first string
	left  uint32 // names not seen yet
}

// First returns the name under which the entry's file came before, if it did.
// Entries must be given in the order of the walk, each once. Folders have one
// name, whatever their count of links says.
func (l *Links) First(e *Entry) (path string, before bool) {
	if e.Type == Folder || e.Links < 2 {
		return "", false
	}
	key := inode{e.Device, e.Inode}
	known := l.open[key]
	if known == nil {
		if l.open == nil {
			l.open = map[inode]*linked{}
		}
		l.open[key] = &linked{e.Path, e.Links - 1}
		return "", false
	}
	if known.left--; known.left == 0 {
		delete(l.open, key)
	}
	return known.first, true
}

func typeOf(mode uint32) (Type, error) {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return Regular, nil
	case unix.S_IFDIR:
		return Folder, nil
	case unix.S_IFLNK:
		return Symlink, nil
	case unix.S_IFCHR:
		return CharDevice, nil
	case unix.S_IFBLK:
		return BlockDevice, nil
	case unix.S_IFIFO:
		return Fifo, nil
	case unix.S_IFSOCK:
		return Socket, nil
	}
	return 0, fmt.Errorf("mode %o is of no known type", mode)
}

// fill takes over what stat says.
func (e *Entry) fill(st *unix.Stat_t) error {
	t, err := typeOf(st.Mode)
	if err != nil {
		return err
	}
	e.Type, e.Mode = t, st.Mode&0o7777
	e.UID, e.GID = st.Uid, st.Gid
	e.Sec, e.Nsec = st.Mtim.Sec, uint32(st.Mtim.Nsec)
	e.Allocated = st.Blocks * 512
	e.Links, e.Device, e.Inode = uint32(st.Nlink), st.Dev, st.Ino
	switch t {
	case Regular, Folder:
		e.Size = st.Size
	case CharDevice, BlockDevice:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if e.Size < 0 {
		return errors.New("its size is negative")
	}
	return nil
}
