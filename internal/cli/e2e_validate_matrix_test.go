package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// validations are the kinds of proof that the matrix is about, by the kinds of
// migration that come before.
func validations(t *testing.T) []scenario {
	t.Helper()
	var all []scenario
	for _, s := range scenarios(t) {
		if s.before == nil {
			all = append(all, s.validated(), s.andValidated(), s.keptAndValidated(), s.verified())
		}
	}
	return all
}

// beforehand runs a command without faults, and then wants the bucket to stay as it
// is.
func (s scenario) beforehand(w *world, m migrated, args []string, values ...string) migrated {
	w.ok(args...)
	before, last := w.state(), values[len(values)-1]
	m.values = values
	m.isWhole = func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, w.state()); diff != "" {
			t.Errorf("the bucket changed (-before +after):\n%s", diff)
		}
		w.isTagged(m.subject, last)
	}
	return m
}

// validated is validate after that migration.
func (s scenario) validated() scenario {
	v := s
	v.name = "validate " + s.name
	v.args = []string{"validate", "--bucket", testBucket, "--all"}
	v.add = func(w *world) migrated { return s.beforehand(w, s.add(w), s.args, "migrated", "validated") }
	return v
}

// keptAndValidated is validate of a volume that the migration kept.
func (s scenario) keptAndValidated() scenario {
	v := s.validated()
	v.name, v.keeps = "validate kept "+s.name, true
	v.add = func(w *world) migrated {
		w.leftovers = true
		args := slices.Insert(slices.Clone(s.args), 1, "--keep-temp-volumes", "--mount-point", w.mountPoint())
		m := s.beforehand(w, s.add(w), args, "migrated", "validated")
		w.t.Cleanup(w.unmountKept)
		return m
	}
	return v
}

// andValidated is a migration that validates.
func (s scenario) andValidated() scenario {
	v := s
	v.name = s.name + " and validate"
	v.args = slices.Insert(slices.Clone(s.args), 1, "--validate")
	v.add = func(w *world) migrated {
		m := s.add(w)
		m.values = []string{"migrate", "validated"}
		m.isWhole = func(t *testing.T) {
			t.Helper()
			w.isTagged(m.subject, "validated")
			if n := w.called("CreateVolume"); n == 0 {
				t.Error("there was no volume")
			}
		}
		return m
	}
	return v
}

// verified is verify after that migration.
func (s scenario) verified() scenario {
	v := s
	v.name, v.fewest, v.unclaimed = "verify "+s.name, 5, true
	v.args = []string{"verify", "--bucket", testBucket, "--all"}
	v.add = func(w *world) migrated { return s.beforehand(w, s.add(w), s.args, "migrated") }
	return v
}

// leavesNothing wants nothing to be left, but for a volume that was to be kept.
func (s scenario) leavesNothing(w *world) {
	w.t.Helper()
	if !s.keeps {
		w.freeHost()
		return
	}
	kept := false
	for _, v := range w.sim.Volumes() {
		switch {
		case v.State == "deleting":
		case v.Tags["snap-to-s3"] == "kept":
			kept = true
		default:
			w.t.Errorf("volume left: %+v", v)
		}
	}
	if !kept {
		w.freeHost()
	}
}

// leavesNothingHere is what a run must not leave on this machine, however it ended.
func (s scenario) leavesNothingHere(w *world) {
	w.t.Helper()
	if !s.keeps { // what an earlier run mounted may be there
		w.deadLeaveNothingHere()
	}
}

// notDone wants a run that failed to have told it where the tag says that all is
// done.
func (m migrated) notDone(t *testing.T, w *world, r result) {
	t.Helper()
	done := m.values[len(m.values)-1]
	if len(m.values) > 1 && w.sim.Tags(m.ID)["snap-to-s3"] == done && !strings.Contains(r.stdout, m.ID+"  "+done) {
		t.Errorf("the tag is %q, and the run says that it failed", done)
	}
}

// mountPoint is where volumes that are kept are mounted.
func (w *world) mountPoint() string { return filepath.Join(w.dir, "kept") }

// Whatever goes wrong with whichever call of a validation or a verification, it is
// a failure and no difference, nothing is left, and the same command again proves
// what there is to prove.
func TestValidationFaultMatrix(t *testing.T) {
	t.Parallel()
	faultMatrix(t, validations(t))
}

func TestValidationsKilledThenRunAgain(t *testing.T) {
	t.Parallel()
	killedAtAnyTime(t, validations(t))
}

func TestValidationStoppedPastItsClaim(t *testing.T) {
	t.Parallel()
	var all []scenario
	for _, s := range validations(t) {
		if !s.keeps { // of which the successor may be left
			all = append(all, s)
		}
	}
	stoppedPastItsClaim(t, all, 6)
}
