package cli

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// A download that is cut off goes on from where it stopped, wherever that was.
func TestValidationGoesOnAfterCuts(t *testing.T) {
	t.Parallel()
	faults := map[string]func(n int) awssim.Fault{
		"cut at its first byte":         func(int) awssim.Fault { return awssim.Fault{CutBody: 1} },
		"cut in a frame":                func(n int) awssim.Fault { return awssim.Fault{CutBody: int64(n)*700_001 + 3} },
		"hangs in the middle":           func(int) awssim.Fault { return awssim.Fault{HangBody: 1_500_000} },
		"shorter than what was asked":   func(n int) awssim.Fault { return awssim.Fault{ShortRange: int64(n) * 300_007} },
		"cut before, and after its end": func(n int) awssim.Fault { return awssim.Fault{CutBefore: n%2 == 0, LoseAnswer: n%2 == 1} },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.noisy(12*mib, awssim.SnapshotSpec{})
			w.ok("migrate", "--dd", "--all", "--bucket", testBucket)
			for _, args := range [][]string{validate("--all"), {"verify", "--all", "--bucket", testBucket}} {
				w.sim.ResetCalls()
				w.sim.SetFault(cuts(3, s.key("zstd"), fault))
				r := w.ok(args...)
				w.sim.SetFault(nil)
				if n := w.called("GetObject"); n < 3+3 {
					t.Errorf("only %d objects were asked for: nothing was cut", n)
				}
				if strings.Contains(r.stderr, "difference") {
					t.Error("a cut is told as a difference")
				}
			}
			w.isTagged(s, "validated")
			w.nothingLeft()
		})
	}
}

// cuts makes a hook that spoils the answers about one object, so many times for each
// fault, whose number is counted from 1.
func cuts(times int, key string, fault func(n int) awssim.Fault) func(awssim.Call) awssim.Fault {
	var mu sync.Mutex
	n := 0
	return func(c awssim.Call) awssim.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Action != "GetObject" || c.Key != key || n == times {
			return awssim.Fault{}
		}
		n++
		return fault(n)
	}
}

// proofStages are the calls of a validation at which it is held.
func proofStages() map[string]func(awssim.Call) bool {
	all := map[string]func(awssim.Call) bool{
		"claiming": func(c awssim.Call) bool {
			return c.Action == "CreateTags" && strings.Contains(c.Summary, "=validating")
		},
		"record":    func(c awssim.Call) bool { return c.Action == "GetObject" && strings.HasSuffix(c.Key, ".zstd.json") },
		"archive":   func(c awssim.Call) bool { return c.Action == "GetObject" && strings.HasPrefix(c.Key, "vol-") },
		"entries":   func(c awssim.Call) bool { return c.Action == "GetObject" && strings.HasSuffix(c.Key, ".entries") },
		"tagging":   func(c awssim.Call) bool { return c.Action == "CreateTags" && strings.Contains(c.Summary, "=validated") },
		"untagging": awssim.Action("DeleteTags"),
	}
	for _, stage := range []string{"creating", "waiting", "attaching", "detaching", "deleting"} {
		all[stage] = stages()[stage]
	}
	return all
}

// proofSubjects are an image and a disk, which were migrated.
func (w *world) migratedBoth() []subject {
	w.t.Helper()
	treetest.Require(w.t, "sfdisk", "mkfs.ext4", "mkfs.ext2")
	image := w.noisy(12*mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60711"})
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	trees := w.aSmallDisk(awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60712"})
	w.ok(migrateTrees("--all")...)
	w.sim.ResetCalls()
	return []subject{image, trees.subject}
}

// unproven wants a snapshot that a run was stopped at to be as before or done, and
// another run to prove it.
func (w *world) unproven(s subject) {
	w.t.Helper()
	tags := w.sim.Tags(s.ID)
	if value := tags["snap-to-s3"]; len(tags) != 1 || value != "migrated" && value != "validated" {
		w.t.Errorf("%s is tagged %v", s.ID, tags)
	}
	w.freeHost()
	w.sim.SetFault(nil)
	w.ok(validate("--all")...)
	w.isTagged(s, "validated")
	w.freeHost()
}

// A validation that is interrupted, or whose time is up, wherever it is, gives all
// back and proves nothing; the next run does.
func TestValidationIsInterrupted(t *testing.T) {
	t.Parallel()
	faults := map[string]awssim.Fault{"hangs": {Hang: true}, "was carried out and hangs": {HangAfter: true}, "hangs half way": {HangBody: 100}}
	i := 0
	for _, stage := range slices.Sorted(maps.Keys(proofStages())) {
		reads := stage == "archive" || stage == "entries" || stage == "record"
		for _, how := range slices.Sorted(maps.Keys(faults)) {
			if reads != (how == "hangs half way") {
				continue
			}
			i++
			which, signal := i%2, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}[i%3]
			t.Run(stage+" "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, awssim.Config{})
				s := w.migratedBoth()[which]
				there := w.hold(proofStages()[stage], faults[how], nil)
				p := w.start(w.command(validate(s.ID)...))
				w.reaches(there, p)
				w.interrupts(p, signal)
				w.unproven(s)
			})
		}
	}
}

// Nor does the moment matter.
func TestValidationIsInterruptedAtAnyMoment(t *testing.T) {
	t.Parallel()
	for round := range 6 {
		after := time.Duration(round) * 70 * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.migratedBoth()[1]
			there := w.hold(awssim.Action("AttachVolume"), awssim.Fault{}, nil)
			p := w.start(w.command(validate(s.ID)...))
			w.reaches(there, p)
			moment := time.NewTimer(after)
			defer moment.Stop()
			<-moment.C
			w.interrupts(p, syscall.SIGTERM)
			w.unproven(s)
		})
	}
}

func TestTimeoutOfValidation(t *testing.T) {
	t.Parallel()
	for stage, says := range map[string]string{
		"claiming": "0 of 1 snapshot done",
		"record":   "nothing was begun", // it is read for the estimate
		"archive":  ", while comparing",
		"creating": ", while creating volume",
	} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.migratedBoth()[0]
			r := w.timesOut(proofStages()[stage], validate(s.ID)...)
			r.says(t, exitFailed, "snap-to-s3: the time of --timeout 5s is up: ", "run the same command again")
			r.says(t, exitFailed, says, "a longer --timeout")
			r.oneLineEach(t)
			w.isMigrated(s)
			w.unproven(s)
		})
	}
}
