package ec2_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/workflow"
)

// sectorsRead is how much was read from a device, in sectors of 512 bytes
// (Linux, Documentation/block/stat.rst).
func sectorsRead(t *testing.T, node string) int64 {
	t.Helper()
	device, err := filepath.EvalSymlinks(node)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(device)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("the device has no number")
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(text))[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What is read of a volume that serves again comes from the volume, also while the
// page cache holds all of it.
func TestReuseReadsTheDevice(t *testing.T) {
	needLoop(t)
	w := newWorld(t, awssim.Config{Loop: true})
	had := w.keeps("")
	cached, err := os.Open(had.Node) // while it is open its pages stay
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cached.Close() }()
	if n, err := io.Copy(io.Discard, cached); err != nil || n != int64(len(w.disk)) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	v := w.mustOpen(reuse) // which reads all of it
	if string(v.ID()) != had.ID {
		t.Fatalf("opened %s, want %s: %s", v.ID(), had.ID, w.log)
	}
	before := sectorsRead(t, v.Device())
	w.checkDisk(v)
	if n := sectorsRead(t, v.Device()) - before; n != int64(len(w.disk)/512) {
		t.Errorf("%d sectors were read from the device, want all %d", n, len(w.disk)/512)
	}
	// Nor are there old pages for what reads through the cache, as a filesystem may.
	before = sectorsRead(t, v.Device())
	if _, err := cached.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(cached)
	if err != nil || !bytes.Equal(got, w.disk) {
		t.Errorf("read through the page cache: %d bytes, %v", len(got), err)
	}
	if n := sectorsRead(t, v.Device()) - before; n < int64(len(w.disk)/512) {
		t.Errorf("%d sectors were read from the device through the page cache, want all %d", n, len(w.disk)/512)
	}
	if err := cached.Close(); err != nil {
		t.Error(err)
	}
	w.mustRelease(v)
}

// keptMount is a volume with a filesystem that a run has kept, mounted in folder.
func (w *world) keptMount(folder string) awssim.VolumeInfo {
	w.t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		w.t.Skip("mkfs.ext4 is not installed")
	}
	image := filepath.Join(w.t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out, err := exec.CommandContext(w.t.Context(), "mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		w.t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	var err error
	if w.disk, err = os.ReadFile(image); err != nil {
		w.t.Fatal(err)
	}
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{})
	v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Keep = true })
	if err := v.MarkMounted(w.t.Context(), "0"); err != nil {
		w.t.Fatal(err)
	}
	m, err := filesystem.Open(w.t.Context(), filesystem.MountRequest{
		Device: v.Device(), Size: v.Size(), Type: "ext4", Folder: folder, Plain: true, Keep: true, State: w.state,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) }) // where the test failed
	for _, err := range []error{m.Close(w.t.Context()), v.Release(w.t.Context()), w.state.Close()} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.newRun("run-b")
	w.sim.ResetCalls()
	for _, i := range w.alive() {
		if i.ID == string(v.ID()) {
			return i
		}
	}
	w.t.Fatal("the volume is not there")
	return awssim.VolumeInfo{}
}

// The mount of the run that kept a volume goes, with its loop device and folder.
func TestReuseEndsItsOwnMount(t *testing.T) {
	needLoop(t)
	for _, how := range []string{"mounted", "unmounted by hand"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, awssim.Config{Loop: true})
			folder := filepath.Join(t.TempDir(), "kept here")
			had := w.keptMount(folder)
			if how != "mounted" {
				if err := unix.Unmount(folder, 0); err != nil {
					t.Fatal(err)
				}
			}
			v, err := w.open(t.Context(), reuse)
			if err != nil {
				t.Fatal(err)
			}
			if string(v.ID()) != had.ID || !v.Reused() {
				t.Errorf("opened %s, want %s: %s", v.ID(), had.ID, w.log)
			}
			if _, err := os.Lstat(folder); err == nil {
				t.Error("the folder is still there")
			}
			if loops, err := filesystem.LoopsOver(t.Context(), v.Device()); err != nil || len(loops) > 0 {
				t.Errorf("loop devices %v, %v", loops, err)
			}
			w.mustRelease(v)
		})
	}
}

// Where somebody uses the volume it is left to him, mounts and all.
func TestReuseLeavesWhatIsInUse(t *testing.T) {
	needLoop(t)
	for name, use := range map[string]func(t *testing.T, w *world, had awssim.VolumeInfo, folder string) (reason string){
		"a shell in the mount": func(t *testing.T, _ *world, _ awssim.VolumeInfo, folder string) string {
			f, err := os.Open(folder)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return "unmount " + folder + ": device or resource busy"
		},
		"another loop device": func(t *testing.T, _ *world, had awssim.VolumeInfo, _ string) string {
			out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", "--read-only", had.Node).CombinedOutput()
			if err != nil {
				t.Skipf("losetup: %v: %s", err, out)
			}
			loop := strings.TrimSpace(string(out))
			t.Cleanup(func() {
				if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
					t.Errorf("losetup -d %s: %v: %s", loop, err, out)
				}
			})
			return loop + ", which is none of ours, stands on"
		},
		"held by another": func(t *testing.T, _ *world, had awssim.VolumeInfo, _ string) string {
			f, err := os.OpenFile(had.Node, os.O_RDONLY|unix.O_EXCL, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return workflow.ErrInUse.Error()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{Loop: true})
			folder := filepath.Join(t.TempDir(), "kept")
			had := w.keptMount(folder)
			tags := fmt.Sprint(w.sim.Tags(had.ID))
			t.Run("", func(t *testing.T) {
				reason := use(t, w, had, folder)
				v, err := w.open(t.Context(), reuse)
				if err != nil {
					t.Fatal(err)
				}
				if v.Reused() || string(v.ID()) == had.ID {
					t.Error("the kept volume serves")
				}
				if !w.logged("level=INFO", "a kept volume is not read", had.ID, reason) {
					t.Errorf("no line says %q: %s", reason, w.log)
				}
				if _, err := os.Lstat(filepath.Join(folder, "lost+found")); err != nil {
					t.Errorf("it is not mounted any more: %v", err)
				}
				if now := fmt.Sprint(w.sim.Tags(had.ID)); now != tags {
					t.Errorf("tags %s, want %s", now, tags)
				}
				if err := v.Release(t.Context()); err != nil || len(w.state.Left()) > 0 {
					t.Errorf("release: %v; left %+v", err, w.state.Left())
				}
			})
			w.mustRelease(func() workflow.Volume { // it is free now
				v, err := w.open(t.Context(), reuse)
				if err != nil || string(v.ID()) != had.ID {
					t.Fatalf("opened %v, %v, want %s: %s", v, err, had.ID, w.log)
				}
				return v
			}())
		})
	}
}
