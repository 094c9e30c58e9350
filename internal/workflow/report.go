package workflow

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/words"
)

// Reporter is told of the work as it goes on. Its methods are called from
// several goroutines at once and must not block for long.
type Reporter interface {
	// Plan is one line of a dry run.
	Plan(PlanItem)
	// Cost is said once, before the first snapshot is touched.
	Cost(Totals)
	// Start opens the progress of one snapshot; total is in bytes.
	Start(s snapshot.Snapshot, total int64) Task
	// Part is told what will be done with a part of a disk, before it is.
	Part(PartItem)
	// Object is told of an object once it stands in the bucket.
	Object(ObjectResult)
	// Difference is told what a validation has found, as soon as it has.
	Difference(Difference)
	// Finished is told how a snapshot came out.
	Finished(SnapshotResult)
	// Note is one line that a person should read, about a snapshot or, with an
	// empty id, about the run.
	Note(id snapshot.ID, text string)
}

// Task is the progress of one snapshot.
type Task interface {
	Stage(name string)           // what is done now, for example "attaching volume"
	Total(bytes int64)           // of what is to be read, now that it is known better
	Add(bytes int64)             // so many more bytes are through
	Files(more int64, at string) // so many more names of a tree are through, the last of them at
	Done()                       // takes the line away; called once
}

// PlanItem says what a run would do with one snapshot.
type PlanItem struct {
	Snapshot snapshot.Snapshot
	Keys     []string      // of the archive that is to be stored, or of those that are to be read back
	Trees    bool          // there will be an archive like it for each partition
	Bound    int64         // bytes the archive will hardly exceed, or those that are to be read back have
	Cost     cost.Estimate // one-time and a month
	Others   []string      // keys of archives that would not be compared
	Problem  error         // why it cannot be done; nil where it can
}

// PartItem is a part of a disk, and what is done with it.
type PartItem struct {
	Snapshot snapshot.ID
	Part     layout.Part
	Content  string // what a probe found there: "ext4", "swap"; "" for nothing known
	Size     int64  // bytes
	Plan     PartPlan
	Why      string // of what is skipped or stored raw
	// Of files:
	Entries, Files, Bytes int64 // names; regular files; bytes of their contents
}

// PartPlan is what is done with a part of a disk.
type PartPlan string

// The plans for a part.
const (
	PlanFiles PartPlan = "files" // a tar
	PlanRaw   PartPlan = "raw"   // an image of the part
	PlanSkip  PartPlan = "skip"
)

// Totals is what all snapshots known at the start come to.
type Totals struct {
	Snapshots int
	Refused   int   // beside them: what they need is not there, and each is told why
	Size      int64 // bytes of their volumes
	Cost      cost.Estimate
}

// ObjectResult is one object that stands in the bucket.
type ObjectResult struct {
	Snapshot snapshot.ID
	Bucket   string
	Info     objstore.Info
	Plain    int64 // bytes before compression; 0 for entries and records
	Role     Role
}

// Role is what an object is for.
type Role string

// The roles of the objects of a snapshot.
const (
	RoleArchive        Role = "archive"
	RoleEntries        Role = "entries"
	RoleArchiveRecord  Role = "archive-record"
	RoleSnapshotRecord Role = "snapshot-record"
)

// Outcome is how a snapshot came out.
type Outcome string

// The outcomes of a snapshot.
const (
	Migrated  Outcome = "migrated"
	Validated Outcome = "validated" // its archives are proven
	Kept      Outcome = "kept"      // its archive was whole in the bucket already
	Failed    Outcome = "failed"    // Err says why
	Skipped   Outcome = "skipped"   // claimed elsewhere; Err says by whom
)

// SnapshotResult is how one snapshot came out.
type SnapshotResult struct {
	Snapshot    snapshot.Snapshot
	Outcome     Outcome
	Keys        []string // of its archives
	Entries     int64    // names in its trees
	Plain       int64    // bytes of the archives' contents
	Stored      int64    // bytes of the archives
	Elapsed     time.Duration
	Differences int64    // that a validation has found
	Unproven    []string // what a validation could not look at, a line each
	Others      []string // keys of archives of the snapshot that a validation did not compare
	LeftOut     []string // partitions that a migration has in no archive, a line each
	Left        []error  // what could not be taken back, each with the command that does it
	Err         error
}

// Summary counts a run.
type Summary struct {
	Migrated, Kept, Failed, Skipped int
	Validated                       int
	Proven                          []ProvenSnapshot // those that were validated
	Planned                         int              // dry run only
	Listed                          int              // on the list at the start; not in a dry run
	Plain, Stored                   int64
	Left                            int   // things that stay behind
	Retries                         int64 // repeated AWS calls; filled in by who holds the session
	Cost                            cost.Estimate
	Elapsed                         time.Duration
}

// ProvenSnapshot is a snapshot that was validated, and what of it that did not prove.
type ProvenSnapshot struct {
	Snapshot snapshot.Snapshot
	Unproven []string
	Others   []string // keys of archives of it that were not compared
}

// BatchError says that some snapshots of a run did not come out well. The
// errors themselves were given to the Reporter one by one.
type BatchError struct {
	Failed, Total int
	Left          int
	Errs          []error
	Things        string // what was worked on; "": snapshots
	Outcome       string // what came of those; "": failed
}

func (e *BatchError) Error() string {
	if e.Failed == 0 {
		return words.Count(e.Left, "thing") + " could not be removed; each is named above"
	}
	all := words.Count(e.Total, strings.TrimSuffix(cmp.Or(e.Things, "snapshots"), "s"))
	for _, err := range e.Errs {
		if !errors.Is(err, catalog.ErrClaimed) {
			return fmt.Sprintf("%d of %s %s", e.Failed, all, cmp.Or(e.Outcome, "failed"))
		}
	}
	if e.Total == 1 {
		return "1 of " + all + " is claimed elsewhere"
	}
	return fmt.Sprintf("%d of %s are claimed elsewhere", e.Failed, all)
}

// Unwrap lets a caller ask whether all that failed was claimed elsewhere.
func (e *BatchError) Unwrap() []error { return e.Errs }

// ErrNothing says that no snapshot carries the tag that was looked for.
var ErrNothing = errors.New("nothing to do")

// ErrTooDear says that a run would cost more than it may.
var ErrTooDear = errors.New("would cost more than --max-cost allows")
