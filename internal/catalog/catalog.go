package catalog

import (
	"context"
	"fmt"
	"iter"

	"snap-to-s3/internal/snapshot"
)

// Filter chooses snapshots of this account and region. With IDs the tag is not
// looked at; without, Tag and Value choose.
type Filter struct {
	IDs   []snapshot.ID
	Tag   string
	Value string
}

// Catalog is the list of snapshots and their tags. Its views are eventually
// consistent, as EC2's are. A returned error is final.
type Catalog interface {
	// Snapshots yields every snapshot the filter chooses, in the order the
	// service gives them, one page in memory at a time. An id that does not
	// exist or is not ours yields an error that names it. It ends after the
	// first error.
	Snapshots(ctx context.Context, f Filter) iter.Seq2[snapshot.Snapshot, error]
	// SetTags writes tags, replacing values; other tags stay. At most 50 a
	// snapshot.
	SetTags(ctx context.Context, id snapshot.ID, tags map[string]string) error
	// DeleteTags deletes those of the tags that have exactly this value; others
	// stay, without an error.
	DeleteTags(ctx context.Context, id snapshot.ID, tags map[string]string) error
}

// WorkLister is what a Catalog may be able to do beyond that.
type WorkLister interface {
	// InWork yields the snapshots whose tag says that somebody works on them, and
	// those that carry an owner, each once or twice.
	InWork(ctx context.Context, tag string) iter.Seq2[snapshot.Snapshot, error]
}

// UnknownError says that a snapshot does not exist, or is not ours.
type UnknownError struct {
	Snapshot snapshot.ID
	Region   string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("snapshot %s does not exist in %s, or is not owned by this account", e.Snapshot, e.Region)
}

// The values of the tag that drives the work (the predecessor's).
const (
	Migrate    = "migrate"
	Migrating  = "migrating"
	Migrated   = "migrated"
	Validating = "validating"
	Validated  = "validated"
)
