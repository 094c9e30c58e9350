// Package snapshot holds the nouns of this tool: a snapshot, its volume, their
// ids. It imports the standard library only, does no I/O, and every other
// package may import it.
package snapshot

import (
	"fmt"
	"regexp"
	"time"
)

// UsualTag is the tag that drives the work, unless a user names another. It is the
// predecessor's.
const UsualTag = "snap-to-s3"

// ID names a snapshot: "snap-" and 8 or 17 hex digits.
type ID string

// VolumeID names a volume: "vol-" and 8 or 17 hex digits. A copied snapshot has
// the made-up "vol-ffffffff", which stands for no volume.
type VolumeID string

var idForm = regexp.MustCompile(`^snap-(?:[0-9a-f]{8}|[0-9a-f]{17})$`)

// ParseID checks that s has the form of a snapshot id.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a snapshot id (snap- and 8 or 17 hex digits)", s)
	}
	return ID(s), nil
}

var volumeForm = regexp.MustCompile(`^vol-(?:[0-9a-f]{8}|[0-9a-f]{17})$`)

// Valid tells whether v has the form of a volume id.
func (v VolumeID) Valid() bool { return volumeForm.MatchString(string(v)) }

// State is the state EC2 reports for a snapshot.
type State string

// The states of the EC2 API (DescribeSnapshots, Snapshot.State).
const (
	StatePending     State = "pending"
	StateCompleted   State = "completed"
	StateError       State = "error"
	StateRecoverable State = "recoverable"
	StateRecovering  State = "recovering"
)

// Snapshot is what EC2 tells of one snapshot.
type Snapshot struct {
	ID          ID
	VolumeID    VolumeID
	Size        int64 // bytes: the size of the volume it was made from, and of one made from it
	FullSize    int64 // bytes of all blocks it holds (FullSnapshotSizeInBytes); 0 where EC2 does not say
	Start       time.Time
	Description string
	Tags        map[string]string
	State       State
	StateReason string // EC2's StateMessage, for example a KMS error
	Archived    bool   // in the archive storage tier: no volume can be made from it
	Encrypted   bool
	KMSKeyID    string
}

// SizeGiB is Size in GiB, the unit EC2 speaks.
func (s Snapshot) SizeGiB() int64 { return s.Size >> 30 }
