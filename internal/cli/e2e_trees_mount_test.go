package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/runstate"
)

// --keep-temp-volumes leaves each filesystem where a person can look at it, and
// the state file says how to take it away.
func TestTreesOfKeptVolumes(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4", "mkfs.ext2", "umount")
	whole := treetest.Image(t, "ext4", 16*mib)
	at := treetest.Mounted(t, whole, 0)
	writeFile(t, filepath.Join(at, "file"), []byte("on the whole disk\n"))
	want := treetest.Read(t, at, treetest.ReadOptions{})
	treetest.Unmount(t, at)

	w := newWorld(t, awssim.Config{})
	w.leftovers = true // the kept volumes
	parted, bare := w.aSmallDisk(awssim.SnapshotSpec{}), w.addDisk(whole, bareDisk("ext4", want), awssim.SnapshotSpec{})
	mounts := filepath.Join(w.dir, "kept here") // a name with a blank, for the commands
	w.ok(migrateTrees("--all", "--keep-temp-volumes", "--mount-point", mounts)...)
	t.Cleanup(w.unmountKept)
	folders := map[string][]treetest.Record{filepath.Join(mounts, bare.ID): want}
	for _, p := range parted.plan.Partitions {
		if p.Want != nil {
			folders[filepath.Join(mounts, parted.ID+"-"+string(rune('0'+p.Number)))] = p.Want
		}
	}
	named := map[string]bool{}
	var volumes []string
	for _, v := range w.sim.Volumes() {
		volumes = append(volumes, v.ID)
	}
	w.namesKept(volumes...)
	runs, err := runstate.List(w.stateDir())
	if err != nil || len(runs) != 1 {
		t.Fatalf("state files %+v, %v; want one", runs, err)
	}
	for _, e := range runs[0].Left {
		switch e.Kind {
		case runstate.KindMount:
			named[e.Fields["folder"]] = true
		case runstate.KindVolume:
		default:
			t.Errorf("the state file names %+v", e)
		}
	}
	for folder, tree := range folders {
		for _, line := range treetest.Diff(tree, treetest.Read(t, folder, treetest.ReadOptions{}), treetest.DiffOptions{}) {
			t.Errorf("mounted at %s: %s", folder, line)
		}
		if err := os.WriteFile(filepath.Join(folder, "new"), nil, 0o600); err == nil {
			t.Errorf("%s can be written to", folder)
		}
		if !named[folder] {
			t.Errorf("the state file does not name the mount at %s", folder)
		}
	}
	if len(named) != len(folders) {
		t.Errorf("mounts in the state file: %v, want %d", named, len(folders))
	}
	for _, v := range w.sim.Volumes() {
		if v.Tags["snap-to-s3"] != "kept" || v.Attachment != "attached" {
			t.Errorf("a volume is not kept: %+v", v)
		}
		wantMarks := map[string]string{parted.ID: "1,2", bare.ID: "0"}
		if got := v.Tags["snap-to-s3-mounted"]; got != wantMarks[v.SnapshotID] {
			t.Errorf("the volume of %s is marked as mounted with %q, want %q", v.SnapshotID, got, wantMarks[v.SnapshotID])
		}
	}
	for _, d := range []treeDisk{parted, bare} {
		d.isRestored(t, w.view)
		w.isMigrated(d.subject)
	}
	// They are nobody's leftovers.
	w.ok(migrateTrees("--all")...)
	for folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "lost+found")); err != nil {
			t.Errorf("a run after that has taken the mount away: %v", err)
		}
	}
	w.unmountKept()
	w.noMounts()
}

// unmountKept runs the commands that state files have for mounts.
func (w *world) unmountKept() {
	runs, err := runstate.List(w.stateDir())
	if err != nil {
		w.t.Error(err)
	}
	for _, r := range runs {
		for _, e := range r.Left {
			if _, err := os.Stat(filepath.Join(e.Fields["folder"], "lost+found")); e.Kind != runstate.KindMount || err != nil {
				continue // unmounted before
			}
			if out, err := exec.Command("sh", "-c", e.Hint()).CombinedOutput(); err != nil {
				w.t.Errorf("%s: %v: %s", e.Hint(), err, out)
			}
		}
	}
}

// Where the kernel knows no detached mounts, plain ones make the same archives, and
// are gone afterwards.
func TestTreesByPlainMounts(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.xfs", "mkfs.btrfs")
	image, plan := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 16 * mib, Holds: "ext4"},
		{Number: 2, Length: 300 * mib, Holds: "xfs"},
		{Number: 3, Length: 128 * mib, Holds: "btrfs"},
	}})
	digests := map[string][]string{}
	for _, how := range []string{"plain", "detached"} {
		w := newWorld(t, awssim.Config{})
		if how == "plain" {
			w.extra = []string{"SNAP_TO_S3_MOUNTS=plain"}
		}
		mounts := filepath.Join(w.dir, "mnt")
		d := w.addDisk(image, plan, awssim.SnapshotSpec{ID: "snap-0123456789abcdef0"})
		var seen []string
		w.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if c.Action == "PutObject" && strings.HasSuffix(c.Key, ".1.tar.zstd") && seen == nil {
				table, err := os.ReadFile("/proc/self/mountinfo")
				if err != nil {
					t.Error(err)
				}
				seen = []string{}
				for line := range strings.Lines(string(table)) {
					if f := strings.Fields(line); strings.HasPrefix(f[4], mounts) {
						seen = append(seen, filepath.Base(f[4]))
					}
				}
			}
			return awssim.Fault{}
		})
		w.ok(migrateTrees("--all", "--mount-point", mounts)...)
		slices.Sort(seen)
		want := []string{}
		if how == "plain" {
			want = []string{d.ID + "-1", d.ID + "-2", d.ID + "-3"}
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("%s: mounts while the first tree was stored (-want +got):\n%s", how, diff)
		}
		rec := d.isRestored(t, w.view)
		digests[how] = digestsOf(rec)
		w.isMigrated(d.subject)
		w.freeHost()
		if left, err := os.ReadDir(mounts); err == nil && len(left) > 0 {
			t.Errorf("%s: left in the folder of mounts: %v", how, left)
		}
	}
	if diff := cmp.Diff(digests["detached"], digests["plain"]); diff != "" {
		t.Errorf("archives by detached and by plain mounts (-detached +plain):\n%s", diff)
	}
}

func digestsOf(rec layout.SnapshotRecord) (all []string) {
	for _, a := range rec.Archives {
		all = append(all, a.Archive+" "+a.Digest)
	}
	slices.Sort(all)
	return all
}

// A run that is killed leaves its plain mounts, and the commands that take them
// away.
func TestTreesByPlainMountsKilled(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "mkfs.ext4", "mkfs.ext2", "umount")
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	w.extra = []string{"SNAP_TO_S3_MOUNTS=plain"}
	d := w.aSmallDisk(awssim.SnapshotSpec{})
	mounts := filepath.Join(w.dir, "mnt")
	there := w.hold(func(c awssim.Call) bool { return c.Action == "PutObject" && strings.HasSuffix(c.Key, ".1.tar.zstd") }, awssim.Fault{Hang: true}, nil)
	p := w.start(w.command(migrateTrees("--all", "--mount-point", mounts)...))
	w.reaches(there, p)
	p.sends(syscall.SIGKILL)
	t.Cleanup(w.unmountKept) // before the sandbox ends
	p.ends()
	w.sim.SetFault(nil)
	named := map[string]string{}
	for _, e := range w.stateFile().Left {
		if e.Kind == runstate.KindMount {
			named[e.Fields["folder"]] = e.Hint()
		}
	}
	want := map[string]string{}
	for _, n := range []string{"-1", "-2"} {
		folder := filepath.Join(mounts, d.ID+n)
		want[folder] = "umount " + folder
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Errorf("mounts in the state file (-want +got):\n%s", diff)
	}
	r := w.run(migrateTrees(d.ID)...)
	for folder, command := range want {
		_, err := os.Stat(filepath.Join(folder, "lost+found"))
		if mounted := err == nil; mounted && !strings.Contains(r.stdout+r.stderr, command) {
			t.Errorf("the next run leaves %s mounted, and does not say %q", folder, command)
		}
	}
	w.unmountKept()
	w.deadLeaveNothingHere()
}
