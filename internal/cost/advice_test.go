package cost

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/snapshot"
)

// in are snapshots of one volume in a region, which change by a part each time.
func in(region string, volume snapshot.VolumeID, n int, size, change int64) []Holding {
	h := uniform(n, size, change)
	for i := range h {
		h[i].Region, h[i].Account, h[i].Volume = region, "123456789012", volume
		h[i].ID = snapshot.ID(fmt.Sprintf("snap-%s%07x", volume[len(volume)-1:], i))
	}
	return h
}

// A bill alone says nothing of volumes: no answer is made of it, and the reason is
// that nobody was asked.
func TestOfflineNothingIsReckoned(t *testing.T) {
	h := uniform(3, 100<<30, 50<<30)
	for i := range h {
		h[i].Region, h[i].Volume, h[i].Start, h[i].FullSize, h[i].VolumeSize = "us-east-1", "", time.Time{}, 0, 0
	}
	r := analyze(t, h, AnalysisOptions{Offline: true})
	v := r.Regions[0].Volumes[0]
	const why = "EC2 was not asked of which volume they are; leave out --offline"
	if v.Why != "not reckoned: "+why || v.Unknown != why || len(r.Unknown) > 0 {
		t.Errorf("%q, %q; no price of %q", v.Why, v.Unknown, r.Unknown)
	}
	if diff := cmp.Diff([]Unreckoned{{why, r.Total}}, r.Unreckoned); diff != "" {
		t.Errorf("not reckoned (-want +got):\n%s", diff)
	}
	for _, s := range v.Snapshots {
		if s.Movable {
			t.Errorf("%s is said to be movable", s.ID)
		}
	}
	if p := r.Plan(PlanOptions{}); len(p.Kept) != 1 || p.Kept[0].Why != v.Why {
		t.Errorf("plan: %+v", p)
	}
	if len(r.Rates) != 1 || r.Rates[0].Item != "EBS snapshots in us-east-1" {
		t.Errorf("prices that no figure is made of: %+v", r.Rates)
	}
}

// What a plan keeps, it keeps for what is so, and says what would save.
func TestPlanSaysWhy(t *testing.T) {
	east := in("us-east-1", "vol-0000000a", 3, 100<<30, 50<<30)
	west := in("us-west-2", "vol-0000000b", 3, 100<<30, 80<<30)
	still := in("us-east-1", "vol-0000000c", 3, 100<<30, 1<<20)
	far := in("eu-west-2", "vol-0000000d", 3, 100<<30, 80<<30)
	const archive = "aws ec2 modify-snapshot-tier --region us-east-1 --storage-tier archive --snapshot-id snap-a0000000"
	for name, tt := range map[string]struct {
		h    []Holding
		o    AnalysisOptions
		want []string
	}{
		"no price, and another class": {slices.Concat(east, west), AnalysisOptions{}, []string{
			"no price of DEEP_ARCHIVE in us-west-2; STANDARD would save $6.10 a month",
		}},
		"no prices":       {slices.Concat(east, far), AnalysisOptions{}, []string{"not known: no S3 prices of eu-west-2 are known; give --prices"}},
		"none of a class": {slices.Concat(far, west), AnalysisOptions{Classes: []Class{"GLACIER"}}, []string{"not known: no price of GLACIER in eu-west-2 is known; give --prices", "not known: no price of GLACIER in us-west-2 is known; give --prices"}},
		"saves nothing":   {still, AnalysisOptions{Classes: []Class{"STANDARD"}}, []string{"moving them to S3 saves nothing"}},
		"too slow": {east, AnalysisOptions{Classes: []Class{"STANDARD"}, HourlyRate: 100 * Dollar, Payback: 2}, []string{
			"moving them to S3 does not pay back within 2 months",
		}},
		"too soon": {east, AnalysisOptions{Classes: []Class{"GLACIER"}, Payback: 1, OverlapDays: 30}, []string{
			"no move to S3 pays back within 1 month while both copies are paid for 30 days",
		}},
		"migrate does not archive": {east, AnalysisOptions{Classes: []Class{EBSArchive}}, []string{
			"EBS Snapshots Archive would save $6.25 a month, but migrate does not archive snapshots: " + archive,
		}},
	} {
		r := analyze(t, tt.h, tt.o)
		var got []string
		for _, k := range r.Plan(PlanOptions{}).Kept {
			got = append(got, k.Why)
			if strings.Contains(k.Why, "modify-snapshot-tier") != (len(k.Archive) == 3) {
				t.Errorf("%s: to archive are %v", name, k.Archive)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// One class for all leaves out what another would save of some volumes.
func TestOwnClasses(t *testing.T) {
	r := analyze(t, slices.Concat(in("us-east-1", "vol-0000000a", 3, 100<<30, 50<<30), in("us-west-2", "vol-0000000b", 3, 100<<30, 80<<30)), AnalysisOptions{})
	var own Money
	for _, region := range r.Regions {
		own += region.Volumes[0].Options[region.Volumes[0].Best].Saving.Estimate
	}
	if r.OwnClasses.Estimate != own || own <= r.Options[r.Best].Saving.Estimate {
		t.Errorf("each in its own class saves %s, want %s, more than %s", r.OwnClasses.Estimate, own, r.Options[r.Best].Saving.Estimate)
	}
}

// Volumes that the bill has nothing of have no table of losses.
func TestNothingBilled(t *testing.T) {
	h := in("us-east-1", "vol-0000000a", 3, 100<<30, 0)
	for i := range h {
		h[i].Billed = 0
	}
	h[0].Work = WorkValidated
	r := analyze(t, h, AnalysisOptions{})
	if v := r.Regions[0].Volumes[0]; v.Options != nil || v.Why != "not reckoned: nothing is billed for them, or the bill lacks them" {
		t.Errorf("%q, %d options", v.Why, len(v.Options))
	}
	if r.Deletable.Snapshots != 1 || r.Deletable.Saving.High != 0 {
		t.Errorf("deletable: %+v", r.Deletable)
	}
}

// Missing prices are told by region and class, however many requests they are of.
func TestMissingPricesInShort(t *testing.T) {
	r := analyze(t, in("us-west-2", "vol-0000000b", 3, 100<<30, 80<<30), AnalysisOptions{})
	want := []NoPrices{{"us-west-2", []string{"EBS Snapshots Archive", "S3 DEEP_ARCHIVE", "S3 GLACIER", "S3 GLACIER_IR", "S3 ONEZONE_IA", "S3 STANDARD_IA"}}}
	if diff := cmp.Diff(want, r.NoPrices); diff != "" {
		t.Errorf("no prices (-want +got):\n%s", diff)
	}
	if v := r.Regions[0].Volumes[0]; ClassNames(v.Unpriced) != "STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER, DEEP_ARCHIVE, EBS Snapshots Archive" {
		t.Errorf("without a price: %v", v.Unpriced)
	}
	for _, p := range r.Rates {
		if !strings.HasSuffix(p.Item, " STANDARD in us-west-2") && p.Item != "gp3 volumes in us-west-2" && p.Item != "EBS snapshots in us-west-2" {
			t.Errorf("%s counts in nothing", p.Item)
		}
	}
}

// The price of EBS snapshots is the bill's, so that a table need not have it.
func TestBilledRateIsEnough(t *testing.T) {
	table := Builtin()
	delete(table.prices, item{"us-east-1", snapshotItem})
	h := in("us-east-1", "vol-0000000a", 3, 100<<30, 50<<30)
	for i := range h {
		h[i].Rate = Dollar / 25
	}
	r := analyze(t, h, AnalysisOptions{Table: table, Classes: []Class{"GLACIER"}})
	if len(r.Options) == 0 || len(r.Unknown) > 0 {
		t.Errorf("%d options, no price of %q", len(r.Options), r.Unknown)
	}
}
