package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
	"snap-to-s3/internal/runstate"
)

// loop is a loop device over a part of a device. It clears itself once nobody has
// it open or mounted: with the process, at the latest.
type loop struct {
	number int
	name   string
	file   *os.File // nil: only the mount holds it
	device string   // what it stands on
	offset int64
	info   loopIdentity
}

// loopIdentity tells one use of a loop device's number from a later one.
type loopIdentity struct{ device, inode, node, offset, size uint64 }

// How often another free loop device is asked for: other processes take them
// between our asking and our taking, and their nodes may appear later.
const loopAttempts = 50

const privileges = "run as root, on a machine or in a container that may mount (docker run --privileged -v /dev:/dev), or archive the image with --dd, which needs no mount"

// attach sets a loop device up.
func attach(ctx context.Context, device *os.File, r MountRequest) (*loop, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("ask for a loop device: %w", err), privileges)
	}
	defer control.Close()
	wait := firstWait
	for range loopAttempts {
		var number int
		number, err = again(func() (int, error) { return unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE) })
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, hint.Wrap(fmt.Errorf("ask for a loop device: %w", err), privileges)
		}
		if err == nil {
			var l *loop
			if l, err = take(ctx, number, device, r); err == nil {
				return l, nil
			}
		}
		if !passes(err) {
			return nil, fmt.Errorf("set up /dev/loop%d: %w", number, err)
		}
		if err := pause.For(ctx, wait); err != nil {
			return nil, err
		}
		wait = min(2*wait, longestWait)
	}
	return nil, hint.Wrap(fmt.Errorf("no loop device is to be had: %w", err),
		"see losetup -l; in a container, give it the host's /dev (docker run --privileged -v /dev:/dev)")
}

// passes tells whether an error is of a race with another process.
func passes(err error) bool {
	for _, e := range []error{unix.EBUSY, unix.ENXIO, unix.ENOENT, unix.ENODEV, unix.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func take(ctx context.Context, number int, device *os.File, r MountRequest) (_ *loop, err error) {
	name := fmt.Sprintf("/dev/loop%d", number)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	// Direct: reads by way of the device's page cache go one after the other, however
	// many ask. The driver drops the flag where the device does not allow it.
	config := unix.LoopConfig{Fd: uint32(device.Fd()), Info: unix.LoopInfo64{
		Offset: uint64(r.Offset), Sizelimit: uint64(r.Size), Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO,
	}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], r.Device) // for losetup -l
	err = again0(func() error { return unix.IoctlLoopConfigure(int(f.Fd()), &config) })
	if (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY)) && r.State != nil { // before Linux 5.8
		err = takeInSteps(ctx, f, &config, r)
	}
	if err != nil {
		return nil, err
	}
	// Who had this loop device before may have left it read-only (blockdev --setro).
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 0); err != nil {
		return nil, fmt.Errorf("make it writable: %w", err)
	}
	status, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	if status.Flags&unix.LO_FLAGS_READ_ONLY != 0 {
		return nil, hint.Wrap(fmt.Errorf("it came out read-only: %w", unix.EROFS), writable)
	}
	return &loop{number, name, f, r.Device, r.Offset, identityOf(status)}, nil
}

// takeInSteps does what LOOP_CONFIGURE does at once. A kill between the steps
// leaves a loop device that does not clear itself, hence the entry in the state
// file.
func takeInSteps(ctx context.Context, f *os.File, config *unix.LoopConfig, r MountRequest) error {
	intent, err := r.State.Intend(runstate.KindLoop, map[string]string{"loop": f.Name(), "backing": r.Device})
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	if err := again0(func() error { return unix.IoctlSetInt(fd, unix.LOOP_SET_FD, int(config.Fd)) }); err != nil {
		return errors.Join(err, intent.Done())
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err = again0(func() error { return unix.IoctlLoopSetStatus64(fd, &config.Info) })
		// The driver gives up when pages came in meanwhile, as of a program that
		// looks at every new device, and wants to be asked again.
		if !errors.Is(err, unix.EAGAIN) || wait == longestWait || pause.For(ctx, wait) != nil {
			break
		}
	}
	if err == nil {
		// Which LOOP_SET_STATUS64 does not set. Without it reads are slower.
		_ = unix.IoctlSetInt(fd, unix.LOOP_SET_DIRECT_IO, 1)
		return intent.Done()
	}
	if undo := unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0); undo != nil {
		return errors.Join(err, undo, intent.Stay(undo.Error(), "losetup -d "+f.Name()))
	}
	return errors.Join(err, intent.Done())
}

// letGo closes our hold on the device: the mount has its own.
func (l *loop) letGo() error {
	f := l.file
	l.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", l.name, err)
	}
	return nil
}

// gone waits until the loop device has let go of what it stands on. The kernel
// tells nobody when: it is asked again and again.
func (l *loop) gone(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		status, err := loopStatus(l.name)
		if errors.Is(err, errNoLoop) || err == nil && identityOf(status) != l.info {
			return nil
		}
		// An error is one of what it stands on, which does not answer any more.
		if end := pause.For(ctx, wait); end != nil {
			return fmt.Errorf("%s still stands on %s: %w", l.name, l.device, errors.Join(end, err))
		}
	}
}

var errNoLoop = errors.New("not set up")

// loopStatus asks a loop device what it stands on. Opening one for reading does
// nothing to it.
func loopStatus(name string) (*unix.LoopInfo64, error) {
	f, err := os.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil, errNoLoop
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	status, err := again(func() (*unix.LoopInfo64, error) { return unix.IoctlLoopGetStatus64(int(f.Fd())) })
	if errors.Is(err, unix.ENXIO) {
		return nil, errNoLoop
	}
	return status, err
}

func identityOf(s *unix.LoopInfo64) loopIdentity {
	return loopIdentity{s.Device, s.Inode, s.Rdevice, s.Offset, s.Sizelimit}
}
