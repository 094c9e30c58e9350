// Package workflow holds the use cases: what is done, in which order, and what
// is undone when it fails. It knows no SDK, no flags, and prints nothing.
package workflow

import (
	"context"
	"log/slog"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/snapshot"
)

// VolumeRequest asks for a snapshot as a readable volume.
type VolumeRequest struct {
	Snapshot snapshot.Snapshot
	Type     string // EBS volume type
	Keep     bool   // leave the volume attached at the end
	// Reuse lets a volume of this snapshot serve that an earlier run of this host,
	// which is no more, was to keep. What is mounted of it as that run's state file
	// tells is unmounted. Somebody may have written to such a volume: Reused.
	Reuse bool
	// Raw are the partitions that will be read raw, 0 being the whole disk: a kept
	// volume of which one of them has been mounted does not serve.
	Raw   []int
	Owner catalog.Owner // whose it is; written on the volume, renewed while open
	Log   *slog.Logger  // carries the snapshot id already
	Step  func(string)  // told what is waited for, for the progress line; never nil
}

// Volume is a temporary volume, attached and readable.
type Volume interface {
	block.Source
	// ID is the volume's id.
	ID() snapshot.VolumeID
	// Device is the path of its block device, which may be mounted.
	Device() string
	// MarkMounted notes on the volume that partitions of it are about to be
	// mounted: from then on the kernel may have written to them, and they serve no
	// image any more.
	MarkMounted(ctx context.Context, partitions string) error
	// Reused tells that an earlier run kept the volume, and that it may have been
	// written to since: a difference that is found on it is one of the snapshot only
	// where a new volume has it too.
	Reused() bool
	// Keep has Release keep the volume, whatever was asked for.
	Keep()
	// Release detaches and deletes the volume, or keeps it where that was
	// asked for. Its error names what stays and the command that removes it;
	// the run's state file holds that too. It replaces Close, must be called
	// once, and with a context that is still alive.
	Release(ctx context.Context) error
	// Leave stands for Release where the device is in use and must not be taken
	// away. Its error, which is never nil, names the volume and the command that
	// removes it later.
	Leave(why error) error
}

// VolumeOpener makes temporary volumes from snapshots.
type VolumeOpener interface {
	// Open makes, attaches and finds a volume; on an error all that it made is
	// taken back, or named in the error. If the owner tag of the volume is lost
	// to another run, cancel is called with that error.
	Open(ctx context.Context, cancel context.CancelCauseFunc, r VolumeRequest) (Volume, error)
}
