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
	replace   map[string]string     // key → ETag of what may be replaced; a key that is missing: nothing stands there
}

// lookUp finds out whether the archive is there already. An object under its
// key that is not a whole archive of this snapshot is left alone, with an
// error, unless it may be overwritten.
func (j *job) lookUp(ctx context.Context) (found, error) {
	j.task.Stage("looking up")
	f := found{replace: map[string]string{}}
	info, there, err := j.stat(ctx, j.res.Key)
	if err != nil {
		return f, err
	}
	name := j.name()
	beside := []string{name.EntriesKey(), name.ArchiveRecordKey(), name.SnapshotRecordKey()}
	switch {
	case there && j.m.Overwrite:
		f.replace[j.res.Key] = info.ETag
	case there:
		if f.record, err = j.wholeArchive(ctx, info); err != nil {
			return f, err
		}
		if f.committed, err = j.committed(ctx, *f.record); f.committed || err != nil {
			return f, err
		}
		beside = beside[2:]
	}
	for _, key := range beside {
		info, there, err := j.stat(ctx, key)
		if err != nil {
			return f, err
		}
		if !there {
			continue
		}
		if info.Metadata[layout.MetaRun] == "" && !j.m.Overwrite {
			return f, inTheWay(j.m.Bucket, key, "is not of this tool")
		}
		f.replace[key] = info.ETag
	}
	return f, nil
}

// stat is the store's, with "not there" as an answer.
func (j *job) stat(ctx context.Context, key string) (objstore.Info, bool, error) {
	info, err := j.m.Store.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return info, false, nil
	}
	if err != nil {
		return info, false, fmt.Errorf("look for s3://%s/%s: %w", j.m.Bucket, key, err)
	}
	return info, true, nil
}

// inTheWay refuses to touch an object that is not known to be ours.
func inTheWay(bucket, key, why string) error {
	return hint.Wrap(fmt.Errorf("s3://%s/%s is there already, but %s: left as it is", bucket, key, why),
		"look at it, then run again with --overwrite to replace it")
}

// wholeArchive returns the record of the archive that info tells of, if the
// two belong together and are this snapshot's.
func (j *job) wholeArchive(ctx context.Context, info objstore.Info) (*layout.ArchiveRecord, error) {
	refuse := func(why string) error { return inTheWay(j.m.Bucket, j.res.Key, why) }
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
