package workflow

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// job is the work on one claimed snapshot.
type job struct {
	m      *Migrator
	s      snapshot.Snapshot
	claim  *catalog.Claim
	cancel context.CancelCauseFunc // ends the work, for example when the volume is lost
	log    *slog.Logger
	task   Task
	res    *SnapshotResult
}

func (j *job) left(err error) {
	j.res.Left = append(j.res.Left, err)
}

func (j *job) name() layout.Name {
	return j.m.name(j.s)
}

// image makes the snapshot's image an object, and commits it: archive,
// entries, archive record, snapshot record, tag, each only after the one before
// it stands and while the claim is still ours.
func (j *job) image(ctx context.Context) error {
	j.res.Key = j.name().ArchiveKey()
	found, err := j.lookUp(ctx)
	if err != nil {
		return err
	}
	if found.record == nil {
		rec, err := j.archive(ctx, found)
		if err != nil {
			return err
		}
		found.record = rec
		j.res.Outcome = Migrated
	} else {
		j.res.Outcome = Kept
		j.m.Report.Note(j.s.ID, fmt.Sprintf("s3://%s/%s is whole already: kept", j.m.Bucket, j.res.Key))
	}
	j.res.Plain, j.res.Stored = found.record.PlainSize, found.record.StoredSize
	if !found.committed {
		if err := j.putSnapshotRecord(ctx, *found.record, found); err != nil {
			return err
		}
	}
	j.task.Stage("tagging")
	if err := j.claim.Check(ctx); err != nil {
		return err
	}
	// All is stored. An interrupt from here on must not leave the tag half way,
	// and to go on takes no longer than to go back.
	clean, cancel := j.m.cleanup(ctx)
	defer cancel()
	return j.claim.Complete(clean, catalog.Migrated)
}

// replacing is called right before an object that stands is replaced by an
// archive. From then on the value before may be a lie: "migrated" would point to
// an archive that is no more. "migrate" makes a rerun look again.
func (j *job) replacing(ctx context.Context) error {
	if err := j.claim.Check(ctx); err != nil {
		return err
	}
	return j.claim.SetBefore(ctx, catalog.Migrate)
}

// archive reads the snapshot through a temporary volume and stores archive,
// entries and archive record.
func (j *job) archive(ctx context.Context, found found) (rec *layout.ArchiveRecord, err error) {
	vol, err := j.m.Volumes.Open(ctx, j.cancel, VolumeRequest{
		Snapshot: j.s, Type: j.m.VolumeType, Keep: j.m.KeepVolumes,
		Owner: j.claim.Owner(), Log: j.log, Step: j.task.Stage,
	})
	if err != nil {
		return nil, err
	}
	released := false
	release := func() {
		if released {
			return
		}
		released = true
		j.task.Stage("releasing volume")
		clean, cancel := j.m.cleanup(ctx)
		defer cancel()
		if err := vol.Release(clean); err != nil {
			j.left(err)
		}
	}
	defer release()
	up, err := j.begin(ctx, vol.Size(), found)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.task.Stage("taking back")
			up.abort(ctx)
		}
	}()
	j.task.Stage("copying")
	started := time.Now()
	written, err := archive.WriteImage(ctx, vol, up.archive, up.rows, archive.ImageOptions{
		Codec: j.m.Codec, Progress: advance(j.task),
	})
	if err != nil {
		err = fmt.Errorf("copy %s of %s: %w", vol.ID(), j.s.ID, err)
		if _, ok := errors.AsType[*block.ReadError](err); ok {
			err = hint.Wrap(err, "run the command again, which reads a fresh volume; where it fails at the same place, the snapshot itself cannot be read: ask AWS support")
		}
		return nil, err
	}
	j.log.Info("read and compressed", "bytes", written.Plain, "stored_bytes", written.Stored, "elapsed", time.Since(started))
	// All is read: the volume costs money and is of no more use.
	release()
	if err := up.finishRows(written); err != nil {
		return nil, err
	}
	return up.commit(ctx, written, found)
}

// upload is the archive and its entries while they are written.
type upload struct {
	j       *job
	archive objstore.Writer
	entries objstore.Writer
	rows    *layout.EntriesWriter
	undo    []func(context.Context)
}

// begin opens both objects. plain is the volume's size in bytes.
func (j *job) begin(ctx context.Context, plain int64, found found) (_ *upload, err error) {
	u := &upload{j: j}
	defer func() {
		if err != nil {
			u.abort(ctx)
		}
	}()
	if u.archive, err = u.create(ctx, j.res.Key, j.archiveOptions(plain, found.replace[j.res.Key])); err != nil {
		return nil, err
	}
	key := j.name().EntriesKey()
	if u.entries, err = u.create(ctx, key, j.recordOptions(found.replace[key])); err != nil {
		return nil, err
	}
	u.rows = layout.NewEntriesWriter(u.entries, layout.EntriesHeader{
		Kind: layout.Image, Archive: j.res.Key, Snapshot: j.s.ID, Run: j.m.Run, PlainSize: plain, Codec: j.m.Codec.Name(),
	})
	return u, nil
}

// create starts one object, with its intent in the state file first.
func (u *upload) create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	m := u.j.m
	intent, err := m.State.Intend(runstate.KindUpload, map[string]string{
		"bucket": m.Bucket, "key": key, "region": m.Pricing.BucketRegion, "started": m.Protocol.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, err
	}
	o.Started = func(id string) {
		if err := intent.Update(map[string]string{"upload": id}); err != nil {
			u.j.log.Warn("upload id not noted in the state file", "key", key, "err", err)
		}
	}
	w, err := m.Store.Create(ctx, key, o)
	if err != nil {
		if done := intent.Done(); done != nil {
			u.j.left(done)
		}
		return nil, fmt.Errorf("start s3://%s/%s: %w", m.Bucket, key, err)
	}
	u.undo = append(u.undo, func(clean context.Context) {
		err := w.Abort(clean)
		if errors.Is(err, objstore.ErrDone) {
			err = nil
		}
		if err == nil {
			err = intent.Done()
		} else if stay := intent.Stay(err.Error(), removeCommand(err)); stay != nil {
			err = errors.Join(err, stay)
		}
		if err != nil {
			u.j.left(err)
		}
	})
	return w, nil
}

// removeCommand is what a person can run to remove what an Abort left.
func removeCommand(err error) string {
	if left, ok := errors.AsType[*objstore.LeftBehindError](err); ok {
		return left.Command
	}
	return hint.Of(err)
}

// abort takes back what was not committed.
func (u *upload) abort(ctx context.Context) {
	clean, cancel := u.j.m.cleanup(ctx)
	defer cancel()
	for _, undo := range u.undo {
		undo(clean)
	}
	u.undo = nil
}

// finishRows ends the entries, and makes sure that they tell of what was
// written: both sides added up the same frames.
func (u *upload) finishRows(w archive.ImageResult) error {
	if err := u.rows.Close(); err != nil {
		return fmt.Errorf("end the entries of %s: %w", u.j.res.Key, err)
	}
	end, err := u.rows.End()
	if err != nil {
		return fmt.Errorf("end the entries of %s: %w", u.j.res.Key, err)
	}
	if digest := hex.EncodeToString(w.Digest[:]); end.Digest != digest || end.StoredSize != w.Stored || end.PlainSize != w.Plain {
		return fmt.Errorf("the entries of %s tell of %d bytes with digest %s, the archive has %d bytes with %s: a fault of this program or of this machine's memory",
			u.j.res.Key, end.StoredSize, end.Digest, w.Stored, digest)
	}
	return nil
}

// advance turns "so far" into "so many more".
func advance(t Task) func(int64) {
	var before int64
	return func(now int64) {
		t.Add(now - before)
		before = now
	}
}

// commit makes archive, entries and archive record visible, in that order.
func (u *upload) commit(ctx context.Context, w archive.ImageResult, found found) (*layout.ArchiveRecord, error) {
	j := u.j
	j.task.Stage("committing")
	info, err := u.archive.Commit(ctx)
	if err != nil {
		return nil, err
	}
	if info.Size != w.Stored {
		return nil, j.unfinished(fmt.Errorf("the store says that it has %d bytes of %d", info.Size, w.Stored))
	}
	j.m.Report.Object(ObjectResult{j.s.ID, j.m.Bucket, info, w.Plain, RoleArchive})
	einfo, err := u.entries.Commit(ctx)
	if err != nil {
		return nil, j.unfinished(err)
	}
	j.m.Report.Object(ObjectResult{j.s.ID, j.m.Bucket, einfo, 0, RoleEntries})
	rec := j.archiveRecord(w, info, u.rows)
	if err := j.putArchiveRecord(ctx, &rec, found); err != nil {
		return nil, j.unfinished(err)
	}
	u.abort(ctx) // both are committed: this only strikes the intents
	return &rec, nil
}

// unfinished names an archive that stands in the bucket without its record:
// nothing takes it for whole, but a rerun must be told to replace it.
func (j *job) unfinished(err error) error {
	return hint.Wrap(fmt.Errorf("%w; s3://%s/%s stands without its record, does not count as an archive, and is only replaced with --overwrite",
		err, j.m.Bucket, j.res.Key), "run again with --overwrite to replace it")
}

func (j *job) putArchiveRecord(ctx context.Context, rec *layout.ArchiveRecord, found found) error {
	return j.putRecord(ctx, j.name().ArchiveRecordKey(), rec, RoleArchiveRecord, found)
}

func (j *job) putSnapshotRecord(ctx context.Context, rec layout.ArchiveRecord, found found) error {
	whole := j.snapshotRecord(rec)
	return j.putRecord(ctx, j.name().SnapshotRecordKey(), &whole, RoleSnapshotRecord, found)
}

func (j *job) putRecord(ctx context.Context, key string, rec layout.Record, role Role, found found) error {
	body, err := layout.EncodeRecord(rec)
	if err != nil {
		return err
	}
	o := j.recordOptions(found.replace[key])
	o.ContentType = "application/json"
	info, err := j.put(ctx, key, body, o)
	if err != nil {
		return err
	}
	j.m.Report.Object(ObjectResult{j.s.ID, j.m.Bucket, info, 0, role})
	return nil
}

func (j *job) put(ctx context.Context, key string, body []byte, o objstore.CreateOptions) (objstore.Info, error) {
	w, err := j.m.Store.Create(ctx, key, o)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("start s3://%s/%s: %w", j.m.Bucket, key, err)
	}
	defer func() {
		clean, cancel := j.m.cleanup(ctx)
		defer cancel()
		if err := w.Abort(clean); err != nil && !errors.Is(err, objstore.ErrDone) {
			j.left(err)
		}
	}()
	if _, err := w.Write(body); err != nil {
		return objstore.Info{}, fmt.Errorf("store s3://%s/%s: %w", j.m.Bucket, key, err)
	}
	return w.Commit(ctx)
}
