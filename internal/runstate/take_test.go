package runstate_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/runstate"
)

// dead is the state file of a run that left a volume and a claim.
func dead(t *testing.T, dir string) string {
	t.Helper()
	f := create(t, dir)
	intend(t, f, runstate.KindVolume, map[string]string{"volume": "vol-1"})
	intend(t, f, runstate.KindClaim, map[string]string{"snapshot": "snap-1"})
	check(t, f.Close())
	return f.Path()
}

func TestTakeStrikesThingByThing(t *testing.T) {
	path := dead(t, t.TempDir())
	before, err := os.Stat(path)
	check(t, err)
	f, err := runstate.Take(path)
	check(t, err)
	if f.Header().Run == "" || !f.Changed().Equal(before.ModTime()) {
		t.Errorf("header %+v, changed %v, want %v", f.Header(), f.Changed(), before.ModTime())
	}
	if _, err := runstate.Take(path); !errors.Is(err, runstate.ErrLive) {
		t.Errorf("taken twice: %v", err)
	}
	if !runstate.Locked(path) {
		t.Error("it is not locked while it is taken")
	}
	open := f.Open()
	if len(open) != 2 || open[0].Entry().Kind != runstate.KindVolume || open[1].Entry().Fields["snapshot"] != "snap-1" {
		t.Fatalf("open: %d", len(open))
	}
	check(t, open[0].Update(map[string]string{"found": "yes"}))
	check(t, open[0].Done())
	if e := open[0].Entry(); e.Kind != "" {
		t.Errorf("what is done is %+v", e)
	}
	check(t, f.Close())
	run, err := runstate.Read(path)
	check(t, err)
	if run.Live || len(run.Left) != 1 || run.Left[0].Kind != runstate.KindClaim {
		t.Errorf("after the first: %+v", run)
	}
	f, err = runstate.Take(path)
	check(t, err)
	check(t, f.Open()[0].Done())
	check(t, f.Close())
	if _, err := runstate.Take(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a run that has left nothing: %v", err)
	}
}

// What a kill has torn off is no line, and what is appended stands behind it.
func TestTakeAfterATornLine(t *testing.T) {
	path := dead(t, t.TempDir())
	whole, err := os.ReadFile(path)
	check(t, err)
	for cut := range 40 {
		torn := append(append([]byte{}, whole...), `{"op":"intend","n":3,"kind":"upload","fie`[:cut]...)
		check(t, os.WriteFile(path, torn, 0o600))
		f, err := runstate.Take(path)
		check(t, err)
		check(t, f.Open()[1].Stay("why", "how"))
		check(t, f.Close())
		run, err := runstate.Read(path)
		check(t, err)
		if len(run.Left) != 2 || run.Left[1].Reason != "why" {
			t.Fatalf("torn at %d: %+v", cut, run)
		}
	}
}

func TestTakeRefuses(t *testing.T) {
	dir := t.TempDir()
	live := create(t, dir)
	defer live.Close()
	damaged, newer, folder := dead(t, t.TempDir()), dead(t, t.TempDir()), filepath.Join(dir, "folder.json")
	check(t, os.Mkdir(folder, 0o700))
	text, err := os.ReadFile(damaged)
	check(t, err)
	check(t, os.WriteFile(damaged, []byte(strings.Replace(string(text), `"intend"`, `"intent"`, 1)), 0o600))
	check(t, os.WriteFile(newer, []byte(strings.Replace(string(text), `"v":1`, `"v":2`, 1)), 0o600))
	link := filepath.Join(dir, "link.json")
	check(t, os.Symlink(damaged, link))
	for path, want := range map[string]string{
		live.Path(): "alive", damaged: "damaged", newer: "later release", folder: "is a directory", link: "symbolic links",
		filepath.Join(dir, "missing.json"): "no such file",
	} {
		before, _ := os.ReadFile(path)
		f, err := runstate.Take(path)
		if err == nil || f != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("take %s: %v, %v; want an error with %q", path, f, err, want)
		}
		if after, _ := os.ReadFile(path); !cmp.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

// Of many who take one file, each has it alone, and nobody gets one that another
// has ended.
func TestTakeByMany(t *testing.T) {
	path := dead(t, t.TempDir())
	var all sync.WaitGroup
	var mu sync.Mutex
	took, struck := 0, 0
	for range 8 {
		all.Go(func() {
			for range 200 {
				f, err := runstate.Take(path)
				if errors.Is(err, fs.ErrNotExist) {
					return
				}
				if errors.Is(err, runstate.ErrLive) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if took++; took > 1 {
					t.Error("two have it")
				}
				mu.Unlock()
				if open := f.Open(); len(open) > 0 {
					if err := open[0].Done(); err != nil {
						t.Error(err)
					}
					struck++
				} else {
					t.Error("a file without anything open was there to be taken")
				}
				mu.Lock()
				took--
				mu.Unlock()
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if struck != 2 {
		t.Errorf("%d things were struck, want 2", struck)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// Whoever only looks does not keep others from taking a file.
func TestLookingDoesNotKeepFromTaking(t *testing.T) {
	path := dead(t, t.TempDir())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				runstate.Locked(path)
			}
		}
	}()
	for range 50 {
		f, err := runstate.Take(path)
		if err != nil {
			t.Error(err)
			break
		}
		check(t, f.Close())
	}
	close(stop)
	<-stopped
}
