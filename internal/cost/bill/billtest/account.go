// Package billtest makes bills out of a truth: volumes whose blocks and
// snapshots are known, day by day, and what AWS bills for them, in every form
// AWS writes. It is for tests, benchmarks and the sandbox; what it makes is as
// internal/cost/bill documents, not as AWS promises.
package billtest

import (
	"fmt"
	"iter"
	"math/big"
	"math/rand/v2"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/snapshot"
)

const (
	blocksPerGiB = (1 << 30) / (512 << 10)
	// one is an amount or cost of 1: AWS writes ten decimals.
	one = 10_000_000_000
)

// Account is the truth that bills are written from: one account in one region.
type Account struct {
	Partition, Region, ID, Payer string
	Prefix                       string // of usage types: "USW2-", "" in us-east-1
	Currency                     string
	Rate, ArchiveRate            cost.Money // a GiB-month
	From, To                     time.Time  // the days billed: the first, and the day after the last
	Volumes                      []Volume
	Noise                        int // lines a day of other services
}

// Volume is one volume and its snapshots, the oldest first.
type Volume struct {
	ID        snapshot.VolumeID
	Blocks    int // of 512 KiB, used
	Snapshots []Snapshot
}

// Snapshot is one snapshot of a volume; zero times stand for never.
type Snapshot struct {
	ID       snapshot.ID
	Created  time.Time
	Archived time.Time
	Deleted  time.Time
	Written  []int      // blocks written since the snapshot before; the first has all
	Credit   cost.Money // given back on its first day billed
	Refiled  bool       // its first day billed was billed twice too high, taken back and billed anew
}

// Key is a snapshot in a tier.
type Key struct {
	ID   snapshot.ID
	Tier bill.Tier
}

func on(day, begin, end time.Time) bool {
	return !begin.IsZero() && !day.Before(begin) && (end.IsZero() || day.Before(end))
}

// Billed is how many blocks each snapshot is billed for on a day. In the
// standard tier that are the blocks that differ from those of the snapshot
// before it which is still there; in the archive tier all of them.
func (a *Account) Billed(day time.Time) map[Key]int64 {
	billed := map[Key]int64{}
	for i := range a.Volumes {
		a.Volumes[i].billed(day, billed)
	}
	return billed
}

func (v *Volume) billed(day time.Time, billed map[Key]int64) {
	now := make([]int, v.Blocks)    // the snapshot that each block was written for
	before := make([]int, v.Blocks) // the same, of the snapshot before in the standard tier
	for i := range before {
		before[i] = -1
	}
	for at, s := range v.Snapshots {
		if at > 0 {
			for _, b := range s.Written {
				now[b] = at
			}
		}
		if !on(day, s.Created, s.Deleted) {
			continue
		}
		if on(day, s.Archived, time.Time{}) {
			billed[Key{s.ID, bill.Archive}] = int64(v.Blocks)
			continue
		}
		n := int64(0)
		for b := range now {
			if now[b] != before[b] {
				n++
			}
		}
		copy(before, now)
		billed[Key{s.ID, bill.Standard}] = n
	}
}

// Total is what a snapshot comes to over the whole bill.
type Total struct {
	Blocks      int64 // on the bill's last day
	Days        int   // with lines
	First, Last time.Time
	Cost, Net   cost.Money
}

// Totals are computed from the history alone, exactly.
func (a *Account) Totals() map[Key]Total {
	totals := map[Key]Total{}
	sums := map[Key]*big.Rat{}
	for day := range a.days() {
		for k, n := range a.Billed(day) {
			t, ok := totals[k]
			if !ok {
				t.First = day
				sums[k] = new(big.Rat)
			}
			t.Days++
			t.Last = day
			sums[k].Add(sums[k], new(big.Rat).Mul(exact(n, day), big.NewRat(int64(a.rate(k.Tier)), 1)))
			if day.Equal(a.To.AddDate(0, 0, -1)) {
				t.Blocks = n
			}
			totals[k] = t
		}
	}
	for k, t := range totals {
		f, _ := sums[k].Float64()
		t.Cost = cost.Money(f + 0.5)
		t.Net = t.Cost
		if s := a.snapshot(k.ID); k.Tier == bill.Standard {
			t.Net -= s.Credit
		}
		totals[k] = t
	}
	return totals
}

func (a *Account) snapshot(id snapshot.ID) *Snapshot {
	for i := range a.Volumes {
		for j := range a.Volumes[i].Snapshots {
			if s := &a.Volumes[i].Snapshots[j]; s.ID == id {
				return s
			}
		}
	}
	return &Snapshot{}
}

// exact is the GiB-months of blocks stored for a day.
func exact(blocks int64, day time.Time) *big.Rat {
	return big.NewRat(blocks, blocksPerGiB*int64(monthDays(day)))
}

func monthDays(day time.Time) int {
	return time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func (a *Account) rate(t bill.Tier) cost.Money {
	if t == bill.Archive {
		return a.ArchiveRate
	}
	return a.Rate
}

func (a *Account) days() iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for day := a.From; day.Before(a.To); day = day.AddDate(0, 0, 1) {
			if !yield(day) {
				return
			}
		}
	}
}

// New makes an account with a history of some months, from the first day of
// one: volumes of up to a GiB with a snapshot a week, of which some are deleted in
// the middle of a month, one is archived, one is given credit for and one was
// billed wrongly and put right. Equal seeds make equal accounts.
func New(seed uint64, from time.Time, months int) *Account {
	random := rand.New(rand.NewPCG(seed, 1))
	a := &Account{
		Partition: "aws", Region: "us-west-2", ID: "123456789012", Payer: "210987654321", Prefix: "USW2-", Currency: "USD",
		Rate: cost.Dollar / 20, ArchiveRate: cost.Dollar / 80, From: from, To: from.AddDate(0, months, 0), Noise: 24,
	}
	id := uint64(0)
	for v := range 4 {
		vol := Volume{ID: snapshot.VolumeID(fmt.Sprintf("vol-0%016x", seed<<32|uint64(v))), Blocks: 1 + random.IntN(blocksPerGiB)}
		created := from.AddDate(0, 0, v-10)
		for i := range 4 * (months + 1) {
			id++
			s := Snapshot{ID: snapshot.ID(fmt.Sprintf("snap-0%016x", seed<<32|id)), Created: created.AddDate(0, 0, 7*i)}
			if id%5 == 0 {
				s.ID = snapshot.ID(fmt.Sprintf("snap-%08x", uint32(seed)<<16|uint32(id))) // as before 2016
			}
			if !s.Created.Before(a.To) {
				break
			}
			for range random.IntN(1 + vol.Blocks/8) {
				s.Written = append(s.Written, random.IntN(vol.Blocks))
			}
			if i%3 == 1 {
				s.Deleted = s.Created.AddDate(0, 0, 17+random.IntN(20))
			}
			vol.Snapshots = append(vol.Snapshots, s)
		}
		a.Volumes = append(a.Volumes, vol)
	}
	a.Volumes[0].Snapshots[0].Archived = from.AddDate(0, 0, 12)
	a.Volumes[1].Snapshots[0].Credit = cost.Dollar / 100
	a.Volumes[2].Snapshots[0].Refiled = true
	return a
}
