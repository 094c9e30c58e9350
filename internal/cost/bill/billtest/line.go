package billtest

import (
	"cmp"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/snapshot"
)

// Granularity is what a line of a report is about.
type Granularity int

// The granularities that AWS offers.
const (
	Hourly Granularity = iota
	Daily
	Monthly
)

// Line is one line of a bill, in no particular form.
type Line struct {
	ID          string
	Type        string // as in lineItem/LineItemType
	UsageType   string
	Operation   string
	Product     string
	Resource    string
	Description string
	From, To    time.Time
	Amount      int64 // in units of 1/one
	Cost        int64 // in the same
	Rate        cost.Money
}

// Lines are those of a bill: of each snapshot and day one, in the day's last
// hour where the report is of hours; a line of credit, a wrong line that is
// taken back; and lines of other services.
func (a *Account) Lines(g Granularity) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		serial := 0
		emit := func(l Line) bool {
			serial++
			l.ID = fmt.Sprintf("line%08d", serial)
			return yield(l)
		}
		if g == Monthly {
			for l := range a.monthly() {
				if !emit(l) {
					return
				}
			}
			return
		}
		for l := range a.daily() {
			if g == Hourly && strings.Contains(l.UsageType, "EBS:Snapshot") {
				l.From = l.To.Add(-time.Hour)
			}
			if !emit(l) {
				return
			}
		}
	}
}

// daily has a line a day.
func (a *Account) daily() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		begun := map[Key]bool{}
		for day := range a.days() {
			billed := a.Billed(day)
			keys := make([]Key, 0, len(billed))
			for k := range billed {
				keys = append(keys, k)
			}
			slices.SortFunc(keys, func(a, b Key) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Tier, b.Tier)) })
			for _, k := range keys {
				l := a.line(k, billed[k], day)
				lines := []Line{l}
				if s := a.snapshot(k.ID); !begun[k] && k.Tier == bill.Standard {
					lines = first(l, s)
				}
				begun[k] = true
				for _, l := range lines {
					if !yield(l) {
						return
					}
				}
			}
			for i := range a.Noise {
				if !yield(noise(day, i, a)) {
					return
				}
			}
		}
	}
}

// first is what a snapshot's first day is billed as.
func first(l Line, s *Snapshot) []Line {
	lines := []Line{l}
	if s.Refiled {
		wrong, back := l, l
		wrong.Amount, wrong.Cost = 2*l.Amount, 2*l.Cost
		back.Amount, back.Cost = -wrong.Amount, -wrong.Cost
		lines = []Line{wrong, back, l}
	}
	if s.Credit != 0 {
		l.Type, l.Amount, l.Description = "Credit", 0, "a credit, for this"
		l.Cost = -int64(s.Credit) * 10
		lines = append(lines, l)
	}
	return lines
}

func (a *Account) line(k Key, blocks int64, day time.Time) Line {
	l := Line{
		Type: "Usage", UsageType: a.Prefix + "EBS:SnapshotUsage", Operation: "CreateSnapshot", Product: "AmazonEC2",
		Resource:    fmt.Sprintf("arn:%s:ec2:%s:%s:snapshot/%s", a.Partition, a.Region, a.ID, k.ID),
		Description: fmt.Sprintf("%s per GB-Month of snapshot data stored - %s", a.rate(k.Tier), a.Region),
		From:        day, To: day.AddDate(0, 0, 1), Rate: a.rate(k.Tier),
	}
	if k.Tier == bill.Archive {
		l.UsageType = a.Prefix + "EBS:SnapshotArchiveStorage"
	}
	amount := exact(blocks, day)
	l.Amount = round(amount)
	l.Cost = round(new(big.Rat).Mul(amount, big.NewRat(int64(l.Rate), int64(cost.Dollar))))
	return l
}

// round is a number in units of 1/one.
func round(n *big.Rat) int64 {
	scaled := new(big.Rat).Mul(n, big.NewRat(one, 1))
	scaled.Add(scaled, big.NewRat(1, 2))
	return new(big.Int).Div(scaled.Num(), scaled.Denom()).Int64()
}

// noise is a line of another service.
func noise(day time.Time, i int, a *Account) Line {
	from := day.Add(time.Duration(i%24) * time.Hour)
	l := Line{
		Type: "Usage", UsageType: a.Prefix + "BoxUsage:m5.large", Operation: "RunInstances", Product: "AmazonEC2",
		Resource: fmt.Sprintf("i-%017x", i), Description: "$0.096 per On Demand Linux m5.large Instance Hour",
		From: from, To: from.Add(time.Hour), Amount: one, Cost: 960_000_000, Rate: 96 * cost.Dollar / 1000,
	}
	switch i % 4 {
	case 1:
		l.Resource, l.UsageType, l.Product, l.Operation = "some-bucket", a.Prefix+"TimedStorage-ByteHrs", "AmazonS3", "StandardStorage"
		l.Description = `"Standard" storage, first 50 TB`
	case 2:
		l.UsageType, l.Operation, l.Resource = a.Prefix+"EBS:VolumeUsage.gp3", "CreateVolume-Gp3", fmt.Sprintf("vol-%017x", i)
	case 3:
		l.Type, l.Amount, l.Resource = "Tax", 0, ""
	}
	return l
}

// monthly has a line a month.
func (a *Account) monthly() iter.Seq[Line] {
	type group struct {
		resource, usage, kind string
		month                 time.Month
		year                  int
	}
	return func(yield func(Line) bool) {
		sums := map[group]*Line{}
		var order []group
		for l := range a.daily() {
			k := group{l.Resource, l.UsageType, l.Type, l.From.Month(), l.From.Year()}
			s, ok := sums[k]
			if !ok {
				s = &l
				s.From = time.Date(k.year, k.month, 1, 0, 0, 0, 0, time.UTC)
				s.To = s.From.AddDate(0, 1, 0)
				sums[k] = s
				order = append(order, k)
				continue
			}
			s.Amount += l.Amount
			s.Cost += l.Cost
		}
		for _, k := range order {
			if !yield(*sums[k]) {
				return
			}
		}
	}
}

// Many is a month of daily lines of so many snapshots, and lines of other services
// up to a total: a large bill, for measuring. Its sizes are made up.
func (a *Account) Many(snapshots, total int) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		n, days := 0, monthDays(a.From)
		keys := make([]Line, snapshots)
		for i := range keys {
			k := Key{snapshot.ID(fmt.Sprintf("snap-0%016x", uint64(i+1)*0x9e3779b97f4a7c15)), bill.Standard}
			keys[i] = a.line(k, int64(1+i*7919%100_000), a.From)
		}
		for day := range a.days() {
			for i := range keys {
				l := keys[i]
				l.From, l.To = day.Add(23*time.Hour), day.Add(24*time.Hour)
				if n++; !yield(l) {
					return
				}
			}
			for i := range total/days - snapshots {
				if n++; !yield(noise(day, i, a)) {
					return
				}
			}
		}
		for ; n < total; n++ {
			if !yield(noise(a.From, n, a)) {
				return
			}
		}
	}
}
