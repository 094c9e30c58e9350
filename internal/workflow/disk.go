package workflow

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
	"snap-to-s3/internal/snapshot"
)

// The sizes that decide about parts of a disk, in bytes.
const (
	maxRaw  = 1 << 30  // a part that has no files is stored raw without being asked for
	maxHead = 64 << 20 // what lies before the first partition is stored whole
	cutHead = 1 << 20  // of more than that so much is: boot loaders lie at its beginning
)

// whyBlank is why a partition on which nothing is is in no archive.
const whyBlank = "all zeros"

// disk is the disk of a snapshot, and what is to be done with its parts.
type disk struct {
	j     *job
	vol   Volume
	table partition.Table

	geometry *layout.Geometry // of the table, as the record will have it
	proves   bool             // nothing is archived: it is compared with what was
	theirs   bool             // by the predecessor, who mounted as mount(8) does

	raws    []*part // ascending
	trees   []*tree
	skipped []layout.Skipped
}

// plan decides about each part of the disk. A part that can neither be read as
// files nor stored raw fails the snapshot, before anything is uploaded.
func (d *disk) plan(ctx context.Context) error {
	if len(d.table.Partitions) == 0 {
		d.j.m.Report.Note(d.j.s.ID, "the disk's partition table is empty: the disk is taken as one part")
	}
	d.table = asOnePart(d.table)
	d.geometry = geometryOf(d.table)
	if err := d.geometry.Check(); err != nil {
		return hint.Wrap(fmt.Errorf("the partition table of %s could not be made again from its record: %w", d.j.s.ID, err), ways(0))
	}
	if err := d.planHead(); err != nil {
		return err
	}
	var refused []string
	first := 0
	for _, p := range d.table.Partitions {
		if p.Role == partition.Extended {
			continue
		}
		why, err := d.planPart(ctx, p)
		if err != nil {
			return err
		}
		if why != "" {
			if len(refused) == 0 {
				first = p.Number
			}
			refused = append(refused, fmt.Sprintf("%s (%s): %s", spoken(p.Number), contentOf(p), why))
		}
	}
	if len(refused) > 0 {
		return hint.Wrap(fmt.Errorf("%s: %s", d.j.s.ID, strings.Join(refused, "; ")), ways(first))
	}
	d.noteChoice()
	return nil
}

// asOnePart takes a disk with an empty table as one part: such a table says nothing
// of what is on it.
func asOnePart(t partition.Table) partition.Table {
	if len(t.Partitions) > 0 {
		return t
	}
	return partition.Table{
		Type: partition.NoTable, SectorSize: t.SectorSize, Size: t.Size,
		Partitions: []partition.Partition{{Role: partition.Primary, Length: t.Size}},
	}
}

// noteChoice tells of chosen partitions that this disk does not have.
func (d *disk) noteChoice() {
	for _, n := range slices.Concat(d.j.choice.Raw, d.j.choice.Skip) {
		if !slices.ContainsFunc(d.table.Partitions, func(p partition.Partition) bool { return p.Number == n }) {
			d.j.log.Warn("this disk has no such partition", "partition", n)
		}
	}
}

// planHead plans an image of what lies before the first partition: the table
// itself, and boot loaders.
func (d *disk) planHead() error {
	size := headSize(d.table)
	if size == 0 {
		return nil
	}
	if all := d.table.Head(); size < all {
		d.j.m.Report.Note(d.j.s.ID, fmt.Sprintf("%d bytes lie before the first partition: only the first %d of them are stored", all, size))
	}
	return d.raw(layout.Head, 0, size)
}

// headSize is how much of what lies before the first partition is stored, in bytes.
func headSize(t partition.Table) int64 {
	if size := t.Head(); size <= maxHead {
		return size
	}
	return cutHead
}

// planPart decides about one partition, or says why it cannot.
func (d *disk) planPart(ctx context.Context, p partition.Partition) (refused string, err error) {
	choice := d.j.choice
	item := PartItem{Snapshot: d.j.s.ID, Part: layout.Part(p.Number), Content: p.Content.Type, Size: p.Length}
	switch {
	case slices.Contains(choice.Skip, p.Number):
		d.skip(item, p, "asked for")
		return "", nil
	case slices.Contains(choice.Raw, p.Number):
		item.Why = "asked for"
		return "", d.rawPart(item, p)
	case p.Content.Type == "swap":
		d.skip(item, p, "swap")
		return "", nil
	}
	why := ""
	if p.IsFilesystem() {
		err := filesystem.Supported(p.Content.Type)
		if err == nil {
			d.trees = append(d.trees, &tree{of: p, part: &part{name: d.j.m.name(d.j.s, layout.Tar, layout.Part(p.Number))}})
			return "", nil
		}
		if !errors.Is(err, filesystem.ErrUnsupported) {
			return "", err
		}
		why = err.Error()
	} else {
		why = noFiles(p)
	}
	return d.withoutFiles(ctx, item, p, why)
}

// withoutFiles decides about a partition whose files cannot be read.
func (d *disk) withoutFiles(ctx context.Context, item PartItem, p partition.Partition, why string) (refused string, err error) {
	src, err := block.Section(d.vol, p.Start, p.Length)
	if err != nil {
		return "", fmt.Errorf("%s of %s: %w", spoken(p.Number), d.j.s.ID, err)
	}
	if p.Content.Type == "" {
		zero, err := d.blank(ctx, src)
		if err != nil {
			return "", readHint(fmt.Errorf("%s of %s: %w", spoken(p.Number), d.j.s.ID, err))
		}
		if zero {
			d.skip(item, p, whyBlank)
			return "", nil
		}
	}
	if p.Length > maxRaw {
		return why + ", and it is too large to be stored raw without being asked for", nil
	}
	item.Why = why
	return "", d.rawPart(item, p)
}

// blank tells whether nothing is on a part. A large one is not read for that.
func (d *disk) blank(ctx context.Context, src block.Source) (bool, error) {
	if src.Size() <= maxRaw {
		return block.IsZero(ctx, src)
	}
	for _, err := range src.Extents(ctx) {
		return false, err
	}
	return true, nil
}

func (d *disk) skip(item PartItem, p partition.Partition, why string) {
	item.Plan, item.Why = PlanSkip, why
	d.j.m.Report.Part(item)
	d.skipped = append(d.skipped, layout.Skipped{Partition: layout.Part(p.Number), Start: p.Start, Size: p.Length, Why: why})
}

func (d *disk) rawPart(item PartItem, p partition.Partition) error {
	item.Plan = PlanRaw
	d.j.m.Report.Part(item)
	if err := d.raw(layout.Part(p.Number), p.Start, p.Length); err != nil {
		return err
	}
	last := d.raws[len(d.raws)-1]
	last.header.Name, last.header.Label = p.Name, p.Content.Label
	return nil
}

func (d *disk) raw(at layout.Part, start, size int64) error {
	src, err := block.Section(d.vol, start, size)
	if err != nil {
		return fmt.Errorf("%d bytes at %d of %s: %w", size, start, d.j.s.ID, err)
	}
	p := &part{name: d.j.m.name(d.j.s, layout.Image, at)}
	d.j.imageOf(p, src, d.vol.ID())
	p.bound = size + size/100 + 64<<10
	d.raws = append(d.raws, p)
	return nil
}

// lookUp finds out which archives stand already.
func (d *disk) lookUp(ctx context.Context) (err error) {
	j := d.j
	for _, p := range d.parts() {
		if p.found, err = j.lookUp(ctx, p.name); err != nil {
			return err
		}
		j.res.Keys = append(j.res.Keys, p.key())
		if p.found.record != nil {
			j.kept(p.key())
		}
	}
	return nil
}

// parts are all archives that the disk is to have.
func (d *disk) parts() []*part {
	all := slices.Clone(d.raws)
	for _, t := range d.trees {
		all = append(all, t.part)
	}
	return all
}

// unwritten are the trees whose archives do not stand yet.
func (d *disk) unwritten() []*tree {
	var todo []*tree
	for _, t := range d.trees {
		if t.found.record == nil {
			todo = append(todo, t)
		}
	}
	return todo
}

// rawSize is how much of the disk is read raw, in bytes.
func (d *disk) rawSize() (sum int64) {
	for _, p := range d.raws {
		if p.found.record == nil {
			sum += p.plain
		}
	}
	return sum
}

// spoken names a part of a disk in a sentence.
func spoken(number int) string {
	if number == 0 {
		return "the disk"
	}
	return "partition " + strconv.Itoa(number)
}

func contentOf(p partition.Partition) string {
	what := p.Content.Type
	if what == "" {
		what = "nothing known"
	}
	return fmt.Sprintf("%s, %s", what, sizeText(p.Length))
}

// noFiles says why a part has no files that could be read.
func noFiles(p partition.Partition) string {
	switch {
	case p.Content.Type == "":
		return "no filesystem is known on it"
	case p.Content.Devices > 1:
		return fmt.Sprintf("it is one of %d devices of a %s filesystem", p.Content.Devices, p.Content.Type)
	}
	return "files cannot be read from " + p.Content.Type
}

func mountFolder(base string, id snapshot.ID, number int) string {
	name := string(id)
	if number != 0 {
		name += "-" + strconv.Itoa(number)
	}
	return filepath.Join(base, name)
}

func numbers(trees []*tree) string {
	var all []string
	for _, t := range trees {
		all = append(all, strconv.Itoa(t.of.Number))
	}
	return strings.Join(all, ",")
}

// notesOf are lines about what a tree holds that a person should know of.
func notesOf(s filesystem.Survey) []string {
	var notes []string
	if s.Sockets > 0 {
		notes = append(notes, fmt.Sprintf("%d socket(s) are skipped, which a tar cannot hold: %s", s.Sockets, some(s.Sample, s.Sockets)))
	}
	if n := len(s.Subvolumes); n > 0 {
		notes = append(notes, fmt.Sprintf("%d btrfs subvolume(s) are stored as folders: %s", n, some(s.Subvolumes, int64(n))))
	}
	return notes
}

// some lists the first paths of all there are.
func some(paths []string, all int64) string {
	const shown = 10
	paths = paths[:min(len(paths), shown)]
	text := "./" + strings.Join(paths, ", ./")
	if more := all - int64(len(paths)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
