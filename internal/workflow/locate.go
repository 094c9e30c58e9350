package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// Prefer says which of several sets of archives of one snapshot is meant: the newest
// of those that are as it says, its kind before its encryption and that before its
// codec. All are looked for, whatever it says.
type Prefer struct {
	Codec     string      // "": whichever
	Encrypted bool        // with recipients, or a session key
	Plain     bool        // without; neither of the two: whichever
	Kind      layout.Kind // "": whichever
}

// fit is how well a coding is what is meant.
func (p Prefer) fit(c coding) (n int) {
	if p.Kind == c.kind {
		n += 4
	}
	if p.Encrypted && c.encrypted || p.Plain && !c.encrypted {
		n += 2
	}
	if p.Codec == c.codec {
		n++
	}
	return n
}

// shelf is what of one snapshot stands in the bucket.
type shelf struct {
	coding   coding
	record   *layout.SnapshotRecord // nil: the predecessor's
	archives []archived
	// wrong is what is wrong with it already, before any of it is read.
	wrong []Difference
	notes []string
	// others are the keys of archives of the snapshot that are not looked at.
	others []string
}

// shelves looks for archives.
type shelves struct {
	store  objstore.Store
	bucket string
	prefer Prefer
}

// coding is one way in which archives may be coded.
type coding struct {
	codec     string
	encrypted bool
	kind      layout.Kind
}

// codings are all of them, the preferred first.
func (p Prefer) codings() []coding {
	var all []coding
	for _, k := range [...]layout.Kind{layout.Image, layout.Tar} {
		for _, e := range [...]bool{false, true} {
			for _, c := range [...]string{"lz4", "zstd"} {
				all = append(all, coding{c, e, k})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b coding) int { return p.fit(b) - p.fit(a) })
	return all
}

// find looks for the archives of a snapshot: ours by its record, else the
// predecessor's by their keys.
func (l shelves) find(ctx context.Context, s snapshot.Snapshot) (*shelf, error) {
	if sh, err := l.recorded(ctx, s); sh != nil || err != nil {
		return sh, err
	}
	return l.predecessors(ctx, s)
}

// ours is what a snapshot record tells of.
func (l shelves) ours(ctx context.Context, key string, body []byte) (*shelf, error) {
	sh := &shelf{}
	rec, err := layout.DecodeSnapshotRecord(body)
	if errors.Is(err, layout.ErrNewer) {
		return nil, newer("s3://"+l.bucket+"/"+key, err)
	}
	if err != nil {
		id, _ := layout.SnapshotOf(key)
		sh.wrong = append(sh.wrong, Difference{Snapshot: id, Key: key, Between: BetweenRecord, Kind: string(archive.DiffDamaged), Got: oneLine(err)})
		return sh, nil
	}
	sh.record = &rec
	differ := func(kind, want, got string) {
		if want != got {
			sh.wrong = append(sh.wrong, Difference{Snapshot: rec.Snapshot.ID, Key: key, Between: BetweenRecord, Kind: kind, Want: want, Got: got})
		}
	}
	differ("key", rec.Key, key)
	if id, ok := layout.SnapshotOf(key); ok {
		differ("snapshot", string(rec.Snapshot.ID), string(id))
	}
	for i := range rec.Archives {
		a := &rec.Archives[i]
		differ("snapshot", string(rec.Snapshot.ID), string(a.Snapshot))
		n, err := nameOf(&rec.Snapshot, a)
		if err != nil {
			return nil, fmt.Errorf("s3://%s/%s: %w", l.bucket, key, err)
		}
		differ("archive", n.ArchiveKey(), a.Archive)
		differ("archive record", n.ArchiveRecordKey(), a.Key)
		differ("entries", n.EntriesKey(), a.Entries.Key)
		whole, err := l.standsAs(ctx, sh, a)
		if err != nil {
			return nil, err
		}
		if whole != nil {
			sh.archives = append(sh.archives, *whole)
		}
	}
	return sh, nil
}

// nameOf is the name that an archive must have by what the records say of it.
func nameOf(of *layout.SnapshotInfo, a *layout.ArchiveRecord) (layout.Name, error) {
	start, err := time.Parse(time.RFC3339, of.Start)
	return layout.Name{
		Snapshot: snapshot.Snapshot{ID: of.ID, VolumeID: of.Volume, Start: start, Description: of.Description},
		Kind:     a.Kind, Codec: a.Codec, Encrypted: len(a.Recipients) > 0, Partition: a.Partition,
	}, err
}

func newer(what string, err error) error {
	return hint.Wrap(fmt.Errorf("%s: %w", what, err), "use the version of this program that wrote it, or a later one")
}

// standsAs is the archive that a record tells of; nil where it cannot be read back
// because something of it is missing, which is then noted as a difference.
func (l shelves) standsAs(ctx context.Context, sh *shelf, rec *layout.ArchiveRecord) (*archived, error) {
	differ := func(key, kind, want, got string) {
		sh.wrong = append(sh.wrong, Difference{Snapshot: rec.Snapshot, Key: key, Part: rec.Partition, Between: BetweenRecord, Kind: kind, Want: want, Got: got})
	}
	body, err := readRecord(ctx, l.store, l.bucket, rec.Key)
	switch {
	case surelyMissing(err):
		differ(rec.Key, string(archive.DiffMissing), "", err.Error())
	case err != nil:
		return nil, err
	default:
		own, err := layout.DecodeArchiveRecord(body)
		if errors.Is(err, layout.ErrNewer) {
			return nil, newer("s3://"+l.bucket+"/"+rec.Key, err)
		}
		if err != nil {
			differ(rec.Key, string(archive.DiffDamaged), "", oneLine(err))
		} else if own.SHA256 != rec.SHA256 {
			differ(rec.Key, "record", "sha256 "+rec.SHA256, "sha256 "+own.SHA256)
		}
	}
	a := archivedAs(rec)
	whole := true
	for _, o := range []struct {
		key  string
		info *objstore.Info
	}{{rec.Archive, &a.info}, {rec.Entries.Key, &a.entries}} {
		*o.info, err = l.store.Stat(ctx, o.key)
		if surelyMissing(err) {
			differ(o.key, string(archive.DiffMissing), "", err.Error())
			whole = false
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for s3://%s/%s: %w", l.bucket, o.key, err)
		}
	}
	if !whole {
		return nil, nil
	}
	wrong := recordDifferences(rec, a.info)
	sh.wrong = append(sh.wrong, wrong...)
	if a.entries.Size != rec.Entries.Size {
		differ(rec.Entries.Key, "size", fmt.Sprintf("%d bytes", rec.Entries.Size), fmt.Sprintf("%d bytes", a.entries.Size))
	}
	return &a, nil
}

// surelyMissing tells an object that is not there from one that may only be
// forbidden, which is no difference.
func surelyMissing(err error) bool {
	return errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, objstore.ErrForbidden)
}

// readRecord returns a record's bytes.
func readRecord(ctx context.Context, store objstore.Store, bucket, key string) ([]byte, error) {
	body, err := objstore.ReadAll(ctx, store, key, layout.MaxRecord)
	if err != nil {
		return nil, fmt.Errorf("read s3://%s/%s: %w", bucket, key, err)
	}
	return body, nil
}
