package bill_test

import (
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/cost/bill"
)

// periodHeader is that of bills which say the month that they are of.
const periodHeader = "bill/BillingPeriodStartDate,bill/PayerAccountId,lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate," +
	"lineItem/UsageType,lineItem/ResourceId,lineItem/UsageAmount,lineItem/UnblendedCost"

// inMonth is a line of a snapshot in the bill of a month.
func inMonth(month, payer, usage string, from, to time.Time) string {
	if month != "" {
		month += "-01T00:00:00Z"
	}
	return strings.Join([]string{month, payer, "Usage", from.Format(time.RFC3339), to.Format(time.RFC3339), usage, arnOf + id, "0.1", "0.005"}, ",")
}

// A line after the month of its bill is refused; one before it is counted, and said.
func TestBillingPeriod(t *testing.T) {
	t.Parallel()
	const storage = "EBS:SnapshotUsage"
	for name, c := range map[string]struct{ line, want, note string }{
		"in it":           {inMonth("2026-10", "1", storage, day(2026, 10, 31), day(2026, 11, 1)), "", ""},
		"a day after":     {inMonth("2026-10", "1", storage, day(2026, 11, 1), day(2026, 11, 2)), "", ""},
		"two days after":  {inMonth("2026-10", "1", storage, day(2026, 11, 2), day(2026, 11, 3)), `"2026-11-03T00:00:00Z" is after the line's billing period`, ""},
		"36 years after":  {inMonth("2026-10", "1", storage, day(2062, 10, 5), day(2062, 10, 6)), `a.csv, line 2, column lineItem/UsageEndDate: "2062-10-06T00:00:00Z"`, ""},
		"no storage":      {inMonth("2026-10", "1", "EBS:SnapshotArchiveRetrieval", day(2062, 10, 5), day(2062, 10, 6)), "is after", ""},
		"too long":        {inMonth("2026-10", "1", storage, day(2026, 10, 1), day(2026, 12, 1)), "is after", ""},
		"no period":       {inMonth("", "1", storage, day(2062, 10, 5), day(2062, 10, 6)), "", ""},
		"a strange one":   {strings.Replace(inMonth("2026-10", "1", storage, day(2026, 10, 5), day(2026, 10, 6)), "2026-10-01", "October", 1), "column bill/BillingPeriodStartDate", ""},
		"before, billed":  {inMonth("2026-10", "1", storage, day(2026, 9, 5), day(2026, 9, 6)), "", "as 2026-09-05 in that of 2026-10, and counted for their day: 1 line of storage"},
		"of another kind": {strings.Replace(inMonth("2026-10", "1", storage, day(2062, 10, 5), day(2062, 10, 6)), "Usage", "Fee", 1), "", ""},
	} {
		u, err := bill.Read(t.Context(), []bill.Input{text(periodHeader, c.line)}, bill.Options{})
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if notes := strings.Join(u.Notes, "\n"); err != nil || !strings.Contains(notes, c.note) || strings.Contains(notes, "dated before") != (c.note != "") {
			t.Errorf("%s: %q, %v", name, notes, err)
		}
	}
}

// What the bill of a month says of the month before is not told twice: it is
// corrected, or late. Nor are corrections of FOCUS, which say so.
func TestLateLines(t *testing.T) {
	t.Parallel()
	line := inMonth("2026-09", "1", "EBS:SnapshotUsage", day(2026, 9, 5), day(2026, 9, 6))
	u := read(t, text(periodHeader, line), bill.Stream("b.csv", strings.NewReader(periodHeader+"\n"+strings.Replace(line, "2026-09", "2026-10", 1))))
	if s := u.Snapshots[0]; s.Bytes != 6<<30 || s.Cost.Decimal() != "0.01" {
		t.Errorf("%+v", s)
	}
	const head = "BillingPeriodStart,BillingAccountId,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,x_UsageType,ResourceId,ConsumedQuantity,BilledCost,ChargeClass\n"
	again := bill.Stream("c.csv", strings.NewReader(head+line+",Correction"))
	u = read(t, bill.Stream("b.csv", strings.NewReader(head+line+",")), again)
	if s := u.Snapshots[0]; s.Cost.Decimal() != "0.01" {
		t.Errorf("%+v", s)
	}
}

// Months between bills that there is none of are named; one with lines of any
// service has a bill.
func TestMissingMonths(t *testing.T) {
	t.Parallel()
	snapshot := func(payer string, m int) string {
		return inMonth("", payer, "EBS:SnapshotUsage", day(2026, m, 3), day(2026, m, 4))
	}
	other := func(payer string, m int) string {
		return inMonth("", payer, "BoxUsage", day(2026, m, 3), day(2026, m, 4))
	}
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"none missing":       {[]string{snapshot("1", 9), snapshot("1", 10), snapshot("1", 11)}, ""},
		"one":                {[]string{snapshot("1", 11), snapshot("1", 9)}, "no bill of 2026-10 of payer 1: what it would say is in no sum here"},
		"two":                {[]string{snapshot("", 8), snapshot("", 11)}, "no bill of 2026-09 to 2026-10: what"},
		"no snapshots in it": {[]string{snapshot("1", 9), snapshot("1", 11), other("1", 10)}, ""},
		"of another payer":   {[]string{snapshot("1", 9), snapshot("1", 11), other("2", 10)}, "no bill of 2026-10 of payer 1"},
		"the payer changed":  {[]string{snapshot("1", 7), snapshot("2", 9), snapshot("2", 10)}, ""},
		"of one line":        {[]string{inMonth("", "1", "EBS:SnapshotUsage", day(2026, 8, 1), day(2026, 11, 1)), snapshot("1", 11)}, ""},
	} {
		notes := strings.Join(read(t, text(append([]string{periodHeader}, c.lines...)...)).Notes, "\n")
		if !strings.Contains(notes, c.want) || strings.Contains(notes, "no bill of") != (c.want != "") {
			t.Errorf("%s: %q, want %q", name, notes, c.want)
		}
	}
}
