//go:build linux

package treetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Filesystems are those that Image makes.
func Filesystems() []string { return []string{"ext2", "ext3", "ext4", "xfs", "btrfs"} }

// Image makes a sparse file of the size with an empty filesystem in it. The ext
// family gets blocks of 4 KiB, as on disks, whatever the size, unless args say
// otherwise: those go to mkfs as they are.
func Image(t testing.TB, fs string, size int64, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), fs+".img")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatalf("make image: %v", err)
	}
	Format(t, fs, image, args...)
	return image
}

// Format makes the filesystem on a file or device.
func Format(t testing.TB, fs, on string, args ...string) {
	t.Helper()
	program := "mkfs." + fs
	RequirePrograms(t, program)
	var always []string
	switch fs {
	case "ext2", "ext3", "ext4":
		always = []string{"-q", "-F", "-b", "4096", "-I", "256"}
	case "xfs", "btrfs":
		always = []string{"-q", "-f"}
	}
	run(t, program, append(append(always, args...), on)...)
}

// Mounted mounts the filesystem that begins at offset in the image and returns
// the folder. When the test ends it is unmounted, and the loop must be gone.
// Options are those of mount(8): "ro", or what the filesystem knows.
func Mounted(t testing.TB, image string, offset int64, options ...string) string {
	t.Helper()
	Require(t)
	fs := kindOf(t, image, offset)
	// Copies of a filesystem carry the same id.
	if fs == "xfs" {
		options = append([]string{"nouuid"}, options...)
	}
	flags := uintptr(0)
	var data []string
	for _, o := range options {
		if o == "ro" {
			flags |= unix.MS_RDONLY
		} else {
			data = append(data, o)
		}
	}
	loop, device := attach(t, image, unix.LoopConfig{Info: unix.LoopInfo64{Offset: uint64(offset), Flags: unix.LO_FLAGS_AUTOCLEAR}})
	at := t.TempDir()
	err := unix.Mount(device, at, fs, flags, strings.Join(data, ","))
	closeFD(loop) // from here on the mount alone holds the loop
	if err != nil {
		if errors.Is(err, unix.ENODEV) {
			t.Skipf("this kernel has no %s", fs)
		}
		t.Fatalf("mount %s at %d of %s (%s): %v", fs, offset, image, strings.Join(options, ","), err)
	}
	t.Cleanup(func() { unmount(t, at, image) })
	return at
}

// Unmount takes a mount away before the test ends, so that its image is whole.
func Unmount(t testing.TB, at string) {
	t.Helper()
	if err := unmountFree(at); err != nil {
		t.Fatalf("unmount %s: %v", at, err)
	}
}

// unmountFree unmounts what is about to be free: a program that another goroutine
// starts has all our descriptors for a moment, until its exec closes them.
func unmountFree(at string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if err := unix.Unmount(at, 0); !errors.Is(err, unix.EBUSY) {
			return err
		}
		<-tick.C
	}
	return unix.EBUSY
}

func unmount(t testing.TB, at, image string) {
	err := unmountFree(at)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: Unmount was there before
		t.Errorf("unmount %s: %v", at, err)
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("detach %s: %v", at, err)
		}
	}
	waitFor(t, "the loop on "+image+" is gone", func() bool { return len(Loops(t, image)) == 0 })
}

// waitFor waits for what the kernel does by itself and tells nobody of.
func waitFor(t testing.TB, what string, done func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if done() {
			return
		}
		<-tick.C
	}
	t.Errorf("after 10 s it is not so that %s", what)
}

// Loops returns the names of the loop devices on an image.
func Loops(t testing.TB, image string) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		text, err := os.ReadFile(f) // it may go while we look
		if err == nil && strings.TrimSuffix(string(text), "\n") == image {
			names = append(names, strings.Split(f, "/")[3])
		}
	}
	return names
}

// attach puts a loop on the image. The caller closes the descriptor.
func attach(t testing.TB, image string, c unix.LoopConfig) (loop int, device string) {
	t.Helper()
	backing, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", image, err)
	}
	defer closeFD(backing)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	defer closeFD(control)
	c.Fd = uint32(backing)
	for range 100 {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("needs a free loop device: %v", err)
		}
		device = fmt.Sprintf("/dev/loop%d", n)
		loop, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Skipf("needs loop devices: %v", err)
		}
		err = unix.IoctlLoopConfigure(loop, &c)
		if err == nil {
			return loop, device
		}
		closeFD(loop)
		if !errors.Is(err, unix.EBUSY) { // somebody was faster
			t.Fatalf("attach %s to %s: %v", image, device, err)
		}
	}
	t.Fatalf("attach %s: no loop device stayed free", image)
	return 0, ""
}

// Loop puts a loop device with sectors of the size on the whole image, until the
// test ends, and returns its path.
func Loop(t testing.TB, image string, sector int64) string {
	t.Helper()
	Require(t)
	fd, device := attach(t, image, unix.LoopConfig{Size: uint32(sector), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
	t.Cleanup(func() {
		closeFD(fd)
		waitFor(t, "the loop on "+image+" is gone", func() bool { return len(Loops(t, image)) == 0 })
	})
	return device
}

// kindOf tells a filesystem by its magic: each is at its own place.
func kindOf(t testing.TB, image string, offset int64) string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range [...]struct {
		fs, magic string
		at        int64
	}{
		{"xfs", "XFSB", 0},
		{"ext4", "\x53\xef", 0x438}, // the driver of ext4 mounts ext2 and ext3
		{"btrfs", "_BHRfS_M", 0x10040},
	} {
		got := make([]byte, len(m.magic))
		_, err := f.ReadAt(got, offset+m.at)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("read %s: %v", image, err)
		}
		if bytes.Equal(got, []byte(m.magic)) {
			return m.fs
		}
	}
	t.Fatalf("no filesystem at %d of %s", offset, image)
	return ""
}
