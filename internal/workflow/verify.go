package workflow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"snap-to-s3/internal/encrypt"
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
