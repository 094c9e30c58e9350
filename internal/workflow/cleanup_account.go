package workflow

import (
	"context"
	"errors"
	"fmt"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// volumes is about the account's temporary volumes.
func (w *cleaning) volumes(ctx context.Context) error {
	found, err := w.Sweeper.Volumes.Find(ctx, VolumeQuery{Tag: w.Tag})
	if err != nil {
		return err
	}
	for _, v := range found {
		if w.seen[runstate.KindVolume+" "+string(v.ID)] || ctx.Err() != nil {
			continue
		}
		o, stale, ownerErr := w.stale(v.Owner)
		known, isKnown := w.takeKnown(v.ID)
		if !isKnown && !w.chosen(string(v.ID), string(v.Snapshot), o.Run) {
			continue
		}
		l := Leftover{
			Kind: runstate.KindVolume, ID: string(v.ID), Snapshot: v.Snapshot, Age: w.age(v.Created), Command: v.Command,
			What: fmt.Sprintf("%s from %s, %d GiB, %s", v.ID, v.Snapshot, v.SizeGiB, v.State),
			Fate: Found, Run: o.Run, Host: o.Host, Group: GroupNobody,
		}
		switch {
		case v.Value == VolumeKept:
			if l.over = known.over; isKnown {
				l.File, l.Age = known.File, known.Age
			}
			w.behind = append(w.behind, w.keptVolume(ctx, l, v))
		case v.Owner == "" && v.Value != VolumeInProgress: // somebody's own volume, which has a tag of that name
		case v.Owner == "":
			w.behind = append(w.behind, w.nobodysVolume(ctx, l))
		case ownerErr != nil:
			l.Err = ownerErr
			w.behind = append(w.behind, l)
		case stale:
			l.Group, l.Age, l.Would = GroupStale, w.age(o.Renewed), wouldDelete
			if v.Instance != "" {
				l.Would, l.Err = "", attachedTo(v.Instance)
			}
			w.report(w.act(ctx, l, func(ctx context.Context) (Fate, error) {
				return Removed, w.Sweeper.Volumes.RemoveLeft(ctx, RemoveRequest{
					ID: v.ID, Tag: w.Tag, Owner: o.Identity, Seen: v.Owner, Settled: true, Step: w.step(),
				})
			}))
		}
	}
	return nil
}

func attachedTo(instance string) error {
	return fmt.Errorf("it is attached to %s, and is only detached there", instance)
}

// step tells what is waited for.
func (w *cleaning) step() func(string) {
	return onChange(func(what string) { w.Log.Info("cleaning up", "step", what) })
}

// nobodysVolume is one that the predecessor has made, perhaps a minute ago.
func (w *cleaning) nobodysVolume(ctx context.Context, l Leftover) Leftover {
	if !w.named(l.ID) {
		l.Err = errNotNamed
		return l
	}
	l.Would = wouldDelete
	return w.act(ctx, l, func(ctx context.Context) (Fate, error) {
		return Removed, w.Sweeper.Volumes.RemoveLeft(ctx, RemoveRequest{
			ID: snapshot.VolumeID(l.ID), Tag: w.Tag, Settled: true, Step: w.step(),
		})
	})
}

// errNotNamed is why what has no owner stays.
var errNotNamed = errors.New("it has no owner, so that nothing tells whether somebody uses it: changed only if it is named itself")

// claims is about the tags of snapshots that say that somebody works on them.
func (w *cleaning) claims(ctx context.Context) error {
	lister, ok := w.Sweeper.Protocol.Catalog.(catalog.WorkLister)
	if !ok {
		return errors.New("list claims: this catalog cannot")
	}
	p := w.Sweeper.Protocol.For(w.Tag)
	for s, err := range lister.InWork(ctx, w.Tag) {
		if err != nil {
			return err
		}
		w.snapshots[s.ID] = &s
		st := catalog.StateOf(s.Tags, w.Tag)
		if w.seen[runstate.KindClaim+" "+string(s.ID)] || !w.chosen(string(s.ID), st.Owner.Run) || st.Owned && st.Live(w.Now()) {
			continue
		}
		l := Leftover{
			Group: GroupStale, Kind: runstate.KindClaim, ID: string(s.ID), Snapshot: s.ID, Run: st.Owner.Run, Host: st.Owner.Host,
			Age: w.age(st.Owner.Renewed), What: fmt.Sprintf("tag %s=%s of %s", w.Tag, st.Value, s.ID), Fate: Found,
			Command: p.FreeCommand(s.ID, st),
		}
		switch {
		case st.Owned:
			l.Would = wouldGiveBack
			if !st.InProgress() {
				l.Would = "remove owner"
			}
			w.report(w.act(ctx, l, func(ctx context.Context) (Fate, error) {
				return fateOf(p.Free(ctx, catalog.Abandoned{Snapshot: s.ID, Owner: st.Owner.Identity, Renewed: st.Owner.Renewed}))
			}))
		case st.InProgress():
			w.seen[l.Kind+" "+l.ID] = true // it may come twice
			l.Group = GroupNobody
			if l.Err = errNotNamed; w.named(l.ID) {
				l.Err, l.Would = nil, wouldGiveBack
			}
			w.behind = append(w.behind, w.act(ctx, l, func(ctx context.Context) (Fate, error) {
				return fateOf(p.FreeNobodys(ctx, s.ID, st))
			}))
		}
	}
	return nil
}

func fateOf(freed catalog.Freed, err error) (Fate, error) {
	if err == nil && freed == catalog.FreedNothing {
		return Spared, nil
	}
	return Removed, err
}

// uploads is about what was begun in the bucket and not finished.
func (w *cleaning) uploads(ctx context.Context) error {
	if w.Bucket == "" {
		return nil
	}
	for _, prefix := range []string{"vol-", layout.Manifests} {
		for u, err := range w.Store.Unfinished(ctx, prefix) {
			if err != nil {
				return err
			}
			id, ours := layout.SnapshotOf(u.Key)
			if !ours || w.seen[runstate.KindUpload+" "+u.ID] || !w.chosen(u.ID, string(id)) || w.Now().Sub(u.Begun) < oldUpload {
				continue
			}
			if l, old := w.upload(ctx, u, id); old {
				w.report(l)
			}
		}
	}
	return nil
}

// upload is about one that was begun long ago. Those of jobs that are at work are
// nobody's business.
func (w *cleaning) upload(ctx context.Context, u objstore.Unfinished, id snapshot.ID) (l Leftover, old bool) {
	e := runstate.Entry{Kind: runstate.KindUpload, Fields: map[string]string{
		"bucket": w.Bucket, "key": u.Key, "upload": u.ID, "endpoint": w.Endpoint,
	}}
	l = Leftover{
		Group: GroupUpload, Kind: e.Kind, ID: u.ID, What: e.What(), Snapshot: id, Age: w.age(u.Begun), Fate: Found, Command: e.Hint(),
	}
	use, err := w.use(ctx, id)
	switch {
	case err != nil:
		l.Err = err
		return l, true
	case use == useLive:
		return l, false
	case use == useProgress:
		l.Group, l.Err = GroupNobody, fmt.Errorf("%s is in progress without an owner, so that nothing tells whether somebody is at work on it", id)
		return l, true
	case use == useUnknown && !w.named(u.ID):
		l.Err = fmt.Errorf("%s is not in this account and region, where its tags would tell who has it: aborted only if the upload itself is named", id)
		return l, true
	}
	l.Would = wouldAbort
	return w.act(ctx, l, func(ctx context.Context) (Fate, error) {
		delete(w.snapshots, id) // it is asked again
		now, err := w.use(ctx, id)
		switch {
		case err != nil:
			return Left, err
		case now != use:
			return Left, fmt.Errorf("%w: %s has just been taken", ErrForeign, id)
		}
		return Removed, w.Store.AbortUpload(ctx, u.Key, u.ID)
	}), true
}

// use is what the tags of a snapshot tell of who is at work on it.
type use int

const (
	useNone     use = iota
	useUnknown      // the snapshot is deleted, or another account's or region's, whose runs may share the bucket
	useProgress     // in progress, without an owner
	useLive
)

func (w *cleaning) use(ctx context.Context, id snapshot.ID) (use, error) {
	s, known := w.snapshots[id]
	if !known {
		for got, err := range w.Sweeper.Protocol.Catalog.Snapshots(ctx, catalog.Filter{IDs: []snapshot.ID{id}}) {
			_, gone := errors.AsType[*catalog.UnknownError](err)
			switch {
			case gone:
			case err != nil:
				return useUnknown, fmt.Errorf("see who has %s: %w", id, err)
			default:
				s = &got
			}
		}
		w.snapshots[id] = s
	}
	if s == nil {
		return useUnknown, nil
	}
	if _, live := catalog.LiveOwner(s.Tags, "", w.Now()); live {
		return useLive, nil
	}
	if catalog.Busy(s.Tags, w.Now()) {
		return useProgress, nil
	}
	return useNone, nil
}
