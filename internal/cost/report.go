package cost

import (
	"time"

	"snap-to-s3/internal/snapshot"
)

// Report is what snapshots cost, and what moving them would save: all outputs
// are made from it. Sums are exact sums of what they are made of.
type Report struct {
	Currency Currency   // of all amounts
	Rates    []Rate     // prices that were used, sorted by region and item, each with its source and date
	Ratio    Ratio      // of compression, that archives are taken to have
	Source   ReadSource // how snapshots would be read

	HourlyRate Money // of the instance that moves them; 0: not counted
	Throughput int64 // bytes a second that it moves; 0: as fast as a temporary volume is taken to be read

	Payback int      // months within which a move is to pay back; 0: no limit
	Overlap int      // days for which both the snapshot and its archive are paid for
	Period  Period   // of the bills; zero without a bill
	Regions []Region // by cost a month, the dearest first
	Total   Sum      // of all regions
	Options []Option // of all volumes together: see Option.Scope

	Deletable Deletion // of all volumes
	Best      int      // index of the best of Options, which move all to one class; -1: to keep everything
	Unknown   []string // what no price is known for, sorted; each one phrase, as "S3 GLACIER in eu-west-2"
	NoPrices  []NoPrices
	// Unreckoned are snapshots of which it is not known what moving them saves, the
	// dearest first.
	Unreckoned []Unreckoned
	// OwnClasses is what the best option of each volume saves a month, each in its own class.
	OwnClasses MoneyRange
	Notes      []string // what a person should know of the figures, each one phrase
}

// Period is what bills tell of.
type Period struct {
	From, To time.Time // the first day, and the day after the last
	Newest   time.Time // the newest complete day, of which sizes are
}

// Rate is a price that a report was made with.
type Rate struct {
	Region string
	Item   string // for a person: "EBS snapshots in us-east-1"
	Price  Money  // a Unit
	Unit   string // "GiB-month", "thousand", "GiB", …
	Source string // where it was read
	Dated  string // the day it is of, as 2026-11-23; empty where the source does not say
}

// NoPrices is what no price is known for in a region, in short: a class where it is
// a request that is missing.
type NoPrices struct {
	Region string
	Of     []string // "S3 GLACIER", "gp3 volumes", …, sorted
}

// Unreckoned are snapshots of which it is not known what moving them saves.
type Unreckoned struct {
	Why string // one phrase, with what helps
	Sum Sum
}

// Sum is what snapshots cost together.
type Sum struct {
	Snapshots int        // that are billed; Gone ones are not among them
	Unpriced  int        // of those: with bytes of which no price is known; Monthly leaves them out
	Gone      int        // deleted since the bill began
	Standard  Range      // bytes billed in the standard tier
	Archive   int64      // bytes billed in the archive tier
	Monthly   MoneyRange // of both tiers, at the prices of Rates
	Billed    Money      // unblended, in the whole of the bill, gone ones among them
	Blended   Money      // the same at blended rates, as Billed where the bill has none
	Net       Money      // Billed after credits and refunds
}

// Region is one region, with the volumes of all accounts.
type Region struct {
	Partition string // aws, aws-cn, aws-us-gov
	Name      string // us-east-1
	Sum       Sum
	Volumes   []Volume // by cost a month, the dearest first
	Limits    []Limit  // one for each class with a price
}

// Limit is the change from one snapshot to the next above which many snapshots
// of a volume are cheaper as full copies in a class than as EBS snapshots.
type Limit struct {
	Class   Class
	Percent float64 // of the full size: 46.0 for STANDARD at 0.023 against 0.05 and no compression
}

// VolumeState says whether the volume of a snapshot is still there.
type VolumeState int

// The states of a volume.
const (
	VolumeUnknown VolumeState = iota // nobody asked
	VolumeExists
	VolumeDeleted
)

// Volume is one volume with its snapshots.
type Volume struct {
	Partition, Account, Region string
	ID                         snapshot.VolumeID // empty: the snapshots whose volume is not known, which form no chain
	Name                       string            // its Name tag, or empty; not to be trusted
	State                      VolumeState
	Size                       int64 // bytes; 0: not known
	Sum                        Sum
	Change                     Change
	Snapshots                  []Snapshot // by start, the oldest first
	Options                    []Option   // those with a price; empty where Why says so
	Best                       int        // index of the best of Options; -1: keep them
	Why                        string     // one phrase: why there are no options
	Unknown                    string     // why it is not known what moving them saves, and what helps; empty where Why is not for want of knowledge
	Unpriced                   []Class    // of which a price is missing, so that no option is of them
	Deletable                  Deletion
}

// Change is how much of the volume changes from one snapshot to the next.
type Change struct {
	Known   bool    // false: of fewer than two snapshots, or the size is not known
	Percent float64 // (sum of billed sizes - first) / number of snapshots / volume size, as the predecessor had it
}

// Snapshot is one snapshot of a report.
type Snapshot struct {
	Holding
	Standard Range      // bytes billed in the standard tier; not exact where no bill told of it
	Full     Range      // bytes of all blocks: what a full copy holds before compression
	Percent  float64    // Standard of the size of the volume; 0 where that is not known
	Monthly  MoneyRange // of both tiers; zero if Unpriced
	Unpriced bool       // it has bytes of which no price is known
	Movable  bool       // EC2 told of it, and it is neither gone nor held, and has not been moved
}

// Range is a number of bytes that may not be known exactly: Low ≤ Estimate ≤
// High. docs/cost-model.md has the formulas.
type Range struct{ Low, Estimate, High int64 }

// Exact tells whether the number is known.
func (r Range) Exact() bool { return r.Low == r.High }

// MoneyRange is an amount that may not be known exactly: Low ≤ Estimate ≤ High.
type MoneyRange struct{ Low, Estimate, High Money }

// Exact tells whether the amount is known.
func (r MoneyRange) Exact() bool { return r.Low == r.High }

// Class is where snapshots are moved to: a storage class of S3, or EBSArchive.
type Class string

// EBSArchive is EBS Snapshots Archive. The other classes are S3's: STANDARD, …
const EBSArchive Class = "EBS_ARCHIVE"

// Form is how a snapshot is stored where it is moved to.
type Form int

// The forms of a copy.
const (
	FullCopies Form = iota // each is whole, as migrate makes them
	Increments             // each has the blocks that changed since the one before; priced only, migrate does not make them
)

// Scope is which snapshots an option moves.
type Scope int

// The scopes of an option.
const (
	ScopeAll Scope = iota // all that can be moved
	// ScopeOldest is the oldest n of each volume that save most and pay back
	// in time. It is there only where that is not what ScopeAll is.
	ScopeOldest
)

// Option is one thing that can be done with snapshots, and what it costs.
// To keep them costs Now, each month.
type Option struct {
	Class     Class
	Form      Form
	Scope     Scope
	Snapshots int // that are moved: the oldest of those that can be
	Volumes   int // of which they are: 1 in the options of a volume
	Unpriced  int // that stay, and of which no price is known: Now, After and First leave them out
	Freed     Range
	Stored    Range      // bytes in the class, after compression
	Now       MoneyRange // a month, of all snapshots of the volume
	Storage   MoneyRange // a month, of what is stored
	After     MoneyRange // a month, of those that stay and of what is stored
	Saving    MoneyRange // a month; negative where moving costs more
	OneTime   OneTime
	First     Money // what the first month costs, one-time cost included

	MinimumDays int   // the class bills so many days at least
	Minimum     Money // what is stored, for that many days
	Retrieval   Money // to read all that is stored back once, at standard speed
	NoRetrieval bool  // Retrieval leaves something out for want of a price

	// BreakEven is the month in which the move has paid back, counted from the
	// first; it is made of the estimates. 0: never.
	BreakEven int
	Latest    int // the same if the least is saved; 0: never
}

// OneTime is what moving costs once.
type OneTime struct {
	Requests Money // to S3, PUTs and those that look
	Volumes  Money // temporary volumes
	Reads    Money // through the EBS direct APIs
	Instance Money // hours of the instance that moves them
	Hours    float64
}

// Total is the sum.
func (o OneTime) Total() Money {
	return o.Requests.Plus(o.Volumes).Plus(o.Reads).Plus(o.Instance)
}
