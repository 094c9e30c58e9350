package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// LoopsOver returns the loop devices that stand on a device, on a partition of
// it, or on an image file, by its name and by its number: "/dev/loop3". Some stand
// on files of a filesystem that does not answer, so that asking can take for ever:
// when ctx ends LoopsOver returns its cause.
func LoopsOver(ctx context.Context, device string) ([]string, error) {
	loops, err := bounded(ctx, func() ([]string, error) { return loopsOver(device) }, func([]string) {})
	if err != nil {
		return nil, fmt.Errorf("look for loop devices over %s: %w", device, err)
	}
	return loops, nil
}

func loopsOver(device string) ([]string, error) {
	w, err := newBackingOf(device)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat("/sys/block"); err != nil { // the pattern would just match nothing
		return nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file") // those that are set up
	if err != nil {
		return nil, err
	}
	var loops []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			continue // it has just been cleared
		}
		if err != nil {
			return nil, err
		}
		name := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		if w.is(strings.TrimSuffix(string(text), "\n"), name) {
			loops = append(loops, name)
		}
	}
	slices.Sort(loops)
	return loops, nil
}

// backingOf is by what a loop device can tell that it stands on a device.
type backingOf struct {
	name          string
	numbers       []uint64 // of a block device and its partitions
	device, inode uint64   // of a file
}

func newBackingOf(device string) (*backingOf, error) {
	info, err := os.Stat(device)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("it has no number")
	}
	w := &backingOf{name: device}
	if info.Mode().Type() != os.ModeDevice {
		w.device, w.inode = stat.Dev, stat.Ino
		return w, nil
	}
	w.numbers = []uint64{stat.Rdev}
	at := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	partitions, err := filepath.Glob(at + "/*/partition")
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(p), "dev"))
		if err != nil {
			return nil, err
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
			return nil, fmt.Errorf("number of the partition in %s: %w", p, err)
		}
		w.numbers = append(w.numbers, unix.Mkdev(major, minor))
	}
	return w, nil
}

// is asks by name, as the kernel gives it, and then the loop device itself: the
// name may be of another mount namespace, or of a node that is gone. One that
// cannot be asked, since what it stands on is broken, does not stand on a device
// that works; or this user may not ask, and the name alone has to do.
func (w *backingOf) is(backing, loop string) bool {
	if strings.TrimSuffix(backing, " (deleted)") == w.name {
		return true
	}
	status, err := loopStatus(loop)
	switch {
	case err != nil:
		return false
	case w.numbers != nil:
		return slices.Contains(w.numbers, status.Rdevice)
	}
	return status.Device == w.device && status.Inode == w.inode
}
