package cost

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/snapshot"
)

// Deleting what was validated frees what it is said to, whatever else there is.
func TestDeletionHoldsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		all := h.holdings(drawHeld(t, len(h)))
		stay := func(i int) bool { return !all[i].Deletable() }
		n := 0
		for i := range all {
			all[i].Work = rapid.SampledFrom([]Work{WorkNone, WorkPlanned, WorkMigrated, WorkValidated, WorkValidated}).Draw(t, "work")
			if !stay(i) {
				n++
			}
		}
		truth := h.stored(func(int) bool { return true }) - h.stored(stay)
		var o AnalysisOptions
		if rapid.Bool().Draw(t, "exact") {
			o.Spans = map[VolumeKey][]Span{{all[0].Account, all[0].Region, all[0].Volume}: h.spans()}
		}
		r := analyze(t, all, o)
		got := r.Deletable
		if got.Snapshots != n || !got.Freed.has(truth) || !got.Saving.ordered() || got.NoSaving || o.Spans != nil && !got.Freed.Exact() {
			t.Fatalf("%+v, want %d bytes of %d snapshots", got, truth, n)
		}
		for _, option := range r.Options {
			if option.Now != r.Total.Monthly || option.Snapshots > len(all)-n {
				t.Fatalf("an option moves what was moved before: %+v", option)
			}
		}
	})
}

// What has been moved is not moved again, and what is tagged is not tagged again.
func TestWork(t *testing.T) {
	h := uniform(6, 100<<30, 50<<30)
	for i := range h {
		h[i].Region = "us-east-1"
	}
	h[0].Work, h[1].Work, h[2].Work, h[3].Work = WorkValidated, WorkMigrated, WorkPlanned, WorkValidated
	h[3].Holds = []string{"ami-1 uses it"}
	r := analyze(t, h, AnalysisOptions{Classes: []Class{"DEEP_ARCHIVE"}})
	v := r.Regions[0].Volumes[0]
	var movable []bool
	for _, s := range v.Snapshots {
		movable = append(movable, s.Movable)
	}
	if want := []bool{false, false, true, false, true, true}; !slices.Equal(movable, want) {
		t.Errorf("movable: %v, want %v", movable, want)
	}
	// The oldest is billed 100 GiB, of which the next takes over all but its own 50.
	want := Deletion{Snapshots: 1, Freed: exactly(50 << 30), Saving: known(50 * Dollar / 20)}
	if diff := cmp.Diff(want, r.Deletable); diff != "" || r.Deletable != v.Deletable {
		t.Errorf("deletable (-want +got):\n%s", diff)
	}
	p := r.Plan(PlanOptions{})
	if len(p.Moves) != 1 || p.Tagged != 1 || p.Moves[0].Tagged != 1 || p.Moves[0].Saving != v.Options[0].Saving.Estimate ||
		len(p.Moves[0].Snapshots) != 2 || p.Moves[0].Snapshots[0].ID != h[4].ID {
		t.Errorf("plan: %+v", p)
	}
	h[4].Work, h[5].Work = WorkPlanned, WorkPlanned
	p = analyze(t, h, AnalysisOptions{Classes: []Class{"DEEP_ARCHIVE"}}).Plan(PlanOptions{})
	if len(p.Moves) != 0 || p.Tagged != 3 || p.Saving != 0 || p.Kept[0].Why != "those that pay back are tagged already" {
		t.Errorf("plan of what is tagged: %+v", p)
	}
	for i := range h {
		h[i].Work = WorkValidated
	}
	r = analyze(t, h, AnalysisOptions{})
	if v := r.Regions[0].Volumes[0]; v.Why != "none of them is left to be moved" || len(r.Options) != 0 || r.Deletable.Snapshots != 5 {
		t.Errorf("all moved: %+v", v)
	}
}

// A saving that cannot be known is not told as nothing.
func TestDeletionWithoutSaving(t *testing.T) {
	for name, change := range map[string]func(*Holding){
		"no price": func(h *Holding) { h.Region = "mx-central-1" },
		"no size":  func(h *Holding) { h.InBill, h.FullSize, h.VolumeSize = false, 0, 0 },
	} {
		h := uniform(1, 10<<30, 1<<30)
		h[0].Work = WorkValidated
		change(&h[0])
		if d := analyze(t, h, AnalysisOptions{}).Deletable; d.Snapshots != 1 || !d.NoSaving {
			t.Errorf("%s: %+v", name, d)
		}
	}
	h := uniform(1, 10<<30, 1<<30)
	h[0].Work, h[0].Volume = WorkValidated, ""
	want := Deletion{Snapshots: 1, Freed: Range{0, 0, 10 << 30}, Saving: MoneyRange{0, 0, Dollar / 2}}
	if diff := cmp.Diff(want, analyze(t, h, AnalysisOptions{}).Deletable); diff != "" {
		t.Errorf("of no known volume (-want +got):\n%s", diff)
	}
}

// Both tiers cost what the bill says: at negotiated rates the month is the bill's.
func TestBilledRatesOfBothTiers(t *testing.T) {
	h := uniform(3, 100<<30, 50<<30)
	for i := range h {
		h[i].Region, h[i].Rate = "us-east-1", 40_000_000
	}
	h[0].Archived, h[0].Billed, h[0].Archive, h[0].ArchiveRate = true, 0, 100<<30, 10_000_000
	h[0].Rate = 0
	other := h[0]
	other.Account, other.ArchiveRate = "2", 0
	r := analyze(t, append(h, other), AnalysisOptions{Classes: []Class{EBSArchive}})
	want := 100*Money(40_000_000) + 100*Money(10_000_000) + 100*Money(12_500_000)
	if r.Total.Monthly != known(want) {
		t.Errorf("a month: %s, want %s", r.Total.Monthly.Estimate, want)
	}
	var rates []string
	for _, x := range r.Rates {
		if x.Item == (item{"us-east-1", archiveItem}).words() || x.Item == (item{"us-east-1", snapshotItem}).words() {
			by := "table"
			if x.Source == "the bill" {
				by = "bill"
			}
			rates = append(rates, x.Price.Decimal()+" by the "+by)
		}
	}
	if want := []string{"0.01 by the bill", "0.0125 by the table", "0.04 by the bill"}; !slices.Equal(rates, want) {
		t.Errorf("rates %q, want %q", rates, want)
	}
	for _, v := range r.Regions[0].Volumes {
		if o := v.find(EBSArchive, FullCopies, ScopeAll); o != nil && o.Storage != known(200*Money(10_000_000)) {
			t.Errorf("two more in the archive tier: %+v, want the bill's rate", o.Storage)
		}
	}
}

// Ids of eight digits are one account's in one region.
func TestOneIDInSeveralPlaces(t *testing.T) {
	var h []Holding
	spans := map[VolumeKey][]Span{}
	for i, place := range [][2]string{{"1", "us-east-1"}, {"2", "us-east-1"}, {"1", "us-west-2"}, {"2", "us-west-2"}} {
		x := uniform(1, 10<<30, 0)[0]
		x.ID, x.Volume, x.Account, x.Region, x.InBill = "snap-0a1b2c3d", "vol-0a1b2c3d", place[0], place[1], false
		h = append(h, x)
		spans[VolumeKey{x.Account, x.Region, x.Volume}] = []Span{{x.ID, x.ID, int64(i+1) << 30}}
	}
	r := analyze(t, h, AnalysisOptions{Spans: spans})
	got := map[VolumeKey]int64{}
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			got[VolumeKey{v.Account, v.Region, v.ID}] = v.Sum.Standard.Estimate >> 30
		}
	}
	want := map[VolumeKey]int64{}
	for i, x := range h {
		want[VolumeKey{x.Account, x.Region, x.Volume}] = int64(i + 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GiB of each (-want +got):\n%s", diff)
	}
	moves := map[[2]string]snapshot.ID{}
	for _, m := range r.Plan(PlanOptions{Class: "STANDARD"}).Moves {
		moves[[2]string{m.Account, m.Region}] = m.Snapshots[0].ID
	}
	if len(moves) != 4 {
		t.Errorf("moves: %v", moves)
	}
	if _, err := Analyze(append(h, h[3]), AnalysisOptions{}); err == nil {
		t.Error("one snapshot twice is no error")
	}
}
