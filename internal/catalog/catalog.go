package catalog

import (
	"context"
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

// The values of the tag that drives the work (the predecessor's).
const (
	Migrate    = "migrate"
	Migrating  = "migrating"
	Migrated   = "migrated"
	Validating = "validating"
	Validated  = "validated"
)
