package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/runstate"
)

// aDiskToKillAt has a tree that goes up in several parts, and others around it.
func aDiskToKillAt(t *testing.T) (image string, plan treetest.Plan) {
	t.Helper()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4", "mkfs.ext2")
	image, plan = treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 32 * mib, Holds: "ext4"},
		{Number: 2, Length: mib, Holds: treetest.Noise},
		{Number: 3, Length: 16 * mib, Holds: "ext2"},
	}})
	at := treetest.Mounted(t, image, plan.Partitions[0].Start)
	noise(t, filepath.Join(at, "noise"), 12*mib)
	plan.Partitions[0].Want = treetest.Read(t, at, treetest.ReadOptions{})
	treetest.Unmount(t, at)
	return image, plan
}

// Killed at any moment, it leaves no mount and no loop device, and the state file
// names all that stays in the account. The next run takes that away and does the
// work.
func TestTreesKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	image, plan := aDiskToKillAt(t)
	r := rand.New(rand.NewPCG(3, 20))
	for round := range 20 {
		// Half of them by the clock; the others around a call of those that the run makes
		// once it is about to mount.
		after, call := time.Duration(r.IntN(700))*time.Millisecond, 1+r.Int64N(25)
		byCall := round%2 == 1
		if byCall {
			after = time.Duration(r.IntN(30_000)) * time.Microsecond
		}
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			w.leftovers = true
			d := w.addDisk(image, plan, awssim.SnapshotSpec{})
			p := w.start(w.command(migrateTrees("--part-size", "5MiB", "--all")...))
			kill := func() { _ = p.cmd.Process.Kill() } // it may have ended
			var calls atomic.Int64
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if marks := isMountMark(c); marks || calls.Load() > 0 {
					if calls.Add(1) == call && byCall {
						time.AfterFunc(after, kill)
					}
				}
				if c.Action == "PutObject" || c.Action == "UploadPart" {
					return awssim.Fault{Delay: 20 * time.Millisecond} // as a store that is far away
				}
				return awssim.Fault{}
			})
			if !byCall {
				defer time.AfterFunc(after, kill).Stop()
			}
			p.killed()
			w.sim.SetFault(nil)
			w.deadLeaveNothingHere()
			w.stateNames(d)
			w.ok(append(migrateTrees("--part-size", "5MiB"), d.ID)...)
			w.hasObjects(d)
			d.isRestored(t, w.view)
			w.isMigrated(d.subject)
			w.freeHost()
		})
	}
}

// isMountMark tells whether a call marks a volume as one that is about to be mounted.
func isMountMark(c awssim.Call) bool {
	return c.Action == "CreateTags" && strings.Contains(c.Summary, "-mounted=")
}

// killed waits for the end of a process that is killed, or ends by itself.
func (p *process) killed() {
	p.t.Helper()
	err := p.cmd.Wait()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signaled() && status.Signal() != syscall.SIGKILL || status.Exited() && status.ExitStatus() != 0 {
		p.t.Errorf("it ended with %v\n%s%s", err, p.out.String(), p.err.String())
	}
	p.t.Logf("%s%s(%v)", p.out.String(), p.err.String(), p.cmd.ProcessState)
}

// deadLeaveNothingHere waits a moment for the kernel to take away what a dead
// process had, and then wants it to be gone.
func (w *world) deadLeaveNothingHere() {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 250 {
		busy := false
		for _, v := range w.sim.Volumes() {
			busy = busy || v.Loop != "" && len(treetest.Loops(w.t, v.Loop)) > 0
		}
		if !busy {
			break
		}
		<-tick.C
	}
	w.noMounts()
	for _, v := range w.sim.Volumes() {
		if v.Loop == "" {
			continue
		}
		f, err := os.OpenFile(v.Loop, os.O_RDONLY|syscall.O_EXCL, 0)
		if err != nil {
			w.t.Errorf("%s is still held: %v", v.Loop, err)
			continue
		}
		if err := f.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// stateNames wants each thing that there is in the account to be in the state
// file of the run that is no more.
func (w *world) stateNames(d treeDisk) {
	w.t.Helper()
	runs, err := runstate.List(w.stateDir())
	if err != nil || len(runs) > 1 {
		w.t.Fatalf("state files: %+v, %v", runs, err)
	}
	var left []runstate.Entry
	for _, r := range runs {
		if r.Live || r.Err != nil {
			w.t.Errorf("state file of a dead run: %+v", r)
		}
		left = r.Left
	}
	named := func(kind string, texts ...string) {
		w.t.Helper()
		if !slices.ContainsFunc(left, func(e runstate.Entry) bool {
			return e.Kind == kind && e.Hint() != "" && slices.ContainsFunc(texts, func(text string) bool {
				return strings.Contains(fmt.Sprint(e.Fields), text)
			})
		}) {
			w.t.Errorf("the state file names no %s of %q: %+v", kind, texts, left)
		}
	}
	for _, v := range w.sim.Volumes() {
		if v.State == "deleting" {
			continue
		}
		named(runstate.KindVolume, v.ID, d.ID)
		if v.Attachment != "" {
			named(runstate.KindAttachment, v.ID)
		}
	}
	for _, u := range w.sim.Uploads(testBucket) {
		named(runstate.KindUpload, u.Key)
	}
	if tags := w.sim.Tags(d.ID); len(tags) > 1 || tags["snap-to-s3"] == "migrating" {
		named(runstate.KindClaim, d.ID)
	}
	for _, e := range left {
		if e.Kind == runstate.KindMount || e.Kind == runstate.KindLoop {
			w.t.Errorf("the state file names a mount, and there was none in the table: %+v", e)
		}
	}
}

// treeStages are calls at which a run over trees is held.
func treeStages() map[string]func(awssim.Call) bool {
	key := func(action, part string) func(awssim.Call) bool {
		return func(c awssim.Call) bool { return c.Action == action && strings.Contains(c.Key, part) }
	}
	return map[string]func(awssim.Call) bool{
		"storing the head":         key("PutObject", ".0.img.zstd"),
		"marking it as mounted":    isMountMark,
		"beginning the first tree": key("CreateMultipartUpload", ".1.tar.zstd"),
		"storing the first tree":   func(c awssim.Call) bool { return key("UploadPart", ".1.tar.zstd")(c) && c.Part == 2 },
		"committing it":            key("CompleteMultipartUpload", ".1.tar.zstd"),
		"its entries":              key("PutObject", ".1.tar.zstd.entries"),
		"detaching":                awssim.Action("DetachVolume"),
		"storing the last tree":    key("PutObject", ".3.tar.zstd"),
		"committing":               key("PutObject", ".files.zstd.json"),
	}
}

// An interrupt at any stage leaves all clean, and what was whole by then is kept by
// the next run.
func TestTreesInterruptedAtEachStage(t *testing.T) {
	t.Parallel()
	image, plan := aDiskToKillAt(t)
	for stage, match := range treeStages() {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			d := w.addDisk(image, plan, awssim.SnapshotSpec{})
			there := w.hold(match, awssim.Fault{Hang: true}, nil)
			p := w.start(w.command(migrateTrees("--part-size", "5MiB", "--all")...))
			w.reaches(there, p)
			p.sends(syscall.SIGINT)
			r := p.ends()
			if r.code != exitInterrupted || !strings.Contains(r.stderr, "interrupted by ") {
				t.Errorf("exit code %d, want %d with the signal named", r.code, exitInterrupted)
			}
			r.oneLineEach(t)
			if tags := w.sim.Tags(d.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
				t.Errorf("tags %v", tags)
			}
			w.freeHost()
			w.sim.SetFault(nil)
			for _, o := range w.objects() {
				if _, whole := w.sim.Object(testBucket, "manifests/"+o.Key+".json"); strings.HasPrefix(o.Key, "vol-") && !whole {
					if !strings.Contains(r.stdout, o.Key+" stands without its record") || !strings.Contains(r.stdout, "hint: ") {
						t.Errorf("%s is not whole, and not named with what to do", o.Key)
					}
				}
			}
			w.ok(migrateTrees("--all")...)
			w.hasObjects(d)
			d.isRestored(t, w.view)
			w.isMigrated(d.subject)
			w.freeHost()
		})
	}
}
