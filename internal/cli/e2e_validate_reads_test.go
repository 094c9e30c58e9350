package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"snap-to-s3/internal/awssim"
)

// deviceReads counts what is read of the loop devices that stand for volumes, which
// is what no page cache has answered.
type deviceReads struct {
	w      *world
	before map[string]int64 // bytes, by loop device
	read   int64            // bytes, of the volumes that were detached
}

// countsReads counts from now on. It takes the world's hook for faults.
func (w *world) countsReads() *deviceReads {
	w.t.Helper()
	d := &deviceReads{w: w, before: map[string]int64{}}
	for _, v := range w.sim.Volumes() {
		if v.Loop != "" {
			d.before[v.Loop] = bytesRead(w.t, v.Loop)
		}
	}
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch c.Action {
		case "AttachVolume": // one of those that are free
			for _, loop := range loopDevices(w.t) {
				if _, known := d.before[loop]; !known {
					d.before[loop] = bytesRead(w.t, loop)
				}
			}
		case "DetachVolume":
			for _, v := range w.sim.Volumes() {
				if v.ID == c.Target && v.Loop != "" {
					d.read += bytesRead(w.t, v.Loop) - d.before[v.Loop]
				}
			}
		}
		return awssim.Fault{}
	})
	return d
}

// least wants so many bytes to have come from devices.
func (d *deviceReads) least(t *testing.T, want int64) {
	t.Helper()
	d.w.sim.SetFault(nil)
	if os.Geteuid() != 0 {
		t.Log("not root: no devices whose reads could be counted")
		return
	}
	t.Logf("%d bytes were read from the devices, at least %d are wanted", d.read, want)
	if d.read < want {
		t.Errorf("%d bytes were read from the devices, want at least %d", d.read, want)
	}
}

// loopDevices are all that the kernel has by now.
func loopDevices(t *testing.T) (all []string) {
	t.Helper()
	found, err := filepath.Glob("/sys/block/loop*")
	if err != nil {
		t.Error(err)
	}
	for _, dir := range found {
		all = append(all, "/dev/"+filepath.Base(dir))
	}
	return all
}

// bytesRead is what was ever read of a block device; 0 where it is none any more
// (Linux, Documentation/block/stat.rst: the third number, in sectors of 512 bytes).
func bytesRead(t *testing.T, device string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "stat"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		t.Errorf("%s: stat %q", device, text)
		return 0
	}
	n, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n * 512
}

// dataOf is how much of a file is no hole, in bytes.
func dataOf(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
