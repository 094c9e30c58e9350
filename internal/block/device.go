package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
)

// Device is a block device that is ours alone while it is open: the kernel
// refuses every mount of it and every other exclusive user. It is read past the
// page cache where it can be. All of it is one extent, as a device does not know
// its holes.
type Device struct {
	*File
	image bool
}

// IsImage tells whether the bytes come from a file: path is one, or it is a loop
// device, which no disk of a machine ever is.
func (d *Device) IsImage() bool { return d.image }

// loopMajor is the number of the loop driver (Linux, Documentation/admin-guide/
// devices.txt). Who looks at the name of a node looks at what somebody typed.
const loopMajor = 7

func isImage(info fs.FileInfo) bool {
	if info.Mode().IsRegular() {
		return true
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Type() == os.ModeDevice && unix.Major(stat.Rdev) == loopMajor
}

// OpenDevice opens a block device exclusively. Where path is a regular file,
// which stands for a device in a sandbox, nothing is exclusive.
//
// A device that is in use, also below a loop device, is an error for which
// errors.Is(err, unix.EBUSY) holds and which names the holder if it can be seen.
//
// A device may answer neither the open nor the first read, and neither can be
// ended from outside. When ctx ends before them, OpenDevice returns its cause;
// they go on in a thread of their own, and what is opened in the end is closed.
func OpenDevice(ctx context.Context, path string) (*Device, error) {
	type answer struct {
		device *Device
		err    error
	}
	answers := make(chan answer)
	go func() {
		d, err := openDevice(path)
		select {
		case answers <- answer{d, err}:
		case <-ctx.Done():
			if d != nil {
				_ = d.Close() // nothing was read, and nobody is there to be told
			}
		}
	}()
	select {
	case a := <-answers:
		return a.device, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func openDevice(path string) (*Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		file, err := OpenFile(path)
		if err != nil {
			return nil, err
		}
		file.whole = true
		return &Device{File: file, image: isImage(info)}, nil
	}
	f, err := openExclusive(path)
	if errors.Is(err, unix.EBUSY) {
		return nil, busy(path, info, err)
	}
	if err != nil {
		return nil, err
	}
	d, err := newDevice(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func openExclusive(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // no O_DIRECT here
		return os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	}
	return f, err
}

func newDevice(f *os.File, path string) (*Device, error) {
	// A loop device over this one does not show as busy.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if by := systemView().loopOver(path, info); by != "" {
		return nil, busyError(path, by, unix.EBUSY)
	}
	file, err := newFile(f)
	if err != nil {
		return nil, err
	}
	if err := file.setUnit(); err != nil {
		return nil, err
	}
	return &Device{File: file, image: isImage(info)}, nil
}

// Extents yields the whole device.
func (d *Device) Extents(context.Context) iter.Seq2[Extent, error] { return wholeExtent(d.size) }

// setUnit finds out whether O_DIRECT works and in which unit. Where the device
// took the flag but not the read, the flag goes.
func (f *File) setUnit() error {
	flags, err := unix.FcntlInt(f.f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("flags of %s: %w", f.name, err)
	}
	if flags&unix.O_DIRECT == 0 || f.size == 0 {
		return nil
	}
	unit, err := unix.IoctlGetInt(int(f.f.Fd()), unix.BLKSSZGET)
	if err == nil && unit > 0 && unit <= pageSize && f.size%int64(unit) == 0 {
		_, err = f.f.ReadAt(AlignedBuffer(pageSize)[:unit], 0)
		if err == nil {
			f.unit = int64(unit)
			return nil
		}
	}
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return f.readError(err, 0)
	}
	if _, err := unix.FcntlInt(f.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT); err != nil {
		return fmt.Errorf("read %s by the page cache: %w", f.name, err)
	}
	return nil
}

// deviceSize asks the kernel: a device's inode has no size.
func deviceSize(f *os.File) (int64, error) {
	var size uint64
	// x/sys has no call for a 64-bit result.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, errno
	}
	return int64(size), nil
}

func busy(path string, info fs.FileInfo, err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err
	}
	return busyError(path, systemView().holder(path, info), err)
}

func busyError(path, by string, err error) error {
	if by == "" {
		return hint.Wrap(fmt.Errorf("open %s: %w: held by something this process cannot see", path, err),
			"look for a mount of it in another namespace (a container), or a program that has it open: lsof "+path)
	}
	return hint.Wrap(fmt.Errorf("open %s: %w: %s", path, err, by), "end that use of "+path+", then try again")
}
