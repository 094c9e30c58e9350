package workflow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// ArchiveVerdict is what came of one archive, or of a snapshot whose archives could
// not be looked at.
type ArchiveVerdict struct {
	Key         string
	Snapshot    snapshot.ID // "" where none is known
	Depth       Depth
	Proven      Proven
	Size, Plain int64 // bytes: of the object, and of what is in it, as far as it was read
	Entries     int64 // names in a tar
	Frames      int64 // of a sample: that were read
	Differences int64
	Err         error // why it could not be looked at
	Elapsed     time.Duration
}

// Proven is what a verification has shown.
type Proven string

// What can be shown.
const (
	ProvenContents Proven = "contents" // it is as its record and its entries say
	ProvenSample   Proven = "sample"   // the frames that were read are as the entries say
	ProvenRecord   Proven = "record"   // the store has an object of the size and checksum that the record says, and the entries are whole
	ProvenSize     Proven = "size"     // likewise, but the store tells no checksum of the archive: its size alone
	ProvenStored   Proven = "stored"   // it decodes, and sizes and checksums are as recorded; its entries are encrypted
	ProvenStream   Proven = "stream"   // it can be decoded to its end: the predecessor's, of which no record tells
)

// archive verifies one archive by its key.
func (w *verifying) archive(ctx context.Context, key string) {
	fail := func(err error) { w.failed(key, err) }
	body, err := readRecord(ctx, w.Store, w.Bucket, layout.ArchiveRecordKeyOf(key))
	if errors.Is(err, objstore.ErrNotExist) {
		a, err := w.predecessor(ctx, key)
		if err != nil {
			fail(err)
			return
		}
		w.one(ctx, *a, 0)
		return
	}
	if err != nil {
		fail(err)
		return
	}
	sh := &shelf{}
	rec, err := layout.DecodeArchiveRecord(body)
	if errors.Is(err, layout.ErrNewer) {
		fail(newer("s3://"+w.Bucket+"/"+layout.ArchiveRecordKeyOf(key), err))
		return
	}
	if err != nil {
		id, _ := layout.SnapshotOf(key)
		w.Report.Difference(Difference{Snapshot: id, Key: layout.ArchiveRecordKeyOf(key), Between: BetweenRecord, Kind: string(archive.DiffDamaged), Got: oneLine(err)})
		w.different(ArchiveVerdict{Key: key, Depth: w.Depth, Differences: 1}, nil)
		return
	}
	w.misplaced(sh, &rec, key)
	a, err := w.shelves().standsAs(ctx, sh, &rec)
	if err != nil {
		fail(err)
		return
	}
	for _, d := range sh.wrong {
		w.Report.Difference(d)
	}
	n := int64(len(sh.wrong))
	if a == nil {
		w.different(ArchiveVerdict{Key: key, Snapshot: rec.Snapshot, Depth: w.Depth, Differences: n}, nil)
		return
	}
	w.one(ctx, *a, n)
}

// predecessor is an object that no record tells of.
func (w *verifying) predecessor(ctx context.Context, key string) (*archived, error) {
	info, err := w.Store.Stat(ctx, key)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("look for s3://%s/%s: %w", w.Bucket, key, err), "list what is there: aws s3 ls --recursive "+hint.Quote("s3://"+w.Bucket+"/"))
	}
	if run := info.Metadata[layout.MetaRun]; run != "" {
		return nil, hint.Wrap(fmt.Errorf("s3://%s/%s, of run %s, has no record that could be read: it was left unfinished, or the record is gone or forbidden", w.Bucket, key, run),
			"verify the snapshot by its id, whose own record repeats this one; where there is none, migrate the snapshot again, which replaces the archive")
	}
	kind, name, encrypted, ok := layout.CodingOf(key)
	if !ok {
		return nil, hint.Wrap(fmt.Errorf("s3://%s/%s is no archive: its name does not end in .tar or .img with .lz4 or .zstd", w.Bucket, key),
			"name an archive, or its record in "+layout.Manifests)
	}
	return &archived{key: key, info: info, kind: kind, codec: name, encrypted: encrypted}, nil
}

// one verifies an archive of which wrong is known already.
func (w *verifying) one(ctx context.Context, a archived, wrong int64) {
	started := time.Now()
	v := ArchiveVerdict{Key: a.key, Depth: w.Depth, Size: a.info.Size, Differences: wrong}
	v.Snapshot, _ = layout.SnapshotOf(a.key)
	progress := w.Report.Start(a.key, a.info.Size)
	defer progress.Done()
	rb := &readback{
		store: w.Store, gpg: w.GPG, log: w.Log, subject: v.Snapshot, a: a, progress: progress.Add,
		found:  func(d Difference) { v.Differences++; w.Report.Difference(d) },
		entry:  func(*archive.TreeRow) error { v.Entries++; return nil },
		blocks: func(archive.BlockRun) error { return nil },
	}
	err := w.look(ctx, rb, &v)
	v.Plain, v.Elapsed = rb.plain, time.Since(started)
	if errors.Is(err, errCut) { // which was told
		err = nil
	}
	switch {
	case err != nil && v.Differences > 0:
		w.different(v, err)
	case err != nil:
		v.Err = err
		w.sum.Failed++
		w.errs = append(w.errs, err)
		w.Report.Verified(v)
	case v.Differences > 0:
		w.different(v, nil)
	default:
		w.sum.Verified++
		w.sum.Bytes += v.Size
		w.Report.Verified(v)
	}
}

// look does what the depth asks for.
func (w *verifying) look(ctx context.Context, rb *readback, v *ArchiveVerdict) error {
	theirs := rb.a.record == nil
	if w.Depth == Quick && !theirs {
		v.Proven = ProvenRecord
		if rb.a.record.CRC64NVME == "" || rb.a.info.CRC64NVME == "" {
			v.Proven = ProvenSize
		}
		return rb.storedList(ctx)
	}
	o := opener{w.Store, w.Bucket, w.GPG, w.NoGPG, w.SessionKeys, w.Pricing}
	if err := o.openOne(ctx, &rb.a, w.Report.Note); err != nil {
		return err
	}
	if w.Depth == Sampled && !theirs && !rb.a.encrypted {
		v.Proven = ProvenSample
		var err error
		v.Frames, err = rb.sample(ctx, w.Sample, rand.New(rand.NewPCG(w.Seed, uint64(rb.a.info.Size)))) //nolint:gosec // chosen frames need not be secret
		return err
	}
	if w.Depth != Whole {
		v.Depth = Whole
		w.Report.Note(fmt.Sprintf("s3://%s/%s is read whole: %s", w.Bucket, rb.a.key, whyWhole(theirs)))
	}
	v.Proven = ProvenContents
	switch {
	case theirs:
		v.Proven = ProvenStream
	case rb.a.sealed:
		v.Proven = ProvenStored
	}
	return rb.run(ctx)
}

func whyWhole(theirs bool) string {
	if theirs {
		return "the predecessor's archives have no record and no table of frames"
	}
	return "an encrypted archive can only be read from its beginning"
}

// different counts an archive with its differences; cut is why not all of it could
// be looked at.
func (w *verifying) different(v ArchiveVerdict, cut error) {
	w.sum.Different++
	v.Err = hint.Wrap(&DifferentError{What: "s3://" + w.Bucket + "/" + v.Key, Count: v.Differences},
		"if the snapshot is still there, migrate it again with --overwrite; else restore an earlier version of the object, where the bucket keeps them")
	if cut != nil {
		v.Err = hint.Wrap(fmt.Errorf("%w; and not all could be looked at: %w", v.Err, cut), hint.Of(cut))
	}
	w.errs = append(w.errs, v.Err)
	if v.Snapshot == "" {
		v.Snapshot, _ = layout.SnapshotOf(v.Key)
	}
	w.Report.Verified(v)
}
