package objstore

import (
	"fmt"
	"strings"
)

// Cold tells whether objects of this storage class must be thawed before they
// can be read (S3 user guide, "Storage classes for archiving objects").
func Cold(class string) bool { return class == "GLACIER" || class == "DEEP_ARCHIVE" }

// Readable tells, without asking the store, whether an object can be read. If not
// it is ErrArchived, with its class, and ErrThawing too where a thaw is under way.
// An Info from a list knows of no thaw and of no archive tier.
func (i Info) Readable() error {
	place := "class " + i.StorageClass
	if i.ArchiveStatus != "" {
		place += ", tier " + i.ArchiveStatus
	}
	if !Cold(i.StorageClass) && i.ArchiveStatus == "" {
		return nil
	}
	// S3 API reference, "HeadObject", x-amz-restore: ongoing-request="true", or
	// ongoing-request="false" with the date until which the copy stays. An object that
	// leaves an archive tier of INTELLIGENT_TIERING has no such status any more.
	switch {
	case strings.Contains(i.Restore, `ongoing-request="true"`):
		return fmt.Errorf("%s, %s: %w, and %w", i.Key, place, ErrArchived, ErrThawing)
	case strings.Contains(i.Restore, `ongoing-request="false"`) && i.ArchiveStatus == "":
		return nil
	default:
		return fmt.Errorf("%s, %s: %w", i.Key, place, ErrArchived)
	}
}
