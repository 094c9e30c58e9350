package cli

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill/billtest"
)

// inChina is an account of the partition aws-cn, which is billed in CNY.
func inChina(from time.Time) *billtest.Account {
	a := billtest.New(9, from, 1)
	a.Partition, a.Region, a.Prefix, a.Currency = "aws-cn", "cn-north-1", "CNN1-", "CNY"
	return a
}

// offerInChina is what an offer file has of S3 Standard and of what moves there.
func offerInChina(t *testing.T) string {
	t.Helper()
	rows := [][]string{
		{"Publication Date", "2026-09-01T17:06:43Z"},
		{"OfferCode", "AmazonS3"},
		{"SKU", "TermType", "StartingRange", "Unit", "PricePerUnit", "Currency", "Location Type", "usageType", "operation", "Region Code"},
	}
	for usage, price := range map[string][2]string{
		"EBS:SnapshotUsage": {"GB-Mo", "0.40"}, "EBS:VolumeUsage.gp3": {"GB-Mo", "0.53"}, "TimedStorage-ByteHrs": {"GB-Mo", "0.17"},
		"Requests-Tier1": {"Requests", "0.00004"}, "Requests-Tier2": {"Requests", "0.00003"},
	} {
		rows = append(rows, []string{"x", "OnDemand", "0", price[0], price[1], "CNY", "AWS Region", "CNN1-" + usage, "", "cn-north-1"})
	}
	var b strings.Builder
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAnalyzeInYuan: a bill of China is analysed as any other, in its own currency.
func TestAnalyzeInYuan(t *testing.T) {
	t.Parallel()
	a := inChina(time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC))
	w := newBilled(t, a)
	page, plan := filepath.Join(w.dir, "page.html"), filepath.Join(w.dir, "plan.json")
	args := []string{
		"analyze", w.bill(a, billtest.LegacyCSV, billtest.Daily, "cn.csv"), "--prices", offerInChina(t), "--storage-class", "STANDARD",
		"--html", page, "--plan", plan, "--instance-price", "0.5",
	}
	var billed cost.Money
	for _, one := range truthOf(a) {
		billed = billed.Plus(one.Billed)
	}
	all := analyzed(t, w.run(append(args, "--output", "json")...))
	total := all[len(all)-1]
	if total["currency"] != "CNY" || !sameCents(total.money(t, "billed"), billed) {
		t.Errorf("the total is %v, want %s CNY", total, billed.Decimal())
	}
	if n := len(ofKind(all, "option")); n == 0 {
		t.Errorf("no options: %v", total)
	}
	for _, p := range ofKind(all, "source") {
		if p["region"] != "cn-north-1" {
			t.Errorf("a price of elsewhere: %v", p)
		}
	}
	text := w.ok(args...).stdout
	if strings.Contains(text, "$") || !strings.Contains(text, "Region cn-north-1 (CN¥") || !strings.Contains(text, "S3 STANDARD CN¥0.17") {
		t.Errorf("the text is\n%.3000s", text)
	}
	if got := read(t, page); !strings.Contains(got, "<title>EBS snapshots: CN¥") {
		t.Errorf("the page is %.500s", got)
	}
	var p struct{ Currency string }
	if err := json.Unmarshal([]byte(read(t, plan)), &p); err != nil || p.Currency != "CNY" {
		t.Errorf("the plan is in %q, %v", p.Currency, err)
	}
	// Without prices of China, sizes and what is billed stand, and nothing is guessed.
	text = w.ok(args[0], args[1], "--storage-class", "STANDARD").stdout
	if !strings.Contains(text, "no price of STANDARD in cn-north-1 is known; give --prices") || !strings.Contains(text, "Billed in that time: CN¥") {
		t.Errorf("without prices the text is\n%.3000s", text)
	}
}

// TestAnalyzeSomeRegions: what --region names and the bill does not have is said.
func TestAnalyzeSomeRegions(t *testing.T) {
	t.Parallel()
	a := billtest.New(8, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	w := newBilled(t, a)
	text := w.ok("analyze", "--offline", w.bill(a, billtest.LegacyCSV, billtest.Daily, "b.csv"), "--region", a.Region, "--region", "us-est-1").stdout
	if !strings.Contains(text, "the bill has no snapshots in us-est-1") || !strings.Contains(text, "Region "+a.Region) {
		t.Errorf("the text is\n%.3000s", text)
	}
}
