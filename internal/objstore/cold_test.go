package objstore_test

import (
	"errors"
	"testing"

	"snap-to-s3/internal/objstore"
)

func TestReadable(t *testing.T) {
	t.Parallel()
	const underWay, done = `ongoing-request="true"`, `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`
	for _, c := range []struct {
		class, status, restore string
		text                   string
		thawing                bool
	}{
		{"STANDARD", "", "", "", false},
		{"GLACIER_IR", "", "", "", false},
		{"INTELLIGENT_TIERING", "", done, "", false},
		{"GLACIER", "", "", "k, class GLACIER: object is in an archive storage class", false},
		{"GLACIER", "", done, "", false},
		{"GLACIER", "", "nonsense", "k, class GLACIER: object is in an archive storage class", false},
		{"DEEP_ARCHIVE", "", underWay, "k, class DEEP_ARCHIVE: object is in an archive storage class, and a thaw is under way", true},
		{"INTELLIGENT_TIERING", "ARCHIVE_ACCESS", "", "k, class INTELLIGENT_TIERING, tier ARCHIVE_ACCESS: object is in an archive storage class", false},
		{"INTELLIGENT_TIERING", "ARCHIVE_ACCESS", done, "k, class INTELLIGENT_TIERING, tier ARCHIVE_ACCESS: object is in an archive storage class", false},
		{"INTELLIGENT_TIERING", "ARCHIVE_ACCESS", underWay, "k, class INTELLIGENT_TIERING, tier ARCHIVE_ACCESS: object is in an archive storage class, and a thaw is under way", true},
	} {
		err := objstore.Info{Key: "k", StorageClass: c.class, ArchiveStatus: c.status, Restore: c.restore}.Readable()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != c.text || errors.Is(err, objstore.ErrArchived) != (c.text != "") || errors.Is(err, objstore.ErrThawing) != c.thawing {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
