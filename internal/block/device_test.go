package block

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
)

// run runs a program of the system, and skips the test without it.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("the %s program is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loop makes a loop device over a file or device.
func loop(t *testing.T, backing string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
	dev := run(t, "losetup", "--find", "--show", backing)
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

func TestDeviceReads(t *testing.T) {
	content := noise(9*Size + 512)
	dev := loop(t, imageFile(t, content))
	d, err := OpenDevice(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != int64(len(content)) {
		t.Errorf("size %d, want %d", d.Size(), len(content))
	}
	if d.unit < 512 {
		t.Errorf("unit %d: the device is not read past the page cache", d.unit)
	}
	if !d.IsImage() {
		t.Error("a loop device is not told to be an image")
	}
	if diff := cmp.Diff([]Extent{{0, int64(len(content))}}, collect(t, d)); diff != "" {
		t.Error(diff)
	}
	for name, read := range map[string]at{"ReadAt": d.ReadAt, "ReadLent": d.ReadLent} {
		tail := d.Size() - 5000 // it reads a byte or two at a time
		if err := iotest.TestReader(io.NewSectionReader(read, tail, 5000), content[tail:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p := make([]byte, 3*Size)
		if n, err := read(t.Context(), p, 777); n != len(p) || err != nil || !bytes.Equal(p, content[777:][:len(p)]) {
			t.Errorf("%s, unaligned: %d, %v", name, n, err)
		}
		if n, err := read(t.Context(), p, d.Size()-1000); n != 1000 || err != io.EOF || !bytes.Equal(p[:n], content[len(content)-1000:]) {
			t.Errorf("%s, past the end: %d, %v", name, n, err)
		}
	}
	p := AlignedBuffer(2 * Size)
	if n, err := d.ReadLent(t.Context(), p, 4096); n != len(p) || err != nil || !bytes.Equal(p, content[4096:][:len(p)]) {
		t.Errorf("aligned read: %d, %v", n, err)
	}
}

func TestDeviceIsExclusive(t *testing.T) {
	dev := loop(t, imageFile(t, make([]byte, 4*Size)))
	d, err := OpenDevice(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenDevice(t.Context(), dev)
	wantBusy(t, err, "held by something this process cannot see")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDevice(t.Context(), dev)
	if err != nil {
		t.Fatalf("after it was closed: %v", err)
	}
	again.Close()
}

func TestMountedDeviceIsBusy(t *testing.T) {
	image := filepath.Join(t.TempDir(), "ext4")
	sparse(t, image, 16<<20)
	run(t, "mkfs.ext4", "-q", image)
	dev, point := loop(t, image), t.TempDir()
	run(t, "mount", "-o", "ro", dev, point)
	t.Cleanup(func() { run(t, "umount", point) })
	_, err := OpenDevice(t.Context(), dev)
	wantBusy(t, err, "mounted at "+point)
}

func TestDeviceBelowALoopIsBusy(t *testing.T) {
	dev := loop(t, imageFile(t, make([]byte, 4*Size)))
	over := loop(t, dev)
	_, err := OpenDevice(t.Context(), dev)
	wantBusy(t, err, "below "+over)
}

func wantBusy(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, unix.EBUSY) || !strings.HasSuffix(err.Error(), text) || hint.Of(err) == "" || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v (hint %q), want EBUSY: %s", err, hint.Of(err), text)
	}
}

// A sandbox without root gives an image file where a device would be.
func TestImageAsDevice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "image")
	sparse(t, path, 8<<20, 5<<20)
	d, err := OpenDevice(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if !d.IsImage() {
		t.Error("an image is not told to be one")
	}
	if diff := cmp.Diff([]Extent{{0, 8 << 20}}, collect(t, d)); diff != "" {
		t.Error(diff)
	}
	p := make([]byte, 3)
	if _, err := d.ReadAt(t.Context(), p, 5<<20-1); err != nil || !bytes.Equal(p, []byte{0, 1, 0}) {
		t.Errorf("% x, %v", p, err)
	}
}

// Device nodes need no device to be looked at.
func TestOnlyLoopDevicesAreImages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("device nodes need root")
	}
	for name, want := range map[string]struct {
		major, minor uint32
		image        bool
	}{
		"loop0":      {7, 0, true},
		"loop300":    {7, 300, true},
		"nvme1n1":    {259, 7, false},
		"nvme7n1":    {259, 0x707, false},
		"xvdf":       {202, 80, false},
		"sdf":        {8, 80, false},
		"sdf as dm":  {252, 7, false},
		"7 as minor": {8, 7, false},
	} {
		path := filepath.Join(t.TempDir(), "node")
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(want.major, want.minor))); err != nil {
			t.Skip("no device nodes can be made here: ", err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := isImage(info); got != want.image {
			t.Errorf("%s (%d:%d): is an image: %t, want %t", name, want.major, want.minor, got, want.image)
		}
	}
}

// A pipe stands for a device whose open does not return: that of a pipe waits for
// someone who writes.
func TestOpenIsGivenUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(enough) })
	if d, err := OpenDevice(ctx, path); !errors.Is(err, enough) || d != nil {
		t.Errorf("got %v, %v, want the end of the context", d, err)
	}
	// The open that goes on ends with a writer, and closes what it got: then
	// nobody reads any more.
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := w.Write([]byte{1}); errors.Is(err, unix.EPIPE) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("what was opened in the end is not closed")
		}
	}
}
