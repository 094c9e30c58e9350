package workflow

import (
	"fmt"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// archived is an archive as it was found in the bucket.
type archived struct {
	key       string
	info      objstore.Info
	kind      layout.Kind
	part      layout.Part
	codec     string
	encrypted bool

	record  *layout.ArchiveRecord // nil: the predecessor's
	entries objstore.Info         // of ours
	// The keys that open the encrypted objects; nil: a private key that is at hand.
	opens, opensEntries *encrypt.SessionKey
	// sealed tells that the entries cannot be decrypted here: the archive is read
	// without them.
	sealed bool
}

// archivedAs is an archive of ours, by its record.
func archivedAs(rec *layout.ArchiveRecord) archived {
	return archived{
		key: rec.Archive, kind: rec.Kind, part: rec.Partition, codec: rec.Codec,
		encrypted: len(rec.Recipients) > 0, record: rec,
	}
}

// recordDifferences holds an object to what its record says of it, as far as the
// store tells without giving the bytes.
func recordDifferences(rec *layout.ArchiveRecord, info objstore.Info) []Difference {
	var all []Difference
	differ := func(kind, want, got string) {
		all = append(all, Difference{Snapshot: rec.Snapshot, Key: rec.Archive, Part: rec.Partition, Between: BetweenRecord, Kind: kind, Want: want, Got: got})
	}
	if info.Size != rec.StoredSize {
		differ("size", fmt.Sprintf("%d bytes", rec.StoredSize), fmt.Sprintf("%d bytes", info.Size))
	}
	if run := info.Metadata[layout.MetaRun]; run != rec.Run {
		differ("run", rec.Run, run)
	}
	if info.CRC64NVME != "" && rec.CRC64NVME != "" && info.CRC64NVME != rec.CRC64NVME {
		differ("checksum", "CRC64NVME "+rec.CRC64NVME, "CRC64NVME "+info.CRC64NVME)
	}
	return all
}
