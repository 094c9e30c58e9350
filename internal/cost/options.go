package cost

import (
	"math"
	"math/big"
	"slices"
)

const maxMoney Money = math.MaxInt64

// mover works out the options of one volume.
type mover struct {
	*analysis
	volume Volume
	chain  *chain
	moved  []prefix
	rate   Money      // of a GiB-month in the standard tier
	other  MoneyRange // what snapshots outside of the chain cost a month
}

func (a *analysis) mover(v Volume, c *chain) mover {
	m := mover{analysis: a, volume: v, chain: c, moved: c.prefixes()}
	m.rate, _ = a.rate(v.account(), snapshotItem)
	for _, s := range v.Snapshots {
		if !s.inChain() {
			m.other = m.other.plus(s.Monthly)
		}
	}
	return m
}

// options are what can be done with the snapshots of a volume. A class of which
// a price is missing is none.
func (a *analysis) options(v Volume, c *chain) []Option {
	m := a.mover(v, c)
	var options []Option
	for _, class := range a.o.Classes {
		for _, form := range []Form{FullCopies, Increments} {
			if class == EBSArchive && form == Increments {
				continue // it stores whole snapshots
			}
			options = append(options, m.options(class, form)...)
		}
	}
	return options
}

// options are those of one class and form: all, and the oldest n that save most
// and pay back in time, if those are not all.
func (m mover) options(class Class, form Form) []Option {
	var all, best Option
	ok := m.each(class, form, func(o Option) {
		all = o
		if m.paysBack(o) && o.Saving.Estimate > best.Saving.Estimate {
			best = o
		}
	})
	if !ok {
		return nil
	}
	if best.Snapshots == 0 || best.Snapshots == all.Snapshots {
		return []Option{all}
	}
	best.Scope = ScopeOldest
	return []Option{all, best}
}

// each calls do for the oldest one, two … snapshots that can be moved; false
// where a price is missing.
func (m mover) each(class Class, form Form, do func(Option)) bool {
	var increments []Range
	if form == Increments {
		increments = m.chain.increments()
	}
	var sum copies
	i := 0
	for _, s := range m.volume.Snapshots {
		if !s.Movable {
			continue
		}
		holds := s.Full
		if form == Increments {
			holds = increments[i]
		}
		one, ok := m.copyOf(m.volume, s, class, holds)
		if !ok {
			return false
		}
		sum = sum.plus(one)
		o := m.option(class, sum, m.moved[i])
		o.Form, o.Snapshots = form, i+1
		do(o)
		i++
	}
	return true
}

// option is what it costs to move what sum and p are of.
func (m mover) option(class Class, sum copies, p prefix) Option {
	freed := m.rate.downRange(p.freed)
	o := Option{
		Class: class, Volumes: 1, Unpriced: m.volume.Sum.Unpriced,
		Freed: p.freed, Stored: sum.stored, Now: m.volume.Sum.Monthly, Storage: sum.storage, Saving: freed.minus(sum.storage),
		OneTime: sum.oneTime, MinimumDays: class.minimumDays(), Minimum: sum.minimum,
		Retrieval: sum.retrieval, NoRetrieval: sum.noRetrieval,
	}
	after := o.Now.Estimate.Plus(-o.Saving.Estimate)
	o.After = known(after)
	if !p.stays.Exact() || !sum.storage.Exact() {
		bounds := m.money(m.rate, p.stays).plus(m.other).plus(sum.storage)
		o.After = MoneyRange{min(bounds.Low, after), after, max(bounds.High, after)}
	}
	overlap := m.overlap(class)
	o.First = o.OneTime.Total().Plus(after).Plus(freed.Estimate.down(30, int64(min(overlap, 30))))
	return o.timed(overlap)
}

// timed fills in when the move has paid back.
func (o Option) timed(overlap int) Option {
	once := o.OneTime.Total()
	o.BreakEven = breakEven(once, o.Storage.Estimate, o.Saving.Estimate, overlap)
	o.Latest = breakEven(once, o.Storage.High, o.Saving.Low, overlap)
	return o
}

// breakEven is the month, counted from 1, at whose end moving has cost no more
// than keeping: overlap days in which both are paid, and then as long as it
// takes to save what was paid once and for the copy in those days. 0: never.
func breakEven(once, storage, saving Money, overlap int) int {
	if saving <= 0 {
		return 0
	}
	const days = 30
	spent := new(big.Int).Mul(big.NewInt(int64(saving.Plus(storage))), big.NewInt(int64(overlap)))
	spent.Add(spent, new(big.Int).Mul(big.NewInt(int64(once)), big.NewInt(days)))
	month := new(big.Int).Mul(big.NewInt(int64(saving)), big.NewInt(days))
	spent.Add(spent, new(big.Int).Sub(month, big.NewInt(1)))
	spent.Quo(spent, month)
	if !spent.IsInt64() || spent.Int64() > math.MaxInt32 {
		return 0
	}
	return max(1, int(spent.Int64()))
}

// overlap is for how many days both are paid. To archive a snapshot takes it out
// of the standard tier.
func (a *analysis) overlap(c Class) int {
	if c == EBSArchive {
		return 0
	}
	return a.o.OverlapDays
}

func (a *analysis) paysBack(o Option) bool {
	return o.BreakEven > 0 && (a.o.Payback == 0 || o.BreakEven <= a.o.Payback)
}

// best is the one that saves most of those whose parts all pay back in time,
// and that migrate or EC2 can do now; -1: none.
func (a *analysis) best(options []Option) int {
	return bestOf(options, func(o Option) bool { return o.Form == FullCopies && a.paysBack(o) })
}

// bestOf leaves out what has a better part: if some volumes, or some snapshots of
// them, are better kept, ScopeOldest says so.
func bestOf(options []Option, may func(Option) bool) int {
	best := -1
	for i, o := range options {
		if o.Scope == ScopeAll && i+1 < len(options) && options[i+1].Scope == ScopeOldest {
			continue // of the same class and form
		}
		if may(o) && (best < 0 || o.Saving.Estimate > options[best].Saving.Estimate) {
			best = i
		}
	}
	return best
}

// together adds the options of volumes up. What a volume has no such option for
// is kept.
func (a *analysis) together(r Report) []Option {
	var options []Option
	for _, class := range a.o.Classes {
		for _, form := range []Form{FullCopies, Increments} {
			all := a.sum(r, class, form, func(v Volume) *Option { return v.find(class, form, ScopeAll) })
			oldest := a.sum(r, class, form, func(v Volume) *Option {
				o := v.find(class, form, ScopeOldest)
				if o == nil {
					o = v.find(class, form, ScopeAll)
				}
				if o == nil || !a.paysBack(*o) {
					return nil
				}
				return o
			})
			if all.Snapshots > 0 {
				options = append(options, all)
			}
			if oldest.Snapshots > 0 && oldest.Snapshots < all.Snapshots {
				oldest.Scope = ScopeOldest
				options = append(options, oldest)
			}
		}
	}
	return slices.Clip(options)
}

func (v Volume) find(class Class, form Form, scope Scope) *Option {
	for i, o := range v.Options {
		if o.Class == class && o.Form == form && o.Scope == scope {
			return &v.Options[i]
		}
	}
	return nil
}

func (a *analysis) sum(r Report, class Class, form Form, choice func(Volume) *Option) Option {
	sum := Option{Class: class, Form: form, MinimumDays: class.minimumDays()}
	for _, region := range r.Regions {
		for _, v := range region.Volumes {
			o := choice(v)
			if o == nil {
				o = &Option{Unpriced: v.Sum.Unpriced, Now: v.Sum.Monthly, After: v.Sum.Monthly, First: v.Sum.Monthly.Estimate}
			}
			sum = sum.plus(*o)
		}
	}
	return sum.timed(a.overlap(class))
}

func (o Option) plus(n Option) Option {
	o.Snapshots += n.Snapshots
	o.Volumes += n.Volumes
	o.Unpriced += n.Unpriced
	o.Freed, o.Stored = o.Freed.plus(n.Freed), o.Stored.plus(n.Stored)
	o.Now, o.Storage, o.After, o.Saving = o.Now.plus(n.Now), o.Storage.plus(n.Storage), o.After.plus(n.After), o.Saving.plus(n.Saving)
	o.OneTime = o.OneTime.plus(n.OneTime)
	o.First, o.Minimum = o.First.Plus(n.First), o.Minimum.Plus(n.Minimum)
	o.Retrieval, o.NoRetrieval = o.Retrieval.Plus(n.Retrieval), o.NoRetrieval || n.NoRetrieval
	return o
}

func (o OneTime) plus(n OneTime) OneTime {
	return OneTime{
		Requests: o.Requests.Plus(n.Requests),
		Volumes:  o.Volumes.Plus(n.Volumes),
		Reads:    o.Reads.Plus(n.Reads),
		Instance: o.Instance.Plus(n.Instance),
		Hours:    o.Hours + n.Hours,
	}
}
