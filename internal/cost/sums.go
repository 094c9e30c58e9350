package cost

import (
	"fmt"
	"math/big"
	"slices"
)

// snapshot fills in what a snapshot costs.
func (a *analysis) snapshot(s Snapshot, size int64) Snapshot {
	if s.Gone {
		s.Standard = Range{}
		return s
	}
	if size > 0 {
		s.Percent = percent(s.Standard.Estimate, size)
	}
	s.Monthly = a.money(a.rate(s.account()), s.Standard)
	if s.Archive > 0 {
		p, _ := a.price(item{s.Region, archiveItem})
		s.Monthly = s.Monthly.plus(a.money(p, exactly(s.Archive)))
	}
	return s
}

func (s Snapshot) sum() Sum {
	sum := Sum{Snapshots: 1, Standard: s.Standard, Archive: s.Archive, Monthly: s.Monthly, Billed: s.Cost, Net: s.NetCost}
	if s.Gone {
		sum = Sum{Gone: 1, Billed: s.Cost, Net: s.NetCost}
	}
	return sum
}

func (s Sum) plus(o Sum) Sum {
	return Sum{
		Snapshots: s.Snapshots + o.Snapshots,
		Gone:      s.Gone + o.Gone,
		Standard:  s.Standard.plus(o.Standard),
		Archive:   add(s.Archive, o.Archive),
		Monthly:   s.Monthly.plus(o.Monthly),
		Billed:    s.Billed.Plus(o.Billed),
		Net:       s.Net.Plus(o.Net),
	}
}

// change is what the predecessor printed as "average snapshot change".
func (v Volume) change() Change {
	var sizes []int64
	for _, s := range v.Snapshots {
		if s.inChain() {
			sizes = append(sizes, s.Standard.Estimate)
		}
	}
	if len(sizes) < 2 || v.Size == 0 {
		return Change{}
	}
	var sum int64
	for _, n := range sizes[1:] {
		sum = add(sum, n)
	}
	return Change{Known: true, Percent: percent(sum, v.Size) / float64(len(sizes))}
}

func percent(part, whole int64) float64 { return 100 * float64(part) / float64(whole) }

// money is what bytes cost at a price for a GiB.
func (a *analysis) money(p Money, r Range) MoneyRange {
	at := func(n int64) Money { return p.share(big.NewInt(gibBytes), n) }
	if r.Exact() {
		return known(at(r.Estimate))
	}
	return MoneyRange{at(r.Low), at(r.Estimate), at(r.High)}
}

func known(m Money) MoneyRange { return MoneyRange{m, m, m} }

func (r MoneyRange) plus(o MoneyRange) MoneyRange {
	return MoneyRange{r.Low.Plus(o.Low), r.Estimate.Plus(o.Estimate), r.High.Plus(o.High)}
}

// minus takes the ends that are furthest apart.
func (r MoneyRange) minus(o MoneyRange) MoneyRange {
	return MoneyRange{r.Low.Plus(-o.High), r.Estimate.Plus(-o.Estimate), r.High.Plus(-o.Low)}
}

// notes say what is to be known of the figures.
func notes(r Report) []string {
	var average, unbilled, shared, unknown int
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			for i, s := range v.Snapshots {
				switch {
				case s.Gone:
				case v.ID == "":
					unknown++
				case s.Average:
					average++
				case !s.InBill && !s.archived() && !s.Standard.Exact():
					unbilled++
				case i == 0 && s.InBill && s.FullSize > 0 && s.Standard.Exact() && s.Standard.High < s.FullSize && s.inChain():
					shared++
				}
			}
		}
	}
	var notes []string
	for _, n := range []struct {
		count int
		text  string
	}{
		{unknown, "of no known volume, so that what deleting them does to others is not known: %d of the snapshots"},
		{average, "averages, since the bill has lines of more than a day: the sizes of %d of the snapshots"},
		{unbilled, "in no bill, and taken to be billed for what they grew by at the least: %d of the snapshots"},
		{shared, "made from snapshots of other volumes, with which they share blocks that are billed there: %d of the volumes"},
	} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf(n.text, n.count))
		}
	}
	return slices.Clip(notes)
}
