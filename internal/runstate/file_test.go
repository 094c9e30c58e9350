package runstate_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

func header(run string) runstate.Header {
	return runstate.Header{
		Run: run, Host: "i-0aaaaaaaaaaaaaaaa", Boot: "5b1a7c9e-0000-4000-8000-000000000001", PID: 4711,
		Args: []string{"migrate", "--all", "--bucket", "b\nü"}, Started: time.Date(2026, 3, 1, 10, 15, 0, 0, time.UTC),
	}
}

func create(t *testing.T, dir string) *runstate.File {
	t.Helper()
	f, err := runstate.Create(dir, header(runstate.NewRunID()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func intend(t *testing.T, f *runstate.File, kind string, fields map[string]string) *runstate.Intent {
	t.Helper()
	i, err := f.Intend(kind, fields)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestLifeOfAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "lib")
	h := header("20260301-101500-aaaaaaaa")
	f, err := runstate.Create(dir, h)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, h.Run+".json")
	for name, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, path: 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	gone := intend(t, f, runstate.KindClaim, map[string]string{"snapshot": "snap-1"})
	made := intend(t, f, runstate.KindVolume, map[string]string{"token": "t", "snapshot": "snap-1"})
	kept := intend(t, f, runstate.KindUpload, nil)
	check(t, made.Update(map[string]string{"volume": "vol-1", "token": "u"}))
	check(t, kept.Stay("access denied", "aws s3api abort-multipart-upload …"))
	check(t, gone.Done())
	if err := gone.Update(nil); err == nil {
		t.Error("a thing that is done was changed")
	}
	want := []runstate.Entry{
		{Kind: "volume", Fields: map[string]string{"token": "u", "snapshot": "snap-1", "volume": "vol-1"}},
		{Kind: "upload", Fields: map[string]string{}, Reason: "access denied", Command: "aws s3api abort-multipart-upload …"},
	}
	same(t, "left", want, f.Left())
	run, err := runstate.Read(path)
	check(t, err)
	same(t, "the live run's file", runstate.Run{Path: path, Header: h, Left: want, Live: true}, run)

	check(t, f.Close())
	check(t, f.Close())
	if _, err := f.Intend("volume", nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("an intent after Close: %v", err)
	}
	runs, err := runstate.List(dir)
	check(t, err)
	same(t, "the ended run's file", []runstate.Run{{Path: path, Header: h, Left: want}}, runs)
	if _, err := runstate.Create(dir, h); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file of the same run: %v", err)
	}
}

func TestCloseRemovesWhenNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	f := create(t, dir)
	check(t, intend(t, f, "volume", nil).Done())
	check(t, f.Close())
	if items, err := os.ReadDir(dir); err != nil || len(items) != 0 {
		t.Errorf("left in %s: %v, %v", dir, items, err)
	}
	if runstate.Locked(f.Path()) {
		t.Error("a file that is gone counts as a live run")
	}
}

func TestLock(t *testing.T) {
	f := create(t, t.TempDir())
	intend(t, f, "volume", nil)
	// A program that the run starts must not keep the lock when the run dies.
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Skip("no program to start:", err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	for range 2 { // asking changes nothing
		if !runstate.Locked(f.Path()) {
			t.Error("the live run's file is not locked")
		}
	}
	check(t, f.Close())
	var asked sync.WaitGroup
	for range 8 { // and does not hinder others who ask
		asked.Go(func() {
			for range 50 {
				if runstate.Locked(f.Path()) {
					t.Error("the ended run's file is locked")
				}
			}
		})
	}
	asked.Wait()
}

func TestManyAtOnce(t *testing.T) {
	f := create(t, t.TempDir())
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for k := range 10 {
				i, err := f.Intend("volume", map[string]string{"n": fmt.Sprint(n, k)})
				if err != nil {
					t.Error(err)
					return
				}
				check(t, i.Update(map[string]string{"id": "vol-" + fmt.Sprint(n, k)}))
				if k%2 == 0 {
					check(t, i.Done())
				}
				f.Left()
			}
		})
	}
	all.Wait()
	run, err := runstate.Read(f.Path())
	check(t, err)
	if len(run.Left) != 40 {
		t.Errorf("%d left, want 40", len(run.Left))
	}
	same(t, "read back", f.Left(), run.Left)
	for _, e := range run.Left {
		if e.Fields["id"] != "vol-"+e.Fields["n"] {
			t.Errorf("fields mixed up: %v", e)
		}
	}
	check(t, f.Close())
}

// Cut at any byte, the file tells exactly what its whole lines say.
func TestTornAtAnyByte(t *testing.T) {
	f := create(t, t.TempDir())
	var states [][]runstate.Entry // after each line
	step := func(err error) {
		check(t, err)
		states = append(states, f.Left())
	}
	step(nil)
	a := intend(t, f, "volume", map[string]string{"token": "ä\n\"}"})
	step(nil)
	b := intend(t, f, "claim", nil)
	step(nil)
	step(a.Update(map[string]string{"volume": "vol-1"}))
	step(b.Done())
	step(a.Stay("denied", "aws …"))
	check(t, f.Close())
	whole, err := os.ReadFile(f.Path())
	check(t, err)
	if n := bytes.Count(whole, []byte("\n")); n != len(states) {
		t.Fatalf("%d lines after %d steps", n, len(states))
	}
	for cut := bytes.IndexByte(whole, '\n') + 1; cut <= len(whole); cut++ {
		for _, tail := range []string{"", "\x00\x00\x00"} { // what a file system may leave behind the end
			if err := os.WriteFile(f.Path(), append(slices.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			run, err := runstate.Read(f.Path())
			check(t, err)
			same(t, fmt.Sprintf("cut at %d", cut), states[bytes.Count(whole[:cut], []byte("\n"))-1], run.Left)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	const first = `{"op":"run","v":1,"header":{"run":"r","host":"h","boot":"b","pid":1,"started":"2026-03-01T10:15:00Z"}}` + "\n"
	const volume = `{"op":"intend","n":1,"kind":"volume"}` + "\n"
	entry := []runstate.Entry{{Kind: "volume", Fields: map[string]string{}}}
	for _, c := range []struct {
		name, file, text string
		left             []runstate.Entry
	}{
		{"empty", "", "empty", nil},
		{"torn at once", first[:20], "empty", nil},
		{"no run", volume, "line 1", nil},
		{"a later version", `{"op":"run","v":2,"header":{"run":"r"}}` + "\n" + volume, "version 2", nil},
		{"damaged in the middle", first + "rubbish\n" + volume, "line 2", entry},
		{"damaged twice", first + "\n" + volume + "{\n", "line 2", entry},
		{"unknown record", first + volume + `{"op":"explode","n":1}` + "\n", "line 3", entry},
		{"done twice", first + volume + `{"op":"done","n":1}` + "\n" + `{"op":"done","n":1}` + "\n", "line 4", nil},
		{"same number twice", first + volume + volume, "line 3", entry},
		{"endless line", first + `"` + strings.Repeat("x", 2<<20) + "\"\n" + volume, "line 2", entry},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "r.json")
			check(t, os.WriteFile(path, []byte(c.file), 0o600))
			run, err := runstate.Read(path)
			if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q and the path", err, c.text)
			}
			same(t, "left", c.left, run.Left)
		})
	}
}

func TestListIsOfFilesThatAreOurs(t *testing.T) {
	dir := t.TempDir()
	f := create(t, dir)
	intend(t, f, "volume", nil)
	check(t, os.WriteFile(filepath.Join(dir, "machine-id"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "x.json.bak"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "Not A Run.json"), nil, 0o600))
	check(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	check(t, syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600)) // must not be waited for
	check(t, os.Symlink(f.Path(), filepath.Join(dir, "link.json")))
	runs, err := runstate.List(dir)
	check(t, err)
	var names []string
	for _, r := range runs {
		names = append(names, fmt.Sprint(filepath.Base(r.Path), " ", r.Err == nil))
	}
	slices.Sort(names)
	want := []string{filepath.Base(f.Path()) + " true", "folder.json false", "link.json false", "pipe.json false"}
	slices.Sort(want)
	same(t, "listed", want, names)
	if runs, err := runstate.List(filepath.Join(dir, "none")); err != nil || runs != nil {
		t.Errorf("a folder that is not there: %v, %v", runs, err)
	}
	check(t, f.Close())
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct{ name, dir, run, text string }{
		{"a file for a folder", file, "r", "not a directory"},
		{"below a file", filepath.Join(file, "x"), "r", "not a directory"},
		{"a run id with a path in it", dir, "../r", "run id"},
		{"an empty run id", dir, "", "run id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := runstate.Create(c.dir, header(c.run))
			if err == nil {
				check(t, f.Close())
				t.Fatal("created")
			}
			if !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), c.dir) {
				t.Errorf("error %q, want %q and the folder in it", err, c.text)
			}
			if !strings.Contains(hint.Of(err), runstate.StateDirEnv) {
				t.Errorf("hint %q", hint.Of(err))
			}
		})
	}
}

// A file that is being made is locked; one of a machine id is not, and only its age
// tells.
func TestAbandonedFilesAreCleared(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{
		"20200101-000000-aaaaaaaa.new": 0, "20260301-101500-aaaaaaaa.new": 0,
		"machine-id-1.new": 2 * time.Hour, "machine-id-2.new": 0,
	} {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, nil, 0o600))
		check(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	making, err := os.Open(filepath.Join(dir, "20260301-101500-aaaaaaaa.new"))
	check(t, err)
	defer making.Close()
	check(t, syscall.Flock(int(making.Fd()), syscall.LOCK_EX))
	check(t, create(t, dir).Close())
	items, err := os.ReadDir(dir)
	check(t, err)
	var left []string
	for _, item := range items {
		left = append(left, item.Name())
	}
	if diff := cmp.Diff([]string{"20260301-101500-aaaaaaaa.new", "machine-id-2.new"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestForeignFileIsNotTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user needs root")
	}
	f := create(t, t.TempDir())
	intend(t, f, "volume", nil)
	check(t, f.Close())
	check(t, os.Chown(f.Path(), 65534, -1))
	if run, err := runstate.Read(f.Path()); err == nil || !strings.Contains(err.Error(), "user 65534") || run.Left != nil {
		t.Errorf("read %+v, %v", run, err)
	}
}
