package workflow

import (
	"context"
	"fmt"
	"io"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// image stores the whole volume as one image.
func (j *job) image(ctx context.Context) error {
	p := &part{name: j.m.name(j.s, layout.Image, layout.Whole)}
	j.res.Keys = []string{p.key()}
	var err error
	if p.found, err = j.lookUp(ctx, p.name); err != nil {
		return err
	}
	record, err := j.lookUpSnapshotRecord(ctx, layout.Image)
	if err != nil {
		return err
	}
	rec := p.found.record
	if rec == nil {
		if rec, err = j.readImage(ctx, p); err != nil {
			return err
		}
		j.res.Outcome = Migrated
	} else {
		j.res.Outcome = Kept
		j.kept(p.key())
	}
	j.add(*rec)
	return record.put(ctx, layout.SnapshotRecord{Archives: []layout.ArchiveRecord{*rec}})
}

// readImage stores the volume by way of a temporary one.
func (j *job) readImage(ctx context.Context, p *part) (*layout.ArchiveRecord, error) {
	vol, release, err := j.volume(ctx, VolumeRequest{})
	if err != nil {
		return nil, err
	}
	j.imageOf(p, vol, vol.ID())
	p.read = func() { j.doneReading(release) }
	return j.store(ctx, p)
}

// imageOf makes p an image of src, which lies on a volume.
func (j *job) imageOf(p *part, src block.Source, vol snapshot.VolumeID) {
	p.plain = src.Size()
	p.bound = j.m.imageBound(j.s, p.plain)
	p.header.PlainSize = p.plain
	p.write = func(ctx context.Context, w io.Writer, rows *layout.EntriesWriter) (written, error) {
		got, err := archive.WriteImage(ctx, src, w, rows, archive.ImageOptions{Codec: j.m.Codec, Progress: advance(j.task)})
		if err != nil {
			what := "copy "
			if p.name.Partition != layout.Whole {
				what += "partition" + spaced(p.name.Partition) + " of "
			}
			return written{}, readHint(fmt.Errorf("%s%s of %s: %w", what, vol, j.s.ID, err))
		}
		return written{
			plain: got.Plain, stored: got.Stored, digest: got.Digest,
			blocks: &layout.Blocks{Data: got.DataBlocks, Zero: got.ZeroBlocks, Absent: got.AbsentBlocks},
		}, nil
	}
}

// advance turns "so far" into "so many more".
func advance(t Task) func(int64) {
	var before int64
	return func(now int64) {
		t.Add(now - before)
		before = now
	}
}

// add counts an archive in the result.
func (j *job) add(rec layout.ArchiveRecord) {
	j.res.Plain += rec.PlainSize
	j.res.Stored += rec.StoredSize
}
