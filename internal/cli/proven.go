package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// provenItem is a snapshot whose archives are proven, and what is known of deleting
// it.
type provenItem struct {
	Snapshot snapshot.Snapshot
	Holds    []workflow.Hold
	Monthly  cost.Money // what EBS bills for it, if it shares no block with another: at most this; 0: not known
	Command  string     // that deletes it
}

// holdsPatience is how long may be asked what holds the snapshots: the work is done,
// and the answer is only advice.
const holdsPatience = time.Minute

// tellProven says which snapshots are proven: those that nothing holds, with the
// command that deletes them, and the others. It deletes nothing.
func (m *migrator) tellProven(ctx context.Context, r report, proven []snapshot.Snapshot) {
	if len(proven) == 0 || ctx.Err() != nil {
		return
	}
	var holds workflow.Holds
	if finder, ok := m.Catalog.(workflow.HoldFinder); ok {
		ctx, cancel := context.WithTimeout(ctx, holdsPatience)
		defer cancel()
		var err error
		if holds, err = finder.Holds(ctx, proven); err != nil {
			holds.Unknown = append(holds.Unknown, fmt.Sprintf("what holds these snapshots could not be seen: %v", err))
		}
	}
	region := m.session.Config.Region
	items := make([]provenItem, 0, len(proven))
	for _, s := range proven {
		items = append(items, provenItem{
			Snapshot: s, Holds: holds.Of[s.ID], Monthly: m.Pricing.Table.Estimate(cost.MigrationJob{
				Region: region, BucketRegion: m.Pricing.BucketRegion, Size: s.Size, FullSize: s.FullSize,
			}).Snapshot,
			Command: strings.Join([]string{"aws ec2 delete-snapshot --region", hint.Quote(region), "--snapshot-id", string(s.ID)}, " "),
		})
	}
	r.Proven(items, holds.Unknown)
}

// spokenHolds names what holds a snapshot.
func spokenHolds(holds []workflow.Hold) string {
	what := map[workflow.HoldKind]string{
		workflow.HoldImage: "image", workflow.HoldLock: "lock", workflow.HoldBackup: "AWS Backup", workflow.HoldLifecycle: "Data Lifecycle Manager",
	}
	var names []string
	for _, h := range holds {
		names = append(names, what[h.Kind]+" "+h.By)
	}
	return strings.Join(names, ", ")
}
