package workflow

import (
	"encoding/hex"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// archiveOptions says how the archive itself is stored; plain is the volume's
// size in bytes, replace the ETag of the object it takes the place of.
func (j *job) archiveOptions(plain int64, replace string) objstore.CreateOptions {
	m := j.m
	tags, notes := layout.ObjectTags(j.s.Tags, m.Tag)
	for _, n := range notes {
		m.Report.Note(j.s.ID, n)
	}
	before := j.claim.Check
	if replace != "" {
		before = j.replacing
	}
	return objstore.CreateOptions{
		BeforeCommit: before,
		SizeBound:    m.bound(j.s, plain),
		PartSize:     m.Upload.PartSize,
		Streams:      m.Upload.Streams,
		SpoolDir:     m.Upload.SpoolDir,
		ContentType:  "application/octet-stream",
		Metadata:     layout.Metadata(j.name(), plain, m.Run),
		Tags:         tags,
		StorageClass: m.Upload.StorageClass,
		Encryption:   m.Upload.Encryption,
		IfMatch:      replace,
	}
}

// recordOptions says how entries and records are stored: always in STANDARD,
// so that cold archives can be listed and checked without a thaw.
func (j *job) recordOptions(replace string) objstore.CreateOptions {
	return objstore.CreateOptions{
		BeforeCommit: j.claim.Check,
		Streams:      1,
		ContentType:  "application/octet-stream",
		Metadata:     map[string]string{layout.MetaRun: j.m.Run},
		Encryption:   j.m.Upload.Encryption,
		IfMatch:      replace,
	}
}

func (j *job) archiveRecord(w archive.ImageResult, info objstore.Info, rows *layout.EntriesWriter) layout.ArchiveRecord {
	m, name, sum := j.m, j.name(), rows.SHA256()
	rec := layout.ArchiveRecord{
		Tool: "snap-to-s3 " + m.ToolVersion, Run: m.Run,
		Key: name.ArchiveRecordKey(), Snapshot: j.s.ID, Volume: j.s.VolumeID,
		Archive: name.ArchiveKey(), Kind: name.Kind,
		PlainSize: w.Plain, StoredSize: info.Size,
		Codec: m.Codec.Name(), Level: m.Codec.Level(), FrameSize: codec.FrameSize,
		CRC64NVME: info.CRC64NVME, Digest: hex.EncodeToString(w.Digest[:]),
		Blocks:  &layout.Blocks{Data: w.DataBlocks, Zero: w.ZeroBlocks, Absent: w.AbsentBlocks},
		Entries: layout.EntriesRef{Key: name.EntriesKey(), Size: rows.Size(), SHA256: hex.EncodeToString(sum[:])},
	}
	if j.s.Encrypted {
		rec.Absent = layout.AbsentUnknown
		m.Report.Note(j.s.ID, "the snapshot is encrypted and its block list was not read: blocks that were never written could not be told from data, and are stored as the volume showed them")
	}
	return rec
}

func (j *job) snapshotRecord(rec layout.ArchiveRecord) layout.SnapshotRecord {
	all := []layout.ArchiveRecord{rec}
	return layout.SnapshotRecord{
		Tool: "snap-to-s3 " + j.m.ToolVersion, Run: j.m.Run,
		Key:      j.name().SnapshotRecordKey(),
		Snapshot: layout.Describe(j.s), Archives: all, Totals: layout.Sum(all),
	}
}
