package workflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
)

// geometry holds the table in the record to that of the disk.
func (p *proof) geometry() {
	if p.sh.record == nil {
		return
	}
	differ := func(kind string, want, got any) {
		a, errA := json.Marshal(want)
		b, errB := json.Marshal(got)
		if err := errors.Join(errA, errB); err != nil {
			a, b = []byte(err.Error()), nil
		}
		if string(a) != string(b) {
			p.found(Difference{Snapshot: p.j.s.ID, Key: p.sh.record.Key, Between: BetweenSnapshot, Kind: kind, Want: string(a), Got: string(b)})
		}
	}
	want, got := *geometryOf(p.table), layout.Geometry{}
	if p.sh.record.Geometry != nil {
		got = *p.sh.record.Geometry
		got.Partitions = slices.Clone(got.Partitions)
	}
	for i := range max(len(want.Partitions), len(got.Partitions)) {
		var a, b any
		if i < len(want.Partitions) && i < len(got.Partitions) {
			p.asMounted(&want.Partitions[i], &got.Partitions[i])
		}
		if i < len(want.Partitions) {
			a = want.Partitions[i]
		}
		if i < len(got.Partitions) {
			b = got.Partitions[i]
		}
		differ("geometry", a, b)
	}
	want.Partitions, got.Partitions = nil, nil
	differ("geometry", want, got)
}

// asMounted leaves out of what is known of a filesystem what a mount changes: a
// volume that is compared may have been mounted since its table was recorded. Its
// journal is played back then, and a kernel sets the marks of what it may write.
func (p *proof) asMounted(disk, record *layout.Partition) {
	record.Features = slices.DeleteFunc(slices.Clone(record.Features), func(f string) bool {
		return f == "needs_recovery" || f == "orphan_present"
	})
	disk.Features = slices.DeleteFunc(slices.Clone(disk.Features), func(f string) bool {
		return f == "needs_recovery" || f == "orphan_present" || p.hasFiles(disk.Number) && !slices.Contains(record.Features, f)
	})
}

func (p *proof) hasFiles(part layout.Part) bool {
	return slices.ContainsFunc(p.sh.archives, func(a archived) bool { return a.kind == layout.Tar && a.part == part })
}

// told says whether the record has something else in a partition than the disk has:
// geometry has told of that.
func (p *proof) told(of partition.Partition) bool {
	if p.sh.record == nil || p.sh.record.Geometry == nil {
		return false
	}
	for _, r := range p.sh.record.Geometry.Partitions {
		if r.Number == layout.Part(of.Number) {
			return r.Content != of.Content.Type
		}
	}
	return false
}

// blanks looks whether the partitions that are in no archive for being all zeros
// are so.
func (p *proof) blanks(ctx context.Context) error {
	if p.sh.record == nil {
		return nil
	}
	for _, s := range p.sh.record.Skipped {
		of := p.partition(s.Partition)
		if s.Why != whyBlank || of == nil { // geometry has told of one that is not there
			continue
		}
		src, err := block.Section(p.vol, of.Start, of.Length)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", spoken(of.Number), p.j.s.ID, err)
		}
		zero, err := block.IsZero(ctx, src)
		if err != nil {
			return readHint(fmt.Errorf("%s of %s: %w", spoken(of.Number), p.j.s.ID, err))
		}
		if !zero {
			p.found(Difference{
				Snapshot: p.j.s.ID, Key: p.sh.record.Key, Part: s.Partition, Between: BetweenSnapshot,
				Kind: string(archive.DiffContent), Len: of.Length, Want: "data", Got: whyBlank,
			})
		}
	}
	return nil
}

// unarchived are lines about what the record says that is in no archive, though
// there may be something on it: nothing proves that. Swap is worth nothing.
func (sh *shelf) unarchived() []string {
	if sh.record == nil || sh.record.Geometry == nil {
		return nil
	}
	lines := leftOut(sh.record)
	first := sh.record.Geometry.Size
	if all := sh.record.Geometry.Partitions; len(all) > 0 {
		first = all[0].Start
	}
	for _, a := range sh.archives {
		if a.part == layout.Head && a.record.PlainSize < first {
			lines = append(lines, fmt.Sprintf("of %s before the first partition only the first %s are archived", sizeText(first), sizeText(a.record.PlainSize)))
		}
	}
	return lines
}

// leftOut are lines about the partitions that are in no archive of a record, though
// there may be something on them.
func leftOut(rec *layout.SnapshotRecord) (lines []string) {
	content := map[layout.Part]string{}
	for _, of := range rec.Geometry.Partitions {
		content[of.Number] = cmp.Or(of.Content, "nothing known")
	}
	for _, s := range rec.Skipped {
		if s.Why != whyBlank && content[s.Partition] != "swap" {
			lines = append(lines, fmt.Sprintf("%s (%s, %s) is in no archive: %s", spoken(int(s.Partition)), content[s.Partition], sizeText(s.Size), s.Why))
		}
	}
	return lines
}
