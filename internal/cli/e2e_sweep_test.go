package cli

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/runstate"
)

// killed runs a migration of the snapshot and kills it at a stage, its call carried
// out or not.
func (w *world) killed(s subject, stage string, f awssim.Fault) {
	w.t.Helper()
	there := w.hold(stages()[stage], f, nil)
	p := w.start(w.command("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", s.ID))
	w.reaches(there, p)
	if f.HangAfter {
		// The call is told of before it is carried out. Where that takes longer, it is
		// killed before.
		<-time.After(effectTime)
	}
	p.sends(syscall.SIGKILL)
	p.ends()
	w.sim.SetFault(nil)
}

// Killed at any stage, its call carried out or not, the next run takes away what was
// left and makes one whole set of objects, without being told how.
func TestKilledAtEachStage(t *testing.T) {
	t.Parallel()
	for stage := range stages() {
		for how, f := range map[string]awssim.Fault{"before": {Hang: true}, "after": {HangAfter: true}} {
			t.Run(stage+" "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, awssim.Config{})
				s := w.noisy(12*mib, awssim.SnapshotSpec{})
				w.killed(s, stage, f)
				w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
				w.isMigrated(s)
				w.isArchived(s, s.key("zstd"))
				w.nothingLeft()
			})
		}
	}
}

// Under the predecessor's policy volume and tag are taken away, and the upload is
// named until a run may.
func TestSweepingUnderThePredecessorsPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.sim.SetPolicy(predecessorsPolicy())
	for _, c := range []struct {
		stage, command string
		fault          awssim.Fault
	}{
		{"copying", "aws s3api abort-multipart-upload --bucket ", awssim.Fault{Hang: true}},
		{"beginning", "aws s3api list-multipart-uploads --bucket ", awssim.Fault{HangAfter: true}},
	} {
		s := w.noisy(40*mib, awssim.SnapshotSpec{})
		w.killed(s, c.stage, c.fault)
		r := w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
		w.isMigrated(s)
		line := regexp.MustCompile(`left behind by an earlier run .*kind=upload .*reason=".*s3:[A-Za-z]+MultipartUploads? is needed.*" command="` + c.command + `.*file=`)
		if !line.MatchString(r.stderr) {
			t.Errorf("the upload is not named:\n%s", r.stderr)
		}
	}
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			t.Errorf("volume %+v", v)
		}
	}
	files, err := filepath.Glob(filepath.Join(w.stateDir(), "*.json"))
	if err != nil || len(files) != 2 {
		t.Errorf("state files: %q, %v; want those two that name an upload", files, err)
	}
	w.sim.SetPolicy(nil)
	w.run("migrate", "--dd", "--bucket", testBucket, "--all")
	w.nothingLeft()
}

// A state file of another host is nobody's business here, and one that is damaged
// or locked is left as it is.
func TestStateFilesThatAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(40*mib, awssim.SnapshotSpec{})
	w.killed(s, "copying", awssim.Fault{Hang: true})
	path := w.stateFile().Path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	host := w.stateFile().Header.Host
	for name, change := range map[string]func(text string) string{
		"another host": func(text string) string {
			return strings.ReplaceAll(text, `"host":"`+host+`"`, `"host":"i-0fedcba9876543210"`)
		},
		"damaged": func(text string) string { return strings.Replace(text, `"kind":"volume"`, `"kind":7`, 1) },
	} {
		changed := []byte(change(string(whole)))
		writeFile(t, path, changed)
		other := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0f1e2d3c4b5a69788"})
		w.ok("migrate", "--dd", "--bucket", testBucket, other.ID)
		if now, err := os.ReadFile(path); err != nil || string(now) != string(changed) {
			t.Errorf("%s: the file is another one now: %v", name, err)
		}
		if n := len(w.sim.Uploads(testBucket)); n != 1 {
			t.Errorf("%s: %d uploads, want the one that is named", name, n)
		}
	}
	writeFile(t, path, whole)
	live, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := syscall.Flock(int(live.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if r := w.run("migrate", "--dd", "--bucket", testBucket, s.ID); r.code != exitClaimed {
		t.Errorf("with the run alive: exit code %d", r.code)
	}
	if n := len(w.sim.Uploads(testBucket)); n != 1 {
		t.Errorf("with the run alive: %d uploads, want its one", n)
	}
}

// Of many runs that start at once, one sweeps, and all can go on.
func TestManySweepAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	var subjects []subject
	for range 3 {
		s := w.noisy(40*mib, awssim.SnapshotSpec{})
		w.killed(s, "copying", awssim.Fault{Hang: true})
		subjects = append(subjects, s)
	}
	var runs sync.WaitGroup
	for range 4 {
		p := w.start(w.command("migrate", "--dd", "--bucket", testBucket, "--all"))
		runs.Go(func() { p.ends() })
	}
	runs.Wait()
	w.run("migrate", "--dd", "--bucket", testBucket, "--all") // a run that was too early saw nothing to do
	for _, s := range subjects {
		w.isMigrated(s)
		w.isArchived(s, s.key("zstd"))
	}
	w.nothingLeft()
}

// What is not the dead run's any more stays: another owner's volume, a kept one,
// somebody else's claim.
func TestSweepingSparesWhatIsOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(40*mib, awssim.SnapshotSpec{})
	w.killed(s, "copying", awssim.Fault{Hang: true})
	vol := w.sim.Volumes()[0]
	for name, change := range map[string]func(tags map[string]string){
		"another's": func(tags map[string]string) {
			tags["snap-to-s3-owner"] = "i-0fedcba9876543210/boot/run/1/-"
		},
		"kept":             func(tags map[string]string) { tags["snap-to-s3"] = "kept" },
		"without an owner": func(tags map[string]string) { delete(tags, "snap-to-s3-owner") },
	} {
		state, err := os.ReadFile(w.stateFile().Path)
		if err != nil {
			t.Fatal(err)
		}
		path := w.stateFile().Path
		tags := maps.Clone(vol.Tags)
		change(tags)
		if err := w.sim.SetTags(vol.ID, tags); err != nil {
			t.Fatal(err)
		}
		other := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0f1e2d3c4b5a69788"})
		w.ok("migrate", "--dd", "--bucket", testBucket, other.ID)
		now := w.sim.Volumes()
		if i := slices.IndexFunc(now, func(v awssim.VolumeInfo) bool { return v.ID == vol.ID }); i < 0 || now[i].Attachment != "attached" {
			t.Fatalf("%s: the volume is gone: %+v", name, now)
		}
		writeFile(t, path, state)
	}
	// The predecessor has claimed the snapshot since: its claim stays.
	tags := maps.Clone(w.sim.Tags(s.ID))
	tags["snap-to-s3"], tags["snap-to-s3-id"] = "migrating", "4711"
	tags["snap-to-s3-owner"] = claimOwner(t, w.stateFile())
	if err := w.sim.SetTags(s.ID, tags); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.SetTags(vol.ID, vol.Tags); err != nil {
		t.Fatal(err)
	}
	w.run("migrate", "--dd", "--bucket", testBucket, "--all")
	got := w.sim.Tags(s.ID)
	if got["snap-to-s3"] != "migrating" || got["snap-to-s3-id"] != "4711" || got["snap-to-s3-owner"] != "" {
		t.Errorf("tags %v, want the predecessor's claim and no owner", got)
	}
}

// claimOwner is the owner tag of the run of a state file.
func claimOwner(t *testing.T, run runstate.Run) string {
	t.Helper()
	for _, e := range run.Left {
		if e.Kind == runstate.KindVolume {
			return e.Fields["owner"]
		}
	}
	t.Fatalf("no volume: %+v", run.Left)
	return ""
}

// A volume whose device somebody uses is not pulled away.
func TestSweepingLeavesADeviceInUse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a device that is held for oneself needs root")
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(40*mib, awssim.SnapshotSpec{})
	w.killed(s, "copying", awssim.Fault{Hang: true})
	vol := w.sim.Volumes()[0]
	held, err := os.OpenFile(vol.Node, os.O_RDONLY|syscall.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
	if !regexp.MustCompile(`left behind by an earlier run .*kind=volume .*it is in use.* command="aws ec2 detach-volume`).MatchString(r.stderr) {
		t.Errorf("the volume is not named:\n%s", r.stderr)
	}
	if now := w.sim.Volumes(); now[0].ID != vol.ID || now[0].Attachment != "attached" {
		t.Errorf("volumes %+v", now)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	w.run("migrate", "--dd", "--bucket", testBucket, "--all")
	w.nothingLeft()
}
