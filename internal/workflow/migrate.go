package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
	EndpointURL string // of the store, where one was named; else ""
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

func (m *Migrator) nothing(value string) error {
	next := fmt.Sprintf("tag one with: aws ec2 create-tags --resources SNAPSHOT-ID --tags Key=%s,Value=%s", m.Tag, value)
	if value == catalog.Migrated { // which nobody should say of what never was
		next = "migrate makes archives and sets that tag; or name snapshots"
	}
	return hint.Wrap(fmt.Errorf("%w: no completed snapshot is tagged %s=%s", ErrNothing, m.Tag, value), next)
}

func (m *Migrator) filter(sub Subject, value string) catalog.Filter {
	if len(sub.IDs) > 0 {
		return catalog.Filter{IDs: sub.IDs}
	}
	return catalog.Filter{Tag: m.Tag, Value: value}
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
