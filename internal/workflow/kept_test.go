package workflow_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// A sweep leaves a kept volume, and forgets it once it is gone or another's.
func TestSweepOfKeptVolumes(t *testing.T) {
	other := catalog.Identity{Host: "i-2", Boot: "boot", Run: "other"}
	for name, c := range map[string]struct {
		owner catalog.Identity // of the volume; zero: the dead run
		value string           // "": there is no volume
		field string           // more of the entry
		err   error
		fate  string
		stays bool
	}{
		"there":           {value: workflow.VolumeKept, fate: "found", stays: true},
		"gone":            {fate: "gone"},
		"another's":       {value: workflow.VolumeKept, owner: other, fate: "gone"},
		"serves again":    {value: workflow.VolumeInProgress, owner: other, fate: "gone"},
		"another region":  {field: "region=eu-west-1", fate: "found", stays: true},
		"another account": {value: workflow.VolumeKept, err: errors.New("no such instance"), fate: "left: no such instance", stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemains(t)
				r.volumes.account = c.err
				if c.owner == (catalog.Identity{}) {
					c.owner = r.dead
				}
				if c.value != "" {
					r.volume("vol-1", c.owner, c.value)
				}
				r.left([]string{"volume", "volume=vol-1", "kept=/dev/none", c.field})
				if diff := cmp.Diff(map[string]string{"volume": c.fate}, r.sweep()); diff != "" {
					t.Errorf("fates (-want +got):\n%s", diff)
				}
				if there := r.stateFiles() > 0; there != c.stays || len(r.volumes.removed) > 0 {
					t.Errorf("the state file is there: %v, want %v; removed %v", there, c.stays, r.volumes.removed)
				}
			})
		})
	}
}

// Of which snapshots a volume was kept: what a state file of this host tells, as far as
// EC2 has it still.
func TestKeptOfSnapshots(t *testing.T) {
	other := catalog.Identity{Host: "i-2", Boot: "boot", Run: "other"}
	for name, c := range map[string]struct {
		owner    catalog.Identity // of the volume; zero: the dead run
		value    string           // "": there is no volume
		field    string           // more of the entry
		instance string
		want     bool
	}{
		"there":                 {value: workflow.VolumeKept, want: true},
		"gone":                  {},
		"another's":             {value: workflow.VolumeKept, owner: other},
		"serves again":          {value: workflow.VolumeInProgress},
		"another tag":           {value: workflow.VolumeKept, field: "tag=other"},
		"another region":        {value: workflow.VolumeKept, field: "region=eu-west-1"},
		"not to be kept":        {value: workflow.VolumeKept, field: "kept="},
		"with another instance": {value: workflow.VolumeKept, instance: "i-3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemains(t)
			if c.owner == (catalog.Identity{}) {
				c.owner = r.dead
			}
			if c.value != "" {
				r.volume("vol-1", c.owner, c.value)
				v := r.volumes.there["vol-1"]
				v.Instance = c.instance
				r.volumes.there["vol-1"] = v
			}
			r.left([]string{"volume", "volume=vol-1", "kept=/dev/none", c.field})
			kept, err := r.sweeper().Kept(t.Context(), tag)
			if err != nil || kept[first] != c.want {
				t.Errorf("%v, %v, want %v", kept, err, c.want)
			}
		})
	}
}

func TestTakeKept(t *testing.T) {
	r := newRemains(t)
	self := catalog.Identity{Host: r.dead.Host, Boot: r.dead.Boot, Run: "later"}
	folder := filepath.Join(r.dir, "kept")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := r.left(
		[]string{"volume", "volume=vol-1", "kept=/dev/none"}, []string{"volume", "volume=vol-2"}, []string{"volume", "volume=vol-3", "kept=/dev/none3"},
		[]string{"mount", "folder=" + folder, "loop=/dev/loop999", "backing=/dev/none", "made=" + folder, "kept=" + folder},
		[]string{"loop", "loop=/dev/loop999", "backing=/dev/none"},
		[]string{"mount", "folder=/", "loop=/dev/loop998", "backing=/dev/none3"},
	)
	elsewhere, unknown := self, r.dead
	elsewhere.Host, unknown.Run = "i-3", "unknown"
	for name, c := range map[string]struct {
		self, owner catalog.Identity
		id          snapshot.VolumeID
		want        error
	}{
		"from another host":   {elsewhere, r.dead, "vol-1", workflow.ErrForeign},
		"of an unknown run":   {self, unknown, "vol-1", workflow.ErrForeign},
		"of another boot":     {self, catalog.Identity{Host: r.dead.Host, Boot: "x", Run: r.dead.Run}, "vol-1", workflow.ErrForeign},
		"that was not kept":   {self, r.dead, "vol-2", workflow.ErrForeign},
		"of which none tells": {self, r.dead, "vol-9", workflow.ErrForeign},
	} {
		if _, err := workflow.TakeKept(r.dir, c.self, c.owner, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	k, err := workflow.TakeKept(r.dir, self, r.dead, "vol-1")
	if err != nil || k.Owner() != r.dead {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, err := workflow.TakeKept(r.dir, self, r.dead, "vol-3"); !errors.Is(err, runstate.ErrLive) {
		t.Errorf("twice at once: %v", err)
	}
	for range 2 {
		if err := k.Free(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
	if err := errors.Join(k.Done(), k.Close()); err != nil {
		t.Error(err)
	}
	run, err := runstate.Read(path)
	var left []string
	for _, e := range run.Left {
		left = append(left, e.What())
	}
	want := []string{"vol-2 from " + string(first), "vol-3 from " + string(first), "the mount of /dev/none3 at /"}
	if diff := cmp.Diff(want, left); diff != "" || err != nil {
		t.Errorf("left, %v (-want +got):\n%s", err, diff)
	}
}

// What a restart has unmounted leaves its folder alone.
func TestFreeAfterARestart(t *testing.T) {
	r := newRemains(t)
	folder := filepath.Join(r.dir, "kept")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	r.dead.Boot = "the boot before"
	r.left([]string{"volume", "volume=vol-1", "kept=/dev/none"}, []string{"loop", "loop=/dev/sda", "backing=/dev/none"},
		[]string{"mount", "folder=" + folder, "loop=/dev/loop0", "backing=/dev/none", "made=" + folder, "kept=" + folder})
	k, err := workflow.TakeKept(r.dir, catalog.Identity{Host: r.dead.Host, Boot: "boot", Run: "later"}, r.dead, "vol-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Free(t.Context(), ""), k.Done(), k.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(folder); !errors.Is(err, os.ErrNotExist) || r.stateFiles() > 0 {
		t.Errorf("the folder: %v; %d state files", err, r.stateFiles())
	}
}

// What cannot be one of ours is not touched.
func TestFreeOfWhatCannotBe(t *testing.T) {
	r := newRemains(t)
	r.left([]string{"volume", "volume=vol-1", "kept=/dev/none"}, []string{"loop", "loop=/dev/sda", "backing=/dev/none"})
	k, err := workflow.TakeKept(r.dir, r.dead, r.dead, "vol-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Free(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is no loop device of ours") {
		t.Errorf("error %v", err)
	}
	if err := k.Close(); err != nil || r.stateFiles() != 1 {
		t.Errorf("%v, %d state files", err, r.stateFiles())
	}
}

// What stands mounted of a kept volume is unmounted before it goes, by one command.
func TestUnmountFirst(t *testing.T) {
	mount := func(folder, backing, kept string) runstate.Entry {
		return runstate.Entry{Kind: runstate.KindMount, Fields: map[string]string{"folder": folder, "backing": backing, "kept": kept}}
	}
	left := []runstate.Entry{
		{Kind: runstate.KindVolume, Fields: map[string]string{"volume": "vol-1", "kept": "/dev/a"}},
		{Kind: runstate.KindVolume, Fields: map[string]string{"volume": "vol-2"}},
		mount("/mnt/x y", "/dev/a", "/mnt/x y"), mount("/mnt/b", "/dev/b", "/mnt/b"), mount("/mnt/c", "/dev/a", ""),
	}
	const unmount = "if mountpoint -q '/mnt/x y'; then umount '/mnt/x y'; fi && if mountpoint -q /mnt/c; then umount /mnt/c; fi && "
	for backing, want := range map[string]string{"/dev/a": unmount + "{ remove; }", "/dev/none": "remove"} {
		if got := workflow.UnmountFirst(left, backing, "remove"); got != want {
			t.Errorf("%s: %s\nwant %s", backing, got, want)
		}
	}
	var below []string
	for _, e := range left {
		if v, ok := workflow.KeptBelow(left, e); ok {
			below = append(below, e.Fields["folder"]+" of "+v.Fields["volume"])
		}
	}
	if diff := cmp.Diff([]string{"/mnt/x y of vol-1"}, below); diff != "" {
		t.Errorf("goes with its volume (-want +got):\n%s", diff)
	}
}
