package print_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/snapshot"
)

const gib = 1 << 30

// sample is the sample of the predecessor's README, whose ids are all "xxx".
func sample(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/readme-sample.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sampleReport is a report of the sample's own numbers: what each line says of
// sizes and shares, no more.
func sampleReport(t *testing.T, text string) cost.Report {
	t.Helper()
	region := regexp.MustCompile(`^Region (\S+) \(\$([\d.]+)/month for (\d+) snapshots\)`)
	volume := regexp.MustCompile(`^(vol-\S+) \((\d+)GB, ([^)]*)\): (\d+) GB total, \$([\d.]+)/month for (\d+) snapshots, average snapshot change ([\d.]+)%`)
	snap := regexp.MustCompile(`^(snap-\S+) (\S+) ([\d.]+) GB(?: \(([\d.]+)%\))?`)
	r := cost.Report{Best: -1}
	for line := range strings.Lines(text) {
		if m := region.FindStringSubmatch(line); m != nil {
			r.Regions = append(r.Regions, cost.Region{Name: m[1], Sum: cost.Sum{Snapshots: int(number(t, m[3])), Monthly: dollars(t, m[2])}})
		}
		if m := volume.FindStringSubmatch(line); m != nil {
			v := cost.Volume{ID: snapshot.VolumeID(m[1]), Size: int64(number(t, m[2])) * gib, Name: m[3], State: cost.VolumeExists, Best: -1}
			if v.Name == "deleted" {
				v.Name, v.State = "", cost.VolumeDeleted
			}
			v.Sum = cost.Sum{Snapshots: int(number(t, m[6])), Monthly: dollars(t, m[5]), Standard: size(number(t, m[4]))}
			v.Change = cost.Change{Known: true, Percent: number(t, m[7])}
			r.Regions[0].Volumes = append(r.Regions[0].Volumes, v)
		}
		if m := snap.FindStringSubmatch(line); m != nil {
			start, err := time.Parse(time.DateOnly, m[2])
			if err != nil {
				t.Fatal(err)
			}
			s := cost.Snapshot{Standard: size(number(t, m[3])), Percent: number(t, "0"+m[4])}
			s.ID, s.Start = snapshot.ID(m[1]), start
			v := &r.Regions[0].Volumes[len(r.Regions[0].Volumes)-1]
			v.Snapshots = append(v.Snapshots, s)
		}
	}
	return r
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func dollars(t *testing.T, text string) cost.MoneyRange {
	t.Helper()
	m, err := cost.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return cost.MoneyRange{Low: m, Estimate: m, High: m}
}

func size(gb float64) cost.Range {
	n := int64(gb * gib)
	return cost.Range{Low: n, Estimate: n, High: n}
}

// The predecessor's report: the same lines with the same numbers, which ours says of
// volumes with as many digits as of all else.
func TestTextHasTheShapeOfThePredecessor(t *testing.T) {
	t.Parallel()
	want := sample(t)
	var got strings.Builder
	if err := print.Text(&got, sampleReport(t, want)); err != nil {
		t.Fatal(err)
	}
	rounded := strings.NewReplacer("3016.0 GB total, $151.00", "3016 GB total, $151", "5.0 GB total, $0.25", "5 GB total, $0.247")
	shape := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			line = strings.Join(strings.Fields(line), " ")
			if line == "Taken for this:" {
				break
			}
			if line != "" && line != "best: keep" {
				lines = append(lines, line)
			}
		}
		return lines
	}
	if n := len(shape(want)); n != 25 {
		t.Fatalf("the sample has %d lines", n)
	}
	if diff := cmp.Diff(shape(want), shape(rounded.Replace(got.String()))); diff != "" {
		t.Errorf("the report (-predecessor +ours):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		print.Percent(52.3, 100): "52%", print.Percent(0.069, 100): "0.069%", print.Percent(7.94, 100): "7.9%", print.Percent(9.96, 100): "10%",
		print.Percent(99.6, 100): "100%", print.Percent(348, 100): "348%", print.Percent(0, 100): "0%", print.Percent(1, 0): "", print.Percent(-7.94, 100): "-7.9%",
		print.GB(448*gib + 700<<20): "448.7", print.GB(0): "0.0",
	} {
		if text != want {
			t.Errorf("got %s, want %s", text, want)
		}
	}
}

const hostile = "=1+1\n\x1b[31m,\"\u202e|</script>"

// report has all that a report may have.
func report(t *testing.T) cost.Report {
	t.Helper()
	h := func(n int, billed float64, change func(*cost.Holding)) cost.Holding {
		x := cost.Holding{
			Partition: "aws", Account: "111111111111", Region: "us-east-1", ID: snapshot.ID(fmt.Sprintf("snap-%017x", n)),
			Volume: "vol-0123456789abcdef0", VolumeName: hostile, VolumeState: cost.VolumeExists, VolumeSize: 500 * gib,
			Start: time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC), Description: hostile, FullSize: 400 * gib,
			InBill: true, Billed: int64(billed * gib), Cost: cost.Dollar, Blended: cost.Dollar, NetCost: cost.Dollar / 2,
		}
		change(&x)
		return x
	}
	r, err := cost.Analyze([]cost.Holding{
		h(1, 400, func(*cost.Holding) {}),
		h(2, 200, func(x *cost.Holding) { x.Average = true }),
		h(3, 180, func(x *cost.Holding) { x.Holds = []string{"ami-0123456789abcdef0 uses it"} }),
		h(4, 0, func(x *cost.Holding) { x.Archive, x.Holds = 300*gib, []string{"archive tier"} }),
		h(5, 90, func(x *cost.Holding) { x.Gone = true }),
		h(6, 150, func(*cost.Holding) {}),
		h(7, 10, func(x *cost.Holding) { x.Region, x.Volume = "xx-north-1", "vol-0123456789abcdef1" }),
	}, cost.AnalysisOptions{
		Ratio: cost.Ratio{Plain: 2, Stored: 1}, Payback: 6,
		Period: cost.Period{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), Newest: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTextSaysWhatIsNew(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := report(t)
	if err := print.Text(&b, r); err != nil {
		t.Fatal(err)
	}
	t.Log(b.String())
	for _, want := range []string{
		"[average]", "[ami-0123456789abcdef0 uses it]", "archive tier", "gone since the bill began", "2:1, as given", "bills from 2026-01-01 to 2026-01-31",
		"GLACIER", "DEEP_ARCHIVE", "STANDARD_IA", "EBS Snapshots Archive", "as increments", "Prices of 2026-11-23", "for want of a price", "xx-north-1",
		print.Answer(r),
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	for _, bad := range []string{"\x1b", "\u202e"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%q reaches the terminal", bad)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	one := cost.MoneyRange{Low: 1, Estimate: 112_400_000_000, High: 1}
	option := cost.Option{Class: "GLACIER", Snapshots: 14, Volumes: 3, Saving: one, BreakEven: 1}
	some := cost.Sum{Snapshots: 1}
	for want, r := range map[string]cost.Report{
		"Move 14 snapshots of 3 volumes to GLACIER: save $112.40 a month, paid back in 1 month": {Total: some, Options: []cost.Option{option}},
		"No snapshots are paid for":                                         {Best: -1},
		"Keep the snapshots: moving them saves nothing":                     {Total: some, Best: -1, Options: []cost.Option{option}},
		"Keep the snapshots: moving them does not pay back within 6 months": {Total: some, Best: -1, Options: []cost.Option{option}, Payback: 6},
		"What moving snapshots saves is not known: no S3 prices in x are known; give --prices": {
			Total: some, Best: -1, Unreckoned: []cost.Unreckoned{{Why: "no S3 prices in x are known; give --prices", Sum: some}},
		},
		"Keep the snapshots that could be reckoned with: moving them saves nothing": {
			Total: some, Best: -1, Options: []cost.Option{option}, Unreckoned: []cost.Unreckoned{{Why: "y", Sum: some}},
		},
		"Keep the snapshots: no move to S3 pays back within 1 month while both copies are paid for 30 days": {
			Total: some, Best: -1, Options: []cost.Option{option}, Payback: 1, Overlap: 30,
		},
		"Keep the snapshots: none of them can be moved": {Total: some, Best: -1},
	} {
		if got := print.Answer(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := print.CSV(&b, report(t)); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 8 {
		t.Fatalf("%d lines, %v", len(rows), err)
	}
	first := map[string]string{}
	for _, row := range rows[1:] {
		if row[7] == "snap-00000000000000002" {
			for i, name := range rows[0] {
				first[name] = row[i]
			}
		}
	}
	for name, want := range map[string]string{
		"gib": "200", "change_percent": "40", "usd_month": "10", "description": "'" + hostile, "volume_gib": "500", "average": "true", "usd_net": "0.5",
		"start": "2026-01-02T00:00:00Z", "movable": "true", "region": "us-east-1",
	} {
		if first[name] != want {
			t.Errorf("%s is %q, want %q", name, first[name], want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := print.JSON(&b, report(t)); err != nil {
		t.Fatal(err)
	}
	kinds, last := map[string]int{}, ""
	for line := range strings.Lines(b.String()) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		last, _ = row["type"].(string)
		if row["v"] != 1.0 {
			t.Errorf("version of %s", line)
		}
		kinds[last]++
		if last == "snapshot" && row["snapshot"] == "snap-00000000000000002" && (row["gib"] != 200.0 || row["monthly"] != 10.0 || row["change_percent"] != 40.0 || row["description"] != hostile) {
			t.Errorf("a snapshot is %s", line)
		}
	}
	if kinds["snapshot"] != 7 || kinds["volume"] != 2 || kinds["region"] != 2 || kinds["total"] != 1 || kinds["option"] == 0 || kinds["source"] == 0 || last != "total" {
		t.Errorf("lines by type: %v, the last is %s", kinds, last)
	}
}

// Values are written by their place: each row has all its members.
func TestRowsAreNamed(t *testing.T) {
	t.Parallel()
	for _, row := range []any{
		print.SnapshotRow{}, print.VolumeRow{}, print.RegionRow{}, print.LimitRow{}, print.OptionRow{}, print.SourceRow{}, print.NoteRow{}, print.TotalRow{},
	} {
		seen := map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(row)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.Anonymous && (name == "" || seen[name]) {
				t.Errorf("%T: %s is named %q", row, f.Name, name)
			}
			seen[name] = true
		}
	}
}

type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

func TestWriteErrorsAreTold(t *testing.T) {
	t.Parallel()
	r := report(t)
	for name, err := range map[string]error{
		"text": print.Text(&full{10}, r), "csv": print.CSV(&full{10}, r), "json": print.JSON(&full{10}, r),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Blended cost is said where it is another, and accounts where there are several.
func TestBlendedAndAccounts(t *testing.T) {
	t.Parallel()
	r := report(t)
	if text := write(t, print.Text, r); strings.Contains(text, "blended") || strings.Contains(text, "account 1") {
		t.Errorf("one account, and no other rates:\n%s", text)
	}
	h := r.Regions[0].Volumes[0].Snapshots[0].Holding
	other := h
	other.Account, other.Blended = "999988887777", 3*cost.Dollar
	r, err := cost.Analyze([]cost.Holding{h, other}, cost.AnalysisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := write(t, print.Text, r)
	for _, want := range []string{
		"Billed in that time: $2.00; $1.00 after credits and refunds; $4.00 at blended rates\n",
		", account " + h.Account + "): ", ", account 999988887777): ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}
