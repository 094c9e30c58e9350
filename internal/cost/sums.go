package cost

import (
	"fmt"
	"math/big"
	"slices"

	"snap-to-s3/internal/words"
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
	rate, _ := a.rate(s.account(), snapshotItem)
	s.Monthly, s.Unpriced = a.money(rate, s.Standard), rate == 0 && s.Standard.High > 0
	if s.Archive > 0 {
		p, _ := a.rate(s.account(), archiveItem)
		s.Monthly, s.Unpriced = s.Monthly.plus(a.money(p, exactly(s.Archive))), s.Unpriced || p == 0
	}
	if s.Unpriced {
		s.Monthly = MoneyRange{}
	}
	return s
}

func (s Snapshot) sum() Sum {
	sum := Sum{Snapshots: 1, Standard: s.Standard, Archive: s.Archive, Monthly: s.Monthly, Billed: s.Cost, Blended: s.Blended, Net: s.NetCost}
	if s.Unpriced {
		sum.Unpriced = 1
	}
	if s.Gone {
		sum = Sum{Gone: 1, Billed: s.Cost, Blended: s.Blended, Net: s.NetCost}
	}
	return sum
}

func (s Sum) plus(o Sum) Sum {
	return Sum{
		Snapshots: s.Snapshots + o.Snapshots,
		Unpriced:  s.Unpriced + o.Unpriced,
		Gone:      s.Gone + o.Gone,
		Standard:  s.Standard.plus(o.Standard),
		Archive:   add(s.Archive, o.Archive),
		Monthly:   s.Monthly.plus(o.Monthly),
		Billed:    s.Billed.Plus(o.Billed),
		Blended:   s.Blended.Plus(o.Blended),
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
	var average, unbilled, less, moved int
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			for i, s := range v.Snapshots {
				if s.moved() && s.inChain() && len(v.Options) > 0 {
					moved++
				}
				switch {
				case s.Gone:
				case s.Average:
					average++
				case v.ID != "" && !s.InBill && !s.archived() && !s.Standard.Exact():
					unbilled++
				case v.ID != "" && i == 0 && s.InBill && s.FullSize > 0 && s.Standard.Exact() && s.Standard.High < s.FullSize && s.inChain():
					less++
				}
			}
		}
	}
	var notes []string
	for _, n := range []struct {
		count      int
		what, text string
	}{
		{average, "snapshot", "sizes that are averages, since the bill has lines of more than a day: of %s"},
		{unbilled, "snapshot", "in no bill, and taken to be billed for what they grew by at the least: %s"},
		{moved, "snapshot", "moved already and not deleted, so that moving others of their volumes may save more once they are: %s"},
		{less, "volume", "whose oldest snapshot is billed for less than it holds, the rest being billed to others or not in the bill: %s"},
	} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf(n.text, words.Count(n.count, n.what)))
		}
	}
	return slices.Clip(notes)
}
