package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

func id(n int) snapshot.ID { return snapshot.ID(fmt.Sprintf("snap-%08x", n)) }

// tags are the driving tag's values of all snapshots, in order.
func (w *world) tags(n int) []string {
	var values []string
	for i := range n {
		values = append(values, w.cat.Tags(id(i + 1))[tag])
	}
	return values
}

// claim puts another run's claim on a snapshot, renewed a while ago.
func (w *world) claim(s snapshot.ID, ago time.Duration) map[string]string {
	w.t.Helper()
	theirs := map[string]string{
		tag: catalog.Migrating, tag + "-id": "4711",
		tag + "-owner": catalog.Owner{
			Identity: catalog.Identity{Host: "i-0fedcba9876543210", Boot: "other", Run: "other"},
			Renewed:  time.Now().Add(-ago), Before: catalog.Migrate, HadBefore: true,
		}.String(),
	}
	if err := w.cat.SetTags(context.Background(), s, theirs); err != nil {
		w.t.Fatal(err)
	}
	return theirs
}

func batch(t *testing.T, n int, f func(*testing.T, *world)) {
	t.Helper()
	image, disk := writeDisk(t)
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, n, image, disk)) })
}

// breaks fails the archives of some snapshots for good.
func breaks(w *world, bad ...snapshot.ID) func(*workflow.Migrator) {
	return func(m *workflow.Migrator) {
		m.CheckVolume = func(s snapshot.Snapshot) error {
			for _, b := range bad {
				if s.ID == b {
					w.points.mu.Lock()
					defer w.points.mu.Unlock()
					w.points.count["tried "+string(b)]++
					return errFault
				}
			}
			return nil
		}
	}
}

func TestJobsAtOnce(t *testing.T) {
	batch(t, 9, func(t *testing.T, w *world) {
		var mu sync.Mutex
		most := 0
		w.points.visit = func(string) {
			w.mu.Lock()
			now := len(w.live)
			w.mu.Unlock()
			mu.Lock()
			defer mu.Unlock()
			most = max(most, now)
		}
		r := w.newRun(func(m *workflow.Migrator) { m.Jobs = 4 }).do(t.Context(), all())
		if r.err != nil || r.sum.Migrated != 9 || r.sum.Plain != 9*int64(len(w.disk)) {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if most != 4 {
			t.Errorf("%d volumes at once, want 4", most)
		}
		w.whole(id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8), id(9))
	})
}

// --all goes on after a failure, does not try it again, and says so at the end.
func TestAllGoesOn(t *testing.T) {
	for jobs := range 3 {
		t.Run(fmt.Sprint(jobs+1, " jobs"), func(t *testing.T) {
			batch(t, 4, func(t *testing.T, w *world) {
				r := w.newRun(breaks(w, id(2)), func(m *workflow.Migrator) { m.Jobs = jobs + 1 }).do(t.Context(), all())
				failed, ok := errors.AsType[*workflow.BatchError](r.err)
				if !ok || failed.Failed != 1 || failed.Total != 4 || r.err.Error() != "1 of 4 snapshots failed" {
					t.Errorf("error %v", r.err)
				}
				if n := w.points.count["tried "+string(id(2))]; n != 1 {
					t.Errorf("the bad one was tried %d times", n)
				}
				if diff := cmp.Diff([]string{"migrated", "migrate", "migrated", "migrated"}, w.tags(4)); diff != "" {
					t.Errorf("tags (-want +got):\n%s", diff)
				}
				w.empty()
			})
		})
	}
}

func TestFailFast(t *testing.T) {
	batch(t, 4, func(t *testing.T, w *world) {
		r := w.newRun(breaks(w, id(2)), func(m *workflow.Migrator) { m.FailFast = true }).do(t.Context(), all())
		if r.err == nil || r.sum.Migrated != 1 || r.sum.Failed != 1 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if diff := cmp.Diff([]string{"migrated", "migrate", "migrate", "migrate"}, w.tags(4)); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	})
}

// A snapshot that is tagged while the run goes on is taken too; one whose tag
// goes meanwhile is not.
func TestAllLooksTheListUpAgain(t *testing.T) {
	batch(t, 3, func(t *testing.T, w *world) {
		set := func(s snapshot.ID, value string) {
			if err := w.cat.SetTags(t.Context(), s, map[string]string{tag: value}); err != nil {
				t.Error(err)
			}
		}
		set(id(3), "later")
		w.points.visit = func(l string) {
			if l == "volume open #1" {
				set(id(2), "never")
				set(id(3), catalog.Migrate)
			}
		}
		r := w.newRun().do(t.Context(), all())
		if r.err != nil || r.sum.Migrated != 2 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if diff := cmp.Diff([]string{"migrated", "never", "migrated"}, w.tags(3)); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	})
}

func TestOne(t *testing.T) {
	for jobs := range 4 {
		t.Run(fmt.Sprint(jobs+1, " jobs"), func(t *testing.T) {
			batch(t, 3, func(t *testing.T, w *world) {
				r := w.newRun(func(m *workflow.Migrator) { m.Jobs = jobs + 1 }).do(t.Context(), workflow.Subject{One: true})
				if r.err != nil || r.sum.Migrated != 1 {
					t.Errorf("%+v, %v", r.sum, r.err)
				}
				w.whole(first)
			})
		})
	}
}

// The first on the list is claimed by another run between the look at the list
// and ours: the second is taken.
func TestOneTakesTheNextWhereTheFirstIsClaimed(t *testing.T) {
	batch(t, 3, func(t *testing.T, w *world) {
		var theirs map[string]string
		w.points.visit = func(l string) {
			if l == "catalog list #3" { // the claim's first look
				theirs = w.claim(first, 0)
			}
		}
		r := w.newRun().do(t.Context(), workflow.Subject{One: true})
		if r.err != nil || r.sum.Migrated != 1 || r.sum.Skipped != 1 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		w.whole(id(2))
		theirs["Name"] = "web"
		if diff := cmp.Diff(theirs, w.cat.Tags(first)); diff != "" {
			t.Errorf("tags of the other run (-want +got):\n%s", diff)
		}
	})
}

// Whoever names a snapshot is told that it is claimed; whoever takes all is not
// bothered.
func TestClaimedElsewhere(t *testing.T) {
	batch(t, 2, func(t *testing.T, w *world) {
		theirs := w.claim(first, time.Minute)
		r := w.newRun().do(t.Context(), named(first, id(2)))
		if !errors.Is(r.err, catalog.ErrClaimed) || r.err.Error() != "1 of 2 snapshots are claimed elsewhere" || r.sum.Migrated != 1 || r.sum.Skipped != 1 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if h := hint.Of(r.report.finished[0].Err); !strings.Contains(h, "60 minutes") {
			t.Errorf("hint %q", h)
		}
		theirs["Name"] = "web"
		if diff := cmp.Diff(theirs, w.cat.Tags(first)); diff != "" {
			t.Errorf("tags of the other run (-want +got):\n%s", diff)
		}
		r = w.newRun().do(t.Context(), all())
		if !errors.Is(r.err, workflow.ErrNothing) || hint.Of(r.err) == "" {
			t.Errorf("error %v, hint %q", r.err, hint.Of(r.err))
		}
		time.Sleep(time.Hour)
		if r := w.newRun().do(t.Context(), named(first)); r.err != nil || r.sum.Migrated != 1 {
			t.Errorf("after its owner died: %+v, %v", r.sum, r.err)
		}
		w.whole(first, id(2))
	})
}

// Two runs work on one list: each snapshot is archived once.
func TestTwoRunsShareAList(t *testing.T) {
	batch(t, 6, func(t *testing.T, w *world) {
		runs := []*run{w.newRun(), w.newRun()}
		var wg sync.WaitGroup
		for _, r := range runs {
			wg.Go(func() { r.do(t.Context(), all()) })
		}
		wg.Wait()
		// Both may step back from a snapshot that both wanted.
		last := w.newRun().do(t.Context(), all())
		if last.err != nil && !errors.Is(last.err, workflow.ErrNothing) {
			t.Error(last.err)
		}
		if n := runs[0].sum.Migrated + runs[1].sum.Migrated + last.sum.Migrated; n != 6 {
			t.Errorf("%d migrated: %+v, %+v, %+v", n, runs[0].sum, runs[1].sum, last.sum)
		}
		w.whole(id(1), id(2), id(3), id(4), id(5), id(6))
	})
}

func TestSnapshotsThatCannotBeMigrated(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*snapshot.Snapshot)
		want, hint string
	}{
		"pending":  {func(s *snapshot.Snapshot) { s.State = snapshot.StatePending }, "not completed yet", "aws ec2 wait snapshot-completed"},
		"error":    {func(s *snapshot.Snapshot) { s.State, s.StateReason = snapshot.StateError, "no key" }, `state "error": no key`, "only completed"},
		"archived": {func(s *snapshot.Snapshot) { s.Archived = true }, "archive tier", "aws ec2 restore-snapshot-tier --snapshot-id snap-00000001"},
		"too big":  {func(s *snapshot.Snapshot) { s.Size = 60 << 40 }, "the store holds", ""},
	} {
		t.Run(name, func(t *testing.T) {
			image, disk := writeDisk(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, image, disk)
				w.change(first, c.change)
				r := w.newRun().do(t.Context(), named(first))
				if r.err == nil || len(r.report.finished) != 1 {
					t.Fatalf("%+v, %v", r.sum, r.err)
				}
				err := r.report.finished[0].Err
				if !strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Of(err), c.hint) || hint.Of(err) == "" {
					t.Errorf("error %q, hint %q", err, hint.Of(err))
				}
				for _, l := range w.points.seen {
					if !strings.HasPrefix(l, "catalog list") {
						t.Errorf("call %q", l)
					}
				}
				w.clean(first)
			})
		})
	}
}

func TestMaxCost(t *testing.T) {
	batch(t, 3, func(t *testing.T, w *world) {
		limit := func(dollars string) func(*workflow.Migrator) {
			money, err := cost.ParseMoney(dollars)
			if err != nil {
				t.Fatal(err)
			}
			return func(m *workflow.Migrator) { m.MaxCost = money }
		}
		r := w.newRun(limit("0.0001")).do(t.Context(), all())
		if !errors.Is(r.err, workflow.ErrTooDear) || hint.Of(r.err) == "" {
			t.Errorf("error %v, hint %q", r.err, hint.Of(r.err))
		}
		w.clean(first)
		if n := w.points.count["catalog set tags"]; n > 0 {
			t.Errorf("%d tags were written", n)
		}
		// What is tagged after the start counts as well.
		for _, s := range []snapshot.ID{id(2), id(3)} {
			if err := w.cat.SetTags(t.Context(), s, map[string]string{tag: "later"}); err != nil {
				t.Fatal(err)
			}
		}
		one := w.newRun().estimate(t)
		w.points.visit = func(l string) {
			if l == "volume open #1" {
				for _, s := range []snapshot.ID{id(2), id(3)} {
					if err := w.cat.SetTags(t.Context(), s, map[string]string{tag: catalog.Migrate}); err != nil {
						t.Error(err)
					}
				}
			}
		}
		r = w.newRun(limit(one.Plus(one).Decimal())).do(t.Context(), all())
		if !errors.Is(r.err, workflow.ErrTooDear) || r.sum.Migrated != 2 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
	})
}

// estimate is what the one snapshot on the list costs once.
func (r *run) estimate(t *testing.T) cost.Money {
	t.Helper()
	sum, err := r.DryRun(t.Context(), all())
	if err != nil || sum.Planned != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if err := r.State.Close(); err != nil {
		t.Fatal(err)
	}
	return sum.Cost.OneTime()
}

func TestDryRunTouchesNothing(t *testing.T) {
	batch(t, 3, func(t *testing.T, w *world) {
		w.change(id(2), func(s *snapshot.Snapshot) { s.Archived = true })
		r := w.newRun()
		sum, err := r.DryRun(t.Context(), named(id(1), id(2), id(3)))
		if err == nil || err.Error() != "1 of 3 snapshots cannot be migrated" || sum.Planned != 2 || sum.Failed != 1 || len(r.report.plans) != 3 {
			t.Errorf("%+v, %v, %d plans", sum, err, len(r.report.plans))
		}
		for _, l := range w.points.seen {
			if !strings.HasPrefix(l, "catalog list") {
				t.Errorf("call %q", l)
			}
		}
		if err := r.State.Close(); err != nil {
			t.Error(err)
		}
		w.clean(id(1))
	})
}

// An interrupt of a run with several jobs gives all of them back.
func TestInterruptOfSeveralJobs(t *testing.T) {
	batch(t, 6, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancelCause(t.Context())
		var opened atomic.Int64
		w.points.visit = func(l string) {
			if strings.HasPrefix(l, "store create archive") && opened.Add(1) == 3 {
				cancel(errInterrupted)
			}
		}
		r := w.newRun(func(m *workflow.Migrator) { m.Jobs = 3 }).do(ctx, all())
		if !errors.Is(r.err, errInterrupted) || r.sum.Failed == 0 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		for i := range 6 {
			tags := w.cat.Tags(id(i + 1))
			if tags[tag] == catalog.Migrated {
				continue // it was through before
			}
			if diff := cmp.Diff(map[string]string{tag: catalog.Migrate, "Name": "web"}, tags); diff != "" {
				t.Errorf("tags of %s (-want +got):\n%s", id(i+1), diff)
			}
		}
		w.empty()
	})
}

// After a claim of a dead run was taken over, the state file has the value that was
// there before that one, should this run be killed, too.
func TestValueBeforeADeadClaimIsNoted(t *testing.T) {
	batch(t, 1, func(t *testing.T, w *world) {
		w.claim(first, 3*time.Hour)
		noted := ""
		w.points.visit = func(label string) {
			if label == "volume open #1" {
				for _, e := range w.left() {
					if e.Kind == "claim" {
						noted = e.Fields["before"]
					}
				}
			}
		}
		if r := w.newRun().do(t.Context(), named(first)); r.err != nil || noted != catalog.Migrate {
			t.Errorf("%v; before the claim: %q, want %q", r.err, noted, catalog.Migrate)
		}
	})
}

// A claim whose tags may stay is named, and kept in the state file.
func TestAClaimThatCannotBeTakenBack(t *testing.T) {
	batch(t, 1, func(t *testing.T, w *world) {
		w.points.plan = func(l string) mode {
			if l == "catalog list #3" || l == "catalog set tags #1" {
				return passes
			}
			if w.points.count["catalog set tags"] > 0 {
				return failBefore
			}
			return passes
		}
		r := w.newRun().do(t.Context(), named(first))
		if r.err == nil || r.sum.Failed != 1 || r.sum.Left != 1 {
			t.Fatalf("%+v, %v", r.sum, r.err)
		}
		left := w.left()
		want := "aws ec2 create-tags --resources snap-00000001 --tags Key=snap-to-s3,Value=migrate && " +
			"aws ec2 delete-tags --resources snap-00000001 --tags Key=snap-to-s3-id Key=snap-to-s3-owner"
		if len(left) != 1 || left[0].Kind != "claim" || left[0].Command != want || hint.Of(r.report.lefts()[0]) != want {
			t.Errorf("the state file names %+v, the run %q", left, r.report.lefts())
		}
		if got := w.cat.Tags(first)[tag]; got != catalog.Migrating {
			t.Errorf("the tag is %q", got)
		}
	})
}

// change makes a snapshot another.
func (w *world) change(s snapshot.ID, f func(*snapshot.Snapshot)) {
	w.t.Helper()
	var all []snapshot.Snapshot
	for got, err := range w.cat.Snapshots(context.Background(), catalog.Filter{Tag: tag, Value: catalog.Migrate}) {
		if err != nil {
			w.t.Fatal(err)
		}
		got.Tags = maps.Clone(got.Tags)
		if got.ID == s {
			f(&got)
		}
		all = append(all, got)
	}
	w.cat = catalogtest.New(all...)
}

// Where the state file cannot be written nothing is begun.
func TestWithoutAStateFileNothingIsBegun(t *testing.T) {
	batch(t, 1, func(t *testing.T, w *world) {
		r := w.newRun()
		if err := r.State.Close(); err != nil {
			t.Fatal(err)
		}
		r.do(t.Context(), all())
		if r.err == nil || r.sum.Failed != 1 {
			t.Fatalf("%+v, %v", r.sum, r.err)
		}
		if err := r.report.finished[0].Err; !strings.Contains(err.Error(), "write the state file") || hint.Of(err) == "" {
			t.Errorf("error %v, hint %q", err, hint.Of(err))
		}
		if n := w.points.count["catalog set tags"] + w.points.count["volume open"]; n > 0 {
			t.Errorf("%d calls were made", n)
		}
		w.clean(first)
	})
}
