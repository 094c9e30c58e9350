package workflow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// untouched wants no tag to have been written and no volume made.
func (w *world) untouched() {
	w.t.Helper()
	for _, l := range w.points.seen {
		if strings.HasPrefix(l, "catalog set tags") || strings.HasPrefix(l, "catalog delete tags") || strings.HasPrefix(l, "volume") {
			w.t.Errorf("call %q", l)
		}
	}
	w.empty()
}

// What the keys at hand do not open is refused before the snapshot is claimed: its
// tag stays as it is, and no volume is made.
func TestWrongKeyIsRefusedBeforeTheClaim(t *testing.T) {
	k, others := newDamageKeys(t), newDamageKeys(t)
	path, disk := noiseDisk(t, 2<<20)
	ours := newWorld(t, 1, path, disk).migrated(k.sealing)
	theirs := newWorld(t, 1, path, disk)
	theirs.putOld(oldArchives(t, path, k, "--dd", "--gpg-recipient", "ann")...)
	if err := theirs.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrated}); err != nil {
		t.Fatal(err)
	}
	wrong, err := encrypt.ParseSessionKey("9:" + strings.Repeat("C0FFEE", 11)[:64])
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*world{"ours": ours, "theirs": theirs} {
		for what, c := range map[string]struct {
			change func(*workflow.Migrator)
			want   error
		}{
			"a session key that is another's": {func(m *workflow.Migrator) { m.GPG, m.SessionKeys = others.gpg, []*encrypt.SessionKey{wrong} }, encrypt.ErrWrongKey},
			"no private key":                  {others.opening, encrypt.ErrNoKey},
			"no gpg":                          {func(m *workflow.Migrator) { m.NoGPG = hint.Wrap(encrypt.ErrNoGPG, "install it") }, encrypt.ErrNoGPG},
		} {
			for _, value := range []string{catalog.Migrated, catalog.Validated} {
				t.Run(strings.Join([]string{name, what, value}, ", "), func(t *testing.T) {
					if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: value}); err != nil {
						t.Fatal(err)
					}
					w.points.reset()
					r := w.quickRun(c.change).validate(t.Context(), named(first))
					if why := r.why(); !errors.Is(why, c.want) || hint.Of(why) == "" {
						t.Errorf("%v, hint %q", why, hint.Of(why))
					}
					w.untouched()
					w.tagged(value)
				})
			}
		}
	}
	// The right one.
	r := ours.quickRun(k.opening).validate(t.Context(), named(first))
	if r.err != nil || r.sum.Validated != 1 {
		t.Errorf("%v, %+v", r.err, r.sum)
	}
}

// Whoever has the snapshot is told of, not what stands there while he works on it.
func TestClaimedElsewhereGoesBeforeKeys(t *testing.T) {
	k := newDamageKeys(t)
	path, disk := noiseDisk(t, 2<<20)
	w := newWorld(t, 1, path, disk).migrated(k.sealing)
	r := w.quickRun()
	claim := catalog.Owner{Identity: catalog.Identity{Host: "i-2", Boot: "boot", Run: "other"}, Renewed: time.Now(), Before: catalog.Migrated, HadBefore: true}
	err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Validating, tag + "-id": "1", tag + "-owner": claim.String()})
	if err != nil {
		t.Fatal(err)
	}
	if r.validate(t.Context(), named(first)); !errors.Is(r.why(), catalog.ErrClaimed) {
		t.Errorf("%v", r.why())
	}
}

// An object that must be thawed is not read for its keys.
func TestColdIsRefusedWithoutARead(t *testing.T) {
	k := newDamageKeys(t)
	path, _ := noiseDisk(t, 2<<20)
	w := oldWorld(t, path)
	for _, a := range oldArchives(t, path, k, "--dd", "--gpg-recipient", "ann") {
		if _, err := putObject(t.Context(), w.store, a.key, a.body, objstore.Info{StorageClass: "DEEP_ARCHIVE", Metadata: a.metadata}, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.points.reset()
	r := w.quickRun(k.opening).validate(t.Context(), named(first))
	if why := r.why(); !errors.Is(why, objstore.ErrArchived) || !strings.Contains(hint.Of(why), "restore-object") {
		t.Errorf("%v, hint %q", why, hint.Of(why))
	}
	w.untouched()
	if n := w.points.count["store open archive"]; n > 8 { // records that are not there
		t.Errorf("%d reads: %q", n, w.points.seen)
	}
}

// Before the first snapshot is claimed a validation says what all of them cost, by
// what stands in the bucket, and stops at a limit.
func TestValidationTellsItsCost(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	cold := func(m *workflow.Migrator) { m.Upload.StorageClass = "GLACIER_IR" }
	w := newWorld(t, 2, path, disk)
	if r := w.quickRun(cold).do(t.Context(), all()); r.err != nil || r.sum.Migrated != 2 {
		t.Fatalf("%v, %+v", r.err, r.sum)
	}
	w.points.reset()
	planned := w.quickRun()
	sum, err := planned.DryRunValidation(t.Context(), all())
	if err := errors.Join(err, planned.State.Close()); err != nil || sum.Planned != 2 || len(planned.report.plans) != 2 {
		t.Fatalf("%v, %+v", err, sum)
	}
	w.untouched()
	if diff := gocmp.Diff([]string{w.name(first).ArchiveKey()}, planned.report.plans[0].Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	dear := w.quickRun(func(m *workflow.Migrator) { m.MaxCost = sum.Cost.OneTime() - 1 }).validate(t.Context(), all())
	if !errors.Is(dear.err, workflow.ErrTooDear) {
		t.Errorf("%v, want %v", dear.err, workflow.ErrTooDear)
	}
	w.untouched()
	r := w.quickRun(func(m *workflow.Migrator) { m.MaxCost = sum.Cost.OneTime() }).validate(t.Context(), all())
	if r.err != nil || r.sum.Validated != 2 || len(r.report.totals) != 1 {
		t.Fatalf("%v, %+v, told %+v", r.err, r.sum, r.report.totals)
	}
	e := r.report.totals[0].Cost
	if e.OneTime() != sum.Cost.OneTime() || e.OneTime() != r.sum.Cost.OneTime() || e.Retrieval == 0 || e.VolumeSeconds != 120 || e.Storage != 0 || e.Snapshots != 2 {
		t.Errorf("%+v, planned %+v, in the end %+v", e, sum.Cost, r.sum.Cost)
	}
}

// A volume that was kept costs nothing more.
func TestValidationOfKeptVolumesCostsNoVolume(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk).migrated()
	for kept, want := range map[bool]int64{true: 0, false: 60} {
		r := w.quickRun(func(m *workflow.Migrator) {
			m.Kept = func(context.Context) (map[snapshot.ID]bool, error) {
				return map[snapshot.ID]bool{first: kept}, nil
			}
		}).validate(t.Context(), named(first))
		if got := r.report.totals[0].Cost; r.err != nil || got.VolumeSeconds != want || got.Volume > 0 == kept {
			t.Errorf("kept %v: %v, %+v", kept, r.err, got)
		}
	}
	r := w.quickRun(func(m *workflow.Migrator) {
		m.Kept = func(context.Context) (map[snapshot.ID]bool, error) { return nil, errFault }
	}).validate(t.Context(), named(first))
	if got := r.report.totals[0].Cost; r.err != nil || got.VolumeSeconds != 60 {
		t.Errorf("kept ones are not known: %v, %+v", r.err, got)
	}
}

// A migration that validates tells of both together; its volume is counted once, for
// as long as it lives.
func TestMigrationTellsTheCostOfItsValidation(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk)
	told := func(change ...func(*workflow.Migrator)) cost.Estimate {
		r := w.newRun(change...)
		sum, err := r.DryRun(t.Context(), all())
		if err := errors.Join(err, r.State.Close()); err != nil {
			t.Fatal(err)
		}
		return sum.Cost
	}
	alone, both := told(), told(andValidate)
	if both.Snapshots != 1 || both.Requests <= alone.Requests || both.Parts != alone.Parts || both.VolumeSeconds >= 2*alone.VolumeSeconds || both.Storage != alone.Storage {
		t.Errorf("alone %+v, both %+v", alone, both)
	}
	r := w.quickRun(andValidate).do(t.Context(), all())
	if r.err != nil || r.report.totals[0].Cost.OneTime() != both.OneTime() || r.sum.Cost.OneTime() != both.OneTime() {
		t.Errorf("%v, told %+v, in the end %+v", r.err, r.report.totals[0].Cost, r.sum.Cost)
	}
}

// Where the store does not tell, the estimate says that it leaves something out, and
// a limit is not taken for kept.
func TestValidationWhoseCostIsNotKnown(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 2, path, disk)
	if r := w.quickRun().do(t.Context(), all()); r.err != nil || r.sum.Migrated != 2 {
		t.Fatalf("%v, %+v", r.err, r.sum)
	}
	limited := func(m *workflow.Migrator) { m.MaxCost = cost.Dollar }
	unkept := func(r *run, validated int) {
		t.Helper()
		if !errors.Is(r.err, errFault) || !strings.Contains(r.err.Error(), "--max-cost cannot be kept") || r.sum.Validated != validated {
			t.Errorf("%v, %+v", r.err, r.sum)
		}
	}
	w.points.reset()
	w.points.at("store stat archive #1", failBefore)
	unkept(w.quickRun(limited).validate(t.Context(), all()), 0)
	w.untouched()

	w.points.reset()
	w.points.at("store stat archive #1", failBefore)
	r := w.quickRun().validate(t.Context(), named(first))
	if r.err != nil || r.sum.Validated != 1 || len(notesWith(r, "the estimate leaves out archives that could not be looked up")) != 1 {
		t.Errorf("%v, notes %q", r.err, r.report.notes)
	}

	// What is tagged after the start counts as well.
	retag := func(id snapshot.ID, value string) {
		if err := w.cat.SetTags(t.Context(), id, map[string]string{tag: value}); err != nil {
			t.Error(err)
		}
	}
	retag(first, catalog.Migrated)
	retag("snap-00000002", "later")
	w.points.reset()
	w.points.visit = func(l string) {
		if l == "volume open #1" {
			retag("snap-00000002", catalog.Migrated)
		}
	}
	w.points.at("store stat archive #3", failBefore) // twice for the first
	unkept(w.quickRun(limited).validate(t.Context(), all()), 1)
}
