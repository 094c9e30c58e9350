package cost

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/snapshot"
)

// Holding is one snapshot as bills and EC2 know it, either of which may be
// silent: what is not known has its zero value.
type Holding struct {
	Partition, Account, Region string
	ID                         snapshot.ID
	Volume                     snapshot.VolumeID
	VolumeName                 string // Name tag of the volume; hostile, as Description
	VolumeState                VolumeState
	VolumeSize                 int64 // bytes
	Start                      time.Time
	Description                string
	FullSize                   int64 // bytes of all blocks
	Encrypted                  bool
	Archived                   bool     // it is in the archive tier, from where it cannot simply be moved
	Holds                      []string // what else keeps it from that: "ami-… uses it", "locked until …", "AWS Backup", "shared"
	Work                       Work     // one that has been moved is not moved again, and stays until it is deleted

	InBill  bool  // Billed and Archive are what a bill says; without, they are not known
	Billed  int64 // bytes on its newest day, standard tier
	Archive int64 // bytes on its newest day, archive tier: it is Archived even if EC2 did not say so
	Average bool  // these are averages over days
	Gone    bool  // deleted: a bill had it, and has it no more
	Cost    Money // unblended, in the whole of the bill
	Blended Money // the same at the rates averaged over an organization, as Cost where the bill has none
	NetCost Money // after credits and refunds
	Rate    Money // billed, a GiB-month in the standard tier; 0: not known, the price of the table counts

	ArchiveRate Money // the same of the archive tier
}

// AnalysisOptions is what an analysis depends on beside the snapshots.
type AnalysisOptions struct {
	Table       *Table     // nil: Builtin
	Ratio       Ratio      // of compression; zero: none
	Source      ReadSource // how snapshots would be read
	HourlyRate  Money      // of the instance that moves them; 0: not counted
	Throughput  int64      // bytes a second that the instance moves over all its jobs; 0: as fast as a temporary volume is taken to be read
	Payback     int        // months within which a move is to pay back; 0: no limit
	OverlapDays int        // for which both the snapshot and its archive are paid; 0: the snapshot is deleted on the day it is moved
	Classes     []Class    // to move to; none: all of Classes()
	Period      Period     // of the bills, for the report
	Currency    Currency   // of all amounts: HourlyRate, and what bills tell; prices in another are as if not known
	Offline     bool       // EC2 was not asked: of which volume snapshots are is not known
	// Spans are exact knowledge of volumes, which then counts more than the bill.
	Spans map[VolumeKey][]Span
}

// VolumeKey is which volume something is about. An id alone does not do: of eight
// digits, as they once were, two accounts or regions may have the same.
type VolumeKey struct {
	Account, Region string
	ID              snapshot.VolumeID
}

// ReadSource is how the blocks of a snapshot are read.
type ReadSource int

// The sources.
const (
	ReadVolume ReadSource = iota // a temporary volume
	ReadDirect                   // the EBS direct APIs
)

// Ratio is a ratio of compression: Plain bytes become Stored bytes. The zero
// value is 1:1.
type Ratio struct {
	Plain, Stored int64
	Measured      bool // of archives in the bucket; not given
}

// Span is a number of bytes in blocks that the snapshots First to Last of a
// volume share, and no other: exact knowledge, from lists of blocks. Each block
// of the volume's snapshots is in one span; First and Last may be the same.
type Span struct {
	First, Last snapshot.ID
	Bytes       int64
}

// Classes are those that snapshots can be moved to.
func Classes() []Class {
	return []Class{"STANDARD", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE", EBSArchive}
}

// inChain tells whether it is billed in the standard tier, for what the one
// before does not hold.
func (h Holding) inChain() bool { return !h.Gone && !h.archived() }

func (h Holding) archived() bool { return h.Archived || h.Archive > 0 }

func (h Holding) movable() bool { return h.inChain() && len(h.Holds) == 0 && !h.moved() }

// linked tells whether it is known of which volume it was made. A copy has a
// made-up one.
func (h Holding) linked() bool { return h.Volume.Valid() && h.Volume != madeUp && !h.Start.IsZero() }

// untold tells whether EC2 told nothing of it, though it may be there.
func (h Holding) untold() bool { return h.Start.IsZero() && !h.Gone && len(h.Holds) == 0 }

const madeUp snapshot.VolumeID = "vol-ffffffff"

// ParseRatio reads a ratio of compression such as "2:1", "2" or "1.85".
func ParseRatio(text string) (Ratio, error) {
	plain, one, colon := strings.Cut(text, ":")
	ratio, err := ParseMoney(plain) // exact decimals, whatever they are of
	if err != nil || strings.HasPrefix(text, "$") || colon && one != "1" {
		return Ratio{}, fmt.Errorf("%q is not a ratio of compression, for example 2:1 or 1.85", text)
	}
	r := Ratio{Plain: int64(ratio), Stored: int64(Dollar)}
	return r, r.check()
}

func (r Ratio) check() error {
	if r == (Ratio{}) {
		return nil
	}
	if r.Plain <= 0 || r.Stored <= 0 || r.Plain/r.Stored > 10_000 || r.Stored/r.Plain > 100 {
		return fmt.Errorf("a ratio of compression of %s:1 is out of bounds: 0.01:1 to 10000:1", strconv.FormatFloat(r.Float(), 'f', -1, 64))
	}
	return nil
}

// Float is how many bytes become one.
func (r Ratio) Float() float64 {
	if r.Stored == 0 {
		return 1
	}
	return float64(r.Plain) / float64(r.Stored)
}

// of is what so many bytes become, rounded up.
func (r Ratio) of(plain int64) int64 {
	if r.Stored == 0 {
		return plain
	}
	n := Money(r.Stored).share(big.NewInt(r.Plain), plain)
	return int64(n)
}

func (r Ratio) ofRange(plain Range) Range {
	return Range{r.of(plain.Low), r.of(plain.Estimate), r.of(plain.High)}
}
