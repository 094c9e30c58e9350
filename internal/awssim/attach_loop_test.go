package awssim_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"snap-to-s3/internal/awssim"
)

// startLoops is startEC2 with loop devices. In the end none may be left.
func startLoops(t *testing.T) (*awssim.Server, *ec2.Client) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0); err != nil {
		t.Skipf("no loop devices here: %v", err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		if left := loopsOver(t, dir); len(left) != 0 {
			t.Errorf("loop devices left: %v", left)
		}
	})
	return startEC2(t, awssim.Config{Dir: dir, Loop: true})
}

// loopsOver lists the loop devices over files below dir.
func loopsOver(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), dir) {
			out = append(out, f)
		}
	}
	return out
}

func TestLoopDevice(t *testing.T) {
	s, c := startLoops(t)
	const size = 1<<20 + 512 // no multiple of 4 KiB
	disk := testDisk(t, size, 0, 512<<10, size-512)
	snap := addSnapshot(t, s, awssim.SnapshotSpec{Image: disk, SizeBytes: size})
	id := availableVolume(t, c, snap)
	attachVolume(t, c, id, "/dev/sdf")
	info := volumeInfo(t, s, id)
	if !strings.HasPrefix(info.Loop, "/dev/loop") {
		t.Fatalf("loop %q", info.Loop)
	}
	if target, err := os.Readlink(info.Node); err != nil || target != info.Loop {
		t.Errorf("%s leads to %s, %v, want %s", info.Node, target, err, info.Loop)
	}
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	// As a program does that wants to be the only one.
	f, err := os.OpenFile(info.Node, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, size+1)
	n, err := f.ReadAt(got, 0)
	if n != size || string(got[:n]) != string(want) {
		t.Errorf("read %d bytes (%v), the same: %t", n, err, string(got[:n]) == string(want))
	}
	if _, err := f.WriteAt([]byte("journal replayed"), 4096); err != nil {
		t.Errorf("a volume's device must be writable: %v", err)
	}
	if _, err := os.OpenFile(info.Node, os.O_RDONLY|os.O_EXCL, 0); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("opened twice: %v", err)
	}
	// Held, it stays detaching.
	detachVolume(t, c, id)
	for range 3 {
		untilState(t, c, id, "in-use", "detaching")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return describeOne(t, c, id).State == "available" })
	if again, err := os.ReadFile(disk); err != nil || string(again) != string(want) {
		t.Errorf("the snapshot has changed: %v", err)
	}
	deleteVolume(t, c, id)
}

func TestLoopForcedDetachWhileHeld(t *testing.T) {
	s, c := startLoops(t)
	id := availableVolume(t, c, addSnapshot(t, s, awssim.SnapshotSpec{Image: testDisk(t, 1<<20, 0), SizeBytes: 1 << 20}))
	attachVolume(t, c, id, "/dev/sdf")
	f, err := os.Open(volumeInfo(t, s, id).Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id, Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "available", "")
	if _, err := f.ReadAt(make([]byte, 4096), 512<<10); !errors.Is(err, syscall.EIO) {
		t.Errorf("the holder reads: %v, want EIO", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	attachVolume(t, c, id, "/dev/sdf")
	if head, _ := readHead(t, volumeInfo(t, s, id).Image, 512); head[0] != 1 {
		t.Error("a forced detach lost the volume's data")
	}
	removeVolume(t, c, id)
}

func TestLoopReadError(t *testing.T) {
	s, c := startLoops(t)
	snap := addSnapshot(t, s, awssim.SnapshotSpec{
		Image: testDisk(t, 4<<20, 0), SizeBytes: 4 << 20, Fault: awssim.VolumeFault{ReadErrorAt: 2 << 20},
	})
	id := availableVolume(t, c, snap)
	attachVolume(t, c, id, "/dev/sdf")
	f, err := os.Open(volumeInfo(t, s, id).Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4096)
	if _, err := f.ReadAt(p, 0); err != nil || p[0] != 1 {
		t.Errorf("the start: %v", err)
	}
	if _, err := f.ReadAt(p, 3<<20); !errors.Is(err, syscall.EIO) {
		t.Errorf("behind the fault: %v, want EIO", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	removeVolume(t, c, id)
}

// Many volumes at once, each with its own device and content.
func TestManyLoops(t *testing.T) {
	s, c := startLoops(t)
	var ids []string
	loops := map[string]bool{}
	for i := range 6 {
		p := make([]byte, 4096)
		p[0] = byte(i + 1)
		snap := addSnapshot(t, s, awssim.SnapshotSpec{Reader: strings.NewReader(string(p)), SizeBytes: 4096})
		id := availableVolume(t, c, snap)
		attachVolume(t, c, id, "/dev/sd"+string(rune('f'+i)))
		info := volumeInfo(t, s, id)
		loops[info.Loop] = true
		if got, err := os.ReadFile(info.Node); err != nil || len(got) != 4096 || got[0] != byte(i+1) {
			t.Errorf("volume %d: %d bytes, %v", i, len(got), err)
		}
		ids = append(ids, id)
	}
	if len(loops) != len(ids) {
		t.Errorf("%d loops for %d volumes", len(loops), len(ids))
	}
	if err := s.Invariants(); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		removeVolume(t, c, id)
	}
}

// What the sandbox holds when it is killed goes with it.
func TestNoLoopOutlivesAKilledServer(t *testing.T) {
	dir := os.Getenv("AWSSIM_TEST_KILLED")
	if dir != "" { // the child
		s, err := awssim.Start(awssim.Config{Dir: dir, Loop: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: instanceID, Device: "/dev/sdf"}); err != nil {
			t.Fatal(err)
		}
		if len(loopsOver(t, dir)) != 1 {
			t.Fatal("there is no loop device")
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	startLoops(t)
	dir = t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNoLoopOutlivesAKilledServer$")
	cmd.Env = append(os.Environ(), "AWSSIM_TEST_KILLED="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("the child was not killed: %v\n%s", err, out)
	}
	waitFor(t, func() bool { return len(loopsOver(t, dir)) == 0 })
}
