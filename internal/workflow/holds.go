package workflow

import (
	"context"

	"snap-to-s3/internal/snapshot"
)

// HoldKind is what kind of thing holds a snapshot.
type HoldKind string

// The kinds of what holds a snapshot.
const (
	HoldImage     HoldKind = "ami"    // an image of this account is made of it: EC2 refuses to delete it
	HoldLock      HoldKind = "lock"   // it is locked: EC2 refuses to delete it
	HoldBackup    HoldKind = "backup" // it is a recovery point of AWS Backup, which alone may delete it
	HoldLifecycle HoldKind = "dlm"    // a policy of Data Lifecycle Manager made it, and deletes it in its time
)

// Hold is something that keeps a snapshot, or that deleting it would break.
type Hold struct {
	Kind HoldKind
	// By tells which: the id of an image, mode and end of a lock, the source of a
	// backup, the id of a policy.
	By string
}

// Holds is what holds snapshots, as far as it could be seen.
type Holds struct {
	Of map[snapshot.ID][]Hold // ordered by kind and name; without a hold a snapshot is not in it
	// Unknown are lines for a person about what could not be looked at, such as
	// "AMIs: ec2:DescribeImages is not allowed".
	Unknown []string
}

// HoldFinder finds out what holds snapshots.
type HoldFinder interface {
	// Holds looks at snapshots of this account, whose tags are those of s. A right
	// that is missing is no error: Holds.Unknown tells of it.
	Holds(ctx context.Context, s []snapshot.Snapshot) (Holds, error)
}
