package workflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// mount: a restart has ended all that stood in the mount table.
func (w *sweep) mount(ctx context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	r := filesystem.MountRemains{
		Folder: e.Fields["folder"], Loop: e.Fields["loop"], Backing: e.Fields["backing"], FolderMade: e.Fields["made"] != "",
	}
	switch {
	case w.run.Header.Boot != w.Boot:
		return Removed, r.RemoveFolder()
	case e.Fields["kept"] != "":
		there, err := r.Mounted(ctx)
		if err != nil || there {
			return Found, err
		}
		return Removed, r.RemoveFolder()
	}
	return Removed, r.Remove(ctx)
}

func (w *sweep) loop(ctx context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	if w.run.Header.Boot != w.Boot {
		return Removed, nil
	}
	return Removed, filesystem.RemoveLoop(ctx, e.Fields["loop"], e.Fields["backing"])
}

// here says why a thing of EC2 cannot be judged from here.
func (w *sweep) here(e runstate.Entry) error {
	if region := e.Fields["region"]; region != "" && region != w.Region {
		return fmt.Errorf("it is in %s, and this run in %s", region, w.Region)
	}
	return w.account()
}

func (w *sweep) volume(ctx context.Context, i *runstate.Intent, e runstate.Entry) (Fate, error) {
	if e.Fields["kept"] != "" {
		return w.keptVolume(ctx, e)
	}
	if err := w.here(e); err != nil {
		return Left, err
	}
	tag := e.Fields["tag"]
	if tag == "" {
		return Left, errors.New("the state file does not tell by which tag it is known")
	}
	id := snapshot.VolumeID(e.Fields["volume"])
	if id == "" {
		found, err := w.findVolume(ctx, tag, e)
		if found == "" || err != nil {
			return Gone, err
		}
		id = found
		if err := i.Update(map[string]string{"volume": string(id)}); err != nil {
			return Left, err
		}
	}
	err := w.Volumes.RemoveLeft(ctx, RemoveRequest{
		ID: id, Tag: tag, Owner: w.owner(), Settled: w.settled(),
		Step: onChange(func(what string) { w.Log.Info("sweeping", "run", w.run.Header.Run, "step", what) }),
	})
	if errors.Is(err, ErrKept) || errors.Is(err, ErrForeign) {
		w.Log.Info("a volume of an earlier run stays", "volume", id, "run", w.run.Header.Run, "reason", err.Error())
		return Spared, nil
	}
	return Removed, err
}

// onChange tells of each step once, however often it is looked at.
func onChange(tell func(string)) func(string) {
	last := ""
	return func(what string) {
		if what != last {
			last = what
			tell(what)
		}
	}
}

// findVolume finds the volume of a CreateVolume that nobody has heard the answer
// of, by the owner tag that the call carried; "" where it made none.
func (w *sweep) findVolume(ctx context.Context, tag string, e runstate.Entry) (id snapshot.VolumeID, err error) {
	err = w.await(ctx, func(ctx context.Context) (bool, error) {
		found, err := w.Volumes.Find(ctx, VolumeQuery{Tag: tag, Owner: w.owner()})
		for _, v := range found {
			if string(v.Snapshot) == e.Fields["snapshot"] && !w.names(v.ID) {
				id = v.ID
			}
		}
		return id != "", err
	})
	return id, err
}

// names tells whether a volume is another entry's.
func (w *sweep) names(id snapshot.VolumeID) bool {
	for _, i := range w.f.Open() {
		if e := i.Entry(); e.Kind == runstate.KindVolume && e.Fields["volume"] == string(id) {
			return true
		}
	}
	return false
}

// attachment: it goes with its volume, which is done with before.
func (w *sweep) attachment(_ context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	if id := e.Fields["volume"]; w.names(snapshot.VolumeID(id)) {
		return Left, fmt.Errorf("%s is still there", id)
	}
	return Removed, nil
}

// uploadMargin is by how much the store's clock and ours may differ.
const uploadMargin = 5 * time.Minute

func (w *sweep) upload(ctx context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	bucket, key := e.Fields["bucket"], e.Fields["key"]
	store, err := w.Uploads(bucket, e.Fields["endpoint"])
	if err != nil {
		return Left, err
	}
	if id := e.Fields["upload"]; id != "" {
		return Removed, store.AbortUpload(ctx, key, id)
	}
	started, err := time.Parse(time.RFC3339, e.Fields["started"])
	if err != nil {
		return Left, fmt.Errorf("the state file does not tell when it was begun: %w", err)
	}
	if err := w.unclaimed(ctx, e); err != nil {
		return Left, err
	}
	// More than one where an answer was lost and the call made again.
	fate := Gone
	err = w.await(ctx, func(ctx context.Context) (found bool, err error) {
		for u, err := range store.Unfinished(ctx, key) {
			if err != nil {
				return false, err
			}
			if u.Key != key || u.Begun.Before(started.Add(-uploadMargin)) {
				continue
			}
			if err := store.AbortUpload(ctx, key, u.ID); err != nil {
				return false, err
			}
			found, fate = true, Removed
		}
		return found, nil
	})
	return fate, err
}

// unclaimed makes sure that nobody but the dead run can have begun an upload for
// the snapshot: whoever writes archives of it has claimed it first.
func (w *sweep) unclaimed(ctx context.Context, e runstate.Entry) error {
	id := snapshot.ID(e.Fields["snapshot"])
	if id == "" {
		return errors.New("the state file tells neither its id nor its snapshot")
	}
	if err := w.here(e); err != nil {
		return err
	}
	for s, err := range w.Protocol.Catalog.Snapshots(ctx, catalog.Filter{IDs: []snapshot.ID{id}}) {
		if _, gone := errors.AsType[*catalog.UnknownError](err); gone {
			return nil
		}
		if err != nil {
			return fmt.Errorf("see who has %s: %w", id, err)
		}
		st := catalog.StateOf(s.Tags, e.Fields["tag"])
		if st.Owned && st.Owner.Identity == w.owner() {
			return nil
		}
		if o, live := catalog.LiveOwner(s.Tags, "", w.now()); live {
			return fmt.Errorf("its id is not known, and run %s on %s is at work on %s", o.Run, o.Host, id)
		}
		if st.InProgress() && !st.Owned {
			return fmt.Errorf("its id is not known, and somebody is at work on %s: its tag %s is %q", id, e.Fields["tag"], st.Value)
		}
	}
	return nil
}

func (w *sweep) now() time.Time {
	if w.Protocol.Now == nil {
		return time.Now()
	}
	return w.Protocol.Now()
}

func (w *sweep) claim(ctx context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	id, tag := snapshot.ID(e.Fields["snapshot"]), e.Fields["tag"]
	if id == "" || tag == "" {
		return Left, errors.New("the state file does not tell which claim it is")
	}
	if err := w.here(e); err != nil {
		return Left, err
	}
	freed := catalog.FreedNothing
	err := w.await(ctx, func(ctx context.Context) (_ bool, err error) {
		freed, err = w.Protocol.For(tag).Free(ctx, catalog.Abandoned{Snapshot: id, Owner: w.owner(), ClaimID: e.Fields["claim_id"]})
		return freed != catalog.FreedNothing, err
	})
	if err == nil && freed == catalog.FreedNothing {
		return Spared, nil
	}
	return Removed, err
}
