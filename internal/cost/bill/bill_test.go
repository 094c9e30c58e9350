package bill_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
)

const blockSize = 512 << 10

func day(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC) }

func open(t testing.TB, path string) bill.Input {
	t.Helper()
	in, err := bill.File(path)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func read(t testing.TB, inputs ...bill.Input) bill.Usage {
	t.Helper()
	u, err := bill.Read(t.Context(), inputs, bill.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// text is a CSV as an input without random access.
func text(lines ...string) bill.Input {
	return bill.Stream("a.csv", strings.NewReader(strings.Join(lines, "\n")))
}

// ending is how files of a form may end.
func endings(f billtest.Format) []string {
	if f.Parquet() {
		return []string{".parquet"}
	}
	return []string{".csv", ".csv.gz", ".csv.zip"}
}

// truth is an account and what it comes to, computed once.
type truth struct {
	*billtest.Account
	totals map[billtest.Key]billtest.Total
	billed map[time.Time]map[billtest.Key]int64
}

func truthOf(a *billtest.Account) truth {
	tr := truth{a, a.Totals(), map[time.Time]map[billtest.Key]int64{}}
	for d := a.From; d.Before(a.To); d = d.AddDate(0, 0, 1) {
		tr.billed[d] = a.Billed(d)
	}
	return tr
}

// check compares what was read with the truth.
func check(t *testing.T, u bill.Usage, a truth, g billtest.Granularity) {
	t.Helper()
	totals := a.totals
	if len(u.Snapshots) != len(totals) {
		t.Errorf("%d snapshots, want %d", len(u.Snapshots), len(totals))
	}
	last := a.To.AddDate(0, 0, -1)
	if u.Currency != a.Currency || !u.Newest.Equal(last) || !u.To.Equal(a.To) || !u.From.Equal(a.From) {
		t.Errorf("%s, %s to %s, newest %s", u.Currency, u.From, u.To, u.Newest)
	}
	for _, s := range u.Snapshots {
		want, ok := totals[billtest.Key{ID: s.ID, Tier: s.Tier}]
		if !ok {
			t.Errorf("%s %s is not in the bill", s.ID, s.Tier)
			continue
		}
		cents(t, string(s.ID), s.Cost, want.Cost)
		cents(t, string(s.ID)+" net", s.NetCost, want.Net)
		if s.Partition != a.Partition || s.Region != a.Region || s.Account != a.ID {
			t.Errorf("%s is in %s %s %s", s.ID, s.Partition, s.Region, s.Account)
		}
		gone := want.Last.Before(last)
		if g == billtest.Monthly {
			monthlyAverage(t, a, s, want.Last)
			continue
		}
		if s.Gone != gone || !s.FirstDay.Equal(want.First) || !s.LastDay.Equal(want.Last) {
			t.Errorf("%s: %s to %s, gone %t; want %+v", s.ID, s.FirstDay, s.LastDay, s.Gone, want)
		}
		if blocks := a.billed[want.Last][billtest.Key{ID: s.ID, Tier: s.Tier}]; s.Bytes != blocks*blockSize || s.Average {
			t.Errorf("%s %s: %d bytes, average %t; want %d blocks, %d bytes", s.ID, s.Tier, s.Bytes, s.Average, blocks, blocks*blockSize)
		}
		if rate := map[bill.Tier]cost.Money{bill.Standard: a.Rate, bill.Archive: a.ArchiveRate}[s.Tier]; s.Rate != rate {
			t.Errorf("%s: rate %s, want %s", s.ID, s.Rate, rate)
		}
	}
}

func cents(t *testing.T, what string, got, want cost.Money) {
	t.Helper()
	if d := got - want; d > cost.Dollar/1000 || d < -cost.Dollar/1000 {
		t.Errorf("%s: %s dollars, want %s", what, got.Decimal(), want.Decimal())
	}
}

// monthlyAverage is over all days of the newest month the snapshot was in.
func monthlyAverage(t *testing.T, a truth, s bill.Snapshot, newest time.Time) {
	t.Helper()
	key := billtest.Key{ID: s.ID, Tier: s.Tier}
	month := day(newest.Year(), int(newest.Month()), 1)
	sum, days := int64(0), int64(0)
	for d := month; d.Month() == month.Month(); d = d.AddDate(0, 0, 1) {
		sum += a.billed[d][key] * blockSize
		days++
	}
	if diff := s.Bytes - sum/days; diff > 4096 || diff < -4096 || !s.Average {
		t.Errorf("%s: %d bytes, average %t, want %d", s.ID, s.Bytes, s.Average, sum/days)
	}
	end := month.AddDate(0, 1, -1)
	if !s.LastDay.Equal(end) || s.Gone != end.Before(a.To.AddDate(0, 0, -1)) {
		t.Errorf("%s: last day %s, gone %t", s.ID, s.LastDay, s.Gone)
	}
}

// One truth, in every form and granularity, in months of 28 to 31 days.
func TestEveryForm(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]time.Time{"28": day(2023, 2, 1), "29": day(2024, 2, 1), "30": day(2024, 9, 1), "31": day(2024, 12, 1)} {
		a := truthOf(billtest.New(7, from, 1))
		for _, f := range billtest.Formats() {
			for _, g := range []billtest.Granularity{billtest.Hourly, billtest.Daily, billtest.Monthly} {
				for _, end := range endings(f) {
					t.Run(fmt.Sprintf("%s/%s/%d%s", name, f, g, end), func(t *testing.T) {
						t.Parallel()
						path := filepath.Join(t.TempDir(), "bill"+end)
						if err := a.WriteFile(path, f, a.Lines(g)); err != nil {
							t.Fatal(err)
						}
						check(t, read(t, open(t, path)), a, g)
						b, err := os.ReadFile(path)
						if err != nil {
							t.Fatal(err)
						}
						check(t, read(t, bill.Stream("standard input", bytes.NewReader(b))), a, g)
					})
				}
			}
		}
	}
}

// Several months, a file each, and other partitions.
func TestMonths(t *testing.T) {
	t.Parallel()
	a := billtest.New(3, day(2024, 1, 1), 3)
	a.Partition, a.Region, a.Prefix, a.Currency = "aws-cn", "cn-north-1", "CNN1-", "CNY"
	dir := t.TempDir()
	var inputs []bill.Input
	for m := range 3 {
		one := *a
		one.From, one.To = a.From.AddDate(0, m, 0), a.From.AddDate(0, m+1, 0)
		path := filepath.Join(dir, fmt.Sprintf("m%d.csv.gz", m))
		lines := func(yield func(billtest.Line) bool) {
			for l := range a.Lines(billtest.Hourly) {
				if !l.From.Before(one.From) && l.From.Before(one.To) && !yield(l) {
					return
				}
			}
		}
		if err := a.WriteFile(path, billtest.CUR2CSV, lines); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, open(t, path))
	}
	u := read(t, inputs[2], inputs[0], inputs[1])
	check(t, u, truthOf(a), billtest.Hourly)
	var names []string
	for _, s := range u.Sources {
		names = append(names, filepath.Base(s.Name)+" "+s.Format)
	}
	want := []string{"m2.csv.gz CUR 2.0, CSV, gzip", "m0.csv.gz CUR 2.0, CSV, gzip", "m1.csv.gz CUR 2.0, CSV, gzip"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bill.Read(ctx, []bill.Input{text("a")}, bill.Options{}); err != context.Canceled {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	a := billtest.New(7, day(2024, 4, 1), 1)
	a.Noise = 2000
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := a.WriteFile(path, billtest.LegacyCSV, a.Lines(billtest.Daily)); err != nil {
		t.Fatal(err)
	}
	var bytes, rows int64
	calls := 0
	u, err := bill.Read(t.Context(), []bill.Input{open(t, path)}, bill.Options{Progress: func(b, r int64) {
		if calls++; b < bytes || r < rows {
			t.Errorf("%d bytes, %d rows after %d, %d", b, r, bytes, rows)
		}
		bytes, rows = b, r
	}})
	if err != nil || calls < 10 || rows == 0 || rows > u.Sources[0].Rows {
		t.Errorf("%d calls, %d of %d rows: %v", calls, rows, u.Sources[0].Rows, err)
	}
}
