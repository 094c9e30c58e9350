package cost

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// Analyze says what snapshots cost and what moving them would save. It depends
// on nothing but its arguments; that of h does not change. An error is about what
// cannot be: a snapshot given twice, a negative size, an unknown class.
func Analyze(h []Holding, o AnalysisOptions) (Report, error) {
	if err := errors.Join(checkHoldings(h), o.check()); err != nil {
		return Report{}, err
	}
	if o.Table == nil {
		o.Table = Builtin()
	}
	o.Table = o.Table.only(o.Currency)
	if len(o.Classes) == 0 {
		o.Classes = Classes()
	}
	a := &analysis{o: o, missing: map[item]bool{}, billed: billedRates(h)}
	r := Report{
		Currency: cmp.Or(o.Currency, USD), Ratio: o.Ratio, Source: o.Source, HourlyRate: o.HourlyRate, Throughput: o.Throughput,
		Payback: o.Payback, Overlap: o.OverlapDays, Period: o.Period, Best: -1,
	}
	h = slices.Clone(h)
	slices.SortFunc(h, byVolume)
	for len(h) > 0 {
		n := slices.IndexFunc(h, func(x Holding) bool { return x.region() != h[0].region() })
		if n < 0 {
			n = len(h)
		}
		region, err := a.region(h[:n])
		if err != nil {
			return Report{}, err
		}
		r.Regions, h = append(r.Regions, region), h[n:]
	}
	slices.SortStableFunc(r.Regions, func(x, y Region) int { return dearer(x.Sum, y.Sum) })
	for _, region := range r.Regions {
		r.Total = r.Total.plus(region.Sum)
		for _, v := range region.Volumes {
			r.Deletable = r.Deletable.plus(v.Deletable)
			if v.Best >= 0 {
				r.OwnClasses = r.OwnClasses.plus(v.Options[v.Best].Saving)
			}
		}
	}
	r.Options = a.together(r)
	r.Best = a.best(r.Options)
	r.Rates = a.used(r)
	r.Unknown, r.NoPrices = a.unknown()
	r.Unreckoned = unreckoned(r)
	r.Notes = notes(r)
	return r, nil
}

// analysis is a report being made.
type analysis struct {
	o       AnalysisOptions
	billed  map[billedItem]Money // what a GiB-month is billed at
	missing map[item]bool
}

// account is where one rate is billed.
type account struct{ partition, account, region string }

func (h Holding) account() account { return account{h.Partition, h.Account, h.Region} }

func (v Volume) account() account { return account{v.Partition, v.Account, v.Region} }

func (h Holding) region() [2]string { return [2]string{h.Partition, h.Region} }

// byVolume sorts by region, then volume, then age. Snapshots without a volume
// are together.
func byVolume(a, b Holding) int {
	volume := func(h Holding) snapshot.VolumeID {
		if !h.linked() {
			return ""
		}
		return h.Volume
	}
	return cmp.Or(
		strings.Compare(a.Partition, b.Partition), strings.Compare(a.Region, b.Region), strings.Compare(a.Account, b.Account),
		cmp.Compare(volume(a), volume(b)), a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID),
	)
}

func checkHoldings(h []Holding) error {
	type key struct { // ids of eight digits may be another snapshot's elsewhere
		of account
		id snapshot.ID
	}
	seen := make(map[key]bool, len(h))
	for _, x := range h {
		switch {
		case x.ID == "" || x.Region == "":
			return fmt.Errorf("snapshot %q of region %q: it has no name", x.ID, x.Region)
		case seen[key{x.account(), x.ID}]:
			return fmt.Errorf("snapshot %s of account %s in %s is given twice", x.ID, x.Account, x.Region)
		case min(x.VolumeSize, x.FullSize, x.Billed, x.Archive) < 0 || min(x.Rate, x.ArchiveRate) < 0:
			return fmt.Errorf("snapshot %s: a size or price is below nothing", x.ID)
		case max(x.VolumeSize, x.FullSize, x.Billed, x.Archive) > 16*maxVolume:
			return fmt.Errorf("snapshot %s: its size is %d bytes, which no volume has", x.ID, max(x.VolumeSize, x.FullSize, x.Billed, x.Archive))
		}
		seen[key{x.account(), x.ID}] = true
	}
	return nil
}

func (o AnalysisOptions) check() error {
	if min(o.Payback, o.OverlapDays) < 0 || o.HourlyRate < 0 || o.Throughput < 0 {
		return errors.New("months, days, rates and throughput of an analysis cannot be below nothing")
	}
	for _, c := range o.Classes {
		if !slices.Contains(Classes(), c) {
			return hint.Wrap(fmt.Errorf("snapshots cannot be moved to class %q", c), fmt.Sprintf("the classes are %v", Classes()))
		}
	}
	return o.Ratio.check()
}

// region takes the snapshots of one region, sorted by volume.
func (a *analysis) region(h []Holding) (Region, error) {
	r := Region{Partition: h[0].Partition, Name: h[0].Region}
	for len(h) > 0 {
		n := slices.IndexFunc(h, func(x Holding) bool {
			return x.Account != h[0].Account || x.linked() != h[0].linked() || x.linked() && x.Volume != h[0].Volume
		})
		if n < 0 {
			n = len(h)
		}
		v, err := a.volume(h[:n])
		if err != nil {
			return Region{}, err
		}
		r.Volumes, h = append(r.Volumes, v), h[n:]
		r.Sum = r.Sum.plus(v.Sum)
	}
	slices.SortStableFunc(r.Volumes, func(x, y Volume) int { return dearer(x.Sum, y.Sum) })
	if slices.ContainsFunc(r.Volumes, func(v Volume) bool { return len(v.Options) > 0 }) {
		r.Limits = a.limits(r.Volumes[0].account())
	}
	return r, nil
}

func dearer(a, b Sum) int {
	return cmp.Or(cmp.Compare(b.Monthly.Estimate, a.Monthly.Estimate), cmp.Compare(b.Billed, a.Billed))
}

// volume takes the snapshots of one volume, the oldest first, or those of an
// account and region whose volume is not known.
func (a *analysis) volume(h []Holding) (Volume, error) {
	v := Volume{Partition: h[0].Partition, Account: h[0].Account, Region: h[0].Region, Best: -1}
	if h[0].linked() {
		v.ID = h[0].Volume
		for _, x := range h {
			v.Name, v.State, v.Size = cmp.Or(x.VolumeName, v.Name), cmp.Or(x.VolumeState, v.State), max(v.Size, x.VolumeSize)
		}
	}
	c, err := a.chainOf(v, h)
	if err != nil {
		return Volume{}, err
	}
	for i, at := 0, 0; i < len(h); i++ {
		s := Snapshot{Holding: h[i], Movable: h[i].movable() && !h[i].untold()}
		if h[i].inChain() {
			s.Standard, s.Full = c.billed[at], c.full[at]
			at++
		} else {
			s.Full = exactly(cmp.Or(h[i].FullSize, h[i].Archive))
			if s.InBill {
				s.Standard = exactly(h[i].Billed)
			} else if s.archived() {
				s.Archive = h[i].FullSize // which is what the archive tier has
			}
		}
		v.Snapshots = append(v.Snapshots, a.snapshot(s, v.Size))
	}
	for _, s := range v.Snapshots {
		v.Sum = v.Sum.plus(s.sum())
	}
	v.Change, v.Deletable = v.change(), a.deletion(v, c)
	if a.lack(&v); v.Why == "" {
		v.Options = a.options(v, c)
		v.Best = a.best(v.Options)
		a.lackPrices(&v)
	}
	return v, nil
}

// chainOf has the snapshots that are in the standard tier, in order.
func (a *analysis) chainOf(v Volume, h []Holding) (*chain, error) {
	if spans, ok := a.o.Spans[VolumeKey{v.Account, v.Region, v.ID}]; ok && v.ID != "" {
		c, err := exactChain(v.Size, h, spans)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.ID, err)
		}
		return c, nil
	}
	var links []link
	for _, x := range h {
		if x.inChain() {
			links = append(links, link{billed: x.Billed, isBilled: x.InBill, full: x.FullSize, held: !x.movable()})
		}
	}
	if v.ID != "" {
		return newChain(v.Size, links), nil
	}
	c := &chain{}
	for _, l := range links { // each alone
		alone := newChain(0, []link{l})
		c.billed, c.full = append(c.billed, alone.billed...), append(c.full, alone.full...)
	}
	return c, nil
}
