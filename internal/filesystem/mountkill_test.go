package filesystem

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/runstate"
)

// Killed at any step, a detached mount leaves nothing.
func TestKilledAtEachStep(t *testing.T) {
	image := imageWithFile(t, "ext4")
	const setString, create = 1, 6 // fsconfig's commands, linux/mount.h
	for name, at := range map[string]call{
		"with the loop device set up": ioctlCall(unix.LOOP_GET_STATUS64, 0),
		"after fsopen":                {unix.SYS_FSCONFIG, true, setString, 0},
		"before it is read":           {unix.SYS_FSCONFIG, true, create, 0},
		"before fsmount":              {unix.SYS_FSMOUNT, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			device := treetest.Loop(t, image, 512)
			c := startChild(t, job{Request: requestOf(t, device, "ext4"), Refused: []call{at}, Do: "hold"})
			if line := c.says("open"); line != "" {
				t.Fatalf("it was not killed: %s", line)
			}
			_ = c.cmd.Wait()
			if c.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
				t.Fatalf("it ended by %v", c.cmd.ProcessState)
			}
			nothingOver(t, device)
		})
	}
}

func TestKilledWithOpenFiles(t *testing.T) {
	for _, typ := range treetest.Filesystems() {
		t.Run(typ, func(t *testing.T) {
			device := treetest.Loop(t, imageWithFile(t, typ), 512)
			c := startChild(t, job{Request: requestOf(t, device, typ), Do: "hold"})
			line := c.says("open")
			if !strings.HasPrefix(line, "open true /dev/loop") {
				t.Skip("no detached mounts here: ", line)
			}
			c.kill()
			nothingOver(t, device)
			if strings.Contains(mountTable(t), " "+strings.Fields(line)[2]+" ") {
				t.Error("a mount is left")
			}
		})
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	device := treetest.Loop(t, imageWithFile(t, "ext4"), 512)
	for range 15 {
		c := startChild(t, job{Request: requestOf(t, device, "ext4"), Do: "loop"})
		for range 1 + rand.IntN(3) {
			c.says("open")
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		c.kill()
		nothingOver(t, device)
	}
}

// Without LOOP_CONFIGURE there is a moment in which a kill leaves a loop device:
// the state file has the command that detaches it.
func TestKilledBetweenTheStepsOfALoopDevice(t *testing.T) {
	treetest.RequirePrograms(t, "losetup", "grep")
	device := treetest.Loop(t, imageWithFile(t, "ext4"), 512)
	state := t.TempDir()
	c := startChild(t, job{
		Request: requestOf(t, device, "ext4"), State: state, Do: "hold",
		Refused: []call{ioctlCall(unix.LOOP_CONFIGURE, unix.EINVAL), ioctlCall(unix.LOOP_SET_STATUS64, 0)},
	})
	c.says("open")
	_ = c.cmd.Wait()
	left := leftBy(t, state)
	if len(left) != 1 || left[0].Kind != runstate.KindLoop {
		t.Fatalf("left: %+v", left)
	}
	if loops, err := LoopsOver(t.Context(), device); len(loops) != 1 || loops[0] != left[0].Fields["loop"] {
		t.Fatalf("over it: %v, %v; noted: %v", loops, err, left)
	}
	shell(t, left[0].Hint())
	nothingOver(t, device)
}

// Once more where the loop device is another's by now: it is not touched.
func TestTheCommandSparesTheLoopDeviceOfAnother(t *testing.T) {
	treetest.RequirePrograms(t, "losetup", "grep")
	device := treetest.Loop(t, imageWithFile(t, "ext4"), 512)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	entry := runstate.Entry{Kind: runstate.KindLoop, Fields: map[string]string{"loop": treetest.Loop(t, other, 512), "backing": device}}
	runProgram(t, "sh", "-c", "! { "+entry.Hint()+"; }")
	if loops, err := LoopsOver(t.Context(), other); len(loops) != 1 || err != nil {
		t.Errorf("over the other: %v, %v", loops, err)
	}
}
