package workflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
)

// upload is the archive and its entries while they are written.
type upload struct {
	j       *job
	p       *part
	archive objstore.Writer
	entries objstore.Writer
	rows    *layout.EntriesWriter
	undo    []func(context.Context)
	// What goes to the two objects, and what it comes to there.
	toArchive, toEntries         io.Writer
	storedArchive, storedEntries *counted
	sealing                      []*encrypt.Encryptor // archive, entries; none without recipients
}

// counted counts what goes to an object as it is stored, and hashes it.
type counted struct {
	to  io.Writer
	n   int64
	sum hash.Hash // nil: not wanted
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	return n, err
}

// begin opens both objects.
func (j *job) begin(ctx context.Context, p *part) (_ *upload, err error) {
	u := &upload{j: j, p: p}
	defer func() {
		if err != nil {
			u.abort(ctx)
		}
	}()
	if u.archive, err = u.create(ctx, p.key(), j.archiveOptions(p)); err != nil {
		return nil, err
	}
	key := p.name.EntriesKey()
	if u.entries, err = u.create(ctx, key, j.recordOptions(p.found.replace[key])); err != nil {
		return nil, err
	}
	h := p.header
	h.Kind, h.Archive, h.Snapshot, h.Run, h.Codec = p.name.Kind, p.key(), j.s.ID, j.m.Run, j.m.Codec.Name()
	u.storedArchive, u.storedEntries = &counted{to: u.archive}, &counted{to: u.entries, sum: sha256.New()}
	if u.toArchive, err = u.seal(ctx, u.storedArchive); err != nil {
		return nil, err
	}
	if u.toEntries, err = u.seal(ctx, u.storedEntries); err != nil {
		return nil, err
	}
	u.rows = layout.NewEntriesWriter(u.toEntries, h)
	return u, nil
}

// seal encrypts what goes to w where there are recipients.
func (u *upload) seal(ctx context.Context, w io.Writer) (io.Writer, error) {
	m := u.j.m
	if len(m.Recipients) == 0 {
		return w, nil
	}
	e, err := m.GPG.Encrypt(ctx, w, m.Recipients)
	if err != nil {
		return nil, err
	}
	u.sealing = append(u.sealing, e)
	return e, nil
}

// finishSealing ends what is encrypted: only then is it whole.
func (u *upload) finishSealing() error {
	for _, e := range u.sealing {
		if err := e.Close(); err != nil {
			return fmt.Errorf("encrypt %s: %w", u.p.key(), err)
		}
	}
	return nil
}

// create starts one object, with its intent in the state file first.
func (u *upload) create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	m := u.j.m
	intent, err := m.State.Intend(runstate.KindUpload, map[string]string{
		"bucket": m.Bucket, "key": key, "region": m.Pricing.BucketRegion, "endpoint": m.Upload.Endpoint,
		"started": m.Protocol.Now().UTC().Format(time.RFC3339), "snapshot": string(u.j.s.ID), "tag": m.Tag,
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
	for _, e := range u.sealing {
		if err := e.Abort(); err != nil {
			u.j.log.Debug("the encryption was given up", "key", u.p.key(), "err", err)
		}
	}
	u.sealing = nil
	for _, undo := range u.undo {
		undo(clean)
	}
	u.undo = nil
}

// finishRows ends the entries, and makes sure that they tell of what was
// written: both sides added up the same frames.
func (u *upload) finishRows(w written) error {
	key := u.p.key()
	if err := u.rows.Close(); err != nil {
		return fmt.Errorf("end the entries of %s: %w", key, err)
	}
	end, err := u.rows.End()
	if err != nil {
		return fmt.Errorf("end the entries of %s: %w", key, err)
	}
	if digest := hex.EncodeToString(w.digest[:]); end.Digest != digest || end.StoredSize != w.stored || end.PlainSize != w.plain {
		return fmt.Errorf("the entries of %s tell of %d bytes with digest %s, the archive has %d bytes with %s: a fault of this program or of this machine's memory",
			key, end.StoredSize, end.Digest, w.stored, digest)
	}
	return u.finishSealing()
}

// commit makes archive, entries and archive record visible, in that order.
func (u *upload) commit(ctx context.Context, w written) (*layout.ArchiveRecord, error) {
	j, p := u.j, u.p
	j.task.Stage("committing")
	info, err := u.archive.Commit(ctx)
	if err != nil {
		return nil, j.unread(ctx, p.key(), err)
	}
	if info.Size != u.storedArchive.n {
		return nil, u.unfinished(fmt.Errorf("the store says that it has %d bytes of %d", info.Size, u.storedArchive.n))
	}
	j.m.Report.Object(ObjectResult{j.s.ID, j.m.Bucket, info, w.plain, RoleArchive})
	einfo, err := u.entries.Commit(ctx)
	if err != nil {
		return nil, u.unfinished(j.unread(ctx, p.name.EntriesKey(), err))
	}
	j.m.Report.Object(ObjectResult{j.s.ID, j.m.Bucket, einfo, 0, RoleEntries})
	rec := j.archiveRecord(u, w, info)
	key := p.name.ArchiveRecordKey()
	if err := j.putRecord(ctx, key, &rec, RoleArchiveRecord, p.found.replace[key]); err != nil {
		return nil, u.unfinished(err)
	}
	u.abort(ctx) // both are committed: this only strikes the intents
	return &rec, nil
}

// unfinished names an archive that stands in the bucket without its record:
// nothing takes it for whole, and a rerun replaces it.
func (u *upload) unfinished(err error) error {
	return hint.Wrap(fmt.Errorf("%w; s3://%s/%s stands without its record, and does not count as an archive",
		err, u.j.m.Bucket, u.p.key()), "run the command again, which replaces it")
}

// putRecord stores a record; replace is the ETag of the one that stands there.
func (j *job) putRecord(ctx context.Context, key string, rec layout.Record, role Role, replace string) error {
	body, err := layout.EncodeRecord(rec)
	if err != nil {
		return err
	}
	o := j.recordOptions(replace)
	o.ContentType = "application/json"
	info, err := j.put(ctx, key, body, o)
	if err != nil {
		return j.unread(ctx, key, err)
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
