package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/hint"
)

// imageWithFile is an image with one file, as small as mkfs makes it.
func imageWithFile(t *testing.T, typ string) string {
	t.Helper()
	needMounts(t)
	size := map[string]int64{"xfs": 300 << 20, "btrfs": 128 << 20}[typ]
	image := treetest.Image(t, typ, max(size, 16<<20))
	at := treetest.Mounted(t, image, 0)
	if err := os.WriteFile(filepath.Join(at, "file"), []byte("content\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	treetest.Unmount(t, at)
	return image
}

// requestOf asks for all of a device or image.
func requestOf(t *testing.T, device, typ string) MountRequest {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	return MountRequest{Device: device, Size: size, Type: typ}
}

func openMount(t *testing.T, r MountRequest) *Mount {
	t.Helper()
	m, err := Open(t.Context(), r)
	if err != nil && strings.Contains(err.Error(), "needs a folder and a state file") {
		t.Skip("this kernel, or a container, allows no detached mounts")
	}
	if err != nil {
		t.Fatalf("%v (hint %q)", err, hint.Of(err))
	}
	t.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return m
}

func closeMount(t *testing.T, m *Mount) {
	t.Helper()
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// readMount is the tree of a mount, as an independent reader sees it.
func readMount(t *testing.T, m *Mount) []treetest.Record {
	t.Helper()
	return treetest.Read(t, fmt.Sprintf("/proc/self/fd/%d", m.Root().Fd()), treetest.ReadOptions{})
}

func hasFile(t *testing.T, m *Mount) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/file", m.Root().Fd()))
	if err != nil || string(text) != "content\n" {
		t.Errorf("read %q, %v", text, err)
	}
}

// nothingOver waits until no loop device stands on the device.
func nothingOver(t *testing.T, device string) {
	t.Helper()
	var loops []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var err error
		if loops, err = LoopsOver(t.Context(), device); err != nil {
			t.Fatal(err)
		}
		if len(loops) == 0 {
			return
		}
	}
	t.Errorf("left over %s: %v", device, loops)
}

func mountTable(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each filesystem, in an image and on a loop device that stands for a volume.
func TestDetachedMounts(t *testing.T) {
	for _, typ := range treetest.Filesystems() {
		for _, on := range []string{"image", "device"} {
			t.Run(typ+" on a "+on, func(t *testing.T) {
				device := imageWithFile(t, typ)
				if on == "device" {
					device = treetest.Loop(t, device, 512)
				}
				m := openMount(t, requestOf(t, device, typ))
				if !m.Detached() {
					t.Error("it is in the mount table")
				}
				loops, err := LoopsOver(t.Context(), device)
				if err != nil || !slices.Equal(loops, []string{m.loop.name}) {
					t.Errorf("loops over it: %v, %v; want %s", loops, err, m.loop.name)
				}
				if strings.Contains(mountTable(t), " "+m.loop.name+" ") {
					t.Error("it is in the mount table")
				}
				hasFile(t, m)
				err = os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/new", m.Root().Fd()), nil, 0o600)
				if !errors.Is(err, unix.EROFS) {
					t.Errorf("it can be written to: %v", err)
				}
				if used, err := m.Used(); err != nil || used <= 0 || used > 300<<20 {
					t.Errorf("%d bytes in use, %v", used, err)
				}
				closeMount(t, m)
				if loops, err := LoopsOver(t.Context(), device); len(loops) > 0 || err != nil {
					t.Errorf("after Close, over it: %v, %v", loops, err)
				}
				closeMount(t, m) // once more does nothing
			})
		}
	}
}

func TestMountOfAPartition(t *testing.T) {
	image := imageWithFile(t, "ext4")
	disk := filepath.Join(t.TempDir(), "disk")
	const start, size = 3 << 20, 16 << 20
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	treetest.SparseCopy(t, image, disk, start)
	if err := os.Truncate(disk, start+size+1<<20); err != nil {
		t.Fatal(err)
	}
	hasFile(t, openMount(t, MountRequest{Device: disk, Offset: start, Size: size, Type: "ext4"}))
}

// What a snapshot of a running machine shows is what its journal says: without
// it, or with a read-only device, another tree is read, or none.
func TestJournalsAreReplayed(t *testing.T) {
	for _, typ := range []string{"ext3", "ext4", "xfs", "btrfs"} {
		t.Run(typ, func(t *testing.T) {
			needMounts(t)
			image, want := treetest.Dirty(t, typ)
			m := openMount(t, requestOf(t, treetest.Loop(t, image, 512), typ))
			for _, d := range treetest.Diff(want, readMount(t, m), treetest.DiffOptions{}) {
				t.Error(d)
			}
		})
	}
}

// A superblock that says panic must not take the machine down.
func TestErrorsNeverPanic(t *testing.T) {
	treetest.RequirePrograms(t, "tune2fs")
	for _, typ := range []string{"ext2", "ext3", "ext4"} {
		image := imageWithFile(t, typ)
		runProgram(t, "tune2fs", "-e", "panic", image)
		m := openMount(t, requestOf(t, image, typ))
		options, err := os.ReadFile("/proc/fs/ext4/" + strings.TrimPrefix(m.loop.name, "/dev/") + "/options")
		if err != nil {
			t.Skip("this kernel does not tell the options: ", err)
		}
		if !slices.Contains(strings.Split(string(options), "\n"), "errors=continue") {
			t.Errorf("%s: options %q", typ, options)
		}
		closeMount(t, m)
	}
}

func runProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// With the device held exclusively ours is the only mount that the kernel allows,
// in whatever namespace.
func TestNobodyElseMountsAHeldDevice(t *testing.T) {
	treetest.RequirePrograms(t, "mount", "unshare")
	for _, typ := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(typ, func(t *testing.T) {
			device := treetest.Loop(t, imageWithFile(t, typ), 512)
			held, err := block.OpenDevice(t.Context(), device)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			m := openMount(t, requestOf(t, device, typ))
			hasFile(t, m)
			point := t.TempDir()
			for _, command := range [][]string{
				{"mount", "-o", "ro", device, point},
				{"unshare", "-m", "mount", "-t", typ, "-o", "ro", device, point},
			} {
				out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
				if err == nil {
					_ = unix.Unmount(point, 0)
				}
				if err == nil || !strings.Contains(string(out), "busy") {
					t.Errorf("%v: %v: %s; want that it is busy", command, err, out)
				}
			}
			closeMount(t, m)
		})
	}
}

func TestTwoCopiesAtOnce(t *testing.T) {
	for _, typ := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(typ, func(t *testing.T) {
			first := imageWithFile(t, typ)
			second := filepath.Join(t.TempDir(), "copy")
			treetest.SparseCopy(t, first, second, 0)
			at := treetest.Mounted(t, second, 0)
			if err := os.WriteFile(filepath.Join(at, "second"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			treetest.Unmount(t, at)
			one := openMount(t, requestOf(t, first, typ))
			two, err := Open(t.Context(), requestOf(t, second, typ))
			if _, told := os.Stat("/sys/fs/btrfs/features/temp_fsid"); told != nil && typ == "btrfs" {
				if err == nil || hint.Of(err) == "" {
					t.Errorf("a second copy, which this kernel would mix with the first: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer closeMount(t, two)
			for m, want := range map[*Mount]bool{one: false, two: true} {
				hasFile(t, m)
				if has := isThere(t, fmt.Sprintf("/proc/self/fd/%d/second", m.Root().Fd())); has != want {
					t.Errorf("has the second copy's file: %t, want %t", has, want)
				}
			}
		})
	}
}

// Open files keep a mount: Close says so, in time, and names the loop device.
func TestCloseWithOpenFiles(t *testing.T) {
	image := imageWithFile(t, "ext4")
	m := openMount(t, requestOf(t, image, "ext4"))
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d/file", m.Root().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := m.Close(ctx); err == nil || !strings.Contains(err.Error(), image) || !strings.Contains(hint.Of(err), m.loop.name) {
		t.Errorf("closed with an open file: %v (hint %q)", err, hint.Of(err))
	}
	if loops, err := LoopsOver(t.Context(), image); len(loops) != 1 || err != nil {
		t.Errorf("over it: %v, %v", loops, err)
	}
	if text := make([]byte, 4); func() int { n, _ := f.Read(text); return n }() != 4 {
		t.Error("the file cannot be read any more")
	}
	f.Close()
	nothingOver(t, image)
}

func TestOpenIsNotBegunTooLate(t *testing.T) {
	image := imageWithFile(t, "ext4")
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if m, err := Open(ctx, requestOf(t, image, "ext4")); !errors.Is(err, enough) {
		t.Errorf("got %v, %v", m, err)
	}
	nothingOver(t, image)
}

// A call that does not return is not waited for, and what it gives in the end is
// not lost.
func TestBounded(t *testing.T) {
	t.Parallel()
	answer, late := make(chan int), make(chan int, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	got, err := bounded(ctx, func() (int, error) { return <-answer, nil }, func(v int) { late <- v })
	if got != 0 || !errors.Is(err, enough) {
		t.Errorf("got %d, %v", got, err)
	}
	answer <- 7
	if v := <-late; v != 7 {
		t.Errorf("late came %d", v)
	}
	got, err = bounded(t.Context(), func() (int, error) { return 3, enough }, func(int) { t.Error("late") })
	if got != 3 || !errors.Is(err, enough) {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestRefusedRequests(t *testing.T) {
	needMounts(t)
	image := treetest.Image(t, "ext4", 16<<20)
	for name, c := range map[string]struct {
		r    MountRequest
		text string
	}{
		"no size":         {MountRequest{Device: image, Type: "ext4"}, "no partition"},
		"before":          {MountRequest{Device: image, Type: "ext4", Offset: -512, Size: 1 << 20}, "no partition"},
		"behind all":      {MountRequest{Device: image, Type: "ext4", Offset: 1 << 62, Size: 1 << 62}, "no partition"},
		"behind":          {MountRequest{Device: image, Type: "ext4", Offset: 1 << 20, Size: 16 << 20}, "behind the end"},
		"kept, unnamed":   {MountRequest{Device: image, Type: "ext4", Size: 16 << 20, Keep: true}, "plain"},
		"plain, unnamed":  {MountRequest{Device: image, Type: "ext4", Size: 16 << 20, Plain: true}, "state file"},
		"no device":       {MountRequest{Device: image + ".none", Type: "ext4", Size: 512}, "no such file"},
		"a folder":        {MountRequest{Device: t.TempDir(), Type: "ext4", Size: 512}, "directory"},
		"a character":     {MountRequest{Device: "/dev/zero", Type: "ext4", Size: 512}, "neither"},
		"another type":    {MountRequest{Device: image, Type: "xfs", Size: 16 << 20}, "cannot be mounted: "},
		"no btrfs":        {MountRequest{Device: image, Type: "btrfs", Size: 16 << 20}, "no btrfs superblock"},
		"unknown":         {MountRequest{Device: image, Type: "ntfs", Size: 16 << 20}, "cannot be mounted here"},
		"not on any disk": {MountRequest{Device: image, Type: "proc", Size: 16 << 20}, "cannot be mounted here"},
	} {
		_, err := Open(t.Context(), c.r)
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), c.r.Device) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", name, err, c.text)
		}
	}
	nothingOver(t, image)
}

func TestReadOnlyDeviceIsRefused(t *testing.T) {
	device := treetest.Loop(t, imageWithFile(t, "ext4"), 512)
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	setReadOnly(t, f, 1)
	defer setReadOnly(t, f, 0) // a loop device would stay so, for whoever has it next
	_, err = Open(t.Context(), requestOf(t, device, "ext4"))
	if err == nil || !strings.Contains(hint.Of(err), "blockdev") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	nothingOver(t, device)
}

func setReadOnly(t *testing.T, device *os.File, to int) {
	t.Helper()
	if err := unix.IoctlSetPointerInt(int(device.Fd()), unix.BLKROSET, to); err != nil {
		t.Fatal(err)
	}
}

// A filesystem that the kernel refuses is told with its own words, and leaves
// nothing.
func TestDamagedSuperblocks(t *testing.T) {
	for typ, at := range map[string]int64{"ext4": 1024 + 4, "xfs": 100, "btrfs": 0x10000 + 0x48} {
		t.Run(typ, func(t *testing.T) {
			image := imageWithFile(t, typ)
			f, err := os.OpenFile(image, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{0xff, 0xee, 0xdd}, at); err != nil {
				t.Fatal(err)
			}
			f.Close()
			_, err = Open(t.Context(), requestOf(t, image, typ))
			refused, ok := errors.AsType[*MountError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			log := openKernelLog(0)
			if log.fd >= 0 && len(refused.Words) == 0 {
				t.Errorf("the kernel's words are missing: %v", err)
			}
			log.close()
			t.Log(err)
			nothingOver(t, image)
		})
	}
}

func TestUsedBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		st   unix.Statfs_t
		want int64
	}{
		{unix.Statfs_t{Blocks: 10, Bfree: 3, Bsize: 4096}, 7 * 4096},
		{unix.Statfs_t{Blocks: 3, Bfree: 10, Bsize: 4096}, 0},
		{unix.Statfs_t{Blocks: 3, Bsize: -1}, 0},
		{unix.Statfs_t{Blocks: 1 << 63, Bsize: 1 << 62}, 1 << 62},
	} {
		if diff := cmp.Diff(c.want, usedBytes(&c.st)); diff != "" {
			t.Error(diff)
		}
	}
}
