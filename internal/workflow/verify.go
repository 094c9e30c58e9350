package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// Verifier proves what stands in a bucket by itself: it needs neither the snapshot
// nor EC2. All fields are set before Verify and not changed after.
type Verifier struct {
	Store  objstore.Store
	Bucket string
	Report VerifyReporter
	Log    *slog.Logger

	Depth  Depth
	Sample float64 // of the frames, 0 to 1; with Sampled
	Seed   uint64  // of the sample

	GPG         *encrypt.GPG
	NoGPG       error // why GPG is nil, should it be needed
	SessionKeys []*encrypt.SessionKey
	Pricing     Pricing // of thaws; may be zero
}

// Depth is how closely an archive is looked at.
type Depth string

// The depths.
const (
	Whole   Depth = "whole"  // all of it is read back
	Sampled Depth = "sample" // some of its frames, at random
	Quick   Depth = "quick"  // records, sizes and checksums, as far as the store tells them
)

// VerifySubject says what is verified. Exactly one field is set.
type VerifySubject struct {
	Keys []string // of archives
	IDs  []snapshot.ID
	All  bool // all snapshots that have a record
}

// VerifyReporter is told of the work as it goes on.
type VerifyReporter interface {
	// Start opens the progress of one archive or snapshot; total is in bytes.
	Start(name string, total int64) Task
	Difference(Difference)
	Verified(ArchiveVerdict)
	Note(text string)
}

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

// VerifySummary counts a verification.
type VerifySummary struct {
	Verified, Different, Failed int // archives, and snapshots without any
	Bytes                       int64
	Elapsed                     time.Duration
}

// verifying is one run.
type verifying struct {
	*Verifier
	sum  VerifySummary
	errs []error
}

// Verify looks at all of the subject and returns what came of it. The error is a
// *BatchError where something differs or could not be looked at, ErrNothing
// (wrapped) where there was nothing, or what kept it from starting.
func (v *Verifier) Verify(ctx context.Context, sub VerifySubject) (VerifySummary, error) {
	started := time.Now()
	w := &verifying{Verifier: v}
	err := w.all(ctx, sub)
	w.sum.Elapsed = time.Since(started)
	switch {
	case ctx.Err() != nil:
		return w.sum, stopped(ctx, w.errs, w.batch)
	case err != nil:
		return w.sum, err
	case len(w.errs) > 0:
		return w.sum, w.batch(w.errs)
	}
	return w.sum, nil
}

func (w *verifying) batch(errs []error) error {
	total := w.sum.Verified + w.sum.Different + w.sum.Failed
	return &BatchError{Failed: len(errs), Total: total, Errs: errs, Things: "archives"}
}

// stopped is the error of a run that ctx has ended: what was found to differ until
// then is not forgotten.
func stopped(ctx context.Context, errs []error, batch func([]error) error) error {
	var different []error
	for _, err := range errs {
		if errors.Is(err, ErrDifferent) {
			different = append(different, err)
		}
	}
	if len(different) == 0 {
		return context.Cause(ctx)
	}
	return errors.Join(context.Cause(ctx), batch(different))
}

func (w *verifying) all(ctx context.Context, sub VerifySubject) error {
	for _, key := range sub.Keys {
		switch {
		case ctx.Err() != nil:
			return nil
		case layout.IsSnapshotRecord(key):
			w.snapshot(ctx, key)
		default:
			w.archive(ctx, layout.ArchiveOf(key))
		}
	}
	if len(sub.Keys) > 0 {
		return nil
	}
	records, err := w.records(ctx, sub)
	if err != nil {
		return err
	}
	for _, key := range records {
		if ctx.Err() != nil {
			return nil
		}
		w.snapshot(ctx, key)
	}
	return nil
}

// failed counts something that could not be looked at.
func (w *verifying) failed(key string, err error) {
	w.sum.Failed++
	w.errs = append(w.errs, err)
	id, _ := layout.SnapshotOf(key)
	w.Report.Verified(ArchiveVerdict{Key: key, Snapshot: id, Depth: w.Depth, Err: err})
}

func (w *verifying) shelves() shelves { return shelves{w.Store, w.Bucket, Prefer{}} }

// snapshot verifies all archives of a snapshot record.
func (w *verifying) snapshot(ctx context.Context, key string) {
	body, err := readRecord(ctx, w.Store, w.Bucket, key)
	if err != nil {
		w.failed(key, err)
		return
	}
	sh, err := w.shelves().ours(ctx, key, body)
	if err != nil {
		w.failed(key, err)
		return
	}
	wrong := map[string]int64{} // by the key of the archive
	for _, d := range sh.wrong {
		w.Report.Difference(d)
		wrong[w.ofArchive(sh, d)]++
	}
	for _, a := range sh.archives {
		if ctx.Err() != nil {
			return
		}
		w.one(ctx, a, wrong[a.key])
		delete(wrong, a.key)
	}
	for what, n := range wrong { // no archive of it could be looked at
		w.different(ArchiveVerdict{Key: what, Depth: w.Depth, Differences: n}, nil)
	}
}

// ofArchive is the archive that a difference in records is of.
func (w *verifying) ofArchive(sh *shelf, d Difference) string {
	for _, a := range sh.archives {
		if d.Key == a.key || d.Key == a.record.Key || d.Key == a.record.Entries.Key {
			return a.key
		}
	}
	return d.Key
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
