package filesystem

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem/treetest"
)

// emptyImage is a file of a MiB, open for writing.
func emptyImage(t *testing.T) *os.File {
	t.Helper()
	return deviceWith(t, 1<<20, 0, nil)
}

// needMounts skips a test where nothing can be mounted, as in most containers.
func needMounts(t *testing.T) {
	t.Helper()
	treetest.Require(t)
	at := t.TempDir()
	if err := unix.Mount("none", at, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this machine has no loop devices: ", err)
	}
	f.Close()
}

func attachLoop(t *testing.T, backing *os.File, offset, size int64) *loop {
	t.Helper()
	needMounts(t)
	l, err := attach(t.Context(), backing, MountRequest{Device: backing.Name(), Offset: offset, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l.file != nil {
			if err := l.letGo(); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

func TestLoopIsThePartition(t *testing.T) {
	backing := emptyImage(t)
	if _, err := backing.WriteAt([]byte("begin"), 4096); err != nil {
		t.Fatal(err)
	}
	l := attachLoop(t, backing, 4096, 8192)
	size, err := unix.Seek(int(l.file.Fd()), 0, unix.SEEK_END)
	if size != 8192 || err != nil {
		t.Errorf("size %d, %v", size, err)
	}
	text := make([]byte, 5)
	if _, err := l.file.ReadAt(text, 0); err != nil || string(text) != "begin" {
		t.Errorf("read %q, %v", text, err)
	}
	status, err := loopStatus(l.name)
	if err != nil || status.Flags&^unix.LO_FLAGS_DIRECT_IO != unix.LO_FLAGS_AUTOCLEAR { // direct where the device allows it
		t.Errorf("flags %#x, %v", status.Flags, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := l.gone(ctx); !errors.Is(err, enough) {
		t.Errorf("gone while it is open: %v", err)
	}
	if err := l.letGo(); err != nil {
		t.Error(err)
	}
	if err := l.gone(t.Context()); err != nil {
		t.Error(err)
	}
	// Its number can be another's at once.
	if next := attachLoop(t, backing, 0, 8192); next.number == l.number {
		if err := l.gone(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Whoever had the loop device before may have left it read-only.
func TestLoopIsWritable(t *testing.T) {
	backing := emptyImage(t)
	l := attachLoop(t, backing, 0, 1<<20)
	setReadOnly(t, l.file, 1)
	number := l.number
	if err := l.letGo(); err != nil {
		t.Fatal(err)
	}
	next := attachLoop(t, backing, 0, 1<<20)
	if readOnly, err := unix.IoctlGetUint32(int(next.file.Fd()), unix.BLKROGET); readOnly != 0 || err != nil {
		t.Errorf("read-only: %d, %v", readOnly, err)
	}
	if next.number != number {
		if f, err := os.Open(l.name); err == nil { // another process may have it
			setReadOnly(t, f, 0)
			f.Close()
		}
		t.Skip("another process was faster")
	}
}

// Many ask for a free loop device at once: each gets one of its own.
func TestLoopsAtOnce(t *testing.T) {
	needMounts(t)
	backing := emptyImage(t)
	var all sync.WaitGroup
	for n := range int64(6) {
		all.Go(func() {
			for range 20 {
				l, err := attach(t.Context(), backing, MountRequest{Device: backing.Name(), Offset: n * 4096, Size: 4096})
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(l.letGo(), l.gone(t.Context())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	nothingOver(t, backing.Name())
}

func TestLoopsOver(t *testing.T) {
	backing, other := emptyImage(t), emptyImage(t)
	a, b := attachLoop(t, backing, 0, 4096), attachLoop(t, backing, 4096, 1<<20-4096)
	attachLoop(t, other, 0, 4096)
	device, err := os.OpenFile(b.name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	over := attachLoop(t, device, 0, 4096)
	link, hard := filepath.Join(t.TempDir(), "link"), backing.Name()+".hard"
	node := filepath.Join(t.TempDir(), "node")
	if err := errors.Join(os.Symlink(b.name, link), os.Link(backing.Name(), hard)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(b.number)))); err != nil {
		t.Fatal(err)
	}
	both := []string{a.name, b.name}
	slices.Sort(both)
	for name, want := range map[string][]string{
		backing.Name(): both,
		hard:           both,
		b.name:         {over.name},
		link:           {over.name},
		node:           {over.name},
		a.name:         nil,
		"/dev/null":    nil,
	} {
		got, err := LoopsOver(t.Context(), name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("over %s: %v, %v; want %v", name, got, err, want)
		}
	}
	if err := os.Remove(backing.Name()); err != nil {
		t.Fatal(err)
	}
	if got, err := LoopsOver(t.Context(), hard); err != nil || !slices.Equal(got, both) {
		t.Errorf("over a file that lost its name: %v, %v; want %v", got, err, both)
	}
	if _, err := LoopsOver(t.Context(), backing.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("over nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := LoopsOver(ctx, b.name); got != nil && err != nil {
		t.Errorf("too late: %v, %v", got, err)
	}
}
