package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
)

// validations are those of one run. What each of them will read is looked up before
// its snapshot is claimed: to tell what that costs, and to refuse what cannot be
// decrypted here.
type validations struct {
	m    *Migrator
	kept map[snapshot.ID]bool // a volume of it was kept, and may be read

	mu    sync.Mutex
	known map[snapshot.ID]prospect
	old   map[snapshot.ID]shelf // what the predecessor has left: it can take a thousand requests to find
}

// prospect is what one of them will be, by what stood in the bucket when it was
// looked up.
type prospect struct {
	cost cost.Estimate
	open bool  // it needs neither a key nor a thaw
	none error // why there is nothing to compare; nil: there is
}

func (m *Migrator) shelves() shelves { return shelves{m.Store, m.Bucket, m.Prefer} }

func (m *Migrator) validations() *validations {
	return &validations{m: m, known: map[snapshot.ID]prospect{}, old: map[snapshot.ID]shelf{}}
}

// lookForKept: an estimate may be too high, so not to know of any is no failure.
func (v *validations) lookForKept(ctx context.Context) {
	if v.m.Kept == nil {
		return
	}
	var err error
	if v.kept, err = v.m.Kept(ctx); err != nil && ctx.Err() == nil {
		v.m.Log.Warn("the estimate is of new volumes: those that were kept could not be looked for", "err", err)
	}
}

func (v *validations) task() task {
	return task{
		from: catalog.Migrated, to: catalog.Validating, done: catalog.Validated, usable: readable,
		cost: v.cost, check: v.check,
		run: func(j *job, ctx context.Context) error { return j.validate(ctx, v.findLast) },
	}
}

// surveyed is how many snapshots' archives are looked for at once.
const surveyed = 16

// totals adds up all snapshots that are on the list now, and refuses to start what
// would cost too much. A store that fails is not asked on: the work will tell.
func (v *validations) totals(ctx context.Context, sub Subject) (Totals, error) {
	var t Totals
	var adding sync.Mutex // t
	group, looking := errgroup.WithContext(ctx)
	group.SetLimit(surveyed)
	var listing error
	for s, err := range v.m.Catalog.Snapshots(ctx, v.m.filter(sub, catalog.Migrated)) {
		if err != nil {
			listing = fmt.Errorf("list snapshots: %w", err)
			break
		}
		group.Go(func() error {
			if looking.Err() != nil {
				return nil
			}
			p, err := v.hopeful(looking, s)
			adding.Lock()
			defer adding.Unlock()
			if p == nil {
				t.Refused++
				return err
			}
			t.Snapshots++
			t.Size += s.Size
			t.Cost = t.Cost.Add(p.cost)
			return err
		})
		if sub.One {
			break
		}
	}
	unknown := group.Wait()
	switch {
	case ctx.Err() != nil:
		return t, context.Cause(ctx)
	case listing != nil:
		return t, listing
	case unknown != nil && v.m.MaxCost > 0:
		return t, unkept(unknown)
	case unknown != nil:
		v.m.Report.Note("", "the estimate leaves out archives that could not be looked up: "+oneLine(unknown))
	}
	return t, v.m.checkCost(t.Cost)
}

// hopeful is the prospect of a snapshot; nil where it will be refused for what is
// known now.
func (v *validations) hopeful(ctx context.Context, s snapshot.Snapshot) (*prospect, error) {
	if readable(s) != nil {
		return nil, nil
	}
	p, err := v.prospect(ctx, s)
	refused := err == nil && (p.none != nil || v.check(ctx, s) != nil)
	if refused && ctx.Err() == nil {
		return nil, nil
	}
	return &p, err
}

// prospect looks up what has not been looked up yet.
func (v *validations) prospect(ctx context.Context, s snapshot.Snapshot) (prospect, error) {
	v.mu.Lock()
	p, known := v.known[s.ID]
	v.mu.Unlock()
	if known {
		return p, nil
	}
	sh, err := v.find(ctx, s)
	_, none := errors.AsType[nothingError](err)
	switch {
	case none: // it costs nothing
		p = prospect{none: err}
	case err != nil:
		return p, err
	default:
		p = prospect{cost: v.estimate(s, sh), open: !slices.ContainsFunc(sh.archives, archived.closed)}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known[s.ID] = p
	return p, nil
}

// closed tells whether it takes a key or a thaw to read an archive.
func (a archived) closed() bool { return a.encrypted || a.info.Readable() != nil }

// unkept is the error of a limit that cannot be kept, since what it is to limit is
// not known.
func unkept(why error) error {
	return hint.Wrap(fmt.Errorf("--max-cost cannot be kept: not all archives could be looked up: %w", why), hint.Of(why))
}

// cost is what one of them will cost at most. Without a limit it need not be known.
func (v *validations) cost(ctx context.Context, s snapshot.Snapshot) (cost.Estimate, error) {
	p, err := v.prospect(ctx, s)
	switch {
	case err == nil:
		return p.cost, nil
	case ctx.Err() != nil:
		return cost.Estimate{}, context.Cause(ctx)
	case v.m.MaxCost > 0:
		return cost.Estimate{}, unkept(err)
	}
	return cost.Estimate{}, nil // told once it is worked on
}

// unlistedTries is about how many requests it takes to find the predecessor's
// archives where the bucket may not be listed.
const unlistedTries = 1200

func (v *validations) estimate(s snapshot.Snapshot, sh *shelf) cost.Estimate {
	p := v.m.Pricing
	job := cost.ValidationJob{Region: p.Region, BucketRegion: p.BucketRegion, VolumeType: v.m.VolumeType, Size: s.Size}
	if v.kept[s.ID] || sh.record == nil && len(sh.archives) == 0 { // of a damaged record nothing can be compared
		job.Size = 0
	}
	if sh.record == nil {
		job.Tries = unlistedTries
	}
	for _, a := range sh.archives {
		job.Archives = append(job.Archives, cost.StoredArchive{StorageClass: a.info.StorageClass, Size: a.info.Size})
		job.Entries += a.entries.Size
	}
	return p.Table.Validation(job)
}

// find looks for the archives of a snapshot. Those of the predecessor that were found
// before are asked for one by one.
func (v *validations) find(ctx context.Context, s snapshot.Snapshot) (*shelf, error) {
	l := v.m.shelves()
	if sh, err := l.recorded(ctx, s); sh != nil || err != nil {
		return sh, err
	}
	v.mu.Lock()
	before, known := v.old[s.ID]
	v.mu.Unlock()
	if known {
		if sh, err := l.still(ctx, before); sh != nil || err != nil {
			return sh, err
		}
	}
	sh, err := l.predecessors(ctx, s)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.old[s.ID] = *sh
	return sh, nil
}

// findLast is find for the last time.
func (v *validations) findLast(ctx context.Context, s snapshot.Snapshot) (*shelf, error) {
	sh, err := v.find(ctx, s)
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.old, s.ID)
	return sh, err
}

// still is a shelf of the predecessor's as it is now; nil where something of it is
// gone.
func (l shelves) still(ctx context.Context, before shelf) (*shelf, error) {
	now := before
	now.archives = slices.Clone(before.archives)
	for i := range now.archives {
		a := &now.archives[i]
		info, err := l.store.Stat(ctx, a.key)
		if errors.Is(err, objstore.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look for s3://%s/%s: %w", l.bucket, a.key, err)
		}
		info.Key = a.key
		a.info = info
	}
	return &now, nil
}

// check refuses what this run has no key for, what must be thawed first, and what has
// no archives, before anybody is told that it is worked on. All else is told once the
// snapshot is claimed: where the records are wrong, or nothing is there, the tag must
// not stay at "validated"; and while somebody is at work on it, what stands there may
// not be whole.
func (v *validations) check(ctx context.Context, s snapshot.Snapshot) error {
	at := s.Tags[v.m.Tag]
	if at == catalog.Migrating || at == catalog.Validating {
		return nil
	}
	p, err := v.prospect(ctx, s)
	switch {
	case err != nil || p.open || p.none != nil && at == catalog.Validated:
		return nil //nolint:nilerr // looked up again, and told, once it is claimed
	}
	sh, err := v.find(ctx, s)
	_, none := errors.AsType[nothingError](err)
	switch {
	case none:
		return err
	case err != nil || len(sh.wrong) > 0:
		return nil //nolint:nilerr // likewise
	}
	return v.open(ctx, sh)
}

// open says why the archives of a shelf cannot be read.
func (v *validations) open(ctx context.Context, sh *shelf) error {
	err := v.m.opener().open(ctx, sh, func(string) {}) // notes are given when it is done
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
