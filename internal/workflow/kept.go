package workflow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
)

// KeptVolume is a volume that a run of this host, which is no more, was to keep, as
// that run's state file tells. The file is locked until Close, so that nobody else
// takes the volume, or what is mounted of it, meanwhile.
type KeptVolume struct {
	file  *runstate.File
	entry *runstate.Intent
	boot  string // of this machine, now
}

// TakeKept takes the volume that the run of owner was to keep, in a folder of
// state files; self is the run that asks. Its error says why not: errors.Is tells
// runstate.ErrLive for a run that is alive, and ErrForeign for a volume of which no
// state file of this host tells.
func TakeKept(dir string, self, owner catalog.Identity, id snapshot.VolumeID) (*KeptVolume, error) {
	runs, err := runstate.List(dir)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(runs, func(run runstate.Run) bool {
		h := run.Header
		return h.Host == self.Host && catalog.Identity{Host: h.Host, Boot: h.Boot, Run: h.Run} == owner
	})
	if at < 0 {
		return nil, fmt.Errorf("no state file of this host is of run %s, which kept it: %w", owner.Run, ErrForeign)
	}
	f, err := runstate.Take(runs[at].Path)
	if err != nil {
		return nil, fmt.Errorf("run %s kept it: %w", owner.Run, err)
	}
	for _, i := range f.Open() {
		if e := i.Entry(); e.Kind == runstate.KindVolume && e.Fields["volume"] == string(id) && e.Fields["kept"] != "" {
			return &KeptVolume{f, i, self.Boot}, nil
		}
	}
	err = fmt.Errorf("the state file of run %s does not tell that it kept it: %w", owner.Run, ErrForeign)
	return nil, errors.Join(err, f.Close())
}

// Owner is the run that kept the volume.
func (k *KeptVolume) Owner() catalog.Identity {
	h := k.file.Header()
	return catalog.Identity{Host: h.Host, Boot: h.Boot, Run: h.Run}
}

// Free unmounts what that run mounted of the volume, with its loop devices and the
// folders that it made for it. device is where the volume is attached now, "" where
// it is not. A loop device of others over it is ErrInUse, and then nothing is
// unmounted; a mount that is in use stays, and is an error.
func (k *KeptVolume) Free(ctx context.Context, device string) error {
	backing := k.entry.Entry().Fields["kept"]
	var mine []*runstate.Intent
	known := map[string]bool{}
	for _, kind := range []string{runstate.KindMount, runstate.KindLoop} { // what is mounted holds a loop device
		for _, i := range k.file.Open() {
			if e := i.Entry(); e.Kind == kind && e.Fields["backing"] == backing {
				mine = append(mine, i)
				known[e.Fields["loop"]] = true
			}
		}
	}
	restarted := k.Owner().Boot != k.boot
	if device != "" {
		loops, err := filesystem.LoopsOver(ctx, device)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, l := range loops {
			if restarted || !known[l] {
				return fmt.Errorf("%w: %s, which is none of ours, stands on %s", ErrInUse, l, device)
			}
		}
	}
	for _, i := range mine {
		if err := k.free(ctx, i.Entry(), restarted); err != nil {
			return err
		}
		if err := i.Done(); err != nil {
			return err
		}
	}
	return nil
}

// free: a restart has ended all that stood in the mount table.
func (k *KeptVolume) free(ctx context.Context, e runstate.Entry, restarted bool) error {
	r := filesystem.MountRemains{
		Folder: e.Fields["folder"], Loop: e.Fields["loop"], Backing: e.Fields["backing"], FolderMade: e.Fields["made"] != "",
	}
	switch {
	case e.Kind == runstate.KindMount && restarted:
		return r.RemoveFolder()
	case e.Kind == runstate.KindMount:
		return r.Remove(ctx)
	case restarted:
		return nil
	}
	return filesystem.RemoveLoop(ctx, r.Loop, r.Backing)
}

// UnmountFirst is the command that unmounts what a run's state file tells to be
// mounted of the device backing, and then does what the command remove does, which
// detaches a volume. What is unmounted already by then does not stop it.
func UnmountFirst(left []runstate.Entry, backing, remove string) string {
	var first string
	for _, e := range left {
		if folder := hint.Quote(e.Fields["folder"]); e.Kind == runstate.KindMount && e.Fields["backing"] == backing {
			first += fmt.Sprintf("if mountpoint -q %s; then umount %s; fi && ", folder, folder)
		}
	}
	if first != "" {
		return first + "{ " + remove + "; }"
	}
	return remove
}

// UnmountKept is UnmountFirst for the volume id, which a run of this host has kept, as
// a state file in the folder dir tells; the command remove alone where none does.
func UnmountKept(dir string, id snapshot.VolumeID, remove string) string {
	runs, err := runstate.List(dir)
	if err != nil {
		return remove
	}
	for _, run := range runs {
		for _, e := range run.Left {
			if e.Kind == runstate.KindVolume && e.Fields["volume"] == string(id) && e.Fields["kept"] != "" {
				return UnmountFirst(run.Left, e.Fields["kept"], remove)
			}
		}
	}
	return remove
}

// KeptBelow is the kept volume among left that e is a kept mount of, if it is one. The
// command that takes the volume away unmounts it.
func KeptBelow(left []runstate.Entry, e runstate.Entry) (volume runstate.Entry, ok bool) {
	if e.Kind != runstate.KindMount || e.Fields["kept"] == "" {
		return runstate.Entry{}, false
	}
	for _, v := range left {
		if v.Kind == runstate.KindVolume && v.Fields["kept"] != "" && v.Fields["kept"] == e.Fields["backing"] {
			return v, true
		}
	}
	return runstate.Entry{}, false
}

// Done strikes the volume from that run's state file: it is another run's.
func (k *KeptVolume) Done() error { return k.entry.Done() }

// Close ends that run's state file where nothing else is left in it, and lets others
// have it.
func (k *KeptVolume) Close() error { return k.file.Close() }

// Kept are the snapshots of which a volume stands that a run of this host, which is no
// more, was to keep. EC2 is asked only where a state file tells of such a volume.
func (s *Sweeper) Kept(ctx context.Context, tag string) (map[snapshot.ID]bool, error) {
	runs, err := s.Dead()
	if err != nil {
		return nil, err
	}
	by := map[snapshot.VolumeID]catalog.Identity{}
	for _, run := range runs {
		for _, e := range run.Left {
			if e.Kind == runstate.KindVolume && e.Fields["kept"] != "" && e.Fields["tag"] == tag && e.Fields["region"] == s.Region {
				by[snapshot.VolumeID(e.Fields["volume"])] = catalog.Identity{Host: run.Header.Host, Boot: run.Header.Boot, Run: run.Header.Run}
			}
		}
	}
	if len(by) == 0 {
		return nil, nil
	}
	found, err := s.Volumes.Find(ctx, VolumeQuery{Tag: tag})
	if err != nil {
		return nil, err
	}
	kept := map[snapshot.ID]bool{}
	for _, v := range found {
		if run, known := by[v.ID]; known && v.Instance == "" && v.keptBy(run) {
			kept[v.Snapshot] = true
		}
	}
	return kept, nil
}

// keptBy tells whether it is that run's still, and to be kept.
func (v LeftVolume) keptBy(run catalog.Identity) bool {
	o, err := catalog.ParseOwner(v.Owner)
	return v.Value == VolumeKept && err == nil && o.Identity == run
}

// keptVolume: while it is there, and that run's, it is a person's or a later run's
// business.
func (w *sweep) keptVolume(ctx context.Context, e runstate.Entry) (Fate, error) {
	if region := e.Fields["region"]; region != "" && region != w.Region {
		return Found, nil // it shows from there
	}
	if err := w.account(); err != nil {
		return Left, err
	}
	id := snapshot.VolumeID(e.Fields["volume"])
	found, err := w.Volumes.Find(ctx, VolumeQuery{Tag: e.Fields["tag"], ID: id})
	if err != nil {
		return Left, err
	}
	for _, v := range found {
		if v.ID == id && v.keptBy(w.owner()) {
			return Found, nil
		}
	}
	return Gone, nil
}
