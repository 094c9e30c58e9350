package print_test

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/print"
)

// in is the report with its amounts taken for amounts of another currency.
func in(t *testing.T, c cost.Currency) cost.Report {
	r := report(t)
	r.Currency = c
	return r
}

func write(t *testing.T, to func(io.Writer, cost.Report) error, r cost.Report) string {
	t.Helper()
	var b strings.Builder
	if err := to(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No output says dollars of a report in another currency, and each says which it is.
func TestEveryOutputSaysTheCurrency(t *testing.T) {
	t.Parallel()
	for c, want := range map[cost.Currency]struct{ text, csv, json string }{
		"":       {"Total: 1240.0 GB, at least $", "usd_month,usd_month_low,usd_month_high,usd_billed,usd_blended,usd_net", `"currency":"USD"`},
		cost.CNY: {"Total: 1240.0 GB, at least CN¥", "cny_month,cny_month_low,cny_month_high,cny_billed,cny_blended,cny_net", `"currency":"CNY"`},
		"INR":    {"Total: 1240.0 GB, at least INR ", "inr_month,inr_month_low,inr_month_high,inr_billed,inr_blended,inr_net", `"currency":"INR"`},
	} {
		r := in(t, c)
		text, table, lines := write(t, print.Text, r), write(t, print.CSV, r), write(t, print.JSON, r)
		if !strings.Contains(text, want.text) || !strings.Contains(table, want.csv) || !strings.Contains(lines, want.json) {
			t.Errorf("in %s:\n%s\n%.500s\n%s", c, text, table, lines)
		}
		if c != "" {
			for _, out := range []string{text, table, lines} {
				if strings.Contains(out, "$") || strings.Contains(strings.ToLower(out), "usd") {
					t.Errorf("in %s, dollars are spoken of:\n%s", c, out)
				}
			}
		}
	}
}

// What has no price costs something, and is not shown to cost nothing.
func TestUnknownCostsAreNotNothing(t *testing.T) {
	t.Parallel()
	some := report(t)
	none, err := cost.Analyze([]cost.Holding{some.Regions[1].Volumes[0].Snapshots[0].Holding}, cost.AnalysisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		r    cost.Report
		text []string
		low  bool
	}{
		"some": {some, []string{"Region xx-north-1 (cost not known for 1 snapshot)", "10.0 GB total, cost not known for 1 snapshot", "/month for 6 snapshots, 1 of them without a price", "  at least $"}, true},
		"none": {none, []string{"Region xx-north-1 (cost not known for 1 snapshot)", "Total: 10.0 GB, cost not known for 1 snapshot\n"}, false},
	} {
		text := write(t, print.Text, tt.r)
		for _, want := range tt.text {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the text lacks %q:\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "$0.00/month") {
			t.Errorf("%s: something costs nothing:\n%s", name, text)
		}
		for line := range strings.Lines(write(t, print.JSON, tt.r)) {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			unpriced := row["type"] == "total" || row["region"] == "xx-north-1" && row["type"] != "limit" || row["type"] == "option" && row["volume"] == nil
			for _, member := range []string{"monthly", "monthly_high", "now", "after", "first_month"} {
				if _, there := row[member]; there && unpriced {
					t.Errorf("%s: %s is there: %s", name, member, line)
				}
			}
			if _, there := row["monthly_low"]; row["type"] == "total" && (there != tt.low || row["unpriced"] != 1.0) {
				t.Errorf("%s: %s", name, line)
			}
		}
		rows, err := csv.NewReader(strings.NewReader(write(t, print.CSV, tt.r))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row[2] == "xx-north-1" && strings.Join(row[16:19], "") != "" {
				t.Errorf("%s: CSV has amounts: %q", name, row)
			}
		}
	}
}
