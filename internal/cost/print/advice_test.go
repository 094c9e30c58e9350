package print_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/snapshot"
)

// volume is three snapshots of a full volume in a region, as a bill and EC2 tell.
func volume(region string, n int, changed int64) []cost.Holding {
	var all []cost.Holding
	for i := range 3 {
		h := cost.Holding{
			Partition: "aws", Account: "111111111111", Region: region, ID: snapshot.ID(fmt.Sprintf("snap-%08x", 16*n+i)),
			Volume: snapshot.VolumeID(fmt.Sprintf("vol-%08x", n)), VolumeSize: 100 * gib, Start: time.Date(2026, 1, i+1, 0, 0, 0, 0, time.UTC),
			FullSize: 100 * gib, InBill: true, Billed: changed,
		}
		if i == 0 {
			h.Billed = h.FullSize
		}
		all = append(all, h)
	}
	return all
}

func analysis(t *testing.T, h []cost.Holding, o cost.AnalysisOptions) cost.Report {
	t.Helper()
	r, err := cost.Analyze(h, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Of a bill alone no output says that snapshots can, or cannot, be moved, or how
// much they hold.
func TestBillAlone(t *testing.T) {
	t.Parallel()
	h := volume("us-east-1", 1, 50*gib)
	for i := range h {
		h[i].Volume, h[i].VolumeSize, h[i].Start, h[i].FullSize = "", 0, time.Time{}, 0
	}
	for offline, why := range map[bool]string{
		true:  "EC2 was not asked of which volume they are; leave out --offline",
		false: "EC2 did not tell of which volume they are, and the notes say why",
	} {
		r := analysis(t, h, cost.AnalysisOptions{Offline: offline})
		text := write(t, print.Text, r)
		if !strings.HasSuffix(text, "\nWhat moving snapshots saves is not known: "+why+"\n") || !strings.Contains(text, "\n  not reckoned: "+why+"\n") {
			t.Errorf("the text does not say why:\n%s", text)
		}
		for _, bad := range []string{"cannot", "Keep", "prices are missing", "for want of"} {
			if strings.Contains(text, bad) {
				t.Errorf("the text says %q:\n%s", bad, text)
			}
		}
		for line := range strings.Lines(write(t, print.JSON, r)) {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			if row["type"] == "volume" && row["why"] != "not reckoned: "+why {
				t.Errorf("why: %s", line)
			}
			for _, member := range []string{"movable", "full"} {
				if _, there := row[member]; there {
					t.Errorf("%s is there: %s", member, line)
				}
			}
		}
		rows, err := csv.NewReader(strings.NewReader(write(t, print.CSV, r))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		full, movable := slices.Index(rows[0], "full_gib"), slices.Index(rows[0], "movable")
		for _, row := range rows[1:] {
			if row[full] != "" || row[movable] != "" {
				t.Errorf("CSV has %q and %q", row[full], row[movable])
			}
		}
	}
}

// What the answer leaves out is said below it, and both are the end of the text.
func TestBesideTheAnswer(t *testing.T) {
	t.Parallel()
	east, west, far := volume("us-east-1", 1, 50*gib), volume("us-west-2", 2, 80*gib), volume("eu-west-2", 3, 80*gib)
	still, done := volume("us-east-1", 4, 0), volume("us-east-1", 5, 50*gib)
	done[0].Work = cost.WorkValidated
	for name, tt := range map[string]struct {
		h    []cost.Holding
		o    cost.AnalysisOptions
		want []string
	}{
		"one class for all": {slices.Concat(east, west), cost.AnalysisOptions{}, []string{
			"Move 3 snapshots of 1 volume to DEEP_ARCHIVE: save $9.70 a month, paid back in 1 month",
			"With a class of its own for each volume: save $15.80 a month. This answer, --plan and --tag-plan take one class for all, which --storage-class names",
		}},
		"a region without prices": {slices.Concat(east, far), cost.AnalysisOptions{Classes: []cost.Class{"GLACIER"}}, []string{
			"Move 3 snapshots of 1 volume to GLACIER: save $8.92 a month, paid back in 1 month",
			"Not in this answer: 3 snapshots ($13.78/month): no price of GLACIER in eu-west-2 is known; give --prices",
		}},
		"prices of some": {volume("us-west-2", 2, 0), cost.AnalysisOptions{}, []string{
			"Keep the snapshots: moving them saves nothing",
			"Some classes have no price, and might save something: --prices FILE reads prices",
		}},
		"migrate does not archive": {east, cost.AnalysisOptions{Classes: []cost.Class{"STANDARD", cost.EBSArchive}}, []string{
			"Move 3 snapshots of 1 volume to EBS Snapshots Archive: save $6.25 a month, paid back in 1 month",
			"migrate does not archive snapshots, and --plan has what STANDARD saves: $3.10 a month; for each of them: " +
				"aws ec2 modify-snapshot-tier --region us-east-1 --storage-tier archive --snapshot-id snap-00000010",
		}},
		"direct reads": {east, cost.AnalysisOptions{Classes: []cost.Class{"STANDARD"}, Source: cost.ReadDirect}, []string{
			"Move 3 snapshots of 1 volume to STANDARD: save $3.10 a month, paid back in 1 month",
			"That is with reads through the EBS direct APIs: priced only, migrate reads by temporary volumes in this version",
		}},
		"validated": {done, cost.AnalysisOptions{Classes: []cost.Class{"GLACIER"}, Payback: 1, OverlapDays: 30}, []string{
			"Keep the snapshots that are not validated: no move to S3 pays back within 1 month while both copies are paid for 30 days",
			"1 snapshot is validated and still paid for: deleting it saves $2.50 a month",
		}},
		"nothing moves": {still, cost.AnalysisOptions{Classes: []cost.Class{"STANDARD"}}, []string{"Keep the snapshots: moving them saves nothing"}},
	} {
		r := analysis(t, tt.h, tt.o)
		got := append([]string{print.Answer(r)}, print.Beside(r)...)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if text := write(t, print.Text, r); !strings.HasSuffix(text, "\n"+strings.Join(got, "\n")+"\n") {
			t.Errorf("%s: the answer is not last:\n%s", name, text)
		}
	}
}

// What EC2 alone tells is a lower bound, in all headings.
func TestLowerBoundsAreSaidToBe(t *testing.T) {
	t.Parallel()
	h := volume("us-east-1", 1, 0)
	for i := range h {
		h[i].InBill, h[i].Billed = false, 0
	}
	text := write(t, print.Text, analysis(t, h, cost.AnalysisOptions{}))
	for _, want := range []string{
		"Region us-east-1 (at least $5.00/month for 3 snapshots)\n",
		"(100GB): at least 100.0 GB total, at least $5.00/month for 3 snapshots, ",
		"\nTotal: at least 100.0 GB, $5.00 ($5.00 to $15.00)/month for 3 snapshots\n",
		": save at least $4.70 a month",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}

// An amount and a size are printed in one way, wherever they are.
func TestOneWayToPrint(t *testing.T) {
	t.Parallel()
	h := volume("us-east-1", 1, 0)[:1]
	h[0].Billed, h[0].FullSize = 61*gib/2, 61*gib/2
	text := write(t, print.Text, analysis(t, h, cost.AnalysisOptions{}))
	if n := strings.Count(text, "$1.53/month"); n != 3 || strings.Contains(text, "$1.52/month") {
		t.Errorf("%d times $1.53/month:\n%s", n, text)
	}
	if n := strings.Count(text, " 30.5 GB"); n < 3 || strings.Contains(text, " 30 GB") {
		t.Errorf("%d times 30.5 GB:\n%s", n, text)
	}
}

// Missing prices take a line for each region, and prices one for each unit.
func TestPricesAreShort(t *testing.T) {
	t.Parallel()
	text := write(t, print.Text, analysis(t, slices.Concat(volume("eu-west-2", 1, 0), volume("us-west-2", 2, 0)), cost.AnalysisOptions{}))
	for _, want := range []string{
		"(--prices FILE reads prices, see docs/cost-model.md):\n  eu-west-2: EBS Snapshots Archive, S3 DEEP_ARCHIVE, ",
		"\n  us-west-2: EBS Snapshots Archive, S3 DEEP_ARCHIVE, S3 GLACIER, S3 GLACIER_IR, S3 ONEZONE_IA, S3 STANDARD_IA\nPrices of ",
		"\n  without a price: STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER, DEEP_ARCHIVE, EBS Snapshots Archive\n",
		"\n  not known: no S3 prices of eu-west-2 are known; give --prices\n",
		"\n  eu-west-2, a GiB-month: EBS snapshots $0.053 (",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n  eu-west-2"); n != 2 {
		t.Errorf("%d lines of eu-west-2:\n%s", n, text)
	}
}

// What an instance is taken to cost, and how snapshots are read, is said.
func TestAssumptionsNameTheInstance(t *testing.T) {
	t.Parallel()
	r := analysis(t, volume("us-east-1", 1, 50*gib), cost.AnalysisOptions{Source: cost.ReadDirect, HourlyRate: cost.Dollar / 5, Throughput: 200 << 20})
	all := strings.Join(print.Assumptions(r), "\n")
	for _, want := range []string{"the instance that moves them costs $0.2 an hour, as given, and moves 200 MiB a second", "priced only, migrate reads by temporary volumes"} {
		if !strings.Contains(all, want) {
			t.Errorf("assumptions lack %q:\n%s", want, all)
		}
	}
}
