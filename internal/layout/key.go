package layout

import (
	"regexp"
	"strings"

	"snap-to-s3/internal/snapshot"
)

// keyForm is how the keys of all objects of a snapshot begin: volume, start time,
// snapshot. A description, which may name other snapshots, only follows.
var keyForm = regexp.MustCompile(`^(?:` + Manifests + `)?vol-[0-9a-f]+/\S+ (snap-[0-9a-f]+)(?: - |\.)`)

// SnapshotOf is the snapshot that an object's key is of, where it is a key of ours
// or of the predecessor. It is for what has nothing else to tell it: an upload that
// is not finished. Of objects, metadata and records tell.
func SnapshotOf(key string) (snapshot.ID, bool) {
	found := keyForm.FindStringSubmatch(key)
	if found == nil {
		return "", false
	}
	id, err := snapshot.ParseID(found[1])
	return id, err == nil
}

var snapshotRecordForm = regexp.MustCompile(`\.(?:image|files)\.(?:lz4|zstd)(?:\.gpg)?\.json$`)

// IsSnapshotRecord tells whether a key is that of a snapshot record.
func IsSnapshotRecord(key string) bool {
	return strings.HasPrefix(key, Manifests) && snapshotRecordForm.MatchString(key)
}

// ArchiveOf is the key of the archive that a key in Manifests, of its record or its
// entries, belongs to. Any other key stays as it is.
func ArchiveOf(key string) string {
	rest, ok := strings.CutPrefix(key, Manifests)
	if !ok {
		return key
	}
	for _, end := range []string{recordSuffix, entriesSuffix + gpgSuffix, entriesSuffix} {
		if archive, ok := strings.CutSuffix(rest, end); ok {
			return archive
		}
	}
	return key
}

// ArchiveRecordKeyOf is the key of the record of the archive with that key.
func ArchiveRecordKeyOf(archive string) string { return Manifests + archive + recordSuffix }
