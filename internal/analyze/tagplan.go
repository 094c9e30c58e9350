package analyze

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// TagOutcome is what came of one snapshot of a plan.
type TagOutcome string

// What can come of it.
const (
	TagWould  TagOutcome = "would tag"
	TagDone   TagOutcome = "tagged"
	TagPassed TagOutcome = "passed over" // it is held, in somebody's hands, or tagged already
	TagFailed TagOutcome = "failed"
)

// Tagging is what came of one snapshot of a plan.
type Tagging struct {
	Account, Region string
	Volume          snapshot.VolumeID
	Snapshot        snapshot.ID
	Outcome         TagOutcome
	Why             string // it was passed over
	Err             error  // it failed
}

// tagsALook is how many snapshots are looked at together, and then tagged: few, so
// that little can happen to them in between.
const tagsALook = 20

// Tag looks at each snapshot of the plan again and, with apply, sets its tag.
// Tags of snapshots that are held, are not complete, have the tag already whatever its
// value, or are worked on, are not touched. tell is told of each. The error
// is a *workflow.BatchError where some failed, or that ctx has ended.
func (a *Analysis) Tag(ctx context.Context, p cost.Plan, apply Apply, tell func(Tagging)) error {
	t := tagging{Analysis: a, plan: p, apply: apply, tell: tell}
	for _, m := range p.Moves {
		for chunk := range slices.Chunk(m.Snapshots, tagsALook) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			t.some(ctx, m, chunk)
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(t.errs) > 0:
		return &workflow.BatchError{Failed: len(t.errs), Total: t.total, Errs: t.errs}
	}
	return nil
}

// Apply says whether a plan is carried out.
type Apply int

// Whether it is.
const (
	DryRun Apply = iota
	Carry
)

type tagging struct {
	*Analysis
	plan  cost.Plan
	apply Apply
	tell  func(Tagging)
	total int
	errs  []error
}

func (t *tagging) some(ctx context.Context, m cost.Move, chunk []cost.Planned) {
	e := t.estates[place{m.Account, m.Region}]
	ids := make([]snapshot.ID, len(chunk))
	for i := range chunk {
		ids[i] = chunk[i].ID
	}
	now, err := t.look(ctx, e, m, ids)
	for _, id := range ids {
		t.total++
		one := Tagging{Account: m.Account, Region: m.Region, Volume: m.Volume, Snapshot: id, Outcome: TagWould, Err: err}
		switch {
		case err != nil:
		case now[id] != "":
			one.Outcome, one.Why = TagPassed, now[id]
		case t.apply == Carry:
			one.Outcome = TagDone
			one.Err = e.SetTags(ctx, id, map[string]string{t.plan.Tag: t.plan.Value})
		}
		if one.Err != nil {
			if ctx.Err() != nil {
				return
			}
			one.Outcome = TagFailed
			t.errs = append(t.errs, fmt.Errorf("tag %s: %w", id, one.Err))
		}
		t.tell(one)
	}
}

// look says of each snapshot why it is not to be tagged; empty: it is.
func (t *tagging) look(ctx context.Context, e Estate, m cost.Move, ids []snapshot.ID) (map[snapshot.ID]string, error) {
	if e == nil {
		return nil, hint.Wrap(fmt.Errorf("EC2 was not asked about account %s in %s", m.Account, m.Region),
			"name credentials of that account with --profile or --role-arn")
	}
	why := map[snapshot.ID]string{}
	all, err := now(ctx, e, ids, why)
	if err != nil {
		return nil, err
	}
	holds, err := e.Holds(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		h := holdingOf(OwnedSnapshot{Snapshot: s}, m.Region).Holds
		switch h = append(h, spokenHolds(holds.Of[s.ID])...); {
		case len(h) > 0:
			why[s.ID] = h[0]
		case len(holds.Unknown) > 0: // moved and paid for, it might never be deleted
			why[s.ID] = "what holds it could not be seen: " + strings.Join(holds.Unknown, "; ")
		default:
			why[s.ID] = workedOn(s.Tags, t.plan.Tag)
		}
	}
	return why, nil
}

// now is what EC2 has of the snapshots at this moment; of those that are gone, why
// says so.
func now(ctx context.Context, e Estate, ids []snapshot.ID, why map[snapshot.ID]string) ([]snapshot.Snapshot, error) {
	for {
		ids = slices.DeleteFunc(slices.Clone(ids), func(id snapshot.ID) bool { return why[id] != "" })
		var all []snapshot.Snapshot
		var failed error
		if len(ids) == 0 {
			return nil, nil
		}
		for s, err := range e.Snapshots(ctx, catalog.Filter{IDs: ids}) {
			if failed = err; err != nil {
				break
			}
			all = append(all, s)
		}
		gone, ok := errors.AsType[*catalog.UnknownError](failed)
		if !ok || why[gone.Snapshot] != "" {
			return all, failed
		}
		why[gone.Snapshot] = "it is not there any more"
	}
}
