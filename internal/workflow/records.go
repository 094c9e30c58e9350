package workflow

import (
	"context"
	"encoding/hex"
	"slices"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// archiveOptions says how the archive itself is stored.
func (j *job) archiveOptions(p *part) objstore.CreateOptions {
	m := j.m
	tags, notes := layout.ObjectTags(j.s.Tags, m.Tag)
	j.once.Do(func() {
		for _, n := range notes {
			m.Report.Note(j.s.ID, n)
		}
	})
	replace := p.found.replace[p.key()]
	before := j.claim.Check
	if replace != "" {
		before = func(ctx context.Context) error { return j.replacing(ctx, p) }
	}
	return objstore.CreateOptions{
		BeforeCommit: before,
		SizeBound:    p.bound,
		PartSize:     m.Upload.PartSize,
		Streams:      m.Upload.Streams,
		SpoolDir:     m.Upload.SpoolDir,
		ContentType:  "application/octet-stream",
		Metadata:     layout.Metadata(p.name, p.plain, m.Run),
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

func (j *job) tool() string { return "snap-to-s3 " + j.m.ToolVersion }

func (j *job) archiveRecord(u *upload, w written, info objstore.Info) layout.ArchiveRecord {
	m, p, name := j.m, u.p, u.p.name
	rec := layout.ArchiveRecord{
		Tool: j.tool(), Run: m.Run,
		Key: name.ArchiveRecordKey(), Snapshot: j.s.ID, Volume: j.s.VolumeID,
		Archive: p.key(), Kind: name.Kind, Partition: name.Partition,
		PlainSize: w.plain, StoredSize: info.Size,
		Codec: m.Codec.Name(), Level: m.Codec.Level(), FrameSize: codec.FrameSize,
		CRC64NVME: info.CRC64NVME, Digest: hex.EncodeToString(w.digest[:]), Recipients: m.subkeys(),
		Blocks: w.blocks, Files: w.files,
		Entries: layout.EntriesRef{Key: name.EntriesKey(), Size: u.storedEntries.n, SHA256: hex.EncodeToString(u.storedEntries.sum.Sum(nil))},
	}
	if len(rec.Recipients) > 0 {
		rec.Digest = "" // it tells of the contents, and stands in the entries
	}
	if j.s.Encrypted && name.Kind == layout.Image {
		rec.Absent = layout.AbsentUnknown
		j.noise.Do(func() {
			m.Report.Note(j.s.ID, "the snapshot is encrypted and its block list was not read: blocks that were never written could not be told from data, and are stored as the volume showed them")
		})
	}
	return rec
}

// subkeys are the keys that archives are encrypted to, ascending and each once, in
// whatever order and by how many names the user has asked for them; nil without
// recipients.
func (m *Migrator) subkeys() []string {
	var keys []string
	for _, r := range m.Recipients {
		keys = append(keys, r.Subkey)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
