package analyze

import (
	"context"
	"iter"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// OwnedSnapshot is a snapshot and whose it is.
type OwnedSnapshot struct {
	snapshot.Snapshot
	Account string // twelve digits
}

// EBSVolume is a volume that exists.
type EBSVolume struct {
	ID   snapshot.VolumeID
	Size int64  // bytes
	Name string // its tag Name, or empty
}

// Estate is what one account has in one region. The iterators yield each thing
// once, and end after the first error.
type Estate interface {
	catalog.Catalog
	workflow.HoldFinder
	// Owned yields all snapshots that the account owns, in any state.
	Owned(ctx context.Context) iter.Seq2[OwnedSnapshot, error]
	// Volumes yields all volumes.
	Volumes(ctx context.Context) iter.Seq2[EBSVolume, error]
	// Shared are those of the account's snapshots that everybody, or one of these
	// accounts, may make volumes of.
	Shared(ctx context.Context, with []string) (map[snapshot.ID]bool, error)
}

// Asker is one set of credentials that EC2 is asked with.
type Asker struct {
	Name string // for a person: "profile audit"
	// Named says that a person named them: that they work nowhere is then an error.
	Named bool
	// Open makes ready to ask in a region. account, which is called where EC2's
	// answers do not tell, says whose the credentials are; empty: that is not known.
	Open func(ctx context.Context, region string) (e Estate, account func(context.Context) string, err error)
	// Exact reads lists of blocks of snapshots of a region, all of one account;
	// nil: nothing is read, and sizes that no bill tells are estimates.
	Exact func(ctx context.Context, region string, s []snapshot.Snapshot) (ExactSizes, error)
}
