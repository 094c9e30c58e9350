package workflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// recordAt is a snapshot record that stands.
type recordAt struct {
	coding
	key  string
	body []byte
	rec  *layout.SnapshotRecord // nil: it cannot be read
	// When it was made: by the run that it names, and by the store. They are known
	// where there are several.
	run, stored time.Time
}

// recorded are our archives of a snapshot that are meant; nil where no record tells
// of any.
func (l shelves) recorded(ctx context.Context, s snapshot.Snapshot) (*shelf, error) {
	all, err := l.records(ctx, s)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	meant := slices.MaxFunc(all, func(a, b recordAt) int {
		return cmp.Or(l.prefer.fit(a.coding)-l.prefer.fit(b.coding), a.run.Compare(b.run), a.stored.Compare(b.stored))
	})
	sh, err := l.ours(ctx, meant.key, meant.body)
	if err != nil {
		return nil, err
	}
	sh.coding = meant.coding
	for _, r := range all {
		if r.key != meant.key {
			sh.others = append(sh.others, r.tells()...)
		}
	}
	return sh, nil
}

// records are all snapshot records of a snapshot.
func (l shelves) records(ctx context.Context, s snapshot.Snapshot) ([]recordAt, error) {
	var all []recordAt
	for _, c := range l.prefer.codings() {
		key := layout.Name{Snapshot: s, Kind: c.kind, Codec: c.codec, Encrypted: c.encrypted}.SnapshotRecordKey()
		body, err := readRecord(ctx, l.store, l.bucket, key)
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := recordAt{coding: c, key: key, body: body}
		if rec, err := layout.DecodeSnapshotRecord(body); err == nil {
			r.rec = &rec
		}
		all = append(all, r)
	}
	if len(all) < 2 {
		return all, nil
	}
	for i := range all {
		r := &all[i]
		info, err := l.store.Stat(ctx, r.key)
		if err != nil {
			return nil, fmt.Errorf("look for s3://%s/%s: %w", l.bucket, r.key, err)
		}
		r.stored, r.run = info.Modified, info.Modified
		if r.rec != nil {
			if at, ok := startOf(r.rec.Run); ok {
				r.run = at
			}
		}
	}
	return all, nil
}

// startOf is when a run started, by its name (runstate.NewRunID).
func startOf(run string) (time.Time, bool) {
	const form = "20060102-150405"
	at, err := time.Parse(form, run[:min(len(form), len(run))])
	return at, err == nil
}

// tells are the keys of the archives that a record tells of, or its own where it
// cannot be read.
func (r recordAt) tells() []string {
	if r.rec == nil {
		return []string{r.key}
	}
	var keys []string
	for _, a := range r.rec.Archives {
		keys = append(keys, a.Archive)
	}
	return keys
}

// unrecorded adds to the others what stands of a snapshot and is in no record of it.
func (l shelves) unrecorded(ctx context.Context, s snapshot.Snapshot, sh *shelf) error {
	if sh.record == nil && len(sh.wrong) == 0 { // what the predecessor left was looked for already
		return nil
	}
	known := map[string]bool{}
	for _, key := range sh.others {
		known[key] = true
	}
	if sh.record != nil {
		for _, a := range sh.record.Archives {
			known[a.Archive] = true
		}
	}
	stand, err := l.standing(ctx, s)
	if err != nil {
		return err
	}
	for _, key := range stand {
		if !known[key] {
			sh.others = append(sh.others, key)
			sh.notes = append(sh.notes, fmt.Sprintf("s3://%s/%s is in no record of the snapshot, and is not looked at: it was left unfinished or left out, a run is at work on it, or another tool made it", l.bucket, key))
		}
	}
	return nil
}

// standing are the keys of all archives that stand under the names that we give those
// of a snapshot; where the bucket may not be listed, those of the first of each.
func (l shelves) standing(ctx context.Context, s snapshot.Snapshot) ([]string, error) {
	var keys []string
	for info, err := range l.store.List(ctx, fmt.Sprintf("%s/%s %s", s.VolumeID, layout.Time(s.Start), s.ID)) {
		if errors.Is(err, objstore.ErrForbidden) {
			return l.firsts(ctx, s)
		}
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s/: %w", l.bucket, s.VolumeID, err)
		}
		_, _, _, archive := layout.CodingOf(info.Key)
		if id, ok := layout.SnapshotOf(info.Key); ok && archive && id == s.ID { // not one whose id begins with it
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// firsts are the keys of the first archives of a disk that stand, in all codings.
func (l shelves) firsts(ctx context.Context, s snapshot.Snapshot) ([]string, error) {
	var keys []string
	for _, c := range l.prefer.codings() {
		info, err := l.first(ctx, s, c)
		if err != nil {
			return nil, err
		}
		if info.Key != "" {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// first is the first archive of a disk in a coding: of all of it, of what lies before
// its first partition, or of that. Its key is empty where there is none.
func (l shelves) first(ctx context.Context, s snapshot.Snapshot, c coding) (objstore.Info, error) {
	for _, part := range [...]layout.Part{layout.Whole, layout.Head, 1} {
		n := layout.Name{Snapshot: s, Kind: c.kind, Codec: c.codec, Encrypted: c.encrypted, Partition: part}
		info, err := l.store.Stat(ctx, n.ArchiveKey())
		if err == nil {
			info.Key = n.ArchiveKey()
			return info, nil
		}
		if !errors.Is(err, objstore.ErrNotExist) {
			return objstore.Info{}, fmt.Errorf("look for s3://%s/%s: %w", l.bucket, n.ArchiveKey(), err)
		}
	}
	return objstore.Info{}, nil
}
