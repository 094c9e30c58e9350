//go:build linux

package treetest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The types of entries.
const (
	File    = "file"
	Folder  = "folder"
	Symlink = "symlink"
	Char    = "char device"
	Block   = "block device"
	Fifo    = "fifo"
	Socket  = "socket"
)

// Record is what Read took down of one entry. Inode numbers, atime, ctime and
// sizes of folders are left out: no archive can bring those back.
type Record struct {
	Path         string // "." is the root; bytes as they are, parted by "/"
	Type         string
	Mode         uint32 // the twelve bits
	UID, GID     uint32
	Mtime        Time
	Size         int64  // of files
	Nlink        uint64 // not of folders: each filesystem counts those its own way
	Link         string // of a hard link: the path that comes first in the walk; there it is ""
	Target       string // of symlinks
	Major, Minor uint32 // of devices
	Xattrs       map[string]string
	Content      string   // of files: the hash of what is not zero
	Data         []Extent // of files: as SEEK_DATA and SEEK_HOLE say
}

// Time is a time as the kernel has it: a time.Duration ends in 2262.
type Time struct{ Sec, Nsec int64 }

// Extent is a part of a file that is no hole, in bytes.
type Extent struct{ Off, Len int64 }

// ReadOptions say how to read a tree.
type ReadOptions struct {
	Without []string // paths that are left out, with all below
}

// Read takes down the tree under root, in byte order of names. It goes by
// descriptors, so that no path is too long.
func Read(t testing.TB, root string, o ReadOptions) []Record {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", root, err)
	}
	defer closeFD(fd)
	// What is not on disk yet can show as data where there will be a hole.
	if err := unix.Syncfs(fd); err != nil && !errors.Is(err, unix.EROFS) {
		t.Fatalf("sync %s: %v", root, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		t.Fatalf("statfs %s: %v", root, err)
	}
	r := reader{without: o.Without, first: map[[2]uint64]string{}, xfs: fs.Type == unix.XFS_SUPER_MAGIC}
	if err := r.entry(fd, ".", "."); err != nil {
		t.Fatalf("read the tree %s: %v", root, err)
	}
	return r.records
}

type reader struct {
	without []string
	xfs     bool
	first   map[[2]uint64]string // device and inode → path
	records []Record
}

func (r *reader) entry(dir int, name, at string) error {
	if slices.Contains(r.without, at) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", at, err)
	}
	rec := Record{
		Path: at, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Mtime: Time{st.Mtim.Sec, st.Mtim.Nsec},
	}
	if err := r.kind(&rec, &st); err != nil {
		return err
	}
	var err error
	if rec.Xattrs, err = xattrsOf(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)); err != nil {
		return fmt.Errorf("%q: %w", at, err)
	}
	if r.xfs {
		// These are the ACLs once more, under the names that xfs has for them on disk;
		// it makes them of any ACL by itself.
		delete(rec.Xattrs, "trusted.SGI_ACL_FILE")
		delete(rec.Xattrs, "trusted.SGI_ACL_DEFAULT")
	}
	switch rec.Type {
	case Symlink:
		rec.Target, err = targetOf(dir, name)
	case Char, Block:
		rec.Major, rec.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case File:
		rec.Size = st.Size
		rec.Content, rec.Data, err = contentOf(dir, name, st.Size)
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", at, err)
	}
	r.records = append(r.records, rec)
	if rec.Type != Folder {
		return nil
	}
	return r.folder(dir, name, at)
}

// kind fills in the type and what depends on it alone.
func (r *reader) kind(rec *Record, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		rec.Type = File
	case unix.S_IFDIR:
		rec.Type = Folder
		return nil
	case unix.S_IFLNK:
		rec.Type = Symlink
	case unix.S_IFCHR:
		rec.Type = Char
	case unix.S_IFBLK:
		rec.Type = Block
	case unix.S_IFIFO:
		rec.Type = Fifo
	case unix.S_IFSOCK:
		rec.Type = Socket
	default:
		return fmt.Errorf("%q is of no known type: mode %o", rec.Path, st.Mode)
	}
	rec.Nlink = uint64(st.Nlink) //nolint:unconvert // 32 bits on some machines
	id := [2]uint64{st.Dev, st.Ino}
	if first, seen := r.first[id]; seen {
		rec.Link = first
	} else if rec.Nlink > 1 {
		r.first[id] = rec.Path
	}
	return nil
}

func (r *reader) folder(dir int, name, at string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open folder %q: %w", at, err)
	}
	f := os.NewFile(uintptr(fd), at)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list folder %q: %w", at, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := r.entry(fd, n, under(at, n)); err != nil {
			return err
		}
	}
	return nil
}

// under is the path of an entry of a folder.
func under(folder, name string) string {
	if folder == "." {
		return name
	}
	return folder + "/" + name
}

func targetOf(dir int, name string) (string, error) {
	buf := make([]byte, 1<<13) // Linux has no target longer than 4095 bytes
	n, err := unix.Readlinkat(dir, name, buf)
	if err == nil && n == len(buf) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// xattrsOf returns all attributes as they are, ACLs too.
func xattrsOf(at string) (map[string]string, error) {
	buf := make([]byte, 1<<16) // the kernel's limit of the list, and of a value
	n, err := unix.Llistxattr(at, buf)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(at, name, buf)
		if err != nil {
			return nil, fmt.Errorf("read xattr %q: %w", name, err)
		}
		all[name] = string(buf[:n])
	}
	return all, nil
}

const blockSize = 4096

// contentOf reads only where there is data, so that a hole of an exbibyte costs
// nothing. The hash is over offset, length and bytes of each block of 4 KiB that
// is not all zero, so that holes and zeros are the same to it.
func contentOf(dir int, name string, size int64) (string, []Extent, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	defer closeFD(fd)
	sum := sha256.New()
	var data []Extent
	done := int64(0) // blocks before it are hashed
	for pos := int64(0); pos < size; {
		from, err := unix.Seek(fd, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return "", nil, fmt.Errorf("SEEK_DATA from %d: %w", pos, err)
		}
		to, err := unix.Seek(fd, from, unix.SEEK_HOLE)
		if err != nil {
			return "", nil, fmt.Errorf("SEEK_HOLE from %d: %w", from, err)
		}
		if from < pos || to <= from {
			return "", nil, fmt.Errorf("SEEK_DATA from %d gives %d to %d", pos, from, to)
		}
		to = min(to, size)
		data = append(data, Extent{from, to - from})
		start := max(done, from-from%blockSize)
		if done, err = hashBlocks(sum, fd, start, to, size); err != nil {
			return "", nil, err
		}
		pos = to
	}
	return hex.EncodeToString(sum.Sum(nil)), data, nil
}

// hashBlocks hashes the blocks from start up to the one that ends at or behind
// to, and returns where it ended.
func hashBlocks(sum hash.Hash, fd int, start, to, size int64) (int64, error) {
	buf := make([]byte, min(256*blockSize, (to-start+blockSize)/blockSize*blockSize))
	for start < to {
		end := min((to+blockSize-1)/blockSize*blockSize, start+int64(len(buf)), size)
		part := buf[:end-start]
		for got := 0; got < len(part); {
			n, err := unix.Pread(fd, part[got:], start+int64(got))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && n == 0 {
				err = errors.New("the file ended early")
			}
			if err != nil {
				return 0, fmt.Errorf("read at %d: %w", start+int64(got), err)
			}
			got += n
		}
		for block := range slices.Chunk(part, blockSize) {
			if slices.ContainsFunc(block, func(b byte) bool { return b != 0 }) {
				var head [16]byte
				binary.LittleEndian.PutUint64(head[:], uint64(start))
				binary.LittleEndian.PutUint64(head[8:], uint64(len(block)))
				sum.Write(head[:])
				sum.Write(block)
			}
			start += int64(len(block))
		}
	}
	return start, nil
}

// closeFD closes what was only read, or synced before.
func closeFD(fd int) { _ = unix.Close(fd) }
