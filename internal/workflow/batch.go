package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/snapshot"
)

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
		b.sum.Proven = append(b.sum.Proven, ProvenSnapshot{r.Snapshot, r.Unproven, r.Others})
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
