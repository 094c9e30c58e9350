package cost

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"
)

const (
	snapshotItem  = "ebs:snapshot"
	archiveItem   = "ebs:snapshot-archive"
	retrievalItem = "ebs:snapshot-archive-retrieval"
	listItem      = "ebs:direct-list"
	getItem       = "ebs:direct-get"
)

// price looks an item up, or notes that it has no price.
func (a *analysis) price(i item) (Money, bool) {
	p, ok := a.o.Table.prices[i]
	if !ok {
		a.missing[i] = true
	}
	return p.usd, ok
}

// rate is what a GiB-month in the standard tier costs: what the bill says, else
// the table. 0: not known.
func (a *analysis) rate(of account) Money {
	if m, ok := a.ebs[of]; ok {
		return m
	}
	p, _ := a.price(item{of.region, snapshotItem})
	return p
}

// billedRates are those at which most bytes of an account and region are billed.
func billedRates(h []Holding) map[account]Money {
	bytes := map[account]map[Money]int64{}
	for _, x := range h {
		if x.Rate > 0 && !x.Gone {
			if bytes[x.account()] == nil {
				bytes[x.account()] = map[Money]int64{}
			}
			bytes[x.account()][x.Rate] = add(bytes[x.account()][x.Rate], x.Billed)
		}
	}
	rates := make(map[account]Money, len(bytes))
	for of, m := range bytes {
		rates[of] = slices.MaxFunc(slices.Sorted(maps.Keys(m)), func(x, y Money) int { return cmp.Compare(m[x], m[y]) })
	}
	return rates
}

// limits are the changes above which a class is cheaper than EBS: in the limit
// of many snapshots, n full copies at p/ratio against n changes at the price of
// EBS snapshots.
func (a *analysis) limits(h []Holding) []Limit {
	var limits []Limit
	ebs := a.rate(h[0].account())
	for _, c := range a.o.Classes {
		p, ok := a.price(item{h[0].Region, c.item()})
		if !ok || ebs == 0 {
			continue
		}
		ratio := a.o.Ratio
		if c == EBSArchive {
			ratio = Ratio{}
		}
		limits = append(limits, Limit{c, 100 * float64(p) / float64(ebs) / ratio.Float()})
	}
	return limits
}

// item is what a byte in the class is priced as.
func (c Class) item() string {
	if c == EBSArchive {
		return archiveItem
	}
	return "s3:" + string(c)
}

// items are those that moving to the class and back can need.
func (c Class) items(source ReadSource) []string {
	if c == EBSArchive {
		return []string{archiveItem, retrievalItem}
	}
	s3 := c.item()
	items := []string{s3, s3 + "-put", s3 + "-get", s3 + "-retrieval", s3 + "-restore", "s3:" + standard, "s3:" + standard + "-put"}
	if source == ReadDirect {
		return append(items, listItem, getItem)
	}
	return append(items, "ebs:"+volumeType)
}

// used are the prices of the regions of a report, as far as they can count.
func (a *analysis) used(r Report) []Rate {
	var rates []Rate
	seen := map[item]bool{}
	fromTable := func(i item) {
		if p, ok := a.o.Table.prices[i]; ok && !seen[i] {
			seen[i] = true
			rates = append(rates, Rate{i.region, i.words(), p.usd, string(p.unit), p.source, p.dated})
		}
	}
	for _, region := range r.Regions {
		billed := map[Money]bool{}
		for _, v := range region.Volumes {
			of := account{v.Partition, v.Account, v.Region}
			m, ok := a.ebs[of]
			if !ok {
				fromTable(item{v.Region, snapshotItem})
			} else if !billed[m] {
				billed[m] = true
				rates = append(rates, Rate{v.Region, item{v.Region, snapshotItem}.words(), m, string(gibMonth), "the bill", day(r.Period.Newest)})
			}
		}
		if region.Sum.Archive > 0 {
			fromTable(item{region.Name, archiveItem})
		}
		for _, c := range a.o.Classes {
			for _, name := range c.items(a.o.Source) {
				fromTable(item{region.Name, name})
			}
		}
	}
	slices.SortStableFunc(rates, func(x, y Rate) int {
		return cmp.Or(cmp.Compare(x.Region, y.Region), cmp.Compare(x.Item, y.Item), cmp.Compare(x.Price, y.Price))
	})
	return rates
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// why says why a volume has no options; empty: it has.
func (a *analysis) why(v Volume) string {
	movable := false
	for _, s := range v.Snapshots {
		movable = movable || s.Movable
	}
	switch {
	case v.ID == "":
		return "of which volume they are is not known"
	case !movable:
		return "none of them can be moved"
	case a.rate(account{v.Partition, v.Account, v.Region}) == 0:
		return fmt.Sprintf("no price is known for EBS snapshots in %s", v.Region)
	}
	for _, s := range v.Snapshots {
		if s.inChain() && s.Full.High == 0 {
			return "how much they hold is not known"
		}
	}
	return ""
}

// down is m times n divided by per, rounded down: what is saved must not be more.
func (m Money) down(per, n int64) Money {
	x := new(big.Int).Mul(big.NewInt(int64(m)), big.NewInt(n))
	x.Quo(x, big.NewInt(per))
	if !x.IsInt64() {
		return maxMoney
	}
	return Money(x.Int64())
}
