package bill_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/snapshot"
)

// calendar is a bill of September 2024, by days.
type calendar struct{ lines []string }

const calendarHeader = "bill/InvoiceId,bill/PayerAccountId,lineItem/UsageAccountId,lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate," +
	"lineItem/UsageType,lineItem/ResourceId,lineItem/UsageAmount,lineItem/UnblendedCost"

// who is an account, its payer and a region.
type who struct{ payer, account, region string }

func numbered(id int) snapshot.ID { return snapshot.ID(fmt.Sprintf("snap-%017x", id)) }

func (c *calendar) add(w who, invoice, usage, resource string, from, to time.Time) {
	c.lines = append(c.lines, strings.Join([]string{
		invoice, w.payer, w.account, "Usage", from.Format(time.RFC3339), to.Format(time.RFC3339), usage, resource, "0.1", "0.005",
	}, ","))
}

// snapshots adds lines of the snapshots from one number to another, on the days
// from one to another; sizes say the day.
func (c *calendar) snapshots(w who, ids, days [2]int, invoice string) {
	for d := days[0]; d <= days[1]; d++ {
		for id := ids[0]; id <= ids[1]; id++ {
			c.storage(w, "EBS:SnapshotUsage", id, d, invoice)
		}
	}
}

func (c *calendar) storage(w who, usage string, id, d int, invoice string) {
	arn := fmt.Sprintf("arn:aws:ec2:%s:%s:snapshot/%s", w.region, w.account, numbered(id))
	c.add(w, invoice, usage, arn, day(2024, 9, d).Add(23*time.Hour), day(2024, 9, d+1))
}

// other adds a line of another service on a day.
func (c *calendar) other(w who, d int) {
	c.add(w, "", "BoxUsage", "i-1", day(2024, 9, d).Add(time.Hour), day(2024, 9, d).Add(2*time.Hour))
}

func (c *calendar) read(t testing.TB) bill.Usage {
	return read(t, text(append([]string{calendarHeader}, c.lines...)...))
}

// numbersGone are the snapshots that are taken for deleted, as "1 2 5".
func numbersGone(u bill.Usage) string {
	var gone []string
	for _, s := range u.Snapshots {
		if s.Gone && s.Tier == bill.Standard {
			gone = append(gone, strings.TrimLeft(strings.TrimPrefix(string(s.ID), "snap-"), "0"))
		}
	}
	slices.Sort(gone)
	return strings.Join(gone, " ")
}

var (
	west   = who{"999999999999", "111111111111", "us-west-2"}
	east   = who{"999999999999", "111111111111", "us-east-1"}
	linked = who{"999999999999", "222222222222", "us-west-2"}
	payer  = who{"888888888888", "333333333333", "us-west-2"}
)

// Which day counts in an account and region, and what is gone on it.
func TestDayThatCounts(t *testing.T) {
	t.Parallel()
	all := [2]int{1, 20}
	most := func(c *calendar) { // 7 of 20 have no line on the 11th
		c.snapshots(west, all, [2]int{1, 10}, "")
		c.snapshots(west, [2]int{8, 20}, [2]int{11, 11}, "")
	}
	const seven = "1 2 3 4 5 6 7"
	const twenty = "1 10 11 12 13 14 2 3 4 5 6 7 8 9 a b c d e f"
	for name, c := range map[string]struct {
		bill   func(*calendar)
		of     who
		newest int
		gone   string
		note   string
	}{
		"nothing after": {func(c *calendar) { c.snapshots(west, all, [2]int{1, 11}, "") }, west, 10, "", "sizes are of 2024-09-10 (111111111111 in us-west-2)"},
		"one day":       {func(c *calendar) { c.snapshots(west, all, [2]int{1, 1}, "") }, west, 1, "", "nothing says that any day of the bill is complete"},
		"half written":  {most, west, 10, "", "sizes are of 2024-09-10"},
		"half written, others later": {
			func(c *calendar) { most(c); c.other(west, 12) }, west, 10, "",
			"111111111111 in us-west-2: 7 of 20 snapshots have no line on 2024-09-11",
		},
		"really deleted": {func(c *calendar) { most(c); c.snapshots(west, [2]int{8, 20}, [2]int{12, 12}, "") }, west, 11, seven, "sizes are of 2024-09-11"},
		"one deleted": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(west, [2]int{2, 20}, [2]int{11, 11}, "")
			c.other(west, 12)
		}, west, 11, "1", ""},
		"the only one deleted": {func(c *calendar) {
			c.snapshots(west, [2]int{1, 1}, [2]int{1, 10}, "")
			c.other(west, 11)
			c.other(west, 12)
		}, west, 11, "1", "all snapshots taken for deleted: 111111111111 in us-west-2 after 2024-09-10"},
		"the only one of a region": {func(c *calendar) {
			c.snapshots(west, [2]int{1, 1}, [2]int{1, 10}, "")
			c.snapshots(east, [2]int{2, 9}, [2]int{1, 12}, "")
		}, west, 11, "1", "us-west-2 after 2024-09-10"},
		"a region billed later": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(east, [2]int{30, 39}, [2]int{1, 12}, "")
		}, west, 10, "", "20 of 20 snapshots have no line on 2024-09-11"},
		"a region emptied": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(east, [2]int{30, 39}, [2]int{1, 14}, "")
		}, west, 13, twenty, "us-west-2 after 2024-09-10"},
		"an account billed later": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(linked, [2]int{30, 39}, [2]int{1, 12}, "")
		}, west, 9, "", "not the same everywhere: 2024-09-09 (111111111111 in us-west-2), 2024-09-11 (222222222222 in us-west-2)"},
		"an account closed": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(linked, [2]int{30, 39}, [2]int{1, 14}, "")
		}, west, 11, twenty, "111111111111 in us-west-2 after 2024-09-10"},
		"another payer's bill is newer": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.snapshots(payer, [2]int{30, 39}, [2]int{1, 25}, "")
		}, west, 9, "", "not the same everywhere"},
		"the payer changed": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			c.other(who{payer.payer, west.account, ""}, 24)
			c.other(who{payer.payer, west.account, ""}, 25)
		}, west, 24, twenty, "after 2024-09-10"},
		"a line dated ahead": {func(c *calendar) {
			c.snapshots(west, [2]int{1, 1}, [2]int{1, 10}, "")
			c.other(west, 25)
		}, west, 9, "", ""},
		"final": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 29}, "")
			c.snapshots(west, [2]int{8, 20}, [2]int{30, 30}, "1")
		}, west, 30, seven, ""},
		"final, of another account": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 29}, "")
			c.snapshots(linked, [2]int{30, 39}, [2]int{30, 30}, "1")
		}, west, 30, twenty, ""},
		"not final":                        {func(c *calendar) { c.snapshots(west, all, [2]int{1, 30}, "") }, west, 29, "", "sizes are of 2024-09-29"},
		"an invoice before the month ends": {func(c *calendar) { c.snapshots(west, all, [2]int{1, 11}, "1") }, west, 10, "", "sizes are of 2024-09-10"},
		"all archived": {func(c *calendar) {
			c.snapshots(west, all, [2]int{1, 10}, "")
			for id := all[0]; id <= all[1]; id++ {
				c.storage(west, "EBS:SnapshotArchiveStorage", id, 11, "")
			}
			c.other(west, 12)
		}, west, 11, twenty, ""},
		"nothing of it there": {func(c *calendar) { c.snapshots(west, all, [2]int{1, 11}, ""); c.other(west, 12) }, payer, 11, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var days calendar
			c.bill(&days)
			slices.Reverse(days.lines) // no order is promised
			u := days.read(t)
			if got := u.NewestOf(c.of.account, c.of.region); !got.Equal(day(2024, 9, c.newest)) {
				t.Errorf("newest %s, want %d", got, c.newest)
			}
			if gone := numbersGone(u); gone != c.gone {
				t.Errorf("gone %q, want %q", gone, c.gone)
			}
			if notes := strings.Join(u.Notes, "\n"); !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
	if got := (bill.Usage{}).NewestOf("1", "2"); !got.IsZero() {
		t.Errorf("a bill without lines has a newest day: %s", got)
	}
}

// Whatever is missing of each account's newest day, and whichever accounts end up to
// two days before others: what is there on an account's last whole day is not
// gone, and what was deleted before is.
func TestNothingIsGoneThatIsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var c calendar
		there, deleted := map[snapshot.ID]bool{}, map[snapshot.ID]bool{}
		id := 0
		for _, w := range []who{west, east, linked, payer} {
			end := 20
			if w.payer == payer.payer {
				end = rapid.IntRange(5, 20).Draw(rt, "payer's end")
			} else if w.account == linked.account {
				end -= rapid.IntRange(0, 2).Draw(rt, "behind")
			}
			for range rapid.IntRange(1, 30).Draw(rt, "snapshots") {
				id++
				born := rapid.IntRange(1, end-1).Draw(rt, "born")
				died := rapid.IntRange(born, end+9).Draw(rt, "died") // the last day with a line
				c.snapshots(w, [2]int{id, id}, [2]int{born, min(died, end-1)}, "")
				if died >= end && rapid.Bool().Draw(rt, "written") {
					c.snapshots(w, [2]int{id, id}, [2]int{end, end}, "")
				}
				there[numbered(id)], deleted[numbered(id)] = died >= end-1, died < end-5
			}
			for d := 1; d <= end; d++ {
				c.other(w, d)
			}
		}
		u := c.read(t)
		for _, s := range u.Snapshots {
			if s.Gone && there[s.ID] || !s.Gone && deleted[s.ID] {
				rt.Errorf("%s of %s in %s is gone: %t; notes %q", s.ID, s.Account, s.Region, s.Gone, u.Notes)
			}
		}
	})
}

// A month that is not over has means that are too small: the month before counts.
func TestMonthNotOver(t *testing.T) {
	t.Parallel()
	var c calendar
	for id := 1; id <= 3; id++ {
		arn := fmt.Sprintf("arn:aws:ec2:us-west-2:%s:snapshot/%s", west.account, numbered(id))
		for month, amount := range map[int]string{8: "3,", 9: "1,"} {
			if id == 3 && month == 9 || id == 2 && month == 8 {
				continue
			}
			c.add(west, "", "EBS:SnapshotUsage", arn, day(2024, month, 1), day(2024, month+1, 1))
			last := &c.lines[len(c.lines)-1]
			*last = strings.Replace(*last, "0.1,", amount, 1)
		}
	}
	u := c.read(t)
	for i, want := range []int64{3 << 30, 1 << 30, 3 << 30} {
		if s := u.Snapshots[i]; s.Gone || s.Bytes != want || !s.Average {
			t.Errorf("%s: gone %t, %d bytes, want %d", s.ID, s.Gone, s.Bytes, want)
		}
	}
	if !u.Newest.Equal(day(2024, 8, 31)) || !u.To.Equal(day(2024, 10, 1)) {
		t.Errorf("newest %s, to %s", u.Newest, u.To)
	}
}

// Bills of two payers of which one ends earlier, in every form.
func TestTwoPayers(t *testing.T) {
	t.Parallel()
	whole, part := billtest.New(5, day(2024, 4, 1), 1), billtest.New(6, day(2024, 4, 1), 1)
	part.ID, part.Payer, part.To = "444444444444", "555555555555", day(2024, 4, 21)
	first := map[billtest.Format]bill.Usage{}
	for _, f := range billtest.Formats() {
		dir := t.TempDir()
		var inputs []bill.Input
		for i, a := range []*billtest.Account{whole, part} {
			path := filepath.Join(dir, fmt.Sprintf("bill%d%s", i, endings(f)[0]))
			if err := a.WriteFile(path, f, a.Lines(billtest.Daily)); err != nil {
				t.Fatal(err)
			}
			inputs = append(inputs, open(t, path))
		}
		u := read(t, inputs...)
		u.Sources = nil
		for i := range u.Snapshots {
			if u.Snapshots[i].Bytes == 0 {
				u.Snapshots[i].Rate = 0 // which nothing tells where a form has no rates
			}
		}
		first[f] = u
		if d := cmp.Diff(first[billtest.LegacyCSV], u); d != "" {
			t.Errorf("%s: %s", f, d)
		}
		if a, b := u.NewestOf(whole.ID, whole.Region), u.NewestOf(part.ID, part.Region); !a.Equal(day(2024, 4, 30)) || !b.Equal(day(2024, 4, 19)) {
			t.Errorf("%s: newest %s and %s", f, a, b)
		}
		billed := part.Billed(day(2024, 4, 19))
		for _, s := range u.Snapshots {
			blocks, there := billed[billtest.Key{ID: s.ID, Tier: s.Tier}]
			if s.Account == part.ID && s.FirstDay.Before(day(2024, 4, 20)) && (s.Gone == there || there && s.Bytes != blocks*blockSize) {
				t.Errorf("%s: %s is gone: %t, %d bytes, want %d", f, s.ID, s.Gone, s.Bytes, blocks*blockSize)
			}
		}
	}
}
