package analyze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// measured is how many records a ratio is measured of: the newest ones.
const measured = 200

// MeasureRatio is how much smaller archives in a bucket are than the blocks of
// their snapshots, over the newest ones, and how many these were. Snapshots of which
// EC2 did not tell how much they hold do not count.
func MeasureRatio(ctx context.Context, store objstore.Store, bucket string) (cost.Ratio, int, error) {
	doing := fmt.Sprintf("measure compression in bucket %s", bucket)
	var found []objstore.Info
	for info, err := range store.List(ctx, layout.Manifests) {
		if err != nil {
			return cost.Ratio{}, 0, fmt.Errorf("%s: %w", doing, err)
		}
		if layout.IsSnapshotRecord(info.Key) {
			found = append(found, info)
		}
	}
	slices.SortStableFunc(found, func(a, b objstore.Info) int { return cmp.Compare(b.Modified.Unix(), a.Modified.Unix()) })
	r := cost.Ratio{Measured: true}
	n := 0
	for _, info := range found[:min(measured, len(found))] {
		body, err := objstore.ReadAll(ctx, store, info.Key, layout.MaxRecord)
		if err != nil {
			return cost.Ratio{}, 0, fmt.Errorf("%s: read %s: %w", doing, info.Key, err)
		}
		rec, err := layout.DecodeSnapshotRecord(body)
		if err != nil {
			return cost.Ratio{}, 0, fmt.Errorf("%s: record %s: %w", doing, info.Key, err)
		}
		if plain := rec.Snapshot.FullSize; plain > 0 && rec.Totals.StoredSize > 0 {
			r.Plain, r.Stored = r.Plain+plain, r.Stored+rec.Totals.StoredSize
			n++
		}
	}
	if n == 0 {
		err := errors.New("no record in it tells how much its snapshot held")
		return cost.Ratio{}, 0, hint.Wrap(fmt.Errorf("%s: %w", doing, err), "give the ratio instead: --ratio 2:1")
	}
	return r, n, nil
}
