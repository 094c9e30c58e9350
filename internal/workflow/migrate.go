package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// Migrator moves snapshots into a bucket, as images or as files. All fields are set before
// Run and not changed after. Its memory is bounded for each of Jobs by the
// ring of archive.WriteImage and (Streams + 1) × part size.
type Migrator struct {
	Catalog  catalog.Catalog
	Protocol *catalog.Protocol
	Volumes  VolumeOpener
	Store    objstore.Store
	State    *runstate.File // nil in a dry run
	Report   Reporter
	Log      *slog.Logger

	Run         string // run id, in the metadata of every object
	ToolVersion string
	Tag         string
	Bucket      string
	Codec       codec.Codec
	VolumeType  string
	KeepVolumes bool
	Overwrite   bool
	FailFast    bool
	Jobs        int
	AndValidate bool          // what was stored, before the tag says so
	Trees       bool          // the files of each partition as a tar; else one image
	Choice      layout.Choice // of partitions, for trees
	Mounts      Mounts        // for trees
	MaxCost     cost.Money    // 0: no limit
	Pricing     Pricing
	Upload      Upload

	// Encryption.
	GPG         *encrypt.GPG // nil where it is not needed, or NoGPG
	NoGPG       error        // why GPG is nil, should it be needed
	Recipients  []encrypt.Recipient
	SessionKeys []*encrypt.SessionKey

	// Prefer says which archives a validation looks at, of several.
	Prefer Prefer
	// Kept tells of which snapshots a volume was kept that a validation may read
	// instead of a new one; nil: of none.
	Kept func(context.Context) (map[snapshot.ID]bool, error)

	// CheckVolume says, without asking anybody, whether a volume of VolumeType
	// can be made from a snapshot.
	CheckVolume func(snapshot.Snapshot) error
	// Cleanup bounds each clean-up step after a failure or an interrupt.
	Cleanup time.Duration
}

// Upload says how archives are stored.
type Upload struct {
	Streams      int
	PartSize     int64 // bytes, 0: chosen from the archive's bound
	SpoolDir     string
	Endpoint     string // of the store, where it is not Amazon's own: for the state file
	StorageClass string // of archives; entries and records are always STANDARD
	Encryption   objstore.Encryption
	Limits       objstore.Limits // of the store; S3's where zero
}

// Subject says which snapshots. Exactly one field is set.
type Subject struct {
	All bool
	One bool
	IDs []snapshot.ID
}

// task is what is done with each snapshot of a run.
type task struct {
	from, to, done string // values of the tag: before, meanwhile, and after it went well
	usable         func(snapshot.Snapshot) error
	cost           func(context.Context, snapshot.Snapshot) (cost.Estimate, error)
	check          func(context.Context, snapshot.Snapshot) error // what would refuse it, before it is claimed; may be nil
	run            func(*job, context.Context) error
}

func (m *Migrator) migration() task {
	t := task{
		from: catalog.Migrate, to: catalog.Migrating, done: catalog.Migrated, usable: m.usable, run: (*job).run,
		cost: func(_ context.Context, s snapshot.Snapshot) (cost.Estimate, error) { return m.estimate(s), nil },
	}
	if m.AndValidate {
		t.done = catalog.Validated
	}
	return t
}

// Migrate moves the subject's snapshots and returns what came of it. The error
// is a *BatchError when snapshots failed, ErrNothing (wrapped) when there was
// nothing to do, or what kept the run from starting.
func (m *Migrator) Migrate(ctx context.Context, sub Subject) (Summary, error) {
	totals, err := m.totals(ctx, sub)
	if err != nil {
		return Summary{}, err
	}
	if totals.Snapshots == 0 {
		return Summary{}, m.nothing(catalog.Migrate)
	}
	m.Report.Cost(totals)
	sum, err := m.runAll(ctx, sub, m.migration())
	sum.Listed = totals.Snapshots
	return sum, err
}

func (m *Migrator) runAll(ctx context.Context, sub Subject, t task) (Summary, error) {
	started := time.Now()
	b := &batch{m: m, sub: sub, task: t, tried: map[snapshot.ID]bool{}, running: map[snapshot.ID]cost.Estimate{}}
	b.run(ctx)
	b.sum.Elapsed, b.sum.Cost = time.Since(started), b.cost()
	if ctx.Err() != nil {
		return b.sum, stopped(ctx, b.errs, b.batchError)
	}
	if err := b.err(); err != nil || len(b.tried) > 0 {
		return b.sum, err
	}
	return b.sum, m.nothing(t.from)
}

func (m *Migrator) nothing(value string) error {
	return hint.Wrap(
		fmt.Errorf("%w: no completed snapshot is tagged %s=%s", ErrNothing, m.Tag, value),
		fmt.Sprintf("tag one with: aws ec2 create-tags --resources SNAPSHOT-ID --tags Key=%s,Value=%s", m.Tag, value))
}

func (m *Migrator) filter(sub Subject, value string) catalog.Filter {
	if len(sub.IDs) > 0 {
		return catalog.Filter{IDs: sub.IDs}
	}
	return catalog.Filter{Tag: m.Tag, Value: value}
}

// batch is one run over many snapshots.
type batch struct {
	m    *Migrator
	sub  Subject
	task task

	listing sync.Mutex           // held while a worker looks for its next snapshot
	tried   map[snapshot.ID]bool // under listing

	mu      sync.Mutex
	running map[snapshot.ID]cost.Estimate
	spent   cost.Estimate // estimates of what was done
	sum     Summary
	errs    []error // failures
	taken   []error // claimed elsewhere, named by the user
	fatal   error   // keeps further snapshots from being started
}

// run works on the snapshots with Jobs workers. Each asks for its next
// snapshot only when it is free, since with --all other processes take
// snapshots off the same list.
func (b *batch) run(ctx context.Context) {
	var wg sync.WaitGroup
	workers := max(1, b.m.Jobs)
	if b.sub.One {
		workers = 1
	}
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				s, ok := b.next(ctx)
				if !ok {
					return
				}
				b.finish(b.m.workOn(ctx, s, b.task, b.claimRequest(s)))
			}
		})
	}
	wg.Wait()
}

func (b *batch) claimRequest(s snapshot.Snapshot) catalog.ClaimRequest {
	return catalog.ClaimRequest{
		Snapshot: s, From: b.task.from, To: b.task.to,
		AnyValue: len(b.sub.IDs) > 0,
	}
}

// next finds the first snapshot on the list that this run has not tried. One
// worker at a time looks, and none that finishes waits for it.
func (b *batch) next(ctx context.Context) (snapshot.Snapshot, bool) {
	b.listing.Lock()
	defer b.listing.Unlock()
	if b.over() {
		return snapshot.Snapshot{}, false
	}
	f := b.m.filter(b.sub, b.task.from)
	if len(f.IDs) > 0 {
		untried := slices.IndexFunc(f.IDs, func(id snapshot.ID) bool { return !b.tried[id] })
		if untried < 0 {
			return snapshot.Snapshot{}, false
		}
		f.IDs = f.IDs[untried : untried+1]
	}
	for s, err := range b.m.Catalog.Snapshots(ctx, f) {
		if err != nil {
			b.stop(fmt.Errorf("list snapshots: %w", err))
			return s, false
		}
		if b.tried[s.ID] {
			continue
		}
		b.tried[s.ID] = true
		if err := b.afford(ctx, s); err != nil {
			b.stop(err)
			return s, false
		}
		return s, true
	}
	return snapshot.Snapshot{}, false
}

// over says that no further snapshot is to be started.
func (b *batch) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatal != nil || b.m.FailFast && len(b.errs) > 0 ||
		b.sub.One && b.sum.Migrated+b.sum.Kept+b.sum.Validated+b.sum.Failed > 0
}

func (b *batch) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fatal = err
}

// afford adds the snapshot's cost to what this run spends. Snapshots that were
// tagged after the start were not in the first estimate.
func (b *batch) afford(ctx context.Context, s snapshot.Snapshot) error {
	e, err := b.task.cost(ctx, s)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[s.ID] = e
	return b.m.checkCost(b.cost())
}

// cost is the estimate of all that was done and is under way.
func (b *batch) cost() cost.Estimate {
	sum := b.spent
	for _, e := range b.running {
		sum = sum.Add(e)
	}
	return sum
}

func (b *batch) finish(r SnapshotResult) {
	b.m.Report.Finished(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum.Left += len(r.Left)
	if r.Outcome == Migrated || r.Outcome == Validated || r.Outcome == Failed { // the others cost next to nothing
		b.spent = b.spent.Add(b.running[r.Snapshot.ID])
	}
	delete(b.running, r.Snapshot.ID)
	switch r.Outcome {
	case Migrated:
		b.sum.Migrated++
		b.sum.Plain += r.Plain
		b.sum.Stored += r.Stored
	case Kept:
		b.sum.Kept++
	case Validated:
		b.sum.Validated++
		b.sum.Plain += r.Plain
		b.sum.Stored += r.Stored
		b.sum.Proven = append(b.sum.Proven, ProvenSnapshot{r.Snapshot, r.Unproven})
	case Failed:
		b.sum.Failed++
		b.errs = append(b.errs, r.Err)
	case Skipped:
		b.sum.Skipped++
		if len(b.sub.IDs) > 0 {
			b.taken = append(b.taken, r.Err)
		}
	}
}

// err is what the run as a whole returns: failures before claims, since a
// failure needs a person and a claim only patience.
func (b *batch) err() error {
	switch {
	case b.fatal != nil && len(b.errs) == 0:
		return b.fatal
	case b.fatal != nil:
		return errors.Join(b.fatal, b.batchError(b.errs))
	case len(b.errs) > 0 || b.sum.Left > 0:
		return b.batchError(b.errs)
	case len(b.taken) > 0:
		return b.batchError(b.taken)
	}
	return nil
}

func (b *batch) batchError(errs []error) error {
	total := b.sum.Migrated + b.sum.Kept + b.sum.Validated + b.sum.Failed + b.sum.Skipped
	return &BatchError{Failed: len(errs), Total: total, Left: b.sum.Left, Errs: errs}
}

// workOn claims one snapshot, works on it, and leaves its tag right.
func (m *Migrator) workOn(ctx context.Context, s snapshot.Snapshot, do task, req catalog.ClaimRequest) (res SnapshotResult) {
	started := time.Now()
	res = SnapshotResult{Snapshot: s, Outcome: Failed}
	log := m.Log.With("snapshot", string(s.ID))
	progress := m.Report.Start(s, s.Size)
	defer progress.Done()
	defer func() { res.Elapsed = time.Since(started) }()

	if res.Err = do.usable(s); res.Err != nil {
		return res
	}
	if do.check != nil {
		progress.Stage("looking up")
		if res.Err = do.check(ctx, s); res.Err != nil {
			return res
		}
	}
	progress.Stage("claiming")
	held, err := m.State.Intend(runstate.KindClaim, map[string]string{
		"snapshot": string(s.ID), "tag": m.Tag, "before": s.Tags[m.Tag], "region": m.Pricing.Region,
	})
	if err != nil {
		res.Err = err
		return res
	}
	req.Noted = func(claimID string) error { return held.Update(map[string]string{"claim_id": claimID}) }
	work, claim, err := m.Protocol.Claim(ctx, req)
	if err != nil {
		res.Err = err
		if errors.Is(err, catalog.ErrClaimed) {
			res.Outcome = Skipped
		}
		res.Left = unclaimed(held, err)
		return res
	}
	if before := claim.Owner().Before; before != s.Tags[m.Tag] { // that of a dead run's claim, taken over
		if err := held.Update(map[string]string{"before": before}); err != nil {
			log.Warn("the value before the claim could not be noted in the state file", "err", err)
		}
	}
	s.Tags = claim.Unclaimed(s.Tags)
	work, cancel := context.WithCancelCause(work)
	defer cancel(nil)

	t := &tracked{Task: progress, total: s.Size, over: func() bool { return work.Err() != nil }}
	j := &job{m: m, s: s, claim: claim, cancel: cancel, log: log, task: t, res: &res, keep: m.KeepVolumes}
	err = j.work(work, do)
	if err != nil && work.Err() != nil {
		err = t.cutShort(err, context.Cause(work))
	}
	m.settle(ctx, j, held, err)
	return res
}

// settle puts the tag right: the claim is given back when the work failed.
func (m *Migrator) settle(ctx context.Context, j *job, held *runstate.Intent, err error) {
	if err == nil {
		if err := held.Done(); err != nil {
			j.left(err)
		}
		return
	}
	if left, ok := errors.AsType[*catalog.LeftoverError](err); ok {
		// All is stored and the tag says so; only our id and owner stay.
		j.left(hint.Wrap(err, left.Command))
		if err := held.Stay(err.Error(), left.Command); err != nil {
			j.left(err)
		}
		return
	}
	j.res.Outcome, j.res.Err = Failed, err
	clean, cancel := m.cleanup(ctx)
	defer cancel()
	j.task.Stage("giving back")
	// A claim that was lost is given back too: that takes our own tags off, and
	// leaves those of whoever has the snapshot now.
	back := j.claim.GiveBack(clean)
	if back == nil || errors.Is(back, catalog.ErrLost) {
		if err := held.Done(); err != nil {
			j.left(err)
		}
		return
	}
	command := j.claim.GiveBackCommand()
	// In the text, since the error's own hint is about why it could not be.
	j.left(fmt.Errorf("tag %s of %s could not be given back: %w; put it back with: %s", m.Tag, j.s.ID, back, command))
	if err := held.Stay(back.Error(), command); err != nil {
		j.left(err)
	}
}

// unclaimed settles the state file after a claim that was not made, and returns
// what stays all the same.
func unclaimed(held *runstate.Intent, err error) (left []error) {
	settle := held.Done
	if stays, ok := errors.AsType[*catalog.StaysError](err); ok {
		left = append(left, hint.Wrap(errors.New("the tags of the claim may stay"), stays.Command))
		settle = func() error { return held.Stay(stays.Error(), stays.Command) }
	}
	if err := settle(); err != nil {
		left = append(left, err)
	}
	return left
}

// cleanup is a context for taking things back: alive after ctx has ended, but
// not for ever.
func (m *Migrator) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), m.Cleanup)
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
