package bill

import (
	"fmt"

	"snap-to-s3/internal/cost"
)

// leftOut is what was read but counted in no snapshot, for the notes.
type leftOut struct {
	nameless, foreign, tax, early int64 // lines
	namelessCost, foreignCost     int64
	taxCost                       int64
	example                       string // a resource that is no snapshot
	earlyDay                      int32  // of a line that is before its bill; early ones are counted
	earlyPeriod                   int
}

// notes says what was left out.
func (o *leftOut) notes(currency cost.Currency) []string {
	var notes []string
	left := func(lines int64, what string, units int64) {
		if lines > 0 {
			notes = append(notes, fmt.Sprintf("in no sum here: %s%s, %s", count(lines, "line", "lines"), what, currency.Format(money(units))))
		}
	}
	left(o.nameless, " of snapshots without a snapshot's name", o.namelessCost)
	left(o.foreign, " of snapshots for something else, such as "+o.example, o.foreignCost)
	left(o.tax, " of tax", o.taxCost)
	if o.early > 0 {
		notes = append(notes, fmt.Sprintf("dated before the month of their bill, as %s in that of %s, and counted for their day: %s of storage",
			onDay(o.earlyDay), monthText(o.earlyPeriod), count(o.early, "line", "lines")))
	}
	return notes
}

// sizes are those that are not simply what a day's lines say.
type sizes struct {
	averaged, uneven, free int64
	below                  []string // snapshots, with place and day
}

func (o *sizes) add(s Snapshot, counts slot, place string) {
	switch {
	case s.Average && counts.span > 1:
		o.averaged++
	case s.Average:
		o.uneven++
	}
	switch {
	case s.Gone:
	case counts.amount < 0:
		o.below = append(o.below, fmt.Sprintf("%s of %s on %s", s.ID, place, onDay(counts.day)))
	case s.Bytes > 0 && s.Rate == 0:
		o.free++
	}
}

func (o *sizes) notes() []string {
	var notes []string
	if o.averaged > 0 {
		notes = append(notes, "averages over the days of longer lines, too small for a snapshot that was not there all the time, "+
			"and for a month that is not over: "+count(o.averaged, "size", "sizes")+"; a report of days gives exact ones")
	}
	if o.uneven > 0 {
		notes = append(notes, "no whole number of 512 KiB blocks, as a snapshot changed in the day that counts: "+count(o.uneven, "size", "sizes"))
	}
	if o.free > 0 {
		notes = append(notes, "billed nothing on the day that counts, and priced as others of the account and region, or by the list: "+
			count(o.free, "snapshot", "snapshots"))
	}
	if len(o.below) > 0 {
		notes = append(notes, "lines that sum to less than nothing, and are taken for 0 bytes: "+few(o.below))
	}
	return notes
}

// count is a number of things: "1 line", "2 lines".
func count(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func gib(bytes int64) string { return fmt.Sprintf("%d GiB", bytes>>30) }
