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
	Unproven []string   // what of it was not proven
	Others   []string   // keys of archives of it that were not compared
}

// provenHolds is what could be seen of what holds snapshots.
type provenHolds struct {
	Looked  bool     // false: nothing could be seen at all
	Unknown []string // what could not be looked at, a line each
}

// holdsPatience is how long may be asked what holds the snapshots: the work is done,
// and the answer is only advice.
const holdsPatience = time.Minute

// tellProven says which snapshots are proven: those that nothing holds, with the
// command that deletes them, and the others. It deletes nothing.
func (m *migrator) tellProven(ctx context.Context, r report, proven []workflow.ProvenSnapshot) {
	if len(proven) == 0 || ctx.Err() != nil {
		return
	}
	var all []snapshot.Snapshot
	for _, p := range proven {
		all = append(all, p.Snapshot)
	}
	var holds workflow.Holds
	told := provenHolds{}
	if finder, ok := m.Catalog.(workflow.HoldFinder); ok {
		ctx, cancel := context.WithTimeout(ctx, holdsPatience)
		defer cancel()
		var err error
		holds, err = finder.Holds(ctx, all)
		told = provenHolds{err == nil, holds.Unknown}
		if err != nil {
			told.Unknown = append(told.Unknown, fmt.Sprintf("what holds these snapshots could not be seen: %v", err))
		}
	}
	region := m.session.Config.Region
	items := make([]provenItem, 0, len(proven))
	for _, p := range proven {
		s := p.Snapshot
		items = append(items, provenItem{
			Snapshot: s, Unproven: p.Unproven, Others: p.Others, Holds: holds.Of[s.ID], Monthly: m.Pricing.Table.Estimate(cost.MigrationJob{
				Region: region, BucketRegion: m.Pricing.BucketRegion, Size: s.Size, FullSize: s.FullSize,
			}).Snapshot,
			Command: strings.Join([]string{"aws ec2 delete-snapshot --region", hint.Quote(region), "--snapshot-id", string(s.ID)}, " "),
		})
	}
	r.Proven(items, told)
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
