package filesystem

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// again repeats a call that a signal interrupted: the Go runtime sends itself
// signals, and a read from a slow device can be cut short by one.
func again[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func openat(dir int, name string, flags int) (int, error) {
	return again(func() (int, error) {
		return unix.Openat(dir, name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

func fstat(fd int, st *unix.Stat_t) error {
	_, err := again(func() (struct{}, error) { return struct{}{}, unix.Fstat(fd, st) })
	return err
}

func fstatat(dir int, name string, st *unix.Stat_t) error {
	_, err := again(func() (struct{}, error) {
		return struct{}{}, unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return err
}

func pread(fd int, p []byte, off int64) (int, error) {
	return again(func() (int, error) { return unix.Pread(fd, p, off) })
}

// closeFD closes what was only read: there is nothing that a close could lose.
func closeFD(fd int) { _ = unix.Close(fd) }

func readlink(dir int, name string, size int64) (string, error) {
	for n := max(int(size)+1, 256); ; n *= 2 {
		buf := make([]byte, n)
		got, err := again(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
		if err != nil {
			return "", err
		}
		if got < n {
			return string(buf[:got]), nil
		}
	}
}

// maxPieces bounds the memory for the map of one file: 16 MiB.
const maxPieces = 1 << 20

// dataMap finds out where a file has data. whole means that there is no hole, or
// that the filesystem cannot tell.
func dataMap(fd int, size int64) (data []Extent, whole bool, err error) {
	seek := func(off int64, whence int) (int64, error) {
		return again(func() (int64, error) { return unix.Seek(fd, off, whence) })
	}
	hole, err := seek(0, unix.SEEK_HOLE)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return nil, true, nil
	case err != nil:
		return nil, false, fmt.Errorf("look for holes: %w", err)
	case hole >= size:
		return nil, true, nil
	}
	for pos := int64(0); pos < size; {
		from, err := seek(pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= size {
			break
		}
		if err == nil {
			hole, err = seek(from, unix.SEEK_HOLE)
		}
		if err != nil {
			return nil, false, fmt.Errorf("look for holes: %w", err)
		}
		if hole <= from {
			return nil, false, fmt.Errorf("look for holes: data from %d to %d", from, hole)
		}
		if len(data) == maxPieces {
			return nil, false, fmt.Errorf("it is in more than %d pieces", maxPieces)
		}
		data = appendPiece(data, from, min(hole, size), size)
		pos = hole
	}
	whole = len(data) == 1 && data[0] == Extent{0, size} // of a hole smaller than any piece
	return data, whole, nil
}

// sparseUnit is what pieces are rounded outwards to: GNU tar reads nothing else
// (its manual, "Storing Sparse Files"), and no filesystem has smaller blocks.
const sparseUnit = 512

// mayHaveHole tells whether content has a unit that is nothing but zeros. Of most
// small files this spares asking the filesystem.
func mayHaveHole(content []byte) bool {
	for len(content) > 0 {
		unit := content[:min(len(content), sparseUnit)]
		zeros := 0
		for zeros < len(unit) && unit[zeros] == 0 {
			zeros++
		}
		if zeros == len(unit) {
			return true
		}
		content = content[len(unit):]
	}
	return false
}

func appendPiece(data []Extent, from, to, size int64) []Extent {
	from -= from % sparseUnit
	to = min((to+sparseUnit-1)/sparseUnit*sparseUnit, size)
	if n := len(data); n > 0 && data[n-1].Off+data[n-1].Len >= from {
		data[n-1].Len = to - data[n-1].Off
		return data
	}
	return append(data, Extent{from, to - from})
}

// attributes is where xattrs are read from: an open file, or a path for what
// cannot be opened.
type attributes interface {
	list(buf []byte) (int, error)
	get(name string, buf []byte) (int, error)
}

type openAttributes int

func (fd openAttributes) list(buf []byte) (int, error) { return unix.Flistxattr(int(fd), buf) }
func (fd openAttributes) get(name string, buf []byte) (int, error) {
	return unix.Fgetxattr(int(fd), name, buf)
}

// pathAttributes is for symlinks, devices, fifos and sockets: opening those does
// something else, and a descriptor that only names one gives no xattrs.
type pathAttributes string

func (p pathAttributes) list(buf []byte) (int, error) { return unix.Llistxattr(string(p), buf) }
func (p pathAttributes) get(name string, buf []byte) (int, error) {
	return unix.Lgetxattr(string(p), name, buf)
}

// below is the path of name in an open folder. It is short, however deep the
// folder lies.
func below(dir int, name string) pathAttributes {
	return pathAttributes(fmt.Sprintf("/proc/thread-self/fd/%d/%s", dir, name))
}

// readXattrs returns all attributes in byte order of their names. room is memory
// to read into; few have more.
func readXattrs(a attributes, room []byte) ([]Xattr, error) {
	names, err := grow(room, a.list)
	if errors.Is(err, unix.ENOTSUP) || err == nil && len(names) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	var all []Xattr
	for raw := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		all = append(all, Xattr{Name: string(raw)})
	}
	for i := range all {
		x := &all[i]
		value, err := grow(room, func(buf []byte) (int, error) { return a.get(x.Name, buf) })
		if err != nil {
			return nil, fmt.Errorf("read xattr %q: %w", x.Name, err)
		}
		x.Value = bytes.Clone(value)
	}
	slices.SortFunc(all, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// grow calls read with buf and, where that is too small, with as much as it asks
// for.
func grow(buf []byte, read func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := again(func() (int, error) { return read(buf) })
		if err == nil {
			return buf[:n], nil
		}
		if !errors.Is(err, unix.ERANGE) {
			return nil, err
		}
		if n, err = again(func() (int, error) { return read(nil) }); err != nil {
			return nil, err
		}
		buf = make([]byte, n+256)
	}
}
