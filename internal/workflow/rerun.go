package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// found is what stands in the bucket before a volume is made.
type found struct {
	record    *layout.ArchiveRecord // of an archive that is whole; nil: one is to be written
	committed bool                  // its snapshot record stands too
	archive   string                // ETag of the archive to replace; "": none stands
	entries   string                // likewise
}

// lookUp finds out whether the archive is there already. An object under its
// key that is not a whole archive of this snapshot is left alone, with an
// error, unless it may be overwritten.
func (j *job) lookUp(ctx context.Context) (found, error) {
	j.task.Stage("looking up")
	var f found
	info, err := j.m.Store.Stat(ctx, j.res.Key)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
	case err != nil:
		return f, fmt.Errorf("look for s3://%s/%s: %w", j.m.Bucket, j.res.Key, err)
	case j.m.Overwrite:
		f.archive = info.ETag
	default:
		rec, err := j.wholeArchive(ctx, info)
		if err != nil {
			return f, err
		}
		f.record = rec
		f.committed, err = j.committed(ctx, *rec)
		return f, err
	}
	einfo, err := j.m.Store.Stat(ctx, j.name().EntriesKey())
	if err == nil {
		f.entries = einfo.ETag
	} else if !errors.Is(err, objstore.ErrNotExist) {
		return f, fmt.Errorf("look for s3://%s/%s: %w", j.m.Bucket, j.name().EntriesKey(), err)
	}
	return f, nil
}

// wholeArchive returns the record of the archive that info tells of, if the
// two belong together and are this snapshot's.
func (j *job) wholeArchive(ctx context.Context, info objstore.Info) (*layout.ArchiveRecord, error) {
	refuse := func(why string) error {
		return hint.Wrap(fmt.Errorf("s3://%s/%s is there already, but %s: left as it is", j.m.Bucket, j.res.Key, why),
			"look at it, then run again with --overwrite to replace it")
	}
	body, err := j.read(ctx, j.name().ArchiveRecordKey())
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, refuse("has no archive record: another tool's, or left by a run that did not finish")
	}
	if err != nil {
		return nil, err
	}
	rec, err := layout.DecodeArchiveRecord(body)
	switch {
	case err != nil:
		return nil, refuse(fmt.Sprintf("its record cannot be read (%s)", oneLine(err)))
	case rec.Snapshot != j.s.ID || rec.Archive != j.res.Key:
		return nil, refuse(fmt.Sprintf("its record is of %s", rec.Snapshot))
	case len(rec.Recipients) > 0 || rec.Kind != layout.Image:
		return nil, refuse("its record is of another kind of archive")
	case rec.StoredSize != info.Size || rec.Run != info.Metadata[layout.MetaRun] ||
		info.CRC64NVME != "" && rec.CRC64NVME != "" && info.CRC64NVME != rec.CRC64NVME:
		return nil, refuse("its record is of an earlier object")
	}
	return &rec, nil
}

// committed tells whether the snapshot record of a whole archive stands.
func (j *job) committed(ctx context.Context, rec layout.ArchiveRecord) (bool, error) {
	body, err := j.read(ctx, j.name().SnapshotRecordKey())
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := layout.DecodeSnapshotRecord(body)
	if err != nil {
		j.log.Warn("snapshot record cannot be read, writing it again", "key", j.name().SnapshotRecordKey(), "err", err)
		return false, nil
	}
	return len(got.Archives) == 1 && got.Archives[0].SHA256 == rec.SHA256, nil
}

// read returns a record's bytes.
func (j *job) read(ctx context.Context, key string) (_ []byte, err error) {
	fail := func(err error) error { return fmt.Errorf("read s3://%s/%s: %w", j.m.Bucket, key, err) }
	r, err := j.m.Store.Open(ctx, key, 0)
	if err != nil {
		return nil, fail(err)
	}
	defer func() {
		if cerr := r.Close(); cerr != nil && err == nil {
			err = fail(cerr)
		}
	}()
	body, err := io.ReadAll(io.LimitReader(r, layout.MaxRecord+1))
	if err != nil {
		return nil, fail(err)
	}
	return body, nil
}
