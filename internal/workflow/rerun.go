package workflow

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// found is what stands in the bucket under the names of an archive before it is
// written.
type found struct {
	record  *layout.ArchiveRecord // of an archive that is whole; nil: one is to be written
	replace map[string]string     // key → ETag of what may be replaced; a key that is missing: nothing stands there
	dead    string                // the run that has left the archive unfinished, and is no more; else ""
}

// lookUp finds out whether an archive is there already. An object under its key
// that is not a whole archive of this snapshot is left alone, with an error,
// unless it may be overwritten, or was left unfinished by a run that is no more.
func (j *job) lookUp(ctx context.Context, name layout.Name) (found, error) {
	j.task.Stage("looking up")
	f := found{replace: map[string]string{}}
	key := name.ArchiveKey()
	info, there, err := j.stat(ctx, key)
	if err != nil {
		return f, err
	}
	switch {
	case there && j.m.Overwrite:
		f.replace[key] = info.ETag
	case there:
		ref := archiveRef{key, name.ArchiveRecordKey(), name.Kind}
		f.record, err = j.wholeArchive(ctx, ref, info)
		if errors.Is(err, errNoRecord) {
			f.record, err = j.takeOver(ctx, ref, info)
		}
		if f.record != nil || err != nil {
			return f, err
		}
		f.dead, f.replace[key] = info.Metadata[layout.MetaRun], info.ETag
	}
	for _, key := range []string{name.EntriesKey(), name.ArchiveRecordKey()} {
		if f.replace[key], err = j.replaceable(ctx, key); err != nil {
			return f, err
		}
	}
	return f, nil
}

// replaceable is the ETag of an object of ours that is to be replaced, "" where
// nothing stands. What is not ours is left alone.
func (j *job) replaceable(ctx context.Context, key string) (string, error) {
	info, there, err := j.stat(ctx, key)
	if err != nil || !there {
		return "", err
	}
	if info.Metadata[layout.MetaRun] == "" && !j.m.Overwrite {
		return "", inTheWay(j.m.Bucket, key, "is not of this tool")
	}
	return info.ETag, nil
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

// unread explains a write that found an object where none was seen: where the store
// does not show it even now that it is known to be there, the right to read is what
// lacks, and nothing says that the object may be replaced.
func (j *job) unread(ctx context.Context, key string, err error) error {
	if !errors.Is(err, objstore.ErrExists) {
		return err
	}
	if _, looked := j.m.Store.Stat(ctx, key); !errors.Is(looked, objstore.ErrForbidden) {
		return err
	}
	return hint.Replace(fmt.Errorf("s3:GetObject is not allowed for s3://%s/%s, so that it looked as if nothing were there: %w", j.m.Bucket, key, err),
		"allow s3:GetObject on "+j.m.Bucket+"/*, and s3:ListBucket on "+j.m.Bucket+", which lets S3 tell missing from forbidden; then run the command again, which keeps what is whole")
}

// archiveRef is where an archive and its record are meant to be.
type archiveRef struct {
	key, record string
	kind        layout.Kind
}

// errNoRecord: an archive that no record tells of.
var errNoRecord = errors.New("it has no archive record")

// wholeArchive returns the record of the archive that info tells of, if the
// two belong together and are this snapshot's; errNoRecord where there is none.
func (j *job) wholeArchive(ctx context.Context, ref archiveRef, info objstore.Info) (*layout.ArchiveRecord, error) {
	refuse := func(why string) error { return inTheWay(j.m.Bucket, ref.key, why) }
	body, err := j.read(ctx, ref.record)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, errNoRecord
	}
	if err != nil {
		return nil, err
	}
	rec, err := layout.DecodeArchiveRecord(body)
	switch {
	case err != nil:
		return nil, refuse(fmt.Sprintf("its record cannot be read (%s)", oneLine(err)))
	case rec.Snapshot != j.s.ID || rec.Archive != ref.key:
		return nil, refuse(fmt.Sprintf("its record is of %s", rec.Snapshot))
	case rec.Kind != ref.kind:
		return nil, refuse("its record is of another kind of archive")
	case !slices.Equal(rec.Recipients, j.m.subkeys()):
		return nil, refuse("it is encrypted to other keys: " + strings.Join(rec.Recipients, ", "))
	case rec.StoredSize != info.Size || rec.Run != info.Metadata[layout.MetaRun] ||
		info.CRC64NVME != "" && rec.CRC64NVME != "" && info.CRC64NVME != rec.CRC64NVME:
		return nil, refuse("its record is of an earlier object")
	}
	return &rec, nil
}

// takeOver decides about an archive without a record. One of another tool is left
// alone, and so is one whose run may still be about to write the record. A run that
// cannot any more is no more, for our purpose, and then it returns neither a record
// nor an error: the archive may be replaced.
//
// The proof is the snapshot's tags. Every commit of a run is preceded by a look at
// its owner there (Claim.Check). So a run that is not an owner of the snapshot now,
// under the tag of any name, or is one that was not renewed for an hour, commits
// nothing after this: it is dead, it has given up, or it will find its claim lost.
// That we have the claim ourselves is not enough, since another tag may drive that
// run. The record is looked for once more after the tags: a run that has finished
// took its owner away only after it had written the record.
//
// What is left is a request that was on its way when its run lost the claim. It
// can spoil nothing silently: our archive replaces exactly the object seen here
// (If-Match), and a record that arrives late keeps ours from being written, which
// fails the snapshot.
func (j *job) takeOver(ctx context.Context, ref archiveRef, info objstore.Info) (*layout.ArchiveRecord, error) {
	run := info.Metadata[layout.MetaRun]
	if run == "" {
		return nil, inTheWay(j.m.Bucket, ref.key, "has no archive record, and is not of this tool")
	}
	rival, live, err := j.claim.Rival(ctx, run)
	if err != nil {
		return nil, err
	}
	if live {
		return nil, hint.Wrap(fmt.Errorf("s3://%s/%s has no archive record yet: run %s on %s is at work on it (last renewed %s)",
			j.m.Bucket, ref.key, run, rival.Host, rival.Renewed.Format(time.RFC3339)),
			"wait for that run, which another tag than "+j.m.Tag+" drives; or end it, and run again with --overwrite")
	}
	rec, err := j.wholeArchive(ctx, ref, info)
	if !errors.Is(err, errNoRecord) {
		return rec, err
	}
	j.m.Report.Note(j.s.ID, fmt.Sprintf("s3://%s/%s was left unfinished by run %s, which is no more: it is replaced", j.m.Bucket, ref.key, run))
	return nil, nil
}

// stillUnfinished is asked right before an archive that was left unfinished is
// replaced.
func (j *job) stillUnfinished(ctx context.Context, p *part) error {
	_, there, err := j.stat(ctx, p.name.ArchiveRecordKey())
	if there && err == nil {
		err = inTheWay(j.m.Bucket, p.key(), "was finished meanwhile by run "+p.found.dead)
	}
	return err
}

// snapshotRecord is the record that commits the snapshot: what stands under its
// key, and what is to stand there.
type snapshotRecord struct {
	j       *job
	key     string
	stands  *layout.SnapshotRecord // nil: none that can be read
	replace string                 // ETag of what stands there
}

func (j *job) lookUpSnapshotRecord(ctx context.Context, kind layout.Kind) (*snapshotRecord, error) {
	j.task.Stage("looking up")
	r := &snapshotRecord{j: j, key: j.m.name(j.s, kind, layout.Whole).SnapshotRecordKey()}
	var err error
	if r.replace, err = j.replaceable(ctx, r.key); r.replace == "" || err != nil || j.m.Overwrite {
		return r, err
	}
	body, err := j.read(ctx, r.key)
	if errors.Is(err, objstore.ErrNotExist) { // gone meanwhile: the write notices
		return r, nil
	}
	if err != nil {
		return r, err
	}
	got, err := layout.DecodeSnapshotRecord(body)
	if err != nil {
		j.log.Warn("snapshot record cannot be read, writing it again", "key", r.key, "err", err)
		return r, nil
	}
	r.stands = &got
	return r, nil
}

// says tells whether the record that stands says the same of the archives.
func (r *snapshotRecord) says(want layout.SnapshotRecord) bool {
	return r.stands != nil && r.stands.Snapshot.ID == r.j.s.ID &&
		slices.EqualFunc(r.stands.Archives, want.Archives, func(a, b layout.ArchiveRecord) bool { return a.SHA256 == b.SHA256 }) &&
		sameChoice(r.stands.Choice, want.Choice) &&
		reflect.DeepEqual(r.stands.Skipped, want.Skipped)
}

// put stores the record unless it stands already.
func (r *snapshotRecord) put(ctx context.Context, rec layout.SnapshotRecord) error {
	if r.says(rec) {
		return nil
	}
	j := r.j
	j.task.Stage("committing")
	rec.Tool, rec.Run, rec.Key = j.tool(), j.m.Run, r.key
	rec.Snapshot, rec.Totals = layout.Describe(j.s), layout.Sum(rec.Archives)
	return j.putRecord(ctx, r.key, &rec, RoleSnapshotRecord, r.replace)
}

// read returns a record's bytes.
func (j *job) read(ctx context.Context, key string) ([]byte, error) {
	return readRecord(ctx, j.m.Store, j.m.Bucket, key)
}
