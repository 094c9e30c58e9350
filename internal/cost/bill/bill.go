// Package bill reads what AWS bills for snapshots, in every form AWS writes
// bills in: legacy Cost and Usage Reports, CUR 2.0 and FOCUS with AWS's columns,
// as CSV (plain, gzip, zip) and Parquet, one file, several, a manifest or a
// folder. It streams: memory grows with the snapshots of a bill, not with its
// lines. It asks nobody, converts no currency, and refuses what it cannot read
// whole: half a bill is a wrong bill.
package bill

import (
	"cmp"
	"context"
	"slices"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

// Usage is what bills tell of snapshots, over all files read.
type Usage struct {
	From, To  time.Time  // days with lines of snapshots, in UTC: the first, and the day after the last; zero where there are none
	Newest    time.Time  // the newest complete day of any account in any region
	Areas     []Area     // by account, region: those with lines of storage
	Currency  string     // of all amounts: "USD", "CNY"; "" where there are no lines
	Snapshots []Snapshot // by account, region, id, tier
	Sources   []Source   // the files, in the order read
	Notes     []string   // what was left out or taken for something, and why: for a person
}

// Area is one account in one region: bills become complete by account.
type Area struct {
	Partition, Account, Region string
	Newest                     time.Time // the newest complete day
}

// NewestOf is the newest complete day of an account in a region; where the bill
// has nothing of it there, that of the whole bill; zero in a bill without lines
// of snapshots.
func (u Usage) NewestOf(account, region string) time.Time {
	at, ok := slices.BinarySearchFunc(u.Areas, Area{Account: account, Region: region}, func(a, b Area) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	if !ok {
		return u.Newest
	}
	return u.Areas[at].Newest
}

// Tier is where a snapshot's blocks are stored.
type Tier int

// The tiers of EBS snapshots. One snapshot may have lines of both in one bill.
const (
	Standard Tier = iota
	Archive
)

// String is the tier as EC2 spells it.
func (t Tier) String() string {
	if t == Archive {
		return "archive"
	}
	return "standard"
}

// Snapshot is what a bill tells of one snapshot in one tier.
type Snapshot struct {
	Partition, Region, Account string // of its ARN
	ID                         snapshot.ID
	Tier                       Tier
	// Bytes is what was billed on its newest complete day: GiB = amount × days of
	// that month. It is a whole number of 512 KiB blocks unless Average is set.
	Bytes int64
	// Average says that Bytes is a mean: over the days of a longer line, whether
	// the snapshot was there on all of them or not, or over a day in which it
	// changed.
	Average           bool
	FirstDay, LastDay time.Time // with lines
	// Gone says that it has no line on the newest complete day of its account and
	// region, or later: it is taken for deleted.
	Gone bool
	// Cost is the sum of the lines of usage, unblended, corrections included: what
	// Cost Explorer shows for the charge type "Usage". NetCost has credits,
	// refunds, discounts and fees besides; tax is in neither.
	Cost, NetCost cost.Money
	// BlendedCost is as Cost, blended: at the average rate of all accounts of the
	// payer. It is Cost where a report has none, as FOCUS.
	BlendedCost cost.Money
	// Rate is what a GiB-month costs, unblended, by its newest lines: what they say,
	// or their cost by their amount; 0 where they cost nothing.
	Rate cost.Money
}

// Source is one file that was read.
type Source struct {
	Name         string
	Format       string // "legacy CUR, CSV, gzip"
	Rows         int64
	SnapshotRows int64 // that were counted
}

// Options are how to read.
type Options struct {
	// Progress is called now and then, from the goroutine that called Read, with
	// the bytes (as stored) and rows read so far.
	Progress func(bytes, rows int64)
}

// Read reads bills. The inputs may be files of one report or of several months,
// manifests, folders, or standard input; a folder or manifest stands for the
// newest assembly of each of its billing periods. Files that tell of the same
// storage, and are not of one manifest, are refused: they are two deliveries of a
// month. An error names the file, line and column, and carries a hint; there is no
// partial result.
func Read(ctx context.Context, inputs []Input, o Options) (Usage, error) {
	parts, notes, err := expand(ctx, inputs)
	if err != nil {
		return Usage{}, err
	}
	l := newLedger(o.Progress)
	l.several = assemblies(parts) > 1
	l.notes = notes
	for i := 0; i < len(parts); i++ {
		more, err := l.read(ctx, parts[i])
		if err != nil {
			return Usage{}, err
		}
		parts = append(parts, more...) // it was a manifest, by its content
	}
	return l.usage()
}
