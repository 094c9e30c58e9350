package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/runstate"
)

// scenario is a kind of migration that the matrix is about.
type scenario struct {
	name string
	args []string
	add  func(*world) migrated
	// before, unless nil, is what happened before the run that the matrix is about.
	before func(*testing.T, *world)
	// fewest calls that it makes, or the matrix would hold over nothing; 0: 25.
	fewest int
	// unclaimed: the run writes no tags, which makes it no other's successor.
	unclaimed bool
	// keeps: a volume that was kept before may stay so.
	keeps bool
}

// begin adds the scenario's snapshot.
func (s scenario) begin(t *testing.T, w *world) migrated {
	t.Helper()
	m := s.add(w)
	if s.before != nil {
		s.before(t, w)
	}
	return m
}

// migrated is a snapshot of a scenario and what must become of it.
type migrated struct {
	subject

	// values are those that the tag may have when no run is at work.
	values []string
	// isWhole wants one whole set of objects whose records agree, and the tag.
	isWhole func(*testing.T)
}

// scenarios makes the disks once for all cells.
func scenarios(t *testing.T) []scenario {
	t.Helper()
	after := imageScenario(t, "image after a kill", 24*mib)
	after.before = func(t *testing.T, w *world) {
		t.Helper()
		copying := place{label: "s3 UploadPart KEY.img.zstd part 2", n: 1}
		for _, m := range modes() {
			if m.name == "killed before" { // so that it leaves a claim, an upload and a volume that is attached
				w.runFaulty(t, &injection{mode: m, at: copying}, after.args...)
			}
		}
		if len(w.sim.Uploads(testBucket)) != 1 || len(w.sim.Volumes()) != 1 || w.sim.Volumes()[0].Attachment != "attached" {
			t.Fatalf("the killed run left %+v, %+v", w.sim.Uploads(testBucket), w.sim.Volumes())
		}
		w.deadLeaveNothingHere()
	}
	all := []scenario{imageScenario(t, "image", 7*mib), after}
	if os.Geteuid() != 0 {
		t.Log("not root: only images")
		return all
	}
	return append(all, treeScenario(t))
}

func imageScenario(t *testing.T, name string, size int64) scenario {
	t.Helper()
	noisy := filepath.Join(t.TempDir(), "noise")
	noise(t, noisy, size)
	return scenario{
		name: name,
		args: []string{"migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all"},
		add: func(w *world) migrated {
			s := w.add(awssim.SnapshotSpec{Image: noisy, Description: "nightly of web-1", Tags: tagged("Name", "web-1")})
			return migrated{s, []string{"migrate", "migrated"}, func(t *testing.T) {
				t.Helper()
				w.isMigrated(s)
				w.isArchived(s, s.key("zstd"))
				if n := len(w.objects()); n != 4 {
					t.Errorf("there are %d objects, want 4: %+v", n, w.objects())
				}
			}}
		},
	}
}

func treeScenario(t *testing.T) scenario {
	t.Helper()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4")
	image, plan := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 16 * mib, Holds: "ext4"},
		{Number: 2, Length: mib, Holds: treetest.Noise},
	}})
	at := treetest.Mounted(t, image, plan.Partitions[0].Start)
	noise(t, filepath.Join(at, "noise"), 6*mib)
	plan.Partitions[0].Want = treetest.Read(t, at, treetest.ReadOptions{})
	treetest.Unmount(t, at)
	return scenario{
		name: "trees",
		args: migrateTrees("--part-size", "5MiB", "--all"),
		add: func(w *world) migrated {
			d := w.addDisk(image, plan, awssim.SnapshotSpec{Description: "nightly of web-1", Tags: tagged("Name", "web-1")})
			return migrated{d.subject, []string{"migrate", "migrated"}, func(t *testing.T) {
				t.Helper()
				w.isMigrated(d.subject)
				w.hasObjects(d)
				d.isRestored(t, w.view)
			}}
		},
	}
}

// accounted wants all that is in the account for a snapshot, and is not meant to
// be there for good, to be named by a state file; said is what the run printed,
// nil for one that was killed.
func (w *world) accounted(t *testing.T, s migrated, said *result) {
	t.Helper()
	runs, err := runstate.List(w.stateDir())
	if err != nil {
		t.Fatal(err)
	}
	var left []runstate.Entry
	for _, r := range runs {
		if r.Live || r.Err != nil {
			t.Errorf("state file of a run that has ended: %+v", r)
		}
		left = append(left, r.Left...)
	}
	named := func(said *result, kind, thing string, texts ...string) {
		t.Helper()
		i := slices.IndexFunc(left, func(e runstate.Entry) bool {
			return e.Kind == kind && e.Hint() != "" && slices.ContainsFunc(texts, func(text string) bool {
				return strings.Contains(strings.Join(fieldValues(e), " "), text)
			})
		})
		switch {
		case i < 0:
			t.Errorf("%s %s: no state file names it: %+v", kind, thing, left)
		case said != nil && !strings.Contains(said.stdout+said.stderr, left[i].Hint()):
			t.Errorf("%s %s: the run did not say %s", kind, thing, left[i].Hint())
		}
	}
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			about := said
			if v.Tags["snap-to-s3"] == "kept" { // as was asked for
				about = nil
			}
			named(about, runstate.KindVolume, v.ID, v.ID, s.ID)
		}
	}
	for _, u := range w.sim.Uploads(testBucket) {
		if w.nameless && u.Parts == 0 {
			continue
		}
		named(said, runstate.KindUpload, u.ID, u.Key)
	}
	tags := w.sim.Tags(s.ID)
	if value := tags["snap-to-s3"]; value == "migrating" || value == "validating" || len(tags) > len(s.Tags) {
		named(said, runstate.KindClaim, s.ID, s.ID)
	}
	w.noTagLost(t, s, tags)
}

func fieldValues(e runstate.Entry) (all []string) {
	for _, v := range e.Fields {
		all = append(all, v)
	}
	return all
}

// noTagLost wants the snapshot's other tags to be as they were, and ours to be
// there with one of its values.
func (w *world) noTagLost(t *testing.T, s migrated, tags map[string]string) {
	t.Helper()
	for key, want := range s.Tags {
		if got := tags[key]; key != "snap-to-s3" && got != want {
			t.Errorf("the tag %s is %q, was %q", key, got, want)
		}
	}
	if v := tags["snap-to-s3"]; !slices.Contains(s.values, v) && v != "migrating" && v != "validating" {
		t.Errorf("the tag is %q", v)
	}
}
