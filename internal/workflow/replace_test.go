package workflow_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/workflow"
)

// A migrated snapshot whose archive is replaced, with each call of the second
// run failing: at no end does the tag say "migrated" unless a whole archive
// stands, and a run after that makes it whole.
func TestReplacingFailsAtEveryCall(t *testing.T) {
	image, disk := writeDisk(t)
	var labels []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.newRun().do(t.Context(), all())
		w.points.reset()
		if r := w.newRun(overwrite).do(t.Context(), named(first)); r.err != nil || r.sum.Migrated != 1 {
			t.Fatalf("%+v, %v", r.sum, r.err)
		}
		// What comes before is as in a first run.
		labels = slices.Clone(w.points.seen[slices.Index(w.points.seen, "store commit archive #1"):])
		w.whole(first)
	})
	if len(labels) < 15 {
		t.Fatalf("only %d calls: %q", len(labels), labels)
	}
	for _, label := range labels {
		for name, mode := range map[string]mode{"before": failBefore, "after": failAfter} {
			t.Run(label+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1, image, disk)
					w.newRun().do(t.Context(), all())
					w.points.reset()
					w.points.at(label, mode)
					w.newRun(overwrite).do(t.Context(), named(first))
					if w.cat.Tags(first)[tag] == catalog.Migrated {
						w.belongTogether(first)
					}
					w.points.reset()
					if r := w.newRun(overwrite).do(t.Context(), named(first)); r.err != nil || w.cat.Tags(first)[tag] != catalog.Migrated {
						t.Fatalf("%v, tags %v", r.err, w.cat.Tags(first))
					}
					w.belongTogether(first)
				})
			})
		}
	}
}

// Objects of others under any of our four keys are left alone, and no volume is
// made for what cannot be stored.
func TestObjectsOfOthersUnderEachKey(t *testing.T) {
	image, disk := writeDisk(t)
	for _, which := range []string{"archive", "entries", "archive record", "snapshot record"} {
		t.Run(which, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, image, disk)
				name := w.name(first)
				key := map[string]string{
					"archive": name.ArchiveKey(), "entries": name.EntriesKey(),
					"archive record": name.ArchiveRecordKey(), "snapshot record": name.SnapshotRecordKey(),
				}[which]
				foreign := w.putAs(key, "not ours", nil)
				r := w.newRun().do(t.Context(), all())
				if r.err == nil || r.sum.Failed != 1 {
					t.Fatalf("%+v, %v", r.sum, r.err)
				}
				if err := r.report.finished[0].Err; !strings.Contains(err.Error(), key) || !strings.Contains(hint.Of(err), "--overwrite") {
					t.Errorf("error %v, hint %q", err, hint.Of(err))
				}
				if n := w.points.count["volume open"]; n > 0 {
					t.Errorf("%d volumes were made", n)
				}
				if info, err := w.store.Stat(t.Context(), key); err != nil || info.ETag != foreign.ETag {
					t.Errorf("the object is %+v, %v", info, err)
				}
				w.clean(first)
				if r := w.newRun(overwrite).do(t.Context(), all()); r.err != nil {
					t.Fatal(r.err)
				}
				w.whole(first)
			})
		})
	}
}

// What a snapshot was expected to cost does not count when it is passed over.
func TestSkippedSnapshotsCostNothing(t *testing.T) {
	image, disk := writeDisk(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, image, disk)
		if err := w.cat.SetTags(t.Context(), id(2), map[string]string{tag: "later"}); err != nil {
			t.Fatal(err)
		}
		one := w.newRun().estimate(t)
		if err := w.cat.SetTags(t.Context(), id(2), map[string]string{tag: catalog.Migrate}); err != nil {
			t.Fatal(err)
		}
		w.points.reset()
		r := w.newRun(func(m *workflow.Migrator) { m.MaxCost = one + one/2 })
		taken := false
		w.points.visit = func(l string) {
			if l == "catalog list #3" && !taken { // the claim's first look
				taken = true
				if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrating, tag + "-id": "1"}); err != nil {
					t.Error(err)
				}
			}
		}
		r.do(t.Context(), oneOf())
		if r.err != nil || r.sum.Migrated != 1 || r.sum.Skipped != 1 {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if got := r.sum.Cost.OneTime(); got > r.MaxCost || got == 0 {
			t.Errorf("cost %s, one is %s", got, one)
		}
	})
}

// Id and owner that EC2 does not delete after all is stored are named as left
// behind; the snapshot is migrated all the same.
func TestTagsThatStayBesideMigrated(t *testing.T) {
	image, disk := writeDisk(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.points.plan = func(l string) mode {
			if strings.HasPrefix(l, "catalog delete tags") {
				return failBefore
			}
			return passes
		}
		r := w.newRun().do(t.Context(), all())
		if r.sum.Migrated != 1 || r.sum.Failed != 0 || r.sum.Left != 1 || r.err == nil {
			t.Errorf("%+v, %v", r.sum, r.err)
		}
		if w.cat.Tags(first)[tag] != catalog.Migrated {
			t.Errorf("tags %v", w.cat.Tags(first))
		}
		left := w.left()
		if len(left) != 1 || left[0].Kind != runstate.KindClaim || !strings.Contains(left[0].Command, "aws ec2 delete-tags") {
			t.Errorf("state file names %+v", left)
		}
		w.belongTogether(first)
	})
}

func oneOf() workflow.Subject { return workflow.Subject{One: true} }
