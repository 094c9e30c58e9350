package analyze

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// estate is EC2 as one account sees it.
type estate struct {
	snapshots []OwnedSnapshot
	volumes   []EBSVolume
	tags      map[snapshot.ID]map[string]string
	broken    error // of all that is asked for besides snapshots
	denied    error // of what is asked for of snapshots
}

func each[T any](all []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, one := range all {
			if !yield(one, nil) {
				return
			}
		}
		var none T
		if err != nil {
			yield(none, err)
		}
	}
}

func (e *estate) Owned(context.Context) iter.Seq2[OwnedSnapshot, error] {
	return each(e.snapshots, e.denied)
}

func (e *estate) Volumes(context.Context) iter.Seq2[EBSVolume, error] {
	return each(e.volumes, e.broken)
}

func (e *estate) Shared(context.Context, []string) (map[snapshot.ID]bool, error) {
	return nil, e.broken
}

func (e *estate) Holds(context.Context, []snapshot.Snapshot) (workflow.Holds, error) {
	return workflow.Holds{}, e.broken
}

func (e *estate) Snapshots(_ context.Context, f catalog.Filter) iter.Seq2[snapshot.Snapshot, error] {
	return func(yield func(snapshot.Snapshot, error) bool) {
		for _, id := range f.IDs {
			at := slices.IndexFunc(e.snapshots, func(s OwnedSnapshot) bool { return s.ID == id })
			if at < 0 {
				yield(snapshot.Snapshot{}, &catalog.UnknownError{Snapshot: id})
				return
			}
			s := e.snapshots[at].Snapshot
			s.Tags = e.tags[id]
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (e *estate) SetTags(_ context.Context, id snapshot.ID, tags map[string]string) error {
	if e.tags == nil {
		e.tags = map[snapshot.ID]map[string]string{}
	}
	e.tags[id] = maps.Clone(tags)
	return nil
}

func (e *estate) DeleteTags(context.Context, snapshot.ID, map[string]string) error {
	return errors.New("nothing is to be deleted here")
}

func (e *estate) asker() Asker {
	return Asker{Name: "a test", Open: func(context.Context, string) (Estate, func(context.Context) string, error) {
		return e, func(context.Context) string { return "111122223333" }, nil
	}}
}

func owned(id snapshot.ID, start time.Time) OwnedSnapshot {
	return OwnedSnapshot{Account: "111122223333", Snapshot: snapshot.Snapshot{
		ID: id, VolumeID: "vol-11111111", Size: 100 << 30, FullSize: 50 << 30, Start: start, State: snapshot.StateCompleted,
	}}
}

func day(n int) time.Time { return time.Date(2026, 9, n, 0, 0, 0, 0, time.UTC) }

func inBill(id snapshot.ID, tier bill.Tier, gib int64, gone bool) bill.Snapshot {
	return bill.Snapshot{
		Partition: "aws", Region: "us-east-1", Account: "111122223333", ID: id, Tier: tier, Bytes: gib << 30, Gone: gone,
		Cost: cost.Dollar, BlendedCost: cost.Dollar / 4, NetCost: cost.Dollar / 2, Rate: cost.Dollar / 20,
	}
}

// Both tiers of a snapshot are one: it is where it is now, and cost what both cost.
func TestTiersOfABill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		standard, archive bill.Snapshot
		want              cost.Holding
	}{
		"archived since": {inBill("snap-00000001", bill.Standard, 1, true), inBill("snap-00000001", bill.Archive, 2, false), cost.Holding{Archive: 2 << 30}},
		"restored since": {inBill("snap-00000001", bill.Standard, 1, false), inBill("snap-00000001", bill.Archive, 2, true), cost.Holding{Billed: 1 << 30}},
		"in both":        {inBill("snap-00000001", bill.Standard, 1, false), inBill("snap-00000001", bill.Archive, 2, false), cost.Holding{Billed: 1 << 30, Archive: 2 << 30}},
		"gone":           {inBill("snap-00000001", bill.Standard, 1, true), inBill("snap-00000001", bill.Archive, 2, true), cost.Holding{Billed: 1 << 30, Archive: 2 << 30, Gone: true}},
	} {
		want := c.want
		want.Partition, want.Region, want.Account, want.ID, want.InBill = "aws", "us-east-1", "111122223333", "snap-00000001", true
		want.Cost, want.Blended, want.NetCost, want.Rate, want.ArchiveRate = 2*cost.Dollar, cost.Dollar/2, cost.Dollar, cost.Dollar/20, cost.Dollar/20
		for _, order := range [][]bill.Snapshot{{c.standard, c.archive}, {c.archive, c.standard}} {
			if diff := cmp.Diff([]cost.Holding{want}, billed(bill.Usage{Snapshots: order})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

func analyzer(askers ...Asker) *Analyzer {
	return &Analyzer{Askers: askers, Log: slog.New(slog.DiscardHandler)}
}

// Bill and EC2 are one report: what is in either is in it once.
func TestBillAndEC2(t *testing.T) {
	t.Parallel()
	e := &estate{
		snapshots: []OwnedSnapshot{
			owned("snap-00000001", day(1)),  // in both
			owned("snap-00000002", day(2)),  // in EC2 all the time, and not billed
			owned("snap-00000003", day(30)), // newer than the bill
			owned("snap-00000005", day(3)),  // gone by the bill, and here all the same
		},
		volumes: []EBSVolume{{ID: "vol-11111111", Size: 100 << 30, Name: "web"}},
	}
	u := bill.Usage{
		From: day(1), To: day(30), Newest: day(29), Currency: "USD", Notes: []string{"a note"},
		Snapshots: []bill.Snapshot{
			inBill("snap-00000001", bill.Standard, 50, false),
			inBill("snap-00000004", bill.Standard, 1, false), // deleted since
			inBill("snap-00000005", bill.Standard, 1, true),
			inBill("snap-00000006", bill.Standard, 1, true), // long gone
		},
	}
	a, err := analyzer(e.asker(), e.asker()).Bill(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	got := map[snapshot.ID]string{}
	for _, v := range a.Regions[0].Volumes {
		for _, s := range v.Snapshots {
			what := []string{string(v.ID), v.Name, strings.Join(s.Holds, ", ")}
			for _, is := range []struct {
				so   bool
				word string
			}{{s.InBill, "billed"}, {s.Gone, "gone"}, {s.Movable, "movable"}} {
				if is.so {
					what = append(what, is.word)
				}
			}
			got[s.ID] = strings.Join(what, " ")
		}
	}
	want := map[snapshot.ID]string{
		"snap-00000001": "vol-11111111 web  billed movable", "snap-00000002": "vol-11111111 web  billed movable",
		"snap-00000003": "vol-11111111 web  movable", "snap-00000004": "  not in EC2 any more billed",
		"snap-00000005": "vol-11111111 web  billed movable", "snap-00000006": "   billed gone",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	notes := strings.Join(a.Notes, "\n")
	for _, says := range []string{"a note", "Recycle Bin: 1 of", "billed for nothing: 1 of", "older than they are: 1 of"} {
		if !strings.Contains(notes, says) {
			t.Errorf("no note says %q: %s", says, notes)
		}
	}

	e.broken = errors.New("no such right")
	if a, err = analyzer(e.asker()).Bill(t.Context(), u); err != nil || a.Regions[0].Volumes[0].State != cost.VolumeUnknown ||
		strings.Count(strings.Join(a.Notes, "\n"), "no such right") != 3 {
		t.Errorf("without rights: %v, %q", err, a.Notes)
	}
	u.Currency = "CNY"
	if a, err := analyzer().Bill(t.Context(), u); err != nil || a.Currency != cost.CNY {
		t.Errorf("another currency: %v", err)
	}
	if _, err := analyzer().Live(t.Context(), []string{"us-east-1", "cn-north-1"}); err == nil || hint.Of(err) == "" || !strings.Contains(err.Error(), "cn-north-1 in CNY") {
		t.Errorf("regions of two currencies: %v", err)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	stop(why)
	u.Currency = "USD"
	if _, err := analyzer(e.asker()).Bill(stopped, u); !errors.Is(err, why) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// A plan is held to what EC2 says at the moment: what is gone since does not keep
// the others from being tagged.
func TestTagPlan(t *testing.T) {
	t.Parallel()
	e := &estate{snapshots: []OwnedSnapshot{owned("snap-00000001", day(1)), owned("snap-00000002", day(2)), owned("snap-00000003", day(3)), owned("snap-00000004", day(3))}}
	e.snapshots[3].State = snapshot.StatePending
	e.tags = map[snapshot.ID]map[string]string{"snap-00000002": {"t": "migrating"}}
	a := &Analysis{estates: map[place]Estate{{"111122223333", "us-east-1"}: e}}
	move := func(account string, ids ...snapshot.ID) cost.Move {
		m := cost.Move{Account: account, Region: "us-east-1"}
		for _, id := range ids {
			m.Snapshots = append(m.Snapshots, cost.Planned{ID: id})
		}
		return m
	}
	p := cost.Plan{Tag: "t", Value: "migrate", Moves: []cost.Move{
		move("111122223333", "snap-00000001", "snap-00000009", "snap-00000002", "snap-00000003", "snap-00000004"), move("999999999999", "snap-00000007"),
	}}
	for _, apply := range []Apply{DryRun, Carry} {
		got := map[snapshot.ID]string{}
		err := a.Tag(t.Context(), p, apply, func(t Tagging) { got[t.Snapshot] = string(t.Outcome) + " " + t.Why })
		batch, ok := errors.AsType[*workflow.BatchError](err)
		if !ok || batch.Failed != 1 || batch.Total != 6 {
			t.Errorf("it ends with %v", err)
		}
		yes := map[Apply]string{DryRun: "would tag ", Carry: "tagged "}[apply]
		want := map[snapshot.ID]string{
			"snap-00000001": yes, "snap-00000009": "passed over it is not there any more", "snap-00000002": "passed over it is tagged already: t=migrating",
			"snap-00000003": yes, "snap-00000004": "passed over it is pending", "snap-00000007": "failed ",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := e.tags["snap-00000001"]["t"] + e.tags["snap-00000002"]["t"] + e.tags["snap-00000004"]["t"]; got != "migratemigrating" {
		t.Errorf("tags: %v", e.tags)
	}
}
