package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

func (w *world) holds(s ...snapshot.Snapshot) workflow.Holds {
	w.t.Helper()
	h, err := ec2.NewCatalog(w.session).Holds(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) image(spec awssim.ImageSpec, of ...snapshot.Snapshot) string {
	w.t.Helper()
	for _, s := range of {
		spec.Snapshots = append(spec.Snapshots, string(s.ID))
	}
	id, err := w.sim.AddMachineImage(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) lock(s snapshot.Snapshot, l awssim.SnapshotLock) {
	w.t.Helper()
	if err := w.sim.LockSnapshot(string(s.ID), l); err != nil {
		w.t.Fatal(err)
	}
}

func allowHolds(w *world) {
	w.sim.SetPolicy(append(predecessorsPolicy(), "ec2:DescribeImages", "ec2:DescribeLockedSnapshots"))
}

func TestHolds(t *testing.T) {
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{PageSize: 5}})
	allowHolds(w)
	day := 24 * time.Hour
	made := time.Now().Add(-10 * day).UTC().Truncate(time.Second)
	free, imaged, twice, locked, cooling, expired, foreign := w.snapshot, w.addSnapshot(awssim.SnapshotSpec{}), w.addSnapshot(awssim.SnapshotSpec{}),
		w.addSnapshot(awssim.SnapshotSpec{}), w.addSnapshot(awssim.SnapshotSpec{}), w.addSnapshot(awssim.SnapshotSpec{}), w.addSnapshot(awssim.SnapshotSpec{})
	managed := w.addSnapshot(awssim.SnapshotSpec{Tags: map[string]string{
		"aws:backup:source-resource": "arn:aws:ec2:us-east-1:1:volume/vol-1", "aws:dlm:lifecycle-policy-id": "policy-0123",
	}})
	for range 12 { // other images, so that pages without a hit come first
		w.image(awssim.ImageSpec{}, w.snapshot, free)
		w.lock(w.addSnapshot(awssim.SnapshotSpec{}), awssim.SnapshotLock{})
	}
	one := w.image(awssim.ImageSpec{}, imaged, twice)
	disabled := w.image(awssim.ImageSpec{Disabled: true}, twice, twice)
	w.image(awssim.ImageSpec{OwnerID: "999999999999"}, foreign)
	w.lock(locked, awssim.SnapshotLock{Created: made, Duration: 20 * day})
	w.lock(cooling, awssim.SnapshotLock{Mode: "compliance", Created: made, Duration: 20 * day, CoolOff: time.Hour})
	w.lock(expired, awssim.SnapshotLock{Mode: "compliance", Created: made, Duration: 5 * day})
	until := made.Add(20 * day).Format(time.RFC3339)
	got := w.holds(imaged, twice, locked, cooling, expired, foreign, managed, imaged)
	amis := []workflow.Hold{{Kind: workflow.HoldImage, By: one}, {Kind: workflow.HoldImage, By: disabled}}
	if one > disabled {
		amis[0], amis[1] = amis[1], amis[0]
	}
	want := workflow.Holds{Of: map[snapshot.ID][]workflow.Hold{
		imaged.ID:  {{Kind: workflow.HoldImage, By: one}},
		twice.ID:   amis,
		locked.ID:  {{Kind: workflow.HoldLock, By: "governance until " + until}},
		cooling.ID: {{Kind: workflow.HoldLock, By: "compliance until " + until}},
		managed.ID: {{Kind: workflow.HoldBackup, By: "arn:aws:ec2:us-east-1:1:volume/vol-1"}, {Kind: workflow.HoldLifecycle, By: "policy-0123"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("holds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(workflow.Holds{Of: map[snapshot.ID][]workflow.Hold{}}, w.holds()); diff != "" {
		t.Errorf("of nothing (-want +got):\n%s", diff)
	}
	w.dropState()
}

// A filter has at most 200 values, and a snapshot that is gone has no lock.
func TestHoldsOfMany(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	allowHolds(w)
	ids, err := w.sim.AddSnapshots(450, awssim.SnapshotSpec{SizeGiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	var all []snapshot.Snapshot
	want := map[snapshot.ID][]workflow.Hold{}
	for n, id := range ids {
		s := snapshot.Snapshot{ID: snapshot.ID(id)}
		all = append(all, s)
		switch {
		case n%50 == 1:
			want[s.ID] = []workflow.Hold{{Kind: workflow.HoldImage, By: w.image(awssim.ImageSpec{}, s)}}
		case n%50 == 2:
			w.lock(s, awssim.SnapshotLock{Created: time.Now().UTC().Truncate(time.Second)})
			want[s.ID] = nil
		case n%50 == 3:
			if err := w.sim.RemoveSnapshot(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := w.holds(all...)
	for id, holds := range got.Of {
		if w, ok := want[id]; !ok || w != nil && !cmp.Equal(w, holds) || w == nil && (len(holds) != 1 || holds[0].Kind != workflow.HoldLock) {
			t.Errorf("%s: %v, want %v", id, holds, w)
		}
	}
	if len(got.Of) != len(want) || len(got.Unknown) > 0 {
		t.Errorf("%d snapshots are held, want %d; unknown: %q", len(got.Of), len(want), got.Unknown)
	}
	w.dropState()
}

// What may not be looked at is said; all else is told.
func TestHoldsWithoutRights(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.image(awssim.ImageSpec{}, w.snapshot)
	w.lock(w.snapshot, awssim.SnapshotLock{})
	managed := w.addSnapshot(awssim.SnapshotSpec{Tags: map[string]string{"aws:backup:source-resource": "arn"}})
	h := w.holds(w.snapshot, managed)
	noImages, noLocks := "AMIs: ec2:DescribeImages is not allowed", "locks: ec2:DescribeLockedSnapshots is not allowed"
	want := workflow.Holds{
		Of:      map[snapshot.ID][]workflow.Hold{managed.ID: {{Kind: workflow.HoldBackup, By: "arn"}}},
		Unknown: []string{noImages, noLocks},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("holds (-want +got):\n%s", diff)
	}
	w.sim.SetPolicy(append(predecessorsPolicy(), "ec2:DescribeLockedSnapshots"))
	if h := w.holds(w.snapshot); len(h.Of[w.snapshot.ID]) != 1 || fmt.Sprint(h.Unknown) != fmt.Sprint([]string{noImages}) {
		t.Errorf("holds %+v", h)
	}
	w.dropState()
}

func TestHoldsFail(t *testing.T) {
	w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
	allowHolds(w)
	for _, action := range []string{"DescribeImages", "DescribeLockedSnapshots"} {
		w.sim.SetFault(awssim.Times(1, awssim.Action(action), awssim.Fault{Throttle: true}))
		w.holds(w.snapshot)
		w.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if c.Action == action {
				return awssim.Fault{CutBefore: true}
			}
			return awssim.Fault{}
		})
		_, err := ec2.NewCatalog(w.session).Holds(t.Context(), []snapshot.Snapshot{w.snapshot})
		if err == nil || !strings.Contains(err.Error(), "hold snapshots in us-east-1") {
			t.Errorf("%s: error %v", action, err)
		}
		w.sim.SetFault(nil)
	}
	stop := errors.New("stopped by a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := ec2.NewCatalog(w.session).Holds(ctx, []snapshot.Snapshot{w.snapshot}); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	w.dropState()
}
