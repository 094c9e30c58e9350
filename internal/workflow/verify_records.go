package workflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// records are the keys of the snapshot records that are meant.
func (w *verifying) records(ctx context.Context, sub VerifySubject) ([]string, error) {
	left := map[snapshot.ID]bool{}
	for _, id := range sub.IDs {
		left[id] = true
	}
	meant := len(left)
	var keys []string
	recorded := map[snapshot.ID]bool{} // those of which there is anything
	for info, err := range w.Store.List(ctx, layout.Manifests) {
		if errors.Is(err, objstore.ErrForbidden) {
			return nil, hint.Wrap(fmt.Errorf("snapshots are found by the list of s3://%s/%s: %w", w.Bucket, layout.Manifests, err),
				"allow s3:ListBucket, or name archives by their address, which needs s3:GetObject alone: snap-to-s3 verify s3://"+w.Bucket+"/KEY")
		}
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", w.Bucket, layout.Manifests, err)
		}
		id, ok := layout.SnapshotOf(info.Key)
		if !ok {
			continue
		}
		recorded[id] = recorded[id] || layout.IsSnapshotRecord(info.Key)
		if !layout.IsSnapshotRecord(info.Key) {
			continue
		}
		if _, wanted := left[id]; sub.All || wanted {
			left[id] = false
			keys = append(keys, info.Key)
		}
	}
	for _, id := range sub.IDs {
		if left[id] {
			w.failed(string(id), hint.Wrap(fmt.Errorf("no record of %s is in s3://%s/%s", id, w.Bucket, layout.Manifests),
				"what the predecessor has stored has none: name it by its address, s3://"+w.Bucket+"/KEY"))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(recorded)) {
		if sub.All && !recorded[id] {
			w.failed(string(id), hint.Wrap(fmt.Errorf("%s has archives in s3://%s, and no record that all of them are there: its migration was not finished, or the record is gone", id, w.Bucket),
				"migrate it again, which keeps what is whole; where the snapshot is gone, verify each archive by its address"))
		}
	}
	if meant == 0 && len(keys) == 0 && w.sum.Failed == 0 {
		return nil, hint.Wrap(fmt.Errorf("nothing was verified: no snapshot has a record in s3://%s/%s", w.Bucket, layout.Manifests),
			"is it another bucket? The predecessor's archives have no records: name them by their address, s3://"+w.Bucket+"/KEY")
	}
	return keys, nil
}

// misplaced notes where a record is not that of the archive whose record it stands
// for, and has it be that.
func (w *verifying) misplaced(sh *shelf, rec *layout.ArchiveRecord, key string) {
	own, list := layout.ArchiveRecordKeyOf(key), layout.Manifests+key+".entries"
	if len(rec.Recipients) > 0 {
		list += ".gpg"
	}
	for _, c := range []struct {
		kind string
		says *string
		is   string
	}{{"key", &rec.Archive, key}, {"archive record", &rec.Key, own}, {"entries", &rec.Entries.Key, list}} {
		if *c.says != c.is {
			sh.wrong = append(sh.wrong, Difference{Snapshot: rec.Snapshot, Key: own, Part: rec.Partition, Between: BetweenRecord, Kind: c.kind, Want: *c.says, Got: c.is})
			*c.says = c.is
		}
	}
	if id, ok := layout.SnapshotOf(key); ok && id != rec.Snapshot {
		sh.wrong = append(sh.wrong, Difference{Snapshot: id, Key: own, Part: rec.Partition, Between: BetweenRecord, Kind: "snapshot", Want: string(rec.Snapshot), Got: string(id)})
	}
}
