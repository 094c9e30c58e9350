package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// job is the work on one claimed snapshot.
type job struct {
	m      *Migrator
	s      snapshot.Snapshot
	claim  *catalog.Claim
	cancel context.CancelCauseFunc // ends the work, for example when the volume is lost
	log    *slog.Logger
	task   Task
	res    *SnapshotResult

	choice layout.Choice // of partitions, less what is archived already

	vol     Volume // the volume, while there is one
	release func() // gives it back
	mounts  bool   // a mount of it has failed to open or to close
	keep    bool   // leave volumes attached, and what is mounted of them mounted

	once, noise sync.Once // notes that are of all archives of the snapshot
}

func (j *job) left(err error) {
	j.res.Left = append(j.res.Left, err)
}

// part is one archive of the snapshot.
type part struct {
	name  layout.Name
	plain int64 // bytes: of the volume or partition, or of the files
	bound int64 // bytes that the archive will hardly exceed
	// header is what the first row of the entries tells beside the names.
	header layout.EntriesHeader
	found  found
	// write writes the archive and its rows.
	write func(ctx context.Context, w io.Writer, rows *layout.EntriesWriter) (written, error)
	// read is called once all is read, whatever came of it; it may be nil.
	read func()
}

// written is what an archive has come to.
type written struct {
	plain, stored int64
	digest        [32]byte
	blocks        *layout.Blocks // images
	files         *layout.Files  // tars
}

func (p *part) key() string { return p.name.ArchiveKey() }

// work does what is to be done with the snapshot, and says so in its tag.
func (j *job) work(ctx context.Context, do task) error {
	defer func() {
		if j.vol != nil {
			j.release()
		}
	}()
	if before := j.claim.Owner().Before; do.to == catalog.Validating && (before == catalog.Validated || before == catalog.Validating) {
		// Whatever ends this run, what it was to prove is not proven by it.
		if err := j.claim.Check(ctx); err != nil {
			return err
		}
		if err := j.claim.SetBefore(ctx, catalog.Migrated); err != nil {
			return err
		}
	}
	if err := do.run(j, ctx); err != nil {
		return err
	}
	if do.done == catalog.Validated {
		j.res.Outcome = Validated
	}
	if j.vol != nil { // before the tag says that all is done
		j.release()
	}
	return j.complete(ctx, do.done)
}

// run makes the snapshot's archives objects, and commits it: each archive with
// its entries and its record, then the snapshot record, then the tag, each only
// after the one before it stands and while the claim is still ours.
func (j *job) run(ctx context.Context) error {
	stored := j.image
	if j.m.Trees {
		stored = j.trees
	}
	if err := stored(ctx); err != nil {
		return err
	}
	if !j.m.AndValidate {
		return nil
	}
	// What the storing took, tens of megabytes in large pieces, is not needed any more;
	// without a word the heap would grow by as much again before it is given back.
	debug.FreeOSMemory()
	return j.validate(ctx, j.m.shelves().find)
}

// complete writes the tag's new value.
func (j *job) complete(ctx context.Context, value string) error {
	j.task.Stage("tagging")
	if err := j.claim.Check(ctx); err != nil {
		return err
	}
	// All is stored. An interrupt from here on must not leave the tag half way,
	// and to go on takes no longer than to go back.
	clean, cancel := j.m.cleanup(ctx)
	defer cancel()
	return j.claim.Complete(clean, value)
}

// replacing is called right before an object that stands is replaced by an
// archive. From then on the value before may be a lie: "migrated" would point to
// an archive that is no more. "migrate" makes a rerun look again.
func (j *job) replacing(ctx context.Context, p *part) error {
	if p.found.dead != "" {
		if err := j.stillUnfinished(ctx, p); err != nil {
			return err
		}
	}
	if err := j.claim.Check(ctx); err != nil {
		return err
	}
	return j.claim.SetBefore(ctx, catalog.Migrate)
}

// volume is the snapshot's volume: the one that the job has, or a new one. release
// gives it back, once; the job does it at its end where nobody did before.
func (j *job) volume(ctx context.Context, r VolumeRequest) (vol Volume, release func(), err error) {
	if j.vol != nil {
		return j.vol, j.release, nil
	}
	return j.newVolume(ctx, r)
}

func (j *job) newVolume(ctx context.Context, r VolumeRequest) (vol Volume, release func(), err error) {
	r.Snapshot, r.Type, r.Keep = j.s, j.m.VolumeType, j.keep
	r.Owner, r.Log, r.Step = j.claim.Owner(), j.log, j.task.Stage
	vol, err = j.m.Volumes.Open(ctx, j.cancel, r)
	if err != nil {
		return nil, nil, err
	}
	j.vol = vol
	j.release = func() {
		if j.vol != vol {
			return
		}
		j.vol = nil
		j.task.Stage("releasing volume")
		clean, cancel := j.m.cleanup(ctx)
		defer cancel()
		giveBack := vol.Release
		if j.mounts { // what was mounted may not be gone, where the kernel was slow to answer
			giveBack = func(ctx context.Context) error { return j.releaseMounted(ctx, vol) }
		}
		if err := giveBack(clean); err != nil {
			j.left(err)
		}
	}
	return vol, j.release, nil
}

// doneReading gives the volume back as soon as all is read: it costs money. A
// validation that follows reads it once more.
func (j *job) doneReading(release func()) {
	if !j.m.AndValidate {
		release()
	}
}

// releaseMounted gives a volume back unless a loop device stands on it: detached
// below a mount, it would end the reads of whoever uses that, and EC2 would wait
// for them for ever.
func (j *job) releaseMounted(ctx context.Context, vol Volume) error {
	if j.keep {
		return vol.Release(ctx)
	}
	if err := untilBare(ctx, vol.Device()); err != nil {
		return vol.Leave(err)
	}
	return vol.Release(ctx)
}

// mountLag is how long a mount that was given up may take to be gone: the call that
// makes it must end first.
const mountLag = 5 * time.Second

// untilBare waits a moment for the loop devices over a device to go.
func untilBare(ctx context.Context, device string) error {
	late := time.NewTimer(mountLag)
	defer late.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var seen []string
	for {
		loops, err := filesystem.LoopsOver(ctx, device)
		switch {
		case err != nil && len(seen) > 0 && ctx.Err() != nil: // the time for cleaning up is over
			return fmt.Errorf("%s still stands on it", strings.Join(seen, ", "))
		case err != nil || len(loops) == 0:
			return err
		}
		seen = loops
		select {
		case <-tick.C:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		return fmt.Errorf("%s still stands on it", strings.Join(loops, ", "))
	}
}

// store writes one archive, its entries and its record.
func (j *job) store(ctx context.Context, p *part) (rec *layout.ArchiveRecord, err error) {
	up, err := j.begin(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.task.Stage("taking back")
			up.abort(ctx)
		}
	}()
	j.task.Stage("copying" + spaced(p.name.Partition))
	started := time.Now()
	w, err := p.write(ctx, up.toArchive, up.rows)
	if err != nil {
		return nil, err
	}
	j.log.Info("read and compressed", "key", p.key(), "bytes", w.plain, "stored_bytes", w.stored, "elapsed", time.Since(started))
	if p.read != nil {
		p.read()
	}
	if err := up.finishRows(w); err != nil {
		return nil, err
	}
	return up.commit(ctx, w)
}

// spaced is a part of a disk behind a word.
func spaced(p layout.Part) string {
	if p == layout.Whole {
		return ""
	}
	return " " + p.String()
}

// kept tells of an archive that stands already.
func (j *job) kept(key string) {
	j.m.Report.Note(j.s.ID, fmt.Sprintf("s3://%s/%s is whole already: kept", j.m.Bucket, key))
}

// readHint adds the next step to an error in reading a volume.
func readHint(err error) error {
	if _, ok := errors.AsType[*block.ReadError](err); ok {
		return hint.Wrap(err, "run the command again, which reads a fresh volume; where it fails at the same place, the snapshot itself cannot be read: ask AWS support")
	}
	return err
}
