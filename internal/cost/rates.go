package cost

import (
	"cmp"
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
	return p.amount, ok
}

// billedItem is one tier of snapshots where one rate is billed for it.
type billedItem struct {
	of   account
	name string // snapshotItem or archiveItem
}

// rate is what a GiB-month of an item costs: what the bill says, else the table.
// false: that is not known.
func (a *analysis) rate(of account, name string) (Money, bool) {
	m, ok := a.knownRate(of, name)
	if !ok {
		a.missing[item{of.region, name}] = true
	}
	return m, ok
}

// knownRate is rate where nothing is missing without it.
func (a *analysis) knownRate(of account, name string) (Money, bool) {
	if m, ok := a.billed[billedItem{of, name}]; ok {
		return m, true
	}
	p, ok := a.o.Table.prices[item{of.region, name}]
	return p.amount, ok
}

// billedRates are those at which most bytes of an account and region are billed.
func billedRates(h []Holding) map[billedItem]Money {
	bytes := map[billedItem]map[Money]int64{}
	count := func(of billedItem, rate Money, n int64) {
		if rate <= 0 {
			return
		}
		if bytes[of] == nil {
			bytes[of] = map[Money]int64{}
		}
		bytes[of][rate] = add(bytes[of][rate], n)
	}
	for _, x := range h {
		if !x.Gone {
			count(billedItem{x.account(), snapshotItem}, x.Rate, x.Billed)
			count(billedItem{x.account(), archiveItem}, x.ArchiveRate, x.Archive)
		}
	}
	rates := make(map[billedItem]Money, len(bytes))
	for of, m := range bytes {
		rates[of] = slices.MaxFunc(slices.Sorted(maps.Keys(m)), func(x, y Money) int { return cmp.Compare(m[x], m[y]) })
	}
	return rates
}

// limits are the changes above which a class is cheaper than EBS: in the limit
// of many snapshots, n full copies at p/ratio against n changes at the price of
// EBS snapshots. A class without a price has none.
func (a *analysis) limits(of account) []Limit {
	var limits []Limit
	ebs, _ := a.knownRate(of, snapshotItem)
	for _, c := range a.o.Classes {
		p, ok := a.knownRate(of, c.item())
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

// used are the prices that a figure of the report is made of.
func (a *analysis) used(r Report) []Rate {
	type counted struct {
		of   account
		name string
	}
	var rates []Rate
	asked, seen := map[counted]bool{}, map[Rate]bool{}
	count := func(of account, names ...string) {
		for _, name := range names {
			if asked[counted{of, name}] {
				continue
			}
			asked[counted{of, name}] = true
			if rate, ok := a.usedRate(of, name, r.Period); ok && !seen[rate] {
				seen[rate] = true
				rates = append(rates, rate)
			}
		}
	}
	for _, region := range r.Regions {
		for _, l := range region.Limits {
			count(region.Volumes[0].account(), snapshotItem, l.Class.item())
		}
		for _, v := range region.Volumes {
			if v.Sum.Standard.High > 0 {
				count(v.account(), snapshotItem)
			}
			if v.Sum.Archive > 0 {
				count(v.account(), archiveItem)
			}
			for _, o := range v.Options {
				count(v.account(), o.Class.items(a.o.Source)...)
			}
		}
	}
	slices.SortStableFunc(rates, func(x, y Rate) int {
		return cmp.Or(cmp.Compare(x.Region, y.Region), cmp.Compare(x.Item, y.Item), cmp.Compare(x.Price, y.Price))
	})
	return rates
}

// usedRate is what rate knows of an item; false: nothing.
func (a *analysis) usedRate(of account, name string, p Period) (Rate, bool) {
	i := item{of.region, name}
	if m, ok := a.billed[billedItem{of, name}]; ok {
		return Rate{of.region, i.words(), m, string(gibMonth), "the bill", day(p.Newest)}, true
	}
	t, ok := a.o.Table.prices[i]
	return Rate{of.region, i.words(), t.amount, string(t.unit), t.source, t.dated}, ok
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// downRange is what bytes cost at m a GiB, rounded down.
func (m Money) downRange(r Range) MoneyRange {
	return MoneyRange{m.down(gibBytes, r.Low), m.down(gibBytes, r.Estimate), m.down(gibBytes, r.High)}
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
