package filesystem

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
	"snap-to-s3/internal/runstate"
)

// MountRequest asks for a filesystem on a device, or in a part of it.
type MountRequest struct {
	Device       string // a block device, or an image file that stands for one; writable
	Offset, Size int64  // bytes: the partition
	Type         string // blkid's word: ext2 ext3 ext4 xfs btrfs f2fs vfat exfat jfs reiserfs
	UUID         string // of a btrfs: what the partition was found to hold; "" is not compared
	// Default mounts the subvolume of a btrfs that mount(8) shows, which
	// btrfs-subvolume(8) set-default chooses; else the top of all.
	Default bool
	// Folder is where a plain mount goes. It is made where it is missing, and has
	// to be empty and no mount point.
	Folder string
	Plain  bool // at Folder in the mount table, also where a detached mount is possible
	Keep   bool // Plain alone: Close leaves the mount, for a person to look at
	// State is told of plain mounts, and of loop devices that for a moment do not
	// clear themselves, before they are made.
	State *runstate.File
}

// Mount is a filesystem that is mounted, read-only. A detached one is in no mount
// table, and goes away with its loop device when the process ends, however it
// ends. A plain one is noted in the state file.
type Mount struct {
	root     *os.File
	detached *os.File // the mount itself; nil: plain
	plain    *plainMount
	loop     *loop
	closed   bool
}

// mountGrace is how long a mount may take to be gone once nothing should use it
// any more, and slack how much longer a call that does not return is waited for.
const (
	mountGrace = 30 * time.Second
	slack      = 5 * time.Second
)

// Open mounts the filesystem. The kernel replays its journal, and so writes to
// the device; the device may be held open exclusively by this process meanwhile.
//
// A filesystem that the kernel does not mount is a *MountError without a next
// step, since that depends on the partition. A device may never answer: when ctx
// ends before it does, Open returns its cause, and what is mounted in the end is
// unmounted; LoopsOver tells when the device is free.
func Open(ctx context.Context, r MountRequest) (*Mount, error) {
	m, err := bounded(ctx, func() (*Mount, error) { return open(ctx, r) }, func(m *Mount) {
		_ = m.undo(ctx) // nobody is there to be told; LoopsOver shows what stays
	})
	if err != nil {
		return nil, fmt.Errorf("mount the %s filesystem at byte %d of %s: %w", r.Type, r.Offset, r.Device, err)
	}
	return m, nil
}

func open(ctx context.Context, r MountRequest) (_ *Mount, err error) {
	if r.Offset < 0 || r.Size <= 0 || r.Offset > r.Offset+r.Size {
		return nil, fmt.Errorf("%d bytes at %d are no partition", r.Size, r.Offset)
	}
	if r.Keep && !r.Plain {
		return nil, errors.New("only a plain mount can be kept")
	}
	driver, err := driverOf(r.Type)
	if err != nil {
		return nil, err
	}
	device, err := openBacking(r)
	if err != nil {
		return nil, err
	}
	defer device.Close() // the loop device has its own
	if err := checkContent(device, r); err != nil {
		return nil, err
	}
	l, err := attach(ctx, device, r)
	if err != nil {
		return nil, err
	}
	m := &Mount{loop: l}
	err = m.mount(ctx, r, driver)
	err = errors.Join(err, l.letGo()) // from here on the mount alone holds the loop device
	if err != nil {
		return nil, errors.Join(err, m.undo(ctx))
	}
	return m, nil
}

func (m *Mount) mount(ctx context.Context, r MountRequest, driver string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if r.Plain {
		return m.mountPlain(ctx, r, driver)
	}
	for waited, wait := time.Duration(0), firstWait; ; wait = min(2*wait, longestWait) {
		err := m.mountDetached(r, driver)
		switch {
		case errors.Is(err, errNoFsopen):
			return m.mountPlain(ctx, r, driver)
		case r.Type != "btrfs" || !errors.Is(err, unix.EEXIST) || waited > btrfsPatience || pause.For(ctx, wait) != nil:
			return err
		}
		waited += wait
	}
}

// btrfsPatience is how long a btrfs is tried again that the kernel says is there
// already: it lets go of a copy's id a moment after the copy was unmounted.
const btrfsPatience = 10 * time.Second

// Root is the open root folder of the filesystem. It is the mount's own, and
// closed by its Close.
func (m *Mount) Root() *os.File { return m.root }

// Detached tells whether the mount is in no mount table.
func (m *Mount) Detached() bool { return m.detached != nil }

// Used is how many bytes the filesystem has in use.
func (m *Mount) Used() (int64, error) {
	st, err := again(func() (unix.Statfs_t, error) {
		var st unix.Statfs_t
		return st, unix.Fstatfs(int(m.root.Fd()), &st)
	})
	if err != nil {
		return 0, fmt.Errorf("ask the filesystem for its usage: %w", err)
	}
	return usedBytes(&st), nil
}

// usedBytes: what a damaged superblock says may make no sense.
func usedBytes(st *unix.Statfs_t) int64 {
	if st.Bfree > st.Blocks || st.Bsize <= 0 {
		return 0
	}
	unit := uint64(st.Bsize)
	return int64(min(st.Blocks-st.Bfree, math.MaxInt64/unit) * unit)
}

// openBacking opens what the loop device will stand on. Not exclusively: the
// caller may hold it so, and the kernel then refuses any other mount of it, but
// not a loop device over it.
func openBacking(r MountRequest) (*os.File, error) {
	f, err := os.OpenFile(r.Device, os.O_RDWR, 0)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		return nil, hint.Wrap(fmt.Errorf("open it for writing, as the journal is replayed on it: %w", err), writable)
	}
	if err != nil {
		return nil, err
	}
	if err := checkBacking(f, r); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const writable = "see that this user may write to it and that it is not read-only (blockdev --getro); without its journal the filesystem would show a wrong tree"

func checkBacking(f *os.File, r MountRequest) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.Mode().IsRegular():
	case info.Mode().Type() == os.ModeDevice:
		readOnly, err := unix.IoctlGetUint32(int(f.Fd()), unix.BLKROGET)
		if err != nil {
			return fmt.Errorf("ask whether it is read-only: %w", err)
		}
		if readOnly != 0 {
			return hint.Wrap(fmt.Errorf("the device is read-only: %w", unix.EROFS), writable)
		}
	default:
		return errors.New("it is neither a block device nor an image file")
	}
	size, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_END)
	if err != nil {
		return fmt.Errorf("ask for its size: %w", err)
	}
	if r.Offset+r.Size > size { // a loop device would be cut short without a word
		return fmt.Errorf("the partition ends at byte %d, behind the end of the device at %d", r.Offset+r.Size, size)
	}
	return nil
}

// bounded makes a call that the kernel may never answer, in a goroutine of its
// own. When ctx ends first it returns the cause; the call goes on, and late gets
// what came of it.
func bounded[T any](ctx context.Context, call func() (T, error), late func(T)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	answers := make(chan answer)
	go func() {
		v, err := call()
		select {
		case answers <- answer{v, err}:
		case <-ctx.Done():
			if err == nil {
				late(v)
			}
		}
	}()
	select {
	case a := <-answers:
		return a.v, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
