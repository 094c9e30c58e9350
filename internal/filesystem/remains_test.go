package filesystem

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
)

// abandoned is a plain mount whose process is no more, as its state file tells of
// it.
func abandoned(t *testing.T) (r MountRemains, image string) {
	t.Helper()
	q, state := plainRequest(t)
	m := openMount(t, q)
	fields := leftBy(t, state)[0].Fields
	if err := m.root.Close(); err != nil { // what a dead process has open is closed
		t.Fatal(err)
	}
	m.closed = true
	return MountRemains{
		Folder: fields["folder"], Loop: fields["loop"], Backing: fields["backing"], FolderMade: fields["made"] != "",
	}, q.Device
}

func TestRemoveAnAbandonedMount(t *testing.T) {
	r, image := abandoned(t)
	if there, err := r.Mounted(t.Context()); err != nil || !there {
		t.Errorf("mounted: %v, %v", there, err)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if isThere(t, r.Folder) {
		t.Error("the folder is still there")
	}
	nothingOver(t, image)
	if err := r.Remove(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

// What is open on it keeps it, and nothing is torn from anybody.
func TestRemoveAMountInUse(t *testing.T) {
	r, image := abandoned(t)
	f, err := os.Open(filepath.Join(r.Folder, "file"))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Remove(t.Context())
	if err == nil || !strings.Contains(hint.Of(err), "fuser -vm "+r.Folder) || !isThere(t, filepath.Join(r.Folder, "file")) {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	nothingOver(t, image)
}

// Another mount at the folder, and another use of the loop device, are not ours.
func TestRemoveSparesOtherMounts(t *testing.T) {
	r, image := abandoned(t)
	for name, other := range map[string]MountRemains{
		"another loop device": {Folder: r.Folder, Loop: "/dev/loop9999", Backing: r.Backing, FolderMade: true},
		"another backing":     {Folder: r.Folder, Loop: r.Loop, Backing: filepath.Join(t.TempDir(), "other"), FolderMade: true},
		"a folder in use":     {Folder: filepath.Dir(r.Folder), Loop: r.Loop, Backing: r.Backing, FolderMade: true},
	} {
		if err := other.Remove(t.Context()); err != nil || !isThere(t, filepath.Join(r.Folder, "file")) {
			t.Errorf("%s: %v, or it is unmounted", name, err)
		}
	}
	if err := RemoveLoop(t.Context(), r.Loop, filepath.Join(t.TempDir(), "other")); err != nil {
		t.Error(err)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	nothingOver(t, image)
}

func TestRemoveAnAbandonedLoop(t *testing.T) {
	image := imageWithFile(t, "ext4")
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	device, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	var name string
	for name == "" { // one that does not clear itself
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		l, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if err := unix.IoctlSetInt(int(l.Fd()), unix.LOOP_SET_FD, int(device.Fd())); err == nil {
			name = l.Name()
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLoop(t.Context(), name, image); err != nil {
		t.Error(err)
	}
	nothingOver(t, image)
	if err := RemoveLoop(t.Context(), name, image); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestSourceAt(t *testing.T) {
	table := strings.Join([]string{
		"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw",
		"30 22 7:1 / /mnt/a\\040b ro shared:2 master:3 - ext4 /dev/loop1 ro",
		"31 30 0:9 / /mnt/a\\040b ro - btrfs /dev/loop2 ro",
		"garbage", "",
	}, "\n")
	for folder, want := range map[string]string{"/": "/dev/sda1", "/mnt/a b": "/dev/loop2", "/mnt": ""} {
		if got, err := sourceAt(strings.NewReader(table), folder); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", folder, got, err, want)
		}
	}
}
