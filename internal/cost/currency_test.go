package cost

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for want, tt := range map[string]struct {
		c Currency
		m Money
	}{
		"$1,234.57":             {"", 1_234_567_800_000},
		"$0.00":                 {USD, 0},
		"CN¥1,234.57":           {CNY, 1_234_567_800_000},
		"CN¥0.0052":             {CNY, 5_230_000},
		"<CN¥0.0001":            {CNY, 1},
		"-CN¥1.00":              {CNY, -Dollar},
		"INR 1,234.00":          {"INR", 1234 * Dollar},
		"<JPY 0.0001":           {"JPY", 1},
		"-INR 9,223,372,036.85": {"INR", math.MinInt64},
	} {
		if got := tt.c.Format(tt.m); got != want {
			t.Errorf("%d in %s: %q, want %q", int64(tt.m), tt.c, got, want)
		}
	}
}

func TestRegionCurrency(t *testing.T) {
	for region, want := range map[string]Currency{
		"cn-north-1": CNY, "cn-northwest-1": CNY, "us-east-1": USD, "us-gov-west-1": USD, "ca-central-1": USD, "": USD,
	} {
		if got := RegionCurrency(region); got != want {
			t.Errorf("%q is priced in %s, want %s", region, got, want)
		}
	}
}

// yuan is a price list of a region in China, with all that moving needs.
func yuan(t *testing.T) *Table {
	t.Helper()
	var list []sku
	for usage, name := range items() {
		unit := map[unit]string{gibMonth: "GB-Mo", gib: "GB", iopsMonth: "IOPS-Mo", thousand: "Requests", million: "IOs"}[unitOf(name)]
		list = append(list, sku{"CNN1-" + usage.usage, usage.operation, "cn-north-1", "AWS Region", unit, "0", "CNY", "0.25"})
	}
	l, err := ReadPrices(t.Context(), "cn", strings.NewReader(listCSV(list)))
	if err != nil {
		t.Fatal(err)
	}
	return l.Table
}

func dear(region string, c Currency) []Holding {
	h := uniform(3, 10<<30, 10<<30)
	for i := range h {
		h[i].Region = region
		if c == CNY {
			h[i].Partition = "aws-cn"
		}
	}
	return h
}

// A price counts in a report of its currency alone.
func TestPricesInTheCurrencyOfTheReport(t *testing.T) {
	table := Builtin().With(yuan(t))
	for name, tt := range map[string]struct {
		region string
		in     Currency
		priced bool
	}{
		"dollars":                  {"us-east-1", USD, true},
		"nothing said":             {"us-east-1", "", true},
		"yuan":                     {"cn-north-1", CNY, true},
		"rupees":                   {"us-east-1", "INR", false},
		"yuan, of an offer in USD": {"us-east-1", CNY, false},
		"China, in dollars":        {"cn-north-1", USD, false},
	} {
		r := analyze(t, dear(tt.region, tt.in), AnalysisOptions{Table: table, Currency: tt.in})
		if got := r.Total.Unpriced == 0 && len(r.Options) > 0 && len(r.Rates) > 0 && len(r.Unknown) == 0; got != tt.priced {
			t.Errorf("%s: %+v, %d options, %d rates, not known: %q", name, r.Total, len(r.Options), len(r.Rates), r.Unknown)
		}
		if tt.in != "" && r.Currency != tt.in || tt.in == "" && r.Currency != USD || r.Plan(PlanOptions{}).Currency != r.Currency {
			t.Errorf("%s: the report is in %q", name, r.Currency)
		}
	}
	if r := analyze(t, dear("cn-north-1", CNY), AnalysisOptions{Table: table, Currency: CNY}); r.Total.Monthly.Estimate != 3*10*Dollar/4 {
		t.Errorf("30 GiB at 0.25 are %s", r.Currency.Format(r.Total.Monthly.Estimate))
	}
}

// What bills tell counts in any currency.
func TestRatesOfBillsInAnyCurrency(t *testing.T) {
	h := dear("us-east-1", "INR")
	for i := range h {
		h[i].Rate = 4 * Dollar
	}
	r := analyze(t, h, AnalysisOptions{Currency: "INR"})
	if r.Total.Unpriced != 0 || r.Total.Monthly != known(3*10*4*Dollar) {
		t.Errorf("%+v", r.Total)
	}
	if len(r.Options) != 0 || !slices.Contains(r.Unknown, "S3 GLACIER in us-east-1") {
		t.Errorf("%d options, not known: %q", len(r.Options), r.Unknown)
	}
}

// What has no price is counted, and in no sum; the least of a sum is what is known.
func TestUnpriced(t *testing.T) {
	h := uniform(3, 10<<30, 10<<30)
	h[2].Region = "xx-north-1"
	r := analyze(t, h, AnalysisOptions{})
	if r.Total.Unpriced != 1 || r.Total.Monthly != known(Dollar) {
		t.Errorf("total: %+v", r.Total)
	}
	for _, o := range r.Options {
		if o.Unpriced != 1 {
			t.Errorf("option to %s, all %d: %d without a price stay", o.Class, o.Snapshots, o.Unpriced)
		}
	}
	for _, region := range r.Regions {
		if region.Name == "xx-north-1" && (region.Sum.Unpriced != 1 || region.Sum.Monthly != MoneyRange{}) {
			t.Errorf("%s: %+v", region.Name, region.Sum)
		}
	}
	// One in the archive tier, of which no price is known, beside others that have one.
	h = uniform(3, 10<<30, 10<<30)
	for i := range h {
		h[i].Region = "us-west-2"
	}
	h[2].Billed, h[2].Archive, h[2].Archived = 0, 10<<30, true
	r = analyze(t, h, AnalysisOptions{Classes: []Class{"STANDARD"}})
	v := r.Regions[0].Volumes[0]
	if v.Sum.Unpriced != 1 || !v.Snapshots[2].Unpriced || v.Snapshots[0].Unpriced {
		t.Errorf("%+v", v)
	}
	for _, o := range v.Options {
		if o.Unpriced != 1 {
			t.Errorf("option %+v", o)
		}
	}
	if len(v.Options) == 0 {
		t.Error("no options")
	}
}
