package awssim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// loopDevice is a loop device over an image. It is set to clear itself when it
// is last closed, so that nothing stays if this process is killed.
type loopDevice struct {
	path string // /dev/loop3
	file string // base name of the image, which is a name of its own
	open *os.File
}

// The numbers and structures of linux/loop.h.
const (
	loopCtlGetFree = 0x4C82
	loopConfigure  = 0x4C0A
	loopAutoclear  = 4
)

type loopInfo struct {
	device, inode, rdevice, offset, sizeLimit uint64
	number, encryptType, encryptKeySize       uint32
	flags                                     uint32
	fileName, cryptName                       [64]byte
	encryptKey                                [32]byte
	init                                      [2]uint64
}

type loopConfig struct {
	fd        uint32
	blockSize uint32
	info      loopInfo
	reserved  [8]uint64
}

// loopsUsable tells why loop devices cannot be made here, if so.
func loopsUsable() error {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return ctl.Close()
}

// newLoop makes a loop device over a file, for reading and writing.
func newLoop(path string) (*loopDevice, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close() // the loop has its own reference
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	const tries = 64 // others take free loops, too
	for range tries {
		l, err := configureFree(ctl, file)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.ENXIO), errors.Is(err, os.ErrNotExist):
			continue
		}
		return nil, fmt.Errorf("make a loop device over %s: %w", path, err)
	}
	return nil, fmt.Errorf("make a loop device over %s: others took each of %d free ones", path, tries)
}

func configureFree(ctl, file *os.File) (*loopDevice, error) {
	n, err := ioctl(ctl, loopCtlGetFree, nil)
	if err != nil {
		return nil, err
	}
	l := &loopDevice{path: fmt.Sprintf("/dev/loop%d", n), file: filepath.Base(file.Name())}
	if l.open, err = os.OpenFile(l.path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	c := loopConfig{fd: uint32(file.Fd())}
	c.info.flags = loopAutoclear
	copy(c.info.fileName[:len(c.info.fileName)-1], l.file)
	if _, err := ioctl(l.open, loopConfigure, unsafe.Pointer(&c)); err != nil {
		return nil, errors.Join(err, l.open.Close())
	}
	return l, nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) (int, error) {
	fd := f.Fd()
	n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// release lets go of the device. It is cleared when everybody else has.
func (l *loopDevice) release() error {
	if l == nil || l.open == nil {
		return nil
	}
	err := l.open.Close()
	l.open = nil
	return err
}

// bound tells whether the device is still over our file.
func (l *loopDevice) bound() bool {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(l.path), "loop", "backing_file"))
	if err != nil {
		return false // cleared
	}
	backing := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), " (deleted)")
	return filepath.Base(backing) == l.file
}

// goneSoon waits a moment for others (udev looks at each new device) to let go
// of a released device.
func (l *loopDevice) goneSoon() bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		if !l.bound() {
			return true
		}
		<-tick.C
	}
	return false
}
