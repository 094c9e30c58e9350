package workflow

import (
	"errors"
	"fmt"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// Difference is one thing that is not as it should be: of an archive and its
// snapshot, or of what stands in the bucket in itself.
type Difference struct {
	Snapshot snapshot.ID // "" where none is known
	Key      string      // of the object that differs
	Part     layout.Part // of the disk
	Between  Between
	Kind     string // what differs: "content", "mode", "missing", "geometry" …
	// Path of an entry of a tar, "" for its root; HasPath tells that there is one.
	Path    string
	HasPath bool
	// Off and Len are a range of an image, or of a plain tar stream that cannot be
	// read, in bytes. Len is 0 where there is none.
	Off, Len int64
	// Want is what the snapshot or the record says, Got what the archive or the
	// object is; for a person, and either may be empty.
	Want, Got string
}

// Between says which two sides differ.
type Between string

// The sides of a difference.
const (
	BetweenSnapshot Between = "snapshot" // the archive is not as the snapshot
	BetweenEntries  Between = "entries"  // the archive is not as its entries say
	BetweenRecord   Between = "record"   // the object is not as its record says, or the record is damaged
	BetweenObject   Between = "object"   // the object is not what its key says: the predecessor's, which have no record
)

func (d Difference) String() string {
	where := d.Key
	if d.HasPath {
		where += " ./" + d.Path
	}
	if d.Len > 0 {
		where += fmt.Sprintf(" bytes %d to %d", d.Off, d.Off+d.Len)
	}
	text := fmt.Sprintf("%s: %s", where, d.Kind)
	switch {
	case d.Want != "" && d.Got != "":
		text += fmt.Sprintf(": %s says %s, the archive has %s", d.side(), d.Want, d.Got)
	case d.Want != "":
		text += fmt.Sprintf(": %s says %s", d.side(), d.Want)
	case d.Got != "":
		text += ": " + d.Got
	}
	return text
}

func (d Difference) side() string {
	switch d.Between {
	case BetweenSnapshot:
		return "the snapshot"
	case BetweenObject:
		return "its metadata"
	case BetweenEntries:
		return "the entries object"
	}
	return "the record"
}

// ErrDifferent says that an archive is not what it should be: a validation or a
// verification has found differences.
var ErrDifferent = errors.New("differs")

// DifferentError counts the differences that were found and reported one by one.
type DifferentError struct {
	What  string // "snap-… and its archives", "s3://…"
	Count int64
}

func (e *DifferentError) Error() string {
	if e.Count == 1 {
		return e.What + ": 1 difference was found"
	}
	return fmt.Sprintf("%s: %d differences were found", e.What, e.Count)
}

// Is makes it an ErrDifferent.
func (e *DifferentError) Is(target error) bool { return target == ErrDifferent }
