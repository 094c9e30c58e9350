package filesystem

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

// A child process stands for a run on a kernel that lacks a call, or one that is
// killed at a call: a seccomp filter answers it, or kills all of the process.
const childEnv = "FILESYSTEM_TEST_CHILD"

// job is what a child does.
type job struct {
	Request MountRequest // without State
	State   string       // folder of its state file; "": none
	Refused []call
	Do      string // "hold": open, say so, close when told; "loop": open and close for ever; "ask": Supported
}

// call is a system call, by number and, where Cut is set, by the lower half of
// its second argument. It fails with Errno, or kills where that is 0.
type call struct {
	Number uint32
	Cut    bool
	Second uint32
	Errno  syscall.Errno
}

func ioctlCall(request uint32, errno syscall.Errno) call {
	return call{unix.SYS_IOCTL, true, request, errno}
}

// TestMountChild is the child.
func TestMountChild(t *testing.T) {
	text := os.Getenv(childEnv)
	if text == "" {
		return // not a test of its own
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	if err := j.do(t); err != nil {
		fmt.Printf("\nerror %q %q\n", err.Error(), hint.Of(err))
		return
	}
	fmt.Println("\nclosed")
}

func (j *job) do(t *testing.T) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	if j.State != "" {
		state, err := runstate.Create(j.State, runstate.Header{Run: runstate.NewRunID()})
		if err != nil {
			return err
		}
		defer state.Close()
		j.Request.State = state
	}
	if len(j.Refused) > 0 {
		if err := refuse(j.Refused); err != nil {
			fmt.Println("\nnoseccomp", err)
			return err
		}
	}
	if j.Do == "ask" {
		for _, typ := range known {
			fmt.Printf("\nsupported %s %t\n", typ, Supported(typ) == nil)
		}
		return nil
	}
	for {
		m, err := Open(t.Context(), j.Request)
		if err != nil {
			return err
		}
		fmt.Printf("\nopen %t %s\n", m.Detached(), m.loop.name)
		if j.Do == "hold" {
			f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d/file", m.Root().Fd()))
			if err != nil {
				return err
			}
			_, err = io.ReadAll(os.Stdin) // until told
			if err != nil {
				return err
			}
			f.Close()
		}
		if err := m.Close(t.Context()); err != nil || j.Do == "hold" {
			return err
		}
	}
}

// refuse sets the filter for all threads, seccomp(2).
func refuse(calls []call) error {
	const (
		load     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ifEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret      = unix.BPF_RET | unix.BPF_K
		number   = 0  // offset in struct seccomp_data
		argument = 24 // of the lower half of the second one, little endian
	)
	var filter []unix.SockFilter
	for _, c := range calls {
		action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
		if c.Errno != 0 {
			action = unix.SECCOMP_RET_ERRNO | uint32(c.Errno)
		}
		filter = append(filter, unix.SockFilter{Code: load, K: number})
		if c.Cut {
			filter = append(filter,
				unix.SockFilter{Code: ifEqual, Jf: 3, K: c.Number},
				unix.SockFilter{Code: load, K: argument},
				unix.SockFilter{Code: ifEqual, Jf: 1, K: c.Second})
		} else {
			filter = append(filter, unix.SockFilter{Code: ifEqual, Jf: 1, K: c.Number})
		}
		filter = append(filter, unix.SockFilter{Code: ret, K: action})
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// child is a running one.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Scanner
}

func startChild(t *testing.T, j job) *child {
	t.Helper()
	needMounts(t)
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMountChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &child{t, cmd, stdin, bufio.NewScanner(stdout)}
}

// says returns the next line of the child that begins so, or "" at its end.
func (c *child) says(word string) string {
	c.t.Helper()
	for c.out.Scan() {
		line := c.out.Text()
		if strings.HasPrefix(line, "noseccomp") {
			c.t.Skip("no seccomp filters here: ", line)
		}
		if strings.HasPrefix(line, word) {
			return line
		}
		if strings.HasPrefix(line, "error") {
			c.t.Errorf("the child says %s", line)
		}
	}
	return ""
}

func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

// leftBy are the entries of the one state file in a folder.
func leftBy(t *testing.T, folder string) []runstate.Entry {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return nil
	}
	run, err := runstate.Read(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return run.Left
}

// shell runs what a hint says.
func shell(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", command, err, out)
	}
}
