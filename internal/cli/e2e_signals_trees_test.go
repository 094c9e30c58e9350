package cli

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// treeSignalStages are the calls of a run over trees at which a signal comes, but
// for those of treeStages.
func treeSignalStages() map[string]func(awssim.Call) bool {
	all := stages()
	for _, image := range []string{"beginning", "copying", "committing", "entries", "record", "commit"} {
		delete(all, image)
	}
	return all
}

// A run over trees that gets any of the signals, at any stage, its call carried out or
// not, gives everything back within half a minute, or has finished.
func TestTreesGetSignalsAtEachStage(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	i := 0
	for stage := range maps.Keys(treeSignalStages()) {
		for how, f := range map[string]awssim.Fault{"hangs": {Hang: true}, "was carried out and hangs": {HangAfter: true}} {
			signal := signals[i%len(signals)]
			i++
			t.Run(stage+" "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, awssim.Config{})
				d := w.aSmallDisk(awssim.SnapshotSpec{})
				there := w.hold(treeSignalStages()[stage], f, nil)
				p := w.start(w.command(migrateTrees("--all")...))
				w.reaches(there, p)
				w.interrupts(p, signal)
				w.finishes(d)
			})
		}
	}
}

// Nor does the moment matter: while partitions are read, filesystems mounted, files
// counted and copied.
func TestTreesGetSignalsAtAnyMoment(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	for round := range 10 {
		after := time.Duration(r.IntN(300)) * time.Millisecond
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			d := w.aSmallDisk(awssim.SnapshotSpec{})
			there := w.hold(awssim.Action("AttachVolume"), awssim.Fault{}, nil)
			p := w.start(w.command(migrateTrees("--all")...))
			w.reaches(there, p)
			moment := time.NewTimer(after)
			defer moment.Stop()
			<-moment.C
			w.interrupts(p, syscall.SIGTERM)
			w.finishes(d)
		})
	}
}

// interrupts sends a signal and wants the run to end with it soon, having given all
// back, or to have finished.
func (w *world) interrupts(p *process, s syscall.Signal) {
	w.t.Helper()
	began := time.Now()
	_ = p.cmd.Process.Signal(s) // it may have ended
	r := p.ends()
	if took := time.Since(began); took > 30*time.Second {
		w.t.Errorf("it took %v to end", took)
	}
	if r.code == exitDone {
		return
	}
	if r.code != exitInterrupted || !strings.Contains(r.stderr, "interrupted by "+signalName(s)) {
		w.t.Errorf("exit code %d, want %d with the signal named", r.code, exitInterrupted)
	}
	r.oneLineEach(w.t)
}

// finishes wants nothing to be left, and has the next run do what is not done.
func (w *world) finishes(d treeDisk) {
	w.t.Helper()
	tags := w.sim.Tags(d.ID)
	if len(tags) != 1 || tags["snap-to-s3"] != "migrate" && tags["snap-to-s3"] != "migrated" {
		w.t.Errorf("tags %v", tags)
	}
	w.stateless()
	w.noMounts()
	w.sim.SetFault(nil)
	if tags["snap-to-s3"] == "migrate" {
		w.ok(migrateTrees("--all")...)
	}
	w.isMigrated(d.subject)
	w.hasObjects(d)
	d.isRestored(w.t, w.view)
	w.freeHost()
}
