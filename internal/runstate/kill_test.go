package runstate_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

const victimEnv = "RUNSTATE_TEST_VICTIM"

// TestMain makes this program the victim of TestKilled where that asks for it.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		fmt.Println("error", victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim writes intents for ever and says on standard output what it was told is
// on disk.
func victim(dir string) error {
	f, err := runstate.Create(dir, header(runstate.NewRunID()))
	if err != nil {
		return err
	}
	var all errgroup.Group
	for n := range 4 {
		all.Go(func() error {
			for k := 0; ; k++ {
				name := fmt.Sprintf("%d-%d", n, k)
				fmt.Println("begin", name)
				i, err := f.Intend(runstate.KindVolume, map[string]string{"name": name, "pad": strings.Repeat("x", k%700)})
				if err != nil {
					return err
				}
				fmt.Println("intended", name)
				if k%3 == 0 {
					fmt.Println("ending", name)
					if err := i.Done(); err != nil {
						return err
					}
					fmt.Println("done", name)
				}
			}
		})
	}
	return all.Wait()
}

// Killed at any moment, a run leaves an unlocked file that names everything that
// Intend returned for, and nothing that was never begun or is done.
func TestKilled(t *testing.T) {
	for range 15 {
		dir := t.TempDir()
		lines := rand.IntN(300)
		said := kill(t, dir, lines)
		runs, err := runstate.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) == 0 && len(said) == 0 {
			continue // it died before it had a file
		}
		if len(runs) != 1 || runs[0].Err != nil || runs[0].Live {
			t.Fatalf("killed after %d lines: %+v", lines, runs)
		}
		listed := map[string]bool{}
		for _, e := range runs[0].Left {
			listed[e.Fields["name"]] = true
			if said[e.Fields["name"]] == "" {
				t.Errorf("killed after %d lines: %q is listed, but was not begun", lines, e.Fields["name"])
			}
		}
		for name, last := range said {
			if last == "intended" && !listed[name] || last == "done" && listed[name] {
				t.Errorf("killed after %d lines: %q is %s, listed %t", lines, name, last, listed[name])
			}
		}
	}
}

// kill runs a victim over dir, kills it after it said that many lines, and
// returns the last that it said of each name.
func kill(t *testing.T, dir string, lines int) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	scan := bufio.NewScanner(out)
	for n := 0; scan.Scan(); n++ {
		if what, name, ok := strings.Cut(scan.Text(), " "); ok {
			said[name] = what
		}
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the victim ended by itself: %v, it said %v", err, said)
	}
	return said
}

func TestDiskFull(t *testing.T) {
	dir := mountTmpfs(t, "size=64k")
	f := create(t, dir)
	check(t, os.WriteFile(filepath.Join(dir, "filler"), nil, 0o600))
	fill(t, filepath.Join(dir, "filler"))
	var intents []*runstate.Intent
	var full error
	for range 1000 { // until the last page of the file is full
		i, err := f.Intend("volume", map[string]string{"pad": strings.Repeat("x", 100)})
		if err != nil {
			full = err
			break
		}
		intents = append(intents, i)
	}
	if !errors.Is(full, syscall.ENOSPC) || !strings.Contains(full.Error(), f.Path()) || !strings.Contains(hint.Of(full), runstate.StateDirEnv) {
		t.Fatalf("error %v with hint %q, want ENOSPC, the path, the variable", full, hint.Of(full))
	}
	readsBack := func(when string) {
		t.Helper()
		run, err := runstate.Read(f.Path())
		check(t, err)
		if len(run.Left) != len(intents) {
			t.Errorf("%s %d entries read back, want %d", when, len(run.Left), len(intents))
		}
	}
	readsBack("full:")
	if _, err := runstate.Create(dir, header("second")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a second run's file on a full disk: %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, "filler")))
	intents = append(intents, intend(t, f, "volume", nil))
	readsBack("after there was room again:")
	for _, i := range intents {
		check(t, i.Done())
	}
	check(t, f.Close())
	if items, err := os.ReadDir(dir); err != nil || len(items) != 0 {
		t.Errorf("left: %v, %v", items, err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := mountTmpfs(t, "size=64k")
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skip("no remount here:", err)
	}
	for _, dir := range []string{dir, filepath.Join(dir, "below")} {
		_, err := runstate.Create(dir, header("r"))
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(hint.Of(err), runstate.StateDirEnv) {
			t.Errorf("error %v with hint %q, want EROFS and the variable", err, hint.Of(err))
		}
	}
}

func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("no tmpfs here:", err)
	}
	t.Cleanup(func() { check(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	check(t, f.Close())
}
