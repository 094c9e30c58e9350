package workflow_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

const (
	readOfFirst = "volume read of block 0 #1"
	readOfLast  = "volume read of block 10 #1"
)

// calls are the labels of all calls of a run that goes well.
func calls(t *testing.T, image string, disk []byte) []string {
	t.Helper()
	var seen []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		r := w.newRun().do(t.Context(), all())
		if r.err != nil || r.sum.Migrated != 1 {
			t.Fatalf("%+v, %v", r.sum, r.err)
		}
		seen = slices.Clone(w.points.seen)
		w.whole(first)
	})
	seen = slices.DeleteFunc(seen, func(l string) bool { // one read is as good as another
		return strings.HasPrefix(l, "volume read") && l != readOfFirst && l != readOfLast
	})
	if len(seen) < 35 {
		t.Fatalf("only %d calls: %q", len(seen), seen)
	}
	return seen
}

// Each call of a run fails once, before it was carried out or after: what the
// run leaves is right, and the next run makes one whole set of objects.
// synctest fails the test when a goroutine stays.
func TestEveryCallFails(t *testing.T) {
	image, disk := writeDisk(t)
	for _, label := range calls(t, image, disk) {
		t.Run(label+" before", func(t *testing.T) { failsOnce(t, image, disk, label, failBefore) })
		if changes(label) {
			t.Run(label+" after", func(t *testing.T) { failsOnce(t, image, disk, label, failAfter) })
		}
	}
}

func failsOnce(t *testing.T, image string, disk []byte, label string, m mode) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.points.at(label, m)
		r := w.newRun().do(t.Context(), all())
		w.points.plan = nil
		if !slices.Contains(w.points.seen, label) {
			t.Fatal("the call was not made")
		}
		if r.err == nil {
			w.whole(first)
			return
		}
		if len(r.report.lefts()) > 0 {
			w.named(r)
		} else if r.sum.Migrated == 0 {
			w.clean(first)
		}
		w.recover(r)
	})
}

// named wants each thing that stays to be told with a command, by the run and by
// the state file.
func (w *world) named(r *run) {
	w.t.Helper()
	for _, err := range r.report.lefts() {
		if err.Error() == "" {
			w.t.Error("something is left, without a word")
		}
	}
	left := w.left()
	if len(left) == 0 && r.sum.Left > 0 {
		w.t.Errorf("the run left %q, no state file tells", r.report.lefts())
	}
	for _, e := range left {
		if !strings.HasPrefix(e.Command, "aws ") || e.Reason == "" {
			w.t.Errorf("left without a reason and a command: %+v", e)
		}
	}
}

// recover runs again, as the error says, until all is there.
func (w *world) recover(failed *run) {
	w.t.Helper()
	if w.cat.Tags(first)[tag] == catalog.Migrated {
		return
	}
	again := w.newRun().do(context.Background(), named(first))
	if again.err != nil || again.sum.Migrated+again.sum.Kept != 1 {
		w.t.Fatalf("the run after that: %+v, %v\nthe first: %v", again.sum, again.err, failed.err)
	}
	w.live = nil // what the first run named is still there
	w.belongTogether(first)
	if got := w.store.Keys(); len(got) != 4 {
		w.t.Errorf("objects %q, want four", got)
	}
}

var errInterrupted = errors.New("interrupted")

// The run is interrupted at each call; the call itself goes on, or hangs until
// then. All is given back, or the snapshot is whole.
func TestInterruptedAtEveryCall(t *testing.T) {
	image, disk := writeDisk(t)
	for _, label := range calls(t, image, disk) {
		t.Run(label, func(t *testing.T) { interrupted(t, image, disk, label, passes) })
		if waits(label) {
			t.Run(label+" hangs", func(t *testing.T) { interrupted(t, image, disk, label, hangs) })
		}
	}
}

func interrupted(t *testing.T, image string, disk []byte, label string, m mode) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.points.at(label, m)
		w.points.visit = func(l string) {
			if l == label {
				cancel(errInterrupted)
			}
		}
		started := time.Now()
		r := w.newRun().do(ctx, all())
		if !errors.Is(r.err, errInterrupted) {
			t.Errorf("error %v, want the interrupt", r.err)
		}
		// The longest is a call of the clean-up that hangs.
		if took := time.Since(started); took > 6*time.Minute {
			t.Errorf("it took %v to end", took)
		}
		w.points.plan, w.points.visit = nil, nil
		switch {
		case w.cat.Tags(first)[tag] == catalog.Migrated:
			// Also where the run could not see its last call through.
			w.whole(first)
		case len(r.report.lefts()) > 0:
			w.named(r)
		default:
			w.clean(first)
		}
		if len(r.report.finished) == 1 && r.report.finished[0].Outcome == workflow.Failed &&
			!errors.Is(r.report.finished[0].Err, errInterrupted) {
			t.Errorf("the snapshot failed with %v", r.report.finished[0].Err)
		}
		w.recover(r)
	})
}

// The volume cannot be read; then each call of the clean-up fails or hangs, once
// or for good.
func TestEveryCallOfTheCleanUpFails(t *testing.T) {
	image, disk := writeDisk(t)
	const fault = readOfLast
	var cleanup []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.points.at(fault, failBefore)
		w.points.visit = afterPart(fault)
		r := w.newRun().do(t.Context(), all())
		if _, ok := errors.AsType[*workflow.BatchError](r.err); !ok || !errors.Is(r.err, errFault) {
			t.Fatalf("error %v", r.err)
		}
		w.clean(first)
		if keys := w.store.Keys(); len(keys) > 0 {
			t.Errorf("objects %q", keys)
		}
		cleanup = slices.Clone(w.points.seen[slices.Index(w.points.seen, "store abort archive #1"):])
	})
	if len(cleanup) < 6 {
		t.Fatalf("the clean-up is only %q", cleanup)
	}
	for i, label := range cleanup {
		for kind, m := range map[string]mode{" before": failBefore, " after": failAfter, " hangs": hangs} {
			if m == failAfter && !changes(label) || m == hangs && !waits(label) {
				continue
			}
			t.Run(label+kind, func(t *testing.T) {
				cleanupFails(t, image, disk, func(l string) mode {
					switch l {
					case fault:
						return failBefore
					case label:
						return m
					}
					return passes
				})
			})
		}
		t.Run(label+" and all that follow", func(t *testing.T) {
			broken := false
			cleanupFails(t, image, disk, func(l string) mode {
				if l == fault || broken || l == cleanup[i] {
					broken = broken || l == cleanup[i]
					return failBefore
				}
				return passes
			})
		})
	}
}

// afterPart holds the call until a part is on its way to the store.
func afterPart(label string) func(string) {
	sent := make(chan struct{})
	return func(l string) {
		switch l {
		case "wire part archive #1":
			close(sent)
		case label:
			select {
			case <-sent:
			case <-time.After(longest):
			}
		}
	}
}

func cleanupFails(t *testing.T, image string, disk []byte, plan func(string) mode) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.points.plan, w.points.visit = plan, afterPart(readOfLast)
		r := w.newRun().do(t.Context(), all())
		if r.err == nil {
			t.Fatal("no error")
		}
		w.points.plan = nil
		left := w.left()
		has := func(kind string) bool {
			return slices.ContainsFunc(r.report.lefts(), func(err error) bool { return strings.Contains(err.Error(), kind) })
		}
		if len(w.live) > 0 && !has("volume") {
			t.Errorf("a volume is left, and named by none of %q", r.report.lefts())
		}
		if w.cat.Tags(first)[tag] != catalog.Migrate && !has("tag") {
			t.Errorf("tags are %v, and named by none of %q", w.cat.Tags(first), r.report.lefts())
		}
		if w.store.Uploads() > 0 && len(left) == 0 {
			t.Errorf("%d uploads are left, state files name %+v", w.store.Uploads(), left)
		}
		if r.sum.Left > 0 {
			w.named(r)
		}
		if keys := w.store.Keys(); len(keys) > 0 {
			t.Errorf("objects %q", keys)
		}
	})
}

// Another run's tags appear at each call: from then on nothing is committed, our
// tags are not written, and theirs stay.
func TestTheClaimIsLostAtEveryCall(t *testing.T) {
	image, disk := writeDisk(t)
	labels := calls(t, image, disk)
	held := slices.Index(labels, "store stat archive #1") // the first after the claim
	for _, label := range labels[held:] {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { claimLost(t, newWorld(t, 1, image, disk), label) })
		})
	}
}

func claimLost(t *testing.T, w *world, label string) {
	theirs := map[string]string{
		tag: catalog.Migrating, tag + "-id": "4711",
		tag + "-owner": catalog.Owner{
			Identity: catalog.Identity{Host: "i-0fedcba9876543210", Boot: "other", Run: "other"},
			Renewed:  time.Now(), Before: catalog.Migrate, HadBefore: true,
		}.String(),
	}
	standing := 0
	w.points.visit = func(l string) {
		if l != label {
			return
		}
		standing = len(w.store.Keys())
		if err := w.cat.SetTags(context.Background(), first, theirs); err != nil {
			t.Error(err)
		}
	}
	r := w.newRun().do(t.Context(), all())
	if len(w.live) > 0 || w.store.Uploads() > 0 || len(w.left()) > 0 {
		t.Errorf("left: volumes %v, %d uploads, %+v", w.live, w.store.Uploads(), w.left())
	}
	tags := w.cat.Tags(first)
	if r.err == nil {
		// They came between the last look and our last write, which EC2 cannot
		// tell apart.
		if !strings.HasPrefix(label, "catalog") || standing != 4 {
			t.Errorf("the run says that it is done, with tags %v", tags)
		}
		return
	}
	if !errors.Is(r.err, catalog.ErrLost) {
		t.Errorf("error %v, want ErrLost", r.err)
	}
	for key, want := range theirs {
		if tags[key] != want {
			t.Errorf("tag %s is %q, was theirs: %q", key, tags[key], want)
		}
	}
	// The object under way at that moment can still be committed; no other.
	if now := len(w.store.Keys()); now > standing+1 {
		t.Errorf("%d objects when the claim was lost, %d at the end", standing, now)
	}
	_, err := w.store.Stat(context.Background(), w.name(first).ArchiveRecordKey())
	if err == nil && standing < 2 {
		t.Error("an archive record was written for a lost claim")
	}
}

// A claim that nobody can renew any more ends the run in time.
func TestARunThatCannotRenewEnds(t *testing.T) {
	image, disk := writeDisk(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, image, disk)
		w.points.plan = func(l string) mode {
			switch {
			case l == readOfLast:
				return hangs
			case strings.HasPrefix(l, "catalog set tags") && l != "catalog set tags #1" && w.points.count["volume release"] == 0:
				return failBefore
			}
			return passes
		}
		started := time.Now()
		r := w.newRun().do(t.Context(), all())
		if !errors.Is(r.err, catalog.ErrLost) || len(w.store.Keys()) > 0 {
			t.Errorf("error %v, objects %q", r.err, w.store.Keys())
		}
		if took := time.Since(started); took < 29*time.Minute || took > 40*time.Minute {
			t.Errorf("it took %v", took)
		}
		w.clean(first)
	})
}

// What stands in the bucket already decides what a rerun does.
func TestReruns(t *testing.T) {
	image, disk := writeDisk(t)
	in := func(name string, f func(*testing.T, *world)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, 1, image, disk)) })
		})
	}
	in("whole and tagged migrate again", func(t *testing.T, w *world) {
		w.newRun().do(t.Context(), all())
		if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrate}); err != nil {
			t.Fatal(err)
		}
		w.points.reset()
		r := w.newRun().do(t.Context(), all())
		if r.err != nil || r.sum.Kept != 1 || w.points.count["volume open"] > 0 {
			t.Errorf("%+v, %v, %d volumes", r.sum, r.err, w.points.count["volume open"])
		}
		w.whole(first)
	})
	in("without its snapshot record", func(t *testing.T, w *world) {
		w.points.at("store commit snapshot record #1", failBefore)
		if r := w.newRun().do(t.Context(), all()); r.err == nil {
			t.Fatal("no error")
		}
		w.points.reset()
		r := w.newRun().do(t.Context(), all())
		if r.err != nil || r.sum.Kept != 1 || w.points.count["volume open"] > 0 {
			t.Errorf("%+v, %v, %d volumes", r.sum, r.err, w.points.count["volume open"])
		}
		w.whole(first)
	})
	in("somebody else's object under the key", func(t *testing.T, w *world) {
		foreign := w.putAs(w.name(first).ArchiveKey(), "not ours", nil)
		r := w.newRun().do(t.Context(), all())
		err := r.report.finished[0].Err
		if r.err == nil || !strings.Contains(err.Error(), "has no archive record") || !strings.Contains(hint.Of(err), "--overwrite") {
			t.Errorf("error %v, hint %q", err, hint.Of(err))
		}
		w.clean(first)
		if info, err := w.store.Stat(t.Context(), foreign.Key); err != nil || info.ETag != foreign.ETag {
			t.Errorf("the object is %+v, %v", info, err)
		}
		if r := w.newRun(overwrite).do(t.Context(), all()); r.err != nil {
			t.Fatal(r.err)
		}
		w.whole(first)
	})
	in("the record is of an earlier archive", func(t *testing.T, w *world) {
		w.newRun().do(t.Context(), all())
		if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrate}); err != nil {
			t.Fatal(err)
		}
		w.put(w.name(first).ArchiveKey(), "another archive")
		r := w.newRun().do(t.Context(), all())
		if r.err == nil || !strings.Contains(r.report.finished[0].Err.Error(), "its record is of an earlier object") {
			t.Errorf("error %v", r.report.finished[0].Err)
		}
		w.clean(first)
		if r := w.newRun(overwrite).do(t.Context(), all()); r.err != nil {
			t.Fatal(r.err)
		}
		w.whole(first)
	})
	in("a damaged record", func(t *testing.T, w *world) {
		w.newRun().do(t.Context(), all())
		if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrate}); err != nil {
			t.Fatal(err)
		}
		w.put(w.name(first).ArchiveRecordKey(), "{")
		r := w.newRun().do(t.Context(), all())
		err := r.report.finished[0].Err
		if r.err == nil || !strings.Contains(err.Error(), "its record cannot be read") || !strings.Contains(hint.Of(err), "--overwrite") {
			t.Errorf("error %v, hint %q", err, hint.Of(err))
		}
		w.clean(first)
	})
	in("somebody stores under the key meanwhile", func(t *testing.T, w *world) {
		w.points.visit = func(l string) {
			if l == "store commit archive #1" {
				w.put(w.name(first).ArchiveKey(), "somebody else's")
			}
		}
		r := w.newRun().do(t.Context(), all())
		if !errors.Is(r.err, objstore.ErrExists) {
			t.Errorf("error %v, want ErrExists", r.err)
		}
		w.clean(first)
		if got := string(w.object(w.name(first).ArchiveKey())); got != "somebody else's" {
			t.Errorf("the object is %q", got)
		}
	})
}

// put stores an object as a run of this tool, in place of what stands there.
func (w *world) put(key, text string) objstore.Info {
	w.t.Helper()
	return w.putAs(key, text, map[string]string{layout.MetaRun: "somebody"})
}

func (w *world) putAs(key, text string, metadata map[string]string) objstore.Info {
	w.t.Helper()
	options := objstore.CreateOptions{Metadata: metadata}
	if info, err := w.store.Stat(context.Background(), key); err == nil {
		options.IfMatch = info.ETag
	}
	o, err := w.store.Create(context.Background(), key, options)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := o.Write([]byte(text)); err != nil {
		w.t.Fatal(err)
	}
	info, err := o.Commit(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}
