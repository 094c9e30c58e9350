package workflow

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// takeKnown takes from what is told of last a kept volume that a state file names,
// since the account tells more of it.
func (w *cleaning) takeKnown(id snapshot.VolumeID) (l Leftover, ok bool) {
	at := slices.IndexFunc(w.behind, func(l Leftover) bool {
		return l.Group == GroupKept && l.Kind == runstate.KindVolume && l.ID == string(id) && l.File != "" && l.Fate == Found
	})
	if at < 0 {
		return Leftover{}, false
	}
	l = w.behind[at]
	w.behind = slices.Delete(w.behind, at, at+1)
	return l, true
}

// keptVolume is one that was to be kept: it goes where a person names it.
func (w *cleaning) keptVolume(ctx context.Context, l Leftover, v LeftVolume) Leftover {
	l.Group, l.Command = GroupKept, UnmountKept(w.Sweeper.Dir, v.ID, v.Command)
	switch {
	case !w.named(l.ID):
		return l
	case v.Instance != "":
		l.Err = attachedTo(v.Instance)
		if w.Apply {
			l.Fate = Left // somebody has asked for it by name
		}
		return l
	}
	l.Would = wouldDelete
	return w.act(ctx, l, func(ctx context.Context) (Fate, error) { return Removed, w.removeKept(ctx, v) })
}

// removeKept unmounts first what the run that kept the volume has mounted of it, if it
// was one of this host.
func (w *cleaning) removeKept(ctx context.Context, v LeftVolume) (err error) {
	done := func() error { return nil }
	if o, ownerErr := catalog.ParseOwner(v.Owner); ownerErr == nil {
		self := catalog.Identity{Host: w.Sweeper.Host, Boot: w.Sweeper.Boot}
		old, err := TakeKept(w.Sweeper.Dir, self, o.Identity, v.ID)
		switch {
		case errors.Is(err, ErrForeign): // no state file tells of it
		case err != nil:
			return err
		default:
			defer func() {
				if err := old.Close(); err != nil {
					w.Log.Warn("state file of an earlier run could not be ended", "run", o.Run, "err", err)
				}
			}()
			if err := old.Free(ctx, v.Node); err != nil {
				return err
			}
			done = old.Done
		}
	}
	err = w.Sweeper.Volumes.RemoveLeft(ctx, RemoveRequest{
		ID: v.ID, Tag: w.Tag, Kept: true, Seen: v.Owner, Settled: true, Step: w.step(),
	})
	if err != nil {
		return err
	}
	return done()
}

// mounts brings what is told of kept mounts in line with what becomes of their
// volumes, whose commands unmount them.
func (w *cleaning) mounts() {
	for i := range w.behind {
		m := &w.behind[i]
		if m.Group != GroupKept || m.Kind != runstate.KindMount || m.Fate != Found {
			continue
		}
		at := slices.IndexFunc(w.behind, func(v Leftover) bool {
			return v.Group == GroupKept && v.Kind == runstate.KindVolume && v.Run == m.Run && v.over == m.over
		})
		if at < 0 {
			continue
		}
		m.Command = ""
		switch v := w.behind[at]; {
		case v.Would == "":
		case !w.Apply:
			m.Would = "unmount"
		case !mountNamed(m.File, m.ID):
			m.Fate, m.Would = Removed, "unmount"
		}
	}
}

// mountNamed tells whether a state file names a mount still.
func mountNamed(file, folder string) bool {
	run, err := runstate.Read(file)
	return !errors.Is(err, fs.ErrNotExist) && (err != nil || slices.ContainsFunc(run.Left, func(e runstate.Entry) bool {
		return e.Kind == runstate.KindMount && e.Fields["folder"] == folder
	}))
}
