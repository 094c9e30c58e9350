package filesystem

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// examine looks at all items of a batch, in the order of their inodes: that is
// the order in which most filesystems have them on the disk.
func (w *walker) examine(b *batch) {
	var order [batchItems]int
	for i := range b.n {
		order[i] = i
	}
	slices.SortFunc(order[:b.n], func(i, j int) int {
		switch x, y := b.items[i].name.inode, b.items[j].name.inode; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	for _, i := range order[:b.n] {
		it := &b.items[i]
		if err := w.look(b, it); err != nil {
			it.err = &PathError{it.entry.Path, err}
			if it.entry.file != nil {
				it.entry.file.Release()
			}
			it.entry = Entry{Path: it.entry.Path}
		}
		w.answered.Add(1)
	}
}

func (w *walker) look(b *batch, it *item) error {
	if it.self != nil {
		return w.lookAtFolder(b, it)
	}
	e := &it.entry
	e.Path = join(it.in.path, it.name.text)
	if it.name.kind == unix.DT_REG && w.full {
		return w.lookAtFile(b, it)
	}
	var st unix.Stat_t
	if err := fstatat(it.in.fd, it.name.text, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if err := e.fill(&st); err != nil {
		return err
	}
	switch e.Type {
	case Folder:
		return errors.New("it has become a folder while it was read: something writes to this filesystem")
	case Regular:
		if w.full { // the listing did not tell the type
			return w.lookAtFile(b, it)
		}
		return nil
	case Symlink:
		var err error
		if e.Target, err = readlink(it.in.fd, it.name.text, st.Size); err != nil {
			return fmt.Errorf("read link: %w", err)
		}
	}
	if !w.full || e.Type == Socket { // which cannot be stored
		return nil
	}
	var err error
	e.Xattrs, err = w.xattrs(b, below(it.in.fd, it.name.text))
	return err
}

func (w *walker) lookAtFolder(b *batch, it *item) error {
	e, f := &it.entry, it.self
	e.Path = f.path
	if f.err != nil {
		return f.err
	}
	if err := e.fill(&f.stat); err != nil {
		return err
	}
	if e.Device != w.device {
		if !w.t.Subvolumes {
			return errors.New("another filesystem is mounted there")
		}
		e.Subvolume = e.Inode == firstFree
	}
	if !w.full {
		return nil
	}
	var err error
	e.Xattrs, err = w.xattrs(b, openAttributes(f.fd))
	return err
}

// firstFree is the inode number of the root of each btrfs subvolume
// (BTRFS_FIRST_FREE_OBJECTID in linux/btrfs_tree.h).
const firstFree = 256

// xattrs leaves out what XFS shows root a second time: its ACLs, in the form in
// which it stores them (Linux, fs/xfs/xfs_xattr.c). On another filesystem they
// would be xattrs that nobody has set.
func (w *walker) xattrs(b *batch, a attributes) ([]Xattr, error) {
	all, err := readXattrs(a, b.room[:])
	if w.xfs {
		all = slices.DeleteFunc(all, func(x Xattr) bool {
			return x.Name == "trusted.SGI_ACL_FILE" || x.Name == "trusted.SGI_ACL_DEFAULT"
		})
	}
	return all, err
}

func (w *walker) lookAtFile(b *batch, it *item) (err error) {
	e := &it.entry
	fd, err := openat(it.in.fd, it.name.text, unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			closeFD(fd)
		}
	}()
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if err := e.fill(&st); err != nil {
		return err
	}
	if e.Type != Regular {
		return errors.New("it has become no file while it was read: something writes to this filesystem")
	}
	if e.Xattrs, err = w.xattrs(b, openAttributes(fd)); err != nil || e.Size == 0 {
		return err
	}
	small := e.Size <= smallFile
	if small {
		if e.Content, err = b.readSmall(fd, int(e.Size)); err != nil {
			return err
		}
	}
	if !small || mayHaveHole(e.Content) {
		data, whole, err := dataMap(fd, e.Size)
		if err != nil {
			return err
		}
		if !whole {
			e.Sparse, e.Data, e.Content = true, data, nil
		}
	}
	if keep = e.Sparse || !small; keep {
		e.file = &File{path: e.Path, fd: fd}
		e.file.Retain()
	}
	return nil
}

// readSmall reads a whole file into the batch's memory.
func (b *batch) readSmall(fd, size int) ([]byte, error) {
	if b.arena == nil {
		b.arena = make([]byte, 0, batchItems*smallFile)
	}
	from := len(b.arena)
	b.arena = b.arena[:from+size]
	p := b.arena[from : from+size : from+size]
	f := File{fd: fd}
	if err := f.ReadFull(p, 0); err != nil {
		return nil, errors.Unwrap(err) // the caller names the path
	}
	return p, nil
}
