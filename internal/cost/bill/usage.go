package bill

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
)

// usage is what the ledger comes to.
func (l *ledger) usage() (Usage, error) {
	u := Usage{Currency: l.currency, Sources: l.sources, Notes: l.notes}
	rows := int64(0)
	for _, s := range l.sources {
		rows += s.Rows
	}
	if rows == 0 {
		err := errors.New("the bill has a header, and no lines")
		return Usage{}, hint.Wrap(err, "AWS fills a new report within a day; give the report of last month, or of another account")
	}
	if l.left.nameless > 0 && len(l.entries) == 0 {
		err := fmt.Errorf("the bill has %d lines of snapshots, and none names its snapshot", l.left.nameless)
		return Usage{}, hint.Wrap(err, resourceHint)
	}
	if l.days.first <= l.days.last {
		u.From, u.To = date(l.days.first), date(l.days.last+1)
	}
	newest := l.newestDays(&u)
	u.Snapshots = make([]Snapshot, 0, len(l.entries))
	var uneven, averaged int
	for k, at := range l.index {
		e := &l.entries[at]
		s, span := l.snapshot(k, e, newest[l.places[k.place].area])
		switch {
		case s.Average && span > 1:
			averaged++
		case s.Average:
			uneven++
		}
		u.Snapshots = append(u.Snapshots, s)
	}
	slices.SortFunc(u.Snapshots, func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Tier, b.Tier))
	})
	u.Notes = append(u.Notes, l.left.notes(l.currency)...)
	if averaged > 0 {
		u.Notes = append(u.Notes, fmt.Sprintf("%d sizes are averages over the days of longer lines: too small for a snapshot that was not there "+
			"all the time, and for a month that is not over; a report of days gives exact sizes", averaged))
	}
	if uneven > 0 {
		u.Notes = append(u.Notes, fmt.Sprintf("%d sizes are no whole number of 512 KiB blocks: these snapshots changed in the day that counts", uneven))
	}
	if len(u.Snapshots) == 0 {
		u.Notes = append(u.Notes, "the bill has no lines of snapshots")
	}
	return u, nil
}

// newestDays is the newest complete day of each area, and of all; math.MinInt32
// where an area has no lines of storage.
//
// The newest day of an area with lines is complete once the bill has come to the
// next day, or at the end of its month, after which its report gets no more
// days. Even then it is not, if it has less than half of the lines of the day
// before: AWS bills services one after another. Then the day before counts.
//
// An area that has no lines for more than two days before the newest of all
// has lost all its snapshots: nothing there is waited for.
func (l *ledger) newestDays(u *Usage) []int32 {
	newest := make([]int32, len(l.areas))
	best := int32(math.MinInt32)
	for i := range l.areas {
		day, note := l.areas[i].newest(l.all)
		newest[i] = day
		best = max(best, day)
		if note != "" {
			u.Notes = append(u.Notes, note)
		}
	}
	const late = 2
	for i := range newest {
		if newest[i] != math.MinInt32 && newest[i] < best-late {
			u.Notes = append(u.Notes, fmt.Sprintf("%s has no lines after %s: all its snapshots are taken for deleted",
				l.areas[i].name, date(newest[i]).Format(time.DateOnly)))
			newest[i] = best
		}
	}
	if best != math.MinInt32 {
		u.Newest = date(best)
	}
	return newest
}

// newest is the newest complete day of one area, and a note where that is not
// the newest with lines. all is the newest day of any service.
func (a *area) newest(all int32) (int32, string) {
	last, before := int32(math.MinInt32), int32(math.MinInt32)
	for day := range a.days {
		switch {
		case day > last:
			last, before = day, last
		case day > before:
			before = day
		}
	}
	if before == math.MinInt32 {
		return last, ""
	}
	over := all > last || int64(date(last).Day()) == monthDays(last)
	few := before == last-1 && 2*a.days[last] < a.days[before]
	if over && !few {
		return last, ""
	}
	return before, fmt.Sprintf("%s: the bill of %s may not be complete; sizes are of %s",
		a.name, date(last).Format(time.DateOnly), date(before).Format(time.DateOnly))
}

// snapshot is what an entry comes to, and how many days its size is about.
func (l *ledger) snapshot(k key, e *entry, newest int32) (Snapshot, int32) {
	p := &l.places[k.place]
	s := Snapshot{
		Partition: p.partition, Region: p.region, Account: p.account, ID: k.id.id(), Tier: k.tier,
		Cost: money(e.cost), NetCost: money(e.net), Gone: true,
	}
	if e.first <= e.last {
		s.FirstDay, s.LastDay = date(e.first), date(e.last)
	}
	at := e.newest[0]
	if at.span == 0 {
		return s, 0 // nothing but fees
	}
	s.Gone = at.day < newest
	if at.day > newest && e.newest[1].span > 0 {
		at = e.newest[1]
	}
	whole := false
	s.Bytes, whole = stored(at.amount, at.day, int64(at.span))
	s.Average = !whole || at.span > 1
	s.Rate = cost.Money(at.rate)
	return s, at.span
}

// money is an amount of units as nano-dollars.
func money(units int64) cost.Money {
	const per = perUnit / int64(cost.Dollar)
	half := per / 2
	if units < 0 {
		half = -half
	}
	return cost.Money(units/per + (units%per+half)/per)
}

// notes says what was left out.
func (o *leftOut) notes(currency string) []string {
	var notes []string
	if o.nameless > 0 {
		notes = append(notes, fmt.Sprintf("%d lines of snapshots name no snapshot: %s %s are in no sum here", o.nameless, money(o.namelessCost).Decimal(), currency))
	}
	if o.foreign > 0 {
		notes = append(notes, fmt.Sprintf("%d lines of snapshots are of something else, such as %s: %s %s are in no sum here",
			o.foreign, o.example, money(o.foreignCost).Decimal(), currency))
	}
	if o.tax > 0 {
		notes = append(notes, fmt.Sprintf("%d lines of tax, %s %s, are in no sum here", o.tax, money(o.taxCost).Decimal(), currency))
	}
	if o.twice > 0 {
		notes = append(notes, fmt.Sprintf("%d lines are in more than one assembly, and count once", o.twice))
	}
	return notes
}
