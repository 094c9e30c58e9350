package cost

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/snapshot"
)

// readmePrices are those of the predecessor's README; it counts storage alone.
func readmePrices(t *testing.T) *Table {
	t.Helper()
	const there = `us-west-2,ebs:snapshot,GiB-month,0.05,x
us-west-2,s3:STANDARD,GiB-month,0.023,x
us-west-2,s3:STANDARD_IA,GiB-month,0.0125,x
us-west-2,s3:GLACIER,GiB-month,0.004,x
`
	requests := map[string]string{"STANDARD": "0.005", "STANDARD_IA": "0.01", "GLACIER": "0.03"}
	text := there + "us-west-2,ebs:gp3,GiB-month,0.08,x\n"
	for class, put := range requests {
		text += fmt.Sprintf("us-west-2,s3:%s-put,thousand,%s,x\nus-west-2,s3:%s-get,thousand,0.0004,x\n", class, put, class)
	}
	table, err := parseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// uniform is n snapshots of a full volume that each change the same part of it.
func uniform(n int, size, changed int64) []Holding {
	var h []Holding
	for i := range n {
		x := Holding{
			Partition: "aws", Account: "1", Region: "us-west-2", ID: snapshot.ID(fmt.Sprintf("snap-%08x", i)), Volume: "vol-0000000a",
			VolumeSize: size, FullSize: size, Start: time.Unix(int64(i)*86400, 0).UTC(), InBill: true, Billed: changed,
		}
		if i == 0 {
			x.Billed = size
		}
		h = append(h, x)
	}
	return h
}

// rounded is how the README prints percentages: two significant digits, three
// from 100 to 109.
func rounded(percent float64) string {
	switch {
	case percent < 9.95:
		return strconv.FormatFloat(percent, 'f', 1, 64)
	case percent < 110:
		return strconv.FormatFloat(percent, 'f', 0, 64)
	}
	return strconv.FormatFloat(10*math.Round(percent/10), 'f', 0, 64)
}

// The tables of the predecessor's README come out of the model: n full copies
// in a class against one full size and n-1 changes in EBS. Of its 90 numbers two
// have a digit more than the others: 12.5.
func TestBreakEvenTables(t *testing.T) {
	text, err := os.ReadFile("testdata/breakeven.txt")
	if err != nil {
		t.Fatal(err)
	}
	const size = 1000 << 30
	cells := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		ratio, err := ParseRatio(f[0])
		if err != nil {
			t.Fatal(err)
		}
		change := 0.
		if f[1] != "limit" {
			if change, err = strconv.ParseFloat(f[1], 64); err != nil {
				t.Fatal(err)
			}
		}
		classes := []Class{"STANDARD", "STANDARD_IA", "GLACIER"}
		r, err := Analyze(uniform(12, size, int64(change*size/100)), AnalysisOptions{Table: readmePrices(t), Ratio: ratio, Classes: classes})
		if err != nil {
			t.Fatal(err)
		}
		for i, class := range classes {
			got := r.Regions[0].Limits[i].Percent
			if f[1] != "limit" {
				o := r.Regions[0].Volumes[0].find(class, FullCopies, ScopeAll)
				// Entries, records and what cold objects have beside them are ours: the README has archives alone.
				archives := 12 * readmePrices(t).prices[item{"us-west-2", class.item()}].amount.down(gibBytes, ratio.of(size))
				if part := float64(o.Storage.Estimate-archives) / float64(o.Storage.Estimate); part < 0 || part > 0.0016 {
					t.Errorf("%s: %g of the storage is not archives", line, part)
				}
				got = 100 * float64(archives) / float64(o.Now.Estimate)
				if o.Now.Estimate-o.Saving.Estimate != o.After.Estimate || o.After.Estimate != o.Storage.Estimate || o.Freed != exactly(size+11*int64(change*size/100)) {
					t.Errorf("%s: %+v", line, o)
				}
			}
			want := f[2+i]
			text := rounded(got)
			if want == "12.5" {
				text = strconv.FormatFloat(got, 'f', 1, 64)
			}
			if f[1] == "limit" && !strings.Contains(want, ".") {
				text = strconv.FormatFloat(got, 'f', 0, 64)
			}
			if cells++; text != want {
				t.Errorf("%s of %q: %s, want %s (%g)", class, strings.TrimSpace(line), text, want, got)
			}
		}
	}
	if cells != 90 {
		t.Errorf("%d numbers were compared, want 90", cells)
	}
}

// Of 12 snapshots GLACIER is always cheaper, says the README, however little
// they change.
func TestGlacierIsCheaperForTwelve(t *testing.T) {
	for _, n := range []int{12, 13} {
		r, err := Analyze(uniform(n, 1000<<30, 0), AnalysisOptions{Table: readmePrices(t), Classes: []Class{"GLACIER"}})
		if err != nil {
			t.Fatal(err)
		}
		if o := r.Options[0]; (o.Saving.Estimate > 0) != (n == 12) {
			t.Errorf("%d snapshots without change: saves %s a month", n, o.Saving.Estimate.Decimal())
		}
	}
}
