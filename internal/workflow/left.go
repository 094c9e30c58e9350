package workflow

import (
	"context"
	"errors"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/snapshot"
)

// LeftVolume is a temporary volume as it is found, whoever made it.
type LeftVolume struct {
	ID       snapshot.VolumeID
	Snapshot snapshot.ID
	SizeGiB  int64
	State    string // "available", "in-use"
	Value    string // of the tag that drives the work
	Owner    string // of the owner tag, "" without
	Created  time.Time
	Here     string // the device name it is attached to this instance at, or ""
	Node     string // the path of its device on this machine, or ""
	Instance string // another instance that has it attached, or ""
	Command  string // what a person can run to remove it
}

// The values that the tag has on temporary volumes.
const (
	VolumeInProgress = "in-progress"
	VolumeKept       = "kept"
)

// VolumeQuery chooses temporary volumes, of all states but deleting.
type VolumeQuery struct {
	Tag   string            // the tag that drives the work; they carry it
	ID    snapshot.VolumeID // "": any
	Owner catalog.Identity  // zero: any, or none
}

// RemoveRequest says which volume is removed, and on what condition.
type RemoveRequest struct {
	ID    snapshot.VolumeID
	Tag   string
	Owner catalog.Identity // whose it must be; zero: it must have no owner, and be attached to nothing
	// Kept has it be a volume that is marked as kept, with the owner tag Seen, which
	// may be "". Owner is not looked at then.
	Kept bool
	// Seen, unless "", is the owner tag as it was listed: one that was renewed since
	// makes the volume somebody's.
	Seen string
	// Settled tells that the volume was made so long ago that EC2 must know it, if
	// there is still one.
	Settled bool
	Step    func(string) // told what is waited for; never nil
}

// VolumeRemover finds and removes temporary volumes of runs that are no more.
type VolumeRemover interface {
	// Check makes sure that what this account and region do not show is not there:
	// they are those of this instance, where earlier runs of this host worked.
	Check(ctx context.Context) error
	// Find lists the volumes of q.
	Find(ctx context.Context, q VolumeQuery) ([]LeftVolume, error)
	// RemoveLeft detaches and deletes a volume, whatever its state; one that is gone
	// is no error. It looks at the tags before each step. ErrKept, ErrForeign and
	// ErrInUse say why it does nothing.
	RemoveLeft(ctx context.Context, r RemoveRequest) error
}

// The reasons for which something of a dead run is left alone, tested with
// errors.Is.
var (
	ErrKept    = errors.New("it was to be kept")
	ErrForeign = errors.New("it is not that run's any more")
	ErrInUse   = errors.New("it is in use")
)
