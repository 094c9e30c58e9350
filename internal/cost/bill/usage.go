package bill

import (
	"cmp"
	"fmt"
	"slices"

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
		err := fmt.Errorf("the bill has a header, and no lines: %s", l.names())
		return Usage{}, hint.Wrap(err, "AWS fills a new report within a day; give the report of last month, or of another account")
	}
	if l.left.nameless > 0 && len(l.entries) == 0 {
		err := fmt.Errorf("the bill has %s of snapshots, and none names its snapshot", count(l.left.nameless, "line", "lines"))
		return Usage{}, hint.Wrap(err, resourceHint)
	}
	if l.days.first <= l.days.last {
		u.From, u.To = date(l.days.first), date(l.days.last+1)
	}
	l.settle()
	u.Areas, u.Newest = l.areas()
	u.Notes = append(append(u.Notes, l.monthNotes()...), l.dayNotes()...)
	u.Snapshots = make([]Snapshot, 0, len(l.entries))
	var sizes sizes
	for k, at := range l.index {
		s, counts := l.snapshot(k, &l.entries[at])
		if s.Bytes > maxVolume {
			err := fmt.Errorf("lines of %s of %s on %s sum to %s, and no volume has more than %s",
				s.ID, l.places[k.place].name(), onDay(counts.day), gib(s.Bytes), gib(maxVolume))
			return Usage{}, hint.Wrap(err, "is its storage in the bill twice? give one report of each month")
		}
		sizes.add(s, counts, l.places[k.place].name())
		u.Snapshots = append(u.Snapshots, s)
	}
	slices.SortFunc(u.Snapshots, func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Tier, b.Tier))
	})
	u.Notes = append(append(u.Notes, l.left.notes(cost.Currency(l.currency))...), sizes.notes()...)
	if len(u.Snapshots) == 0 {
		u.Notes = append(u.Notes, "the bill has no lines of snapshots")
	}
	return u, nil
}

// names are those of the files read.
func (l *ledger) names() string {
	names := make([]string, 0, len(l.sources))
	for _, s := range l.sources {
		names = append(names, s.Name)
	}
	return few(names)
}

// snapshot is what an entry comes to, and which of its days counts.
func (l *ledger) snapshot(k key, e *entry) (Snapshot, slot) {
	p := &l.places[k.place]
	s := Snapshot{
		Partition: p.partition, Region: p.region, Account: p.account, ID: k.id.id(), Tier: k.tier,
		Cost: money(e.cost), NetCost: money(e.net), BlendedCost: money(e.blended), Gone: true,
	}
	if e.first <= e.last {
		s.FirstDay, s.LastDay = date(e.first), date(e.last)
	}
	at := e.newest[0]
	if at.span == 0 {
		return s, at // nothing but fees
	}
	s.Gone = at.day < p.day
	if at.day-at.span+1 > p.day && e.newest[1].span > 0 {
		at = e.newest[1]
	}
	whole := false
	s.Bytes, whole = stored(at.amount, at.day, int64(at.span))
	s.Average = !whole || at.span > 1
	s.Rate = cost.Money(at.rate)
	return s, at
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
