package workflow

import (
	"context"
	"fmt"
	"strings"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/words"
)

// Pricing is what estimates are made from.
type Pricing struct {
	Table        *cost.Table
	Region       string // of the snapshots
	BucketRegion string // "": a store that is not Amazon's
}

// DryRun reports what Migrate would do, snapshot by snapshot, and touches
// nothing. Its memory does not grow with the number of snapshots.
func (m *Migrator) DryRun(ctx context.Context, sub Subject) (Summary, error) {
	return m.dryRun(ctx, sub, catalog.Migrate, func(s snapshot.Snapshot) PlanItem {
		return PlanItem{
			Snapshot: s, Keys: []string{m.name(s, m.kind(), layout.Whole).ArchiveKey()}, Trees: m.Trees, Bound: m.imageBound(s, s.Size),
			Cost: m.estimate(s), Problem: m.usable(s),
		}
	})
}

// DryRunValidation reports what Validate would do, snapshot by snapshot. It looks
// into the bucket, and touches nothing. Volumes that were kept it does not know of.
func (m *Migrator) DryRunValidation(ctx context.Context, sub Subject) (Summary, error) {
	v := m.validations()
	return m.dryRun(ctx, sub, catalog.Migrated, func(s snapshot.Snapshot) PlanItem {
		item := PlanItem{Snapshot: s, Problem: readable(s)}
		if item.Problem != nil {
			return item
		}
		sh, err := v.findLast(ctx, s)
		if err != nil {
			item.Problem = err
			return item
		}
		for _, a := range sh.archives {
			item.Keys = append(item.Keys, a.key)
			item.Bound += a.info.Size
		}
		if item.Problem = m.shelves().unrecorded(ctx, s, sh); item.Problem != nil {
			return item
		}
		item.Others = sh.others
		item.Cost, item.Problem = v.estimate(s, sh), v.open(ctx, sh)
		return item
	})
}

// dryRun reports what plan says of each snapshot whose tag has the value.
func (m *Migrator) dryRun(ctx context.Context, sub Subject, value string, plan func(snapshot.Snapshot) PlanItem) (Summary, error) {
	var sum Summary
	var problems []error
	for s, err := range m.Catalog.Snapshots(ctx, m.filter(sub, value)) {
		if err != nil {
			return sum, fmt.Errorf("list snapshots: %w", err)
		}
		item := plan(s)
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		m.Report.Plan(item)
		if item.Problem != nil {
			sum.Failed++
			problems = append(problems, item.Problem)
		} else {
			sum.Planned++
			sum.Plain += s.Size
			sum.Cost = sum.Cost.Add(item.Cost)
		}
		if sub.One { // as the run, which ends with the first that fails, too
			break
		}
	}
	if sum.Planned+sum.Failed == 0 {
		return sum, m.nothing(value)
	}
	if err := m.checkCost(sum.Cost); err != nil {
		return sum, err
	}
	if sum.Failed > 0 {
		will := "migrated"
		if value == catalog.Migrated {
			will = "validated"
		}
		return sum, &BatchError{Failed: sum.Failed, Total: sum.Planned + sum.Failed, Errs: problems, Outcome: "cannot be " + will}
	}
	return sum, nil
}

// totals adds up all snapshots that are on the list now, and refuses to start
// what would cost too much.
func (m *Migrator) totals(ctx context.Context, sub Subject) (Totals, error) {
	var t Totals
	for s, err := range m.Catalog.Snapshots(ctx, m.filter(sub, catalog.Migrate)) {
		if err != nil {
			return t, fmt.Errorf("list snapshots: %w", err)
		}
		t.Snapshots++
		t.Size += s.Size
		t.Cost = t.Cost.Add(m.estimate(s))
		if sub.One {
			break
		}
	}
	return t, m.checkCost(t.Cost)
}

// checkCost compares with the limit. A part of the cost that is not known
// cannot be under it.
func (m *Migrator) checkCost(e cost.Estimate) error {
	if m.MaxCost == 0 {
		return nil
	}
	if once := e.OneTime(); once > m.MaxCost {
		return hint.Wrap(fmt.Errorf("%w: %s for %s, the limit is %s", ErrTooDear, once, words.Count(int(e.Snapshots), "snapshot"), m.MaxCost),
			"choose fewer snapshots, raise --max-cost, or see what costs how much with --dry-run")
	}
	if !e.OneTimeKnown() {
		return hint.Wrap(fmt.Errorf("--max-cost cannot be kept: no price is known of %s", strings.Join(e.Unknown(), ", ")),
			"leave --max-cost out to go on without a limit")
	}
	return nil
}

// treeArchives is how many partitions a disk is taken to have that will be stored
// as files: more than nearly all have. What each costs by itself is next to
// nothing.
const treeArchives = 8

// estimate is what one snapshot will cost at most.
func (m *Migrator) estimate(s snapshot.Snapshot) cost.Estimate {
	bound := m.imageBound(s, s.Size)
	tags, _ := layout.ObjectTags(s.Tags, m.Tag)
	job := cost.MigrationJob{
		Region: m.Pricing.Region, BucketRegion: m.Pricing.BucketRegion,
		Size: s.Size, FullSize: s.FullSize, VolumeType: m.VolumeType,
		StorageClass: m.Upload.StorageClass, Stored: bound, Tags: int64(len(tags)), Validate: m.AndValidate,
	}
	if m.Trees {
		job.Archives = treeArchives
	}
	if plan, err := objstore.NewPlan(bound, m.Upload.PartSize, m.Upload.Limits); err == nil {
		job.Parts = int64(plan.Parts(bound))
	}
	return m.Pricing.Table.Estimate(job)
}

// imageBound is what an image of s will hardly exceed, in bytes: the blocks that
// the snapshot holds and 1 % for what cannot be compressed, and what the codec
// makes of the zeros in a volume of plain bytes.
func (m *Migrator) imageBound(s snapshot.Snapshot, plain int64) int64 {
	data := s.FullSize
	if data == 0 || data > plain {
		data = plain
	}
	return data + data/100 + int64(m.Codec.ZeroShare()*float64(plain)) + 64<<10
}

// readable says why no volume can be made from a snapshot, as far as that can be
// told without touching it.
func readable(s snapshot.Snapshot) error {
	switch {
	case s.State == snapshot.StatePending:
		return hint.Wrap(fmt.Errorf("%s is not completed yet", s.ID), "wait for: aws ec2 wait snapshot-completed --snapshot-ids "+string(s.ID))
	case s.State != snapshot.StateCompleted:
		why := ""
		if s.StateReason != "" {
			why = ": " + s.StateReason
		}
		return hint.Wrap(fmt.Errorf("%s is in state %q%s", s.ID, s.State, why), "only completed snapshots can be read")
	case s.Archived:
		return hint.Wrap(fmt.Errorf("%s is in the archive tier, no volume can be made from it", s.ID),
			fmt.Sprintf("restore it first (up to 72 hours, billed per GB): aws ec2 restore-snapshot-tier --snapshot-id %s --temporary-restore-days 7", s.ID))
	}
	return nil
}

// usable says why a snapshot cannot be migrated, as far as that can be told
// without touching it.
func (m *Migrator) usable(s snapshot.Snapshot) error {
	if err := readable(s); err != nil {
		return err
	}
	if !s.VolumeID.Valid() {
		return hint.Wrap(fmt.Errorf("%s is of volume %q, which is not the id of one: the keys of its archives begin with it", s.ID, s.VolumeID),
			"see what AWS says of it: aws ec2 describe-snapshots --snapshot-ids "+string(s.ID))
	}
	if err := m.CheckVolume(s); err != nil {
		return err
	}
	bound := m.imageBound(s, s.Size)
	if most := m.maxObject(); bound > most {
		return hint.Wrap(fmt.Errorf("the archive of %s can take %d bytes, the store holds %d in one object", s.ID, bound, most),
			"only a smaller snapshot fits")
	}
	_, err := objstore.NewPlan(bound, m.Upload.PartSize, m.Upload.Limits)
	return err
}

func (m *Migrator) maxObject() int64 {
	if m.Upload.Limits.MaxObject > 0 {
		return m.Upload.Limits.MaxObject
	}
	return objstore.S3Limits().MaxObject
}

func (m *Migrator) name(s snapshot.Snapshot, kind layout.Kind, p layout.Part) layout.Name {
	return layout.Name{Snapshot: s, Kind: kind, Codec: m.Codec.Name(), Partition: p, Encrypted: len(m.Recipients) > 0}
}

// kind is that of the archives that are asked for.
func (m *Migrator) kind() layout.Kind {
	if m.Trees {
		return layout.Tar
	}
	return layout.Image
}
