package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

// othersOf are the keys that the line of a snapshot's result names beside it.
func othersOf(t *testing.T, lines []jsonLine, kind string) (others []any) {
	t.Helper()
	for _, l := range lines {
		if l.kind() == kind && l["others"] != nil {
			others = append(others, l["others"].([]any)...)
		}
	}
	return others
}

// Of several archives the newest is compared, whatever it is; the others are named,
// in a dry run, in the result and beside the command that deletes the snapshot. Flags
// say which is meant instead.
func TestValidateTheNewest(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	_, subkey := w.keyring.makes("one@example.com", "")
	s := w.marked(awssim.SnapshotSpec{})
	plain, zstd := s.key("lz4"), s.key("zstd")
	locked := s.key("zstd") + ".gpg"
	w.ok("migrate", "--dd", "--compression", "lz4", "--bucket", testBucket, s.ID)
	w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
	w.ok("migrate", "--dd", "--bucket", testBucket, "--gpg-recipient", "one@example.com", s.ID)
	for _, c := range []struct {
		flags []string
		key   string
	}{
		{nil, locked},
		{[]string{"--compression", "lz4"}, plain},
		{[]string{"--compression", "zstd"}, locked},
		{[]string{"--dd=false"}, locked},
	} {
		r := w.ok(validate(append(c.flags, s.ID, "--dry-run")...)...)
		line, _, _ := strings.Cut(r.stdout, "\n")
		if !strings.HasSuffix(line, "  "+c.key) || !strings.Contains(r.stdout, "others would not be compared: ") {
			t.Errorf("%q: %q", c.flags, r.stdout)
		}
		r = w.ok(validate(append(c.flags, s.ID)...)...)
		if !strings.Contains(r.stdout, "  "+c.key+"\n") || strings.Count(r.stdout, "not compared: ") != 2 || !strings.Contains(r.stdout, "other archives of it were not compared: ") {
			t.Errorf("%q: %q", c.flags, r.stdout)
		}
	}
	lines := w.ok(validate(s.ID, "--output", "json")...).jsonLines(t)
	for _, kind := range []string{"snapshot", "proven"} {
		if got := othersOf(t, lines, kind); len(got) != 2 || got[0] != any(plain) || got[1] != any(zstd) {
			t.Errorf("%s: others %q", kind, got)
		}
	}

	// What differs is made again as it is, so that it is the newest then.
	s.spoiled(t, 1)
	again := "snap-to-s3 migrate --overwrite --bucket " + testBucket + " --region us-east-1 --dd --gpg-recipient '" + subkey + "!' " + s.ID
	w.run(validate(s.ID)...).says(t, exitDifferent, s.ID+" and its archives: 1 difference", "hint: keep the snapshot; make these archives again, and validate them: "+again+"\n")
	w.ok(strings.Fields(strings.ReplaceAll(strings.TrimPrefix(again, "snap-to-s3 "), "'", ""))...)
	w.ok(validate(s.ID)...)
}

// What cannot be validated is counted alike by a dry run and by the run, fails both,
// and is not tagged. The causes stand with the snapshots, and no hint says to do all
// again.
func TestValidateRefusesAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	good := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60711"})
	w.ok("migrate", "--dd", "--bucket", testBucket, good.ID)
	none := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60713", Tags: map[string]string{"snap-to-s3": "migrated"}})
	w.sim.ResetCalls()
	r := w.run(validate("--all", "--dry-run")...)
	r.says(t, exitFailed, "1 of 2 snapshots cannot be validated\n", "s3:GetObject is needed")
	if !strings.Contains(r.stdout, "1 snapshot, 1 GiB; 1 more cannot be done; nothing was touched") {
		t.Error("the dry run does not count what it refuses")
	}
	r = w.run(validate(none.ID, "--dry-run")...)
	r.says(t, exitFailed, "1 of 1 snapshot cannot be validated\n", "s3:GetObject is needed")
	if strings.Contains(r.stdout+r.stderr, "run the command again") {
		t.Error("it says to do it again")
	}
	w.run(validate(none.ID)...).says(t, exitFailed, "no archive of "+none.ID, "s3:GetObject is needed")
	for _, action := range touching() {
		if n := w.called(action); n > 0 {
			t.Errorf("%s was called %d times", action, n)
		}
	}
	r = w.run(validate("--all")...)
	r.says(t, exitFailed, "estimate snapshots=1 size=\"1 GiB\" refused=1", "s3:GetObject is needed")
	if !strings.Contains(r.stdout, "1 validated, 1 failed") {
		t.Error("the run counts otherwise")
	}
	// With nothing left nobody is told to mark what never was migrated.
	w.run(validate("--all", "--tag", "other")...).says(t, exitDone, "nothing to do", "migrate makes archives and sets that tag; or name snapshots")

	// What says "validated" without an archive does not go on saying it.
	if err := w.sim.SetTags(none.ID, map[string]string{"snap-to-s3": "validated"}); err != nil {
		t.Fatal(err)
	}
	w.run(validate(none.ID)...).says(t, exitFailed, "no archive of "+none.ID, "")
	if tags := w.sim.Tags(none.ID); tags["snap-to-s3"] != "migrated" {
		t.Errorf("tags %v", tags)
	}
	w.nothingLeft()
}

// To do all again is no next step where the causes were told, or somebody else has
// the snapshot.
func TestNoNextStepWhereNoneHelps(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("%w: its tag is %q", catalog.ErrLost, "migrate")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a dry run":  {&workflow.BatchError{Failed: 1, Total: 1, Errs: []error{errors.New("no archive")}, Outcome: "cannot be validated"}, ""},
		"claim lost": {lost, ""},
		"of several": {&workflow.BatchError{Failed: 1, Total: 2, Errs: []error{lost}}, ""},
		"unknown":    {errors.New("something"), lookCloser},
	} {
		if got := hint.Of(withNextStep(t.Context(), c.err)); got != c.want {
			t.Errorf("%s: hint %q, want %q", name, got, c.want)
		}
	}
}
