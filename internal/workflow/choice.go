package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"snap-to-s3/internal/layout"
)

// choose takes over the choice of partitions, but for those that are to be left out
// and are archived: what is whole stays in the record, and only --overwrite drops it.
func (j *job) choose(ctx context.Context, record *snapshotRecord) error {
	j.choice = layout.Choice{Raw: slices.Clone(j.m.Choice.Raw), Skip: slices.Clone(j.m.Choice.Skip)}
	if record.stands == nil || record.stands.Snapshot.ID != j.s.ID {
		return nil
	}
	for _, a := range record.stands.Archives {
		i := slices.Index(j.choice.Skip, int(a.Partition))
		if i < 0 {
			continue
		}
		whole, err := j.standsWhole(ctx, a)
		if err != nil {
			return err
		}
		if whole {
			j.choice.Skip = slices.Delete(j.choice.Skip, i, i+1)
			if before := record.stands.Choice; before != nil && slices.Contains(before.Raw, int(a.Partition)) {
				j.choice.Raw = append(j.choice.Raw, int(a.Partition))
				slices.Sort(j.choice.Raw)
			}
			j.m.Report.Note(j.s.ID, fmt.Sprintf("partition %d was to be left out, and is archived already: it stays; with --overwrite it is left out", a.Partition))
		}
	}
	return nil
}

func (j *job) chosen() *layout.Choice {
	if len(j.choice.Raw)+len(j.choice.Skip) == 0 {
		return nil
	}
	return &j.choice
}

// standsWhole tells whether an archive that a snapshot record tells of is in the
// bucket, as it says.
func (j *job) standsWhole(ctx context.Context, a layout.ArchiveRecord) (bool, error) {
	info, there, err := j.stat(ctx, a.Archive)
	if !there || err != nil {
		return false, err
	}
	rec, err := j.wholeArchive(ctx, archiveRef{a.Archive, a.Key, a.Kind}, info)
	if errors.Is(err, errNoRecord) {
		return false, nil
	}
	return err == nil && rec.SHA256 == a.SHA256, err
}
