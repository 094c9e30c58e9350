package cost

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/snapshot"
)

// drawHoldings is several volumes, with everything that can be told of them.
func drawHoldings(t *rapid.T) []Holding {
	var all []Holding
	for v := range rapid.IntRange(1, 4).Draw(t, "volumes") {
		h := drawHistory(t)
		for i, x := range h.holdings(drawHeld(t, len(h))) {
			x.Account = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "account")
			x.ID, x.Volume = snapshot.ID(fmt.Sprintf("snap-%04x%04x", v, i)), snapshot.VolumeID(fmt.Sprintf("vol-%08x", v))
			x.Region = rapid.SampledFrom([]string{"us-east-1", "us-east-1", "eu-west-2"}).Draw(t, "region")
			x.Gone = rapid.IntRange(0, 9).Draw(t, "gone") == 0
			x.Work = rapid.SampledFrom([]Work{0, 0, 0, WorkPlanned, WorkMigrated, WorkValidated}).Draw(t, "work")
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				x.Archived, x.Archive, x.Billed = true, x.FullSize, 0
			case 1:
				x.Volume = ""
			case 2:
				x.InBill, x.Billed = false, 0
			case 3:
				x.FullSize = 0
			}
			all = append(all, x)
		}
	}
	return all
}

func drawOptions(t *rapid.T) AnalysisOptions {
	return AnalysisOptions{
		Ratio:       rapid.SampledFrom([]Ratio{{}, {Plain: 2, Stored: 1}, {Plain: 37, Stored: 20, Measured: true}}).Draw(t, "ratio"),
		Source:      rapid.SampledFrom([]ReadSource{ReadVolume, ReadDirect}).Draw(t, "source"),
		HourlyRate:  Money(rapid.Int64Range(0, int64(Dollar)).Draw(t, "hour")),
		Throughput:  rapid.Int64Range(0, 1<<30).Draw(t, "throughput"),
		Payback:     rapid.IntRange(0, 24).Draw(t, "payback"),
		OverlapDays: rapid.IntRange(0, 60).Draw(t, "overlap"),
	}
}

func analyze(t interface{ Fatal(...any) }, h []Holding, o AnalysisOptions) Report {
	r, err := Analyze(h, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r MoneyRange) ordered() bool { return r.Low <= r.Estimate && r.Estimate <= r.High }

// Totals are sums, ranges are ordered, and each option's figures fit each other.
func TestReportAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, o := drawHoldings(t), drawOptions(t)
		r := analyze(t, h, o)
		var total Sum
		snapshots := 0
		for _, region := range r.Regions {
			var sum Sum
			for _, v := range region.Volumes {
				var own Sum
				for _, s := range v.Snapshots {
					own = own.plus(s.sum())
				}
				if own != v.Sum {
					t.Fatalf("sum of %s: %+v, want %+v", v.ID, v.Sum, own)
				}
				checkOptions(t, v.Options, v.Sum)
				snapshots += len(v.Snapshots)
				sum = sum.plus(v.Sum)
			}
			if sum != region.Sum {
				t.Fatalf("sum of %s: %+v, want %+v", region.Name, region.Sum, sum)
			}
			total = total.plus(sum)
		}
		if total != r.Total || snapshots != len(h) {
			t.Fatalf("total of %d snapshots: %+v, want %+v of %d", snapshots, r.Total, total, len(h))
		}
		checkOptions(t, r.Options, r.Total)
		for i := range h {
			h[i], h[len(h)-1-i] = h[len(h)-1-i], h[i]
			if i >= len(h)/2 {
				break
			}
		}
		if diff := cmp.Diff(r, analyze(t, h, o)); diff != "" {
			t.Fatalf("the order of snapshots matters:\n%s", diff)
		}
	})
}

func checkOptions(t *rapid.T, options []Option, sum Sum) {
	for _, o := range options {
		if o.Now != sum.Monthly || !o.Now.ordered() || !o.After.ordered() || !o.Saving.ordered() || !o.Storage.ordered() {
			t.Fatalf("amounts of %+v, of %+v", o, sum)
		}
		if o.Class == EBSArchive && o.Form == Increments || o.NoRetrieval {
			t.Fatalf("%+v", o)
		}
		if o.Now.Estimate-o.Saving.Estimate != o.After.Estimate || o.OneTime.Total() < 0 || o.First < o.OneTime.Total() {
			t.Fatalf("sums of %+v", o)
		}
		if (o.BreakEven > 0) != (o.Saving.Estimate > 0) || o.Latest > 0 && o.Latest < o.BreakEven || o.Snapshots < 1 {
			t.Fatalf("break-even of %+v", o)
		}
	}
}

// A lower price of a class never costs more, and a lower price of EBS snapshots
// never saves more.
func TestPricesAreMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, o := drawHoldings(t), drawOptions(t)
		dear, cheap := Builtin(), Builtin()
		i := rapid.SampledFrom([]string{"s3:STANDARD", "s3:GLACIER", "s3:GLACIER_IR-put", "ebs:gp3", "ebs:direct-get", archiveItem, snapshotItem}).Draw(t, "item")
		p := cheap.prices[item{"us-east-1", i}]
		p.amount = Money(rapid.Int64Range(0, int64(p.amount)).Draw(t, "price"))
		cheap.prices[item{"us-east-1", i}] = p
		o.Table, o.Payback = dear, 0
		a := analyze(t, h, o)
		o.Table = cheap
		b := analyze(t, h, o)
		for _, x := range a.Options {
			k := slices.IndexFunc(b.Options, func(y Option) bool { return y.Class == x.Class && y.Form == x.Form && y.Scope == x.Scope })
			if k < 0 || x.Scope != ScopeAll {
				continue
			}
			y := b.Options[k]
			if y.After.Estimate > x.After.Estimate || y.OneTime.Total() > x.OneTime.Total() || y.Now.Estimate > x.Now.Estimate {
				t.Fatalf("%s at %s costs more:\n%+v\n%+v", i, p.amount.Decimal(), x, y)
			}
			if i == snapshotItem && y.Saving.Estimate > x.Saving.Estimate {
				t.Fatalf("cheaper EBS snapshots save more:\n%+v\n%+v", x, y)
			}
		}
	})
}

func TestBreakEven(t *testing.T) {
	for _, tt := range []struct {
		once, storage, saving Money
		overlap, want         int
	}{
		{0, 5, 10, 0, 1},        // nothing to pay back
		{10, 5, 10, 0, 1},       // at the end of the first month
		{11, 5, 10, 0, 2},       //
		{0, 5, 10, 30, 2},       // a month of both, then half a month
		{5, 5, 10, 30, 2},       //
		{6, 5, 10, 30, 3},       //
		{0, 5, 10, 15, 1},       // half a month of both costs 2.50
		{100, 5, 0, 0, 0},       // nothing is saved
		{100, 5, -1, 0, 0},      // moving costs more
		{maxMoney, 5, 1, 30, 0}, // in no time that can be counted
		{maxMoney, 0, maxMoney, 30, 2},
	} {
		if got := breakEven(tt.once, tt.storage, tt.saving, tt.overlap); got != tt.want {
			t.Errorf("once %d, storage %d, saving %d, %d days: month %d, want %d", tt.once, tt.storage, tt.saving, tt.overlap, got, tt.want)
		}
	}
}

// The oldest snapshots change much, the newest little: only the oldest move.
func TestOldestFew(t *testing.T) {
	h := uniform(40, 1000<<30, 1<<30)
	for i := range 5 {
		h[i].Billed = 900 << 30
	}
	h[0].Billed = 1000 << 30
	for i := range h {
		h[i].Region = "us-east-1"
	}
	r := analyze(t, h, AnalysisOptions{Classes: []Class{"STANDARD", "GLACIER"}, Payback: 24})
	v := r.Regions[0].Volumes[0]
	o := v.find("STANDARD", FullCopies, ScopeOldest)
	// 5 copies of 1,000 GiB at 0.023 for 4 × 900 + 1 GiB at 0.05: the fifth is billed 901 after four are gone.
	if o == nil || o.Snapshots != 4 || o.Freed != exactly(3600<<30) {
		t.Fatalf("oldest few: %+v", o)
	}
	if best := v.Options[v.Best]; best.Class != "GLACIER" || best.Saving.Estimate <= o.Saving.Estimate {
		t.Errorf("best: %+v", best)
	}
	if len(v.Moved(*o)) != 4 || v.Moved(*o)[3].ID != h[3].ID {
		t.Errorf("moved: %+v", v.Moved(*o))
	}
}

func TestRates(t *testing.T) {
	h := uniform(2, 10<<30, 1<<30)
	h[0].Rate, h[1].Rate = 40_000_000, 45_000_000
	r := analyze(t, h, AnalysisOptions{Period: Period{Newest: time.Date(2024, 9, 29, 0, 0, 0, 0, time.UTC)}})
	if r.Total.Monthly != known(440_000_000) {
		t.Errorf("monthly: %+v", r.Total.Monthly)
	}
	if got := r.Rates[0]; got.Price != 40_000_000 || got.Source != "the bill" || got.Dated != "2024-09-29" {
		t.Errorf("rate: %+v", got)
	}
	for _, rate := range r.Rates[1:] {
		if rate.Dated != Dated || rate.Source == "" {
			t.Errorf("rate: %+v", rate)
		}
	}
	// us-west-2 has no price of most classes, and that is said.
	if !slices.Contains(r.Unknown, "S3 GLACIER in us-west-2") || slices.ContainsFunc(r.Options, func(o Option) bool { return o.Class != "STANDARD" }) {
		t.Errorf("unknown: %q, options: %+v", r.Unknown, r.Options)
	}
}

func TestWhy(t *testing.T) {
	const untold = "not reckoned: EC2 did not tell of which volume they are, and the notes say why"
	for _, tt := range []struct {
		change func(*Holding)
		want   string
	}{
		{func(h *Holding) { h.Region = "mx-central-1" }, "not known: no price of EBS snapshots in mx-central-1 is known; give --prices"},
		{func(h *Holding) { h.Region = "eu-west-2" }, "not known: no S3 prices of eu-west-2 are known; give --prices"},
		{func(h *Holding) { h.Volume = "vol-ffffffff" }, "not reckoned: EC2 does not tell of which volume they are, as of copies"},
		{func(h *Holding) { h.Start = time.Time{} }, untold},
		{func(h *Holding) { h.Volume = "" }, "not reckoned: EC2 does not tell of which volume they are, as of copies"},
		{func(h *Holding) { h.Billed = 0 }, "not reckoned: nothing is billed for them, or the bill lacks them"},
		{func(h *Holding) { h.Holds = []string{"AWS Backup"} }, "none of them can be moved"},
		{func(h *Holding) { h.Gone = true }, "none of them is there any more"},
		{func(h *Holding) { h.Archived = true }, "none of them can be moved"},
		{func(h *Holding) { h.InBill, h.FullSize, h.VolumeSize = false, 0, 0 }, "not reckoned: how much they hold is not known"},
	} {
		h := uniform(2, 10<<30, 1<<30)
		for i := range h {
			tt.change(&h[i])
		}
		r := analyze(t, h, AnalysisOptions{})
		v := r.Regions[0].Volumes[0]
		if _, unknown, found := strings.Cut(v.Why, ": "); v.Unknown != unknown || found != (len(r.Unreckoned) == 1) {
			t.Errorf("%q, of which %q is not known, %+v", v.Why, v.Unknown, r.Unreckoned)
		}
		if v.Why != tt.want || v.Options != nil || v.Best != -1 || r.Best != -1 || r.Options != nil {
			t.Errorf("why: %q, want %q; %+v", v.Why, tt.want, r.Options)
		}
		if s := r.Regions[0].Volumes[0].Snapshots[0]; s.Gone && (s.Standard != Range{} || s.Monthly != MoneyRange{} || r.Total.Gone != 2 || r.Total.Snapshots != 0) {
			t.Errorf("what is gone costs nothing now: %+v", s)
		}
	}
}

// Snapshots outside of the chain cost what they cost, whatever moves.
func TestArchivedStay(t *testing.T) {
	h := uniform(5, 100<<30, 40<<30)
	for i := range h {
		h[i].Region, h[i].FullSize, h[i].VolumeSize = "us-east-1", 0, 200<<30
	}
	h[1].Archived, h[1].InBill, h[1].FullSize = true, false, 80<<30
	h[4].Start = time.Time{}
	r := analyze(t, h, AnalysisOptions{Classes: []Class{"STANDARD"}})
	if len(r.Regions[0].Volumes) != 2 || r.Total.Archive != 80<<30 || r.Total.Monthly != known(12*Dollar) {
		t.Fatalf("total: %+v of %d volumes", r.Total, len(r.Regions[0].Volumes))
	}
	i := slices.IndexFunc(r.Regions[0].Volumes, func(v Volume) bool { return v.ID != "" })
	for _, o := range r.Regions[0].Volumes[i].Options {
		if o.After.Low != Dollar+o.Storage.Low || o.After.High != Dollar+o.Storage.High || o.Snapshots != 3 {
			t.Errorf("after all are moved, the archived one stays at a dollar: %+v", o)
		}
	}
}

// Direct reads need no price of volumes.
func TestDirectReadsNeedNoVolume(t *testing.T) {
	table := Builtin()
	delete(table.prices, item{"us-east-1", "ebs:gp3"})
	h := uniform(2, 100<<30, 40<<30)
	h[0].Region, h[1].Region = "us-east-1", "us-east-1"
	for source, want := range map[ReadSource]int{ReadVolume: 0, ReadDirect: 1} {
		r := analyze(t, h, AnalysisOptions{Table: table, Source: source, Classes: []Class{"GLACIER"}})
		if got := len(r.Options) / 2; got != want { // full copies and increments
			t.Errorf("source %d: %d options, want %d; unknown: %q", source, got, want, r.Unknown)
		}
		if slices.Contains(r.Unknown, "gp3 volumes in us-east-1") != (source == ReadVolume) {
			t.Errorf("source %d: unknown: %q", source, r.Unknown)
		}
	}
}

func TestNotes(t *testing.T) {
	h := uniform(6, 100<<30, 40<<30)
	h[0].Billed, h[1].Average, h[2].InBill, h[3].Volume, h[4].Gone, h[5].Work = 50<<30, true, false, "", true, WorkMigrated
	want := []string{
		"sizes that are averages, since the bill has lines of more than a day: of 1 snapshot",
		"in no bill, and taken to be billed for what they grew by at the least: 1 snapshot",
		"moved already and not deleted, so that moving others of their volumes may save more once they are: 1 snapshot",
		"whose oldest snapshot is billed for less than it holds, the rest being billed to others or not in the bill: 1 volume",
	}
	if diff := cmp.Diff(want, analyze(t, h, AnalysisOptions{}).Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestBadInput(t *testing.T) {
	good := uniform(1, 1<<30, 0)[0]
	for name, tt := range map[string]struct {
		change func(*Holding, *AnalysisOptions)
		want   string
	}{
		"negative": {func(h *Holding, _ *AnalysisOptions) { h.Billed = -1 }, "below nothing"},
		"huge":     {func(h *Holding, _ *AnalysisOptions) { h.FullSize = math.MaxInt64 }, "which no volume has"},
		"no id":    {func(h *Holding, _ *AnalysisOptions) { h.ID = "" }, "no name"},
		"class":    {func(_ *Holding, o *AnalysisOptions) { o.Classes = []Class{"TAPE"} }, `class "TAPE"`},
		"overlap":  {func(_ *Holding, o *AnalysisOptions) { o.OverlapDays = -1 }, "below nothing"},
		"ratio":    {func(_ *Holding, o *AnalysisOptions) { o.Ratio = Ratio{Plain: 1} }, "out of bounds"},
		"other span": {func(h *Holding, o *AnalysisOptions) {
			o.Spans = map[VolumeKey][]Span{{h.Account, h.Region, h.Volume}: {{"snap-1", "snap-1", 1}}}
		}, "fit none"},
	} {
		h, o := good, AnalysisOptions{}
		tt.change(&h, &o)
		if _, err := Analyze([]Holding{h}, o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	if _, err := Analyze([]Holding{good, good}, AnalysisOptions{}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: error %v", err)
	}
}

// The largest sizes and prices stop at the largest amount.
func TestHugeReport(t *testing.T) {
	var h []Holding
	for v := range 100 {
		for i, x := range uniform(100, 16*maxVolume, 16*maxVolume) {
			x.ID, x.Volume, x.Region = snapshot.ID(fmt.Sprintf("snap-%04x%04x", v, i)), snapshot.VolumeID(fmt.Sprintf("vol-%08x", v)), "us-east-1"
			x.Rate, x.Cost = maxMoney, maxMoney
			h = append(h, x)
		}
	}
	r := analyze(t, h, AnalysisOptions{HourlyRate: maxMoney, Throughput: 1, OverlapDays: 30, Ratio: Ratio{Plain: 1, Stored: 100}})
	if r.Total.Monthly.Estimate != maxMoney || r.Total.Billed != maxMoney || r.Total.Standard.Estimate != math.MaxInt64 {
		t.Errorf("total: %+v", r.Total)
	}
	for _, o := range r.Options {
		if o.OneTime.Total() < 0 || o.First < 0 || o.Storage.Estimate < 0 || o.Stored.Estimate < 0 || o.After.Low > o.After.High {
			t.Errorf("an amount turned over: %+v", o)
		}
	}
}

func TestParseRatio(t *testing.T) {
	for text, want := range map[string]float64{"2:1": 2, "2": 2, "1.85": 1.85, "1": 1, "0.99:1": 0.99} {
		if r, err := ParseRatio(text); err != nil || r.Float() != want {
			t.Errorf("ParseRatio(%q) = %+v, %v, want %g", text, r, err, want)
		}
	}
	for _, text := range []string{"", "0", "2:3", "-1", "$2", "2:1:1", "100000", "1e3", "2:"} {
		if r, err := ParseRatio(text); err == nil {
			t.Errorf("ParseRatio(%q) = %+v, want an error", text, r)
		}
	}
}

func BenchmarkAnalyze(b *testing.B) {
	var h []Holding
	for v := range 100 {
		for i, x := range uniform(100, 1000<<30, 20<<30) {
			x.ID, x.Volume, x.Region = snapshot.ID(fmt.Sprintf("snap-%04x%04x", v, i)), snapshot.VolumeID(fmt.Sprintf("vol-%08x", v)), "us-east-1"
			h = append(h, x)
		}
	}
	for b.Loop() {
		if _, err := Analyze(h, AnalysisOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
