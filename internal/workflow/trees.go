package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
)

// Mounts says how the filesystems of a disk are mounted.
type Mounts struct {
	Folder string // where those go that stand in the mount table
	Plain  bool   // all of them do; else only where the kernel knows no other
}

// treeStall is how long a filesystem may give nothing.
const treeStall = 10 * time.Minute

// trees stores the disk's partitions: files where they can be read, images of
// the others, and what lies before the first.
func (j *job) trees(ctx context.Context) error {
	record, err := j.lookUpSnapshotRecord(ctx, layout.Tar)
	if err != nil {
		return err
	}
	if err := j.choose(ctx, record); err != nil {
		return err
	}
	if stands, err := j.stands(ctx, record); stands || err != nil {
		return err
	}
	vol, release, err := j.volume(ctx, VolumeRequest{})
	if err != nil {
		return err
	}
	j.task.Stage("reading partitions")
	table, err := partition.Read(ctx, vol)
	if err != nil {
		return readHint(fmt.Errorf("read the partitions of %s: %w", j.s.ID, err))
	}
	for _, note := range table.Notes {
		j.m.Report.Note(j.s.ID, note)
	}
	d := &disk{j: j, vol: vol, table: table}
	if err := d.plan(ctx); err != nil {
		return err
	}
	archives, err := d.store(ctx, release)
	if err != nil {
		return err
	}
	j.doneReading(release)
	rec := layout.SnapshotRecord{Archives: archives, Choice: j.chosen(), Geometry: d.geometry, Skipped: d.skipped}
	j.res.LeftOut = leftOut(&rec)
	return record.put(ctx, rec)
}

// stands tells whether all that the snapshot record tells of is in the bucket,
// whole. Then nothing of the snapshot need be read.
func (j *job) stands(ctx context.Context, record *snapshotRecord) (bool, error) {
	got := record.stands
	if got == nil || got.Snapshot.ID != j.s.ID || !sameChoice(got.Choice, j.chosen()) {
		return false, nil
	}
	for _, a := range got.Archives {
		if whole, err := j.standsWhole(ctx, a); !whole || err != nil {
			return false, err
		}
	}
	j.res.Outcome, j.res.LeftOut = Kept, leftOut(got)
	for _, a := range got.Archives {
		j.res.Keys = append(j.res.Keys, a.Archive)
		j.kept(a.Archive)
		j.add(a)
	}
	return true, nil
}

// store stores the parts of the disk: first the images, since a mount may write;
// then the files. release gives the volume back as soon as all is read.
func (d *disk) store(ctx context.Context, release func()) ([]layout.ArchiveRecord, error) {
	j := d.j
	if err := d.lookUp(ctx); err != nil {
		return nil, err
	}
	var records []layout.ArchiveRecord
	take := func(p *part) error {
		rec := p.found.record
		if rec == nil {
			var err error
			if rec, err = j.store(ctx, p); err != nil {
				return err
			}
			j.res.Outcome = Migrated
		}
		records = append(records, *rec)
		j.add(*rec)
		return nil
	}
	j.res.Outcome = Kept
	j.task.Total(d.rawSize())
	for _, p := range d.raws {
		if err := take(p); err != nil {
			return nil, err
		}
	}
	defer d.unmount(ctx)
	if err := d.mount(ctx); err != nil {
		return nil, err
	}
	d.beforeLast(func() {
		d.unmount(ctx)
		j.doneReading(release)
	})
	for _, t := range d.trees {
		if err := take(t.part); err != nil {
			return nil, err
		}
	}
	if len(records) == 0 {
		j.log.Warn("there is nothing on this disk to archive: only a record of it is stored")
		j.res.Outcome = Migrated
	}
	return records, nil
}

// tree is a filesystem that is to become a tar.
type tree struct {
	*part
	of     partition.Partition
	mount  *filesystem.Mount // nil: not mounted
	files  *filesystem.Tree
	survey filesystem.Survey
}

// mount mounts all filesystems whose archives are to be written, and finds out
// how much is in them.
func (d *disk) mount(ctx context.Context) error {
	j := d.j
	todo := d.unwritten()
	if err := d.mountThese(ctx, todo, j.keep && !j.m.AndValidate); err != nil {
		return err
	}
	total := d.rawSize()
	for _, t := range todo {
		if err := d.survey(ctx, t); err != nil {
			return waysOn(ctx, fmt.Errorf("%s of %s: %w", spoken(t.of.Number), j.s.ID, err), ways(t.of.Number))
		}
		total += t.streamSize()
	}
	if len(todo) > 0 {
		j.task.Total(total)
	}
	return nil
}

// mountThese mounts filesystems; those that are to be kept stay mounted when they
// are closed.
func (d *disk) mountThese(ctx context.Context, todo []*tree, keep bool) error {
	if len(todo) == 0 {
		return nil
	}
	d.j.task.Stage("mounting")
	if err := d.vol.MarkMounted(ctx, numbers(todo)); err != nil {
		return fmt.Errorf("note on volume %s what will be mounted: %w", d.vol.ID(), err)
	}
	for _, t := range todo {
		if err := d.mountOne(ctx, t, keep); err != nil {
			return waysOn(ctx, fmt.Errorf("%s of %s: %w", spoken(t.of.Number), d.j.s.ID, err), d.ways(t.of.Number))
		}
	}
	return nil
}

func (d *disk) mountOne(ctx context.Context, t *tree, keep bool) (err error) {
	j, m := d.j, d.j.m
	t.mount, err = filesystem.Open(ctx, filesystem.MountRequest{
		Device: d.vol.Device(), Offset: t.of.Start, Size: t.of.Length,
		Type: t.of.Content.Type, UUID: t.of.Content.UUID, Default: d.theirs,
		Folder: mountFolder(m.Mounts.Folder, j.s.ID, t.of.Number),
		Plain:  m.Mounts.Plain || keep, Keep: keep, State: m.State,
	})
	if err != nil {
		j.mounts = true
		return err
	}
	t.files = &filesystem.Tree{Root: t.mount.Root(), Subvolumes: t.of.Content.Type == "btrfs", Stall: treeStall}
	return nil
}

// survey finds out how much is in a tree.
func (d *disk) survey(ctx context.Context, t *tree) (err error) {
	j, m := d.j, d.j.m
	j.task.Stage("counting files" + spaced(t.name.Partition))
	if t.survey, err = t.files.Survey(ctx); err != nil {
		return err
	}
	m.Report.Part(PartItem{
		Snapshot: j.s.ID, Part: t.name.Partition, Content: t.of.Content.Type, Size: t.of.Length, Plan: PlanFiles,
		Entries: t.survey.Entries, Files: t.survey.Regular, Bytes: t.survey.Bytes,
	})
	used, err := t.mount.Used()
	if err != nil {
		return err
	}
	t.fill(j, used)
	return nil
}

// perEntry is what an entry takes in a tar beside its data, in bytes: a header,
// an extended one with its records, and padding.
const perEntry = 2 << 10

// streamSize is about how long the tar will be, in bytes.
func (t *tree) streamSize() int64 { return t.survey.Data + t.survey.Entries*perEntry*3/4 }

// fill makes the part a tar of the tree; used is what the filesystem says that is
// taken of it, in bytes.
func (t *tree) fill(j *job, used int64) {
	bound := max(used, t.survey.Data) + t.survey.Entries*perEntry
	t.plain, t.bound = t.survey.Bytes, bound+bound/100+64<<10
	t.header.Name, t.header.Label = t.of.Name, t.of.Content.Label
	for _, note := range notesOf(t.survey) {
		j.m.Report.Note(j.s.ID, spoken(t.of.Number)+": "+note)
	}
	t.write = func(ctx context.Context, w io.Writer, rows *layout.EntriesWriter) (written, error) {
		got, err := archive.WriteTree(ctx, t.files, w, treeRows{rows}, archive.TreeOptions{
			Codec: j.m.Codec, Stall: treeStall, Progress: j.progress(),
			Skipped: func(path string) { j.log.Debug("skipped a socket, which a tar cannot hold", "path", path) },
		})
		if err != nil {
			return written{}, waysOn(ctx, fmt.Errorf("archive the files of %s of %s: %w", spoken(t.of.Number), j.s.ID, err), ways(t.of.Number))
		}
		j.res.Entries += got.Entries
		return written{
			plain: got.Plain, stored: got.Stored, digest: got.Digest,
			files: &layout.Files{Entries: got.Entries, Regular: got.Regular, Folders: got.Folders, Bytes: got.Bytes},
		}, nil
	}
}

func (j *job) progress() func(bytes, entries int64, path string) {
	add, before := advance(j.task), int64(0)
	return func(bytes, entries int64, path string) {
		add(bytes)
		j.task.Files(entries-before, path)
		before = entries
	}
}

// beforeLast has f called when the last of the trees is read.
func (d *disk) beforeLast(f func()) {
	if todo := d.unwritten(); len(todo) > 0 {
		todo[len(todo)-1].read = f
	}
}

// unmount ends all mounts. It may be called again.
func (d *disk) unmount(ctx context.Context) {
	j := d.j
	for _, t := range d.trees {
		if t.mount == nil {
			continue
		}
		j.task.Stage("unmounting")
		clean, cancel := j.m.cleanup(ctx)
		if err := t.mount.Close(clean); err != nil {
			j.mounts = true
			j.left(err)
		}
		cancel()
		t.mount = nil
	}
}

// waysOn adds what else can be done with a partition whose files cannot be read,
// unless the work was ended.
func waysOn(ctx context.Context, err error, next string) error {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return hint.Wrap(err, next)
}

// ways are those on from a mount that failed.
func (d *disk) ways(number int) string {
	if d.proves {
		return "run the command again, which reads a fresh volume; where it fails again, run it on a machine whose kernel mounts that filesystem"
	}
	return ways(number)
}

func ways(number int) string {
	if number == 0 {
		return "take an image of the whole disk instead: --dd"
	}
	return fmt.Sprintf("take the partition as an image with --raw-partition %d, leave it out with --skip-partition %d, or take an image of the whole disk with --dd", number, number)
}
