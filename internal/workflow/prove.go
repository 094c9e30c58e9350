package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
)

// proof compares the archives of a snapshot with its volume.
type proof struct {
	j     *job
	sh    *shelf
	vol   Volume
	table partition.Table
	found func(Difference)
}

// pipeDepth is how many rows either side of a comparison may be ahead.
const pipeDepth = 1024

// run compares all archives: first the images, since a mount may write.
func (p *proof) run(ctx context.Context) error {
	if p.wholeImage() {
		return p.image(ctx, p.sh.archives[0], p.vol)
	}
	p.j.task.Stage("reading partitions")
	table, err := partition.Read(ctx, p.vol)
	if err != nil {
		return readHint(fmt.Errorf("read the partitions of %s: %w", p.j.s.ID, err))
	}
	p.table = asOnePart(table)
	p.geometry()
	if err := p.blanks(ctx); err != nil {
		return err
	}
	for _, a := range p.sh.archives {
		if a.kind != layout.Image {
			continue
		}
		src, err := p.section(a)
		if err != nil {
			return err
		}
		if src == nil {
			continue
		}
		if err := p.image(ctx, a, src); err != nil {
			return err
		}
	}
	return p.trees(ctx)
}

func (p *proof) wholeImage() bool {
	return len(p.sh.archives) == 1 && p.sh.archives[0].kind == layout.Image && p.sh.archives[0].part == layout.Whole &&
		(p.sh.record == nil || p.sh.record.Geometry == nil)
}

// rawParts are the partitions that are compared as images, 0 for the whole disk.
func (p *proof) rawParts() []int {
	var raw []int
	for _, a := range p.sh.archives {
		if a.kind == layout.Image && a.part >= layout.Whole {
			raw = append(raw, int(a.part))
		}
	}
	return raw
}

// section is the part of the disk that an image is of; nil where the disk has none
// such, which is then a difference.
func (p *proof) section(a archived) (block.Source, error) {
	start, size := int64(0), int64(0)
	if a.part == layout.Head {
		size = headSize(p.table)
	} else if of := p.partition(a.part); of != nil {
		start, size = of.Start, of.Length
	}
	if size == 0 {
		p.noSuchPart(a)
		return nil, nil
	}
	src, err := block.Section(p.vol, start, size)
	if err != nil {
		return nil, fmt.Errorf("%d bytes at %d of %s: %w", size, start, p.j.s.ID, err)
	}
	return src, nil
}

func (p *proof) partition(part layout.Part) *partition.Partition {
	for i, of := range p.table.Partitions {
		if of.Role != partition.Extended && layout.Part(of.Number) == part {
			return &p.table.Partitions[i]
		}
	}
	return nil
}

func (p *proof) noSuchPart(a archived) {
	p.found(Difference{Snapshot: p.j.s.ID, Key: a.key, Part: a.part, Between: BetweenSnapshot, Kind: string(archive.DiffAdded), Got: "the disk has no such partition"})
}

// trees compares the tars.
func (p *proof) trees(ctx context.Context) error {
	d := &disk{j: p.j, vol: p.vol, table: p.table, proves: true, theirs: p.sh.record == nil}
	of := map[*tree]archived{}
	for _, a := range p.sh.archives {
		if a.kind != layout.Tar {
			continue
		}
		at := p.partition(a.part)
		if at == nil {
			p.noSuchPart(a)
			continue
		}
		if err := p.mountable(*at); err != nil {
			if p.told(*at) {
				continue
			}
			return err
		}
		t := &tree{of: *at, part: &part{name: layout.Name{Kind: layout.Tar, Partition: a.part}}}
		of[t] = a
		d.trees = append(d.trees, t)
	}
	if err := p.unarchived(ctx); err != nil {
		return err
	}
	defer d.unmount(ctx)
	if err := d.mountThese(ctx, d.trees, p.j.keep); err != nil {
		return err
	}
	for _, t := range d.trees {
		p.j.task.Stage("comparing" + spaced(t.name.Partition))
		if err := p.tree(ctx, of[t], t.files); err != nil {
			return fmt.Errorf("%s of %s: %w", spoken(t.of.Number), p.j.s.ID, err)
		}
	}
	return nil
}

func (p *proof) mountable(of partition.Partition) error {
	err := errors.New(noFiles(of))
	if of.IsFilesystem() {
		err = filesystem.Supported(of.Content.Type)
	}
	if err == nil {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%s of %s (%s) is archived as files, and cannot be read here: %w", spoken(of.Number), p.j.s.ID, contentOf(of), err),
		"validate it on a machine whose kernel reads that filesystem")
}

// unarchived tells of partitions of which the predecessor has left no archive. In
// our records each partition is told of. Swap and what is all zeros need none.
func (p *proof) unarchived(ctx context.Context) error {
	if p.sh.record != nil {
		return nil
	}
	for _, of := range p.table.Partitions {
		part := layout.Part(of.Number)
		if of.Role == partition.Extended || p.has(part) {
			continue
		}
		empty, err := p.empty(ctx, of)
		if err != nil {
			return err
		}
		if empty {
			p.j.m.Report.Note(p.j.s.ID, fmt.Sprintf("%s (%s) is in no archive", spoken(of.Number), contentOf(of)))
			continue
		}
		if of.IsFilesystem() {
			p.found(Difference{
				Snapshot: p.j.s.ID, Part: part, Between: BetweenSnapshot, Kind: string(archive.DiffMissing),
				Key: p.sh.archives[0].key, Got: fmt.Sprintf("beside this archive there is none of %s (%s)", spoken(of.Number), contentOf(of)),
			})
			continue
		}
		// The predecessor could not archive it: no fault of the archives that there are.
		line := fmt.Sprintf("%s (%s), which is not empty, is in no archive", spoken(of.Number), contentOf(of))
		if !slices.Contains(p.j.res.Unproven, line) {
			p.j.res.Unproven = append(p.j.res.Unproven, line)
		}
	}
	return nil
}

// empty tells whether a partition has nothing that could be archived.
func (p *proof) empty(ctx context.Context, of partition.Partition) (bool, error) {
	if of.Content.Type != "" {
		return of.Content.Type == "swap", nil
	}
	src, err := block.Section(p.vol, of.Start, of.Length)
	if err != nil {
		return false, fmt.Errorf("%s of %s: %w", spoken(of.Number), p.j.s.ID, err)
	}
	zero, err := block.IsZero(ctx, src)
	if err != nil {
		return false, readHint(fmt.Errorf("%s of %s: %w", spoken(of.Number), p.j.s.ID, err))
	}
	return zero, nil
}

func (p *proof) has(part layout.Part) bool {
	for _, a := range p.sh.archives {
		if a.part == part {
			return true
		}
	}
	return false
}

// errCut: the archive could not be read to its end, which was told.
var errCut = errors.New("the archive cannot be read to its end")

// tree compares a tar with the files of its partition, which are read at the same
// time.
func (p *proof) tree(ctx context.Context, a archived, files archive.Tree) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	want, got := archive.NewPipe[*archive.TreeRow](pipeDepth), archive.NewPipe[*archive.TreeRow](pipeDepth)
	putWant, putGot := want.Put, got.Put
	wantRows, gotRows := want.All(ctx), got.All(ctx)
	theirs := a.record == nil
	if theirs { // in whatever order: both sides are gathered first
		wantTable, gotTable := archive.NewTable(archive.TableOptions{}), archive.NewTable(archive.TableOptions{})
		defer closing(p.j.log, wantTable, gotTable)
		putWant = func(_ context.Context, r *archive.TreeRow) error { return wantTable.Add(r) }
		putGot = func(_ context.Context, r *archive.TreeRow) error { return gotTable.Add(r) }
		wantRows, gotRows = afterwards(want.All(ctx), wantTable.Sorted(ctx)), afterwards(got.All(ctx), gotTable.Sorted(ctx))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := archive.SumTree(ctx, files, archive.TreeOptions{Stall: treeStall}, func(r *archive.TreeRow) error { return putWant(ctx, r) })
		want.Close(err)
	})
	wg.Go(func() {
		rb := p.readback(a)
		rb.entry = func(r *archive.TreeRow) error { return putGot(ctx, r) }
		got.Close(rb.run(ctx))
	})
	entries, err := archive.DiffTrees(ctx, wantRows, gotRows, archive.DiffOptions{Coarse: theirs}, func(d archive.Difference) error {
		p.found(Difference{
			Snapshot: p.j.s.ID, Key: a.key, Part: a.part, Between: BetweenSnapshot, Kind: string(d.Kind),
			Path: d.Path, HasPath: true, Want: d.Snapshot, Got: d.Archive,
		})
		return nil
	})
	cancel(err)
	wg.Wait()
	p.j.res.Entries += entries
	if errors.Is(err, errCut) {
		return nil
	}
	return err
}

// image compares an image with its part of the volume.
func (p *proof) image(ctx context.Context, a archived, src block.Source) error {
	p.j.task.Stage("comparing" + spaced(a.part))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	want, got := archive.NewPipe[archive.BlockRun](pipeDepth), archive.NewPipe[archive.BlockRun](pipeDepth)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := archive.SumImage(ctx, src, archive.ImageOptions{}, func(r archive.BlockRun) error { return want.Put(ctx, r) })
		want.Close(readHint(err))
	})
	wg.Go(func() {
		rb := p.readback(a)
		rb.blocks = func(r archive.BlockRun) error { return got.Put(ctx, r) }
		got.Close(rb.run(ctx))
	})
	_, err := archive.DiffImages(ctx, src.Size(), want.All(ctx), got.All(ctx), func(d archive.BlockDifference) error {
		if d.Kind != archive.DiffDamaged { // which was told when it was read
			p.found(Difference{
				Snapshot: p.j.s.ID, Key: a.key, Part: a.part, Between: BetweenSnapshot, Kind: string(d.Kind), Off: d.Off, Len: d.Len,
			})
		}
		return nil
	})
	cancel(err)
	wg.Wait()
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("compare %s of %s with its image: %w", spoken(max(int(a.part), 0)), p.j.s.ID, err)
	}
	return nil
}

func (p *proof) readback(a archived) *readback {
	m := p.j.m
	return &readback{
		store: m.Store, gpg: m.GPG, log: p.j.log, subject: p.j.s.ID, a: a, found: p.found,
		progress: func(n int64) { p.j.task.Add(n) },
	}
}

// closing ends the tables of a comparison: what they say then, it does not depend on.
func closing(log *slog.Logger, tables ...*archive.Table) {
	for _, t := range tables {
		if err := t.Close(); err != nil {
			log.Warn("a file for sorting could not be closed", "err", err)
		}
	}
}
