package workflow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leaks waits until no goroutine of this module runs any more and no more files are
// open than before, and says what stays.
func leaks(before map[string]bool) string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for range 500 {
		said = strings.Join(append(goroutines(), newFiles(before)...), "\n\n")
		if said == "" {
			return ""
		}
		<-tick.C
	}
	return said
}

// goroutines are the stacks in which something of ours runs, besides the caller's,
// that of TestMain, and those of tests that wait for their turn.
func goroutines() (ours []string) {
	text := make([]byte, 1<<20)
	text = text[:runtime.Stack(text, true)]
	for i, stack := range strings.Split(string(text), "\n\n") {
		if i > 0 && strings.Contains(stack, "snap-to-s3/internal/") && !strings.Contains(stack, "_test.TestMain(") && !strings.Contains(stack, "testing.(*T).Parallel(") {
			ours = append(ours, stack)
		}
	}
	return ours
}

// openFiles are the files that this process has open, with their descriptors.
func openFiles() map[string]bool {
	open := map[string]bool{}
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil {
			open[filepath.Base(f)+" → "+to] = true
		}
	}
	return open
}

// newFiles leaves out what belongs to the runtime and to the test's own log.
func newFiles(before map[string]bool) (more []string) {
	for f := range openFiles() {
		if !before[f] && !strings.Contains(f, "anon_inode:") && !strings.Contains(f, "/proc/") && !strings.Contains(f, "pipe:") &&
			!strings.Contains(f, "testlog") && !strings.Contains(f, "/sys/") {
			more = append(more, "open: "+f)
		}
	}
	return more
}

// TestMain looks, once all tests are over, for what their runs have left in this
// process: tests that run side by side cannot be told apart earlier, and those in a
// bubble of synctest fail by themselves where a goroutine stays.
func TestMain(m *testing.M) {
	before := openFiles()
	code := m.Run()
	if left := leaks(before); left != "" {
		fmt.Fprintf(os.Stderr, "--- FAIL: left behind in the process:\n%s\n", left)
		code = max(code, 1)
	}
	os.Exit(code)
}

// leakFree has the test fail for what it leaves in the process. It is for tests that
// run alone.
func leakFree(t *testing.T) {
	t.Helper()
	before := openFiles()
	t.Cleanup(func() {
		if left := leaks(before); left != "" {
			t.Errorf("left behind in the process:\n%s", left)
		}
	})
}

// The watch itself must see what it is for.
func TestLeaksAreSeen(t *testing.T) {
	leakFree(t)
	before := openFiles()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	began := make(chan struct{})
	go func() {
		close(began)
		<-over
	}()
	<-began
	if files := newFiles(before); len(files) != 1 || len(goroutines()) != 1 {
		t.Errorf("seen: %q, %q", files, goroutines())
	}
	close(over)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
