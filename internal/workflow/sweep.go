package workflow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/pause"
	"snap-to-s3/internal/runstate"
)

// Sweeper takes away what runs of this host have left that are no more: killed, or
// refused by AWS. It holds the lock of a run's state file while it works on it, and
// strikes each thing as it goes, so that one that is killed itself leaves the rest.
//
// A thing goes only if it proves to be that run's still: a volume and a claim by
// their owner tag, an upload by its id or, where that is not known, by its key and
// time while nobody has the snapshot; a mount and a loop device by what they stand
// on. All else is left, and told of with its command.
type Sweeper struct {
	Dir      string // of the state files
	Host     string // this machine, as runs' headers name it
	Boot     string
	Region   string
	Protocol *catalog.Protocol // Tag and Self are not used
	Volumes  VolumeRemover
	// Uploads gives the store that has a bucket, "" for an endpoint being where this
	// run's stores are; an error where it cannot be reached as it was then.
	Uploads func(bucket, endpoint string) (objstore.Uploads, error)
	// Settle is how long after a call its effect may not show yet.
	Settle time.Duration
	Limit  time.Duration // for one thing
	Log    *slog.Logger
}

// Swept is a thing that a dead run has left, and what became of it.
type Swept struct {
	Run   runstate.Header
	Path  string // of the state file
	Entry runstate.Entry
	Fate  Fate
	Err   error // why it is Left
	Below bool  // it is a kept mount, which the command of its kept volume unmounts
}

// Fate is what became of a thing that was found.
type Fate string

// The fates of what was found.
const (
	Found   Fate = "found"   // nothing was tried
	Removed Fate = "removed" // it is gone
	Gone    Fate = "gone"    // it was not there any more, or never came to be
	Spared  Fate = "spared"  // it is there, and is not that run's any more, or was to be kept
	Left    Fate = "left"    // it could not be taken away
)

// sweepOrder are the kinds of things in the order in which they are taken away: what
// is mounted holds a loop device, that the volume; and while the claim is that run's,
// nobody else can have begun an upload.
var sweepOrder = [...]string{
	runstate.KindMount, runstate.KindLoop, runstate.KindAttachment, runstate.KindVolume, runstate.KindUpload, runstate.KindClaim,
}

// sweepAtOnce is how many things of one kind are taken away at a time: most of it
// is waiting for EC2.
const sweepAtOnce = 8

// errRead is part of the error of state files that cannot be read whole.
var errRead = errors.New("its state file cannot be read whole, and is left as it is")

// Dead lists what dead runs of this host have left, without touching it.
func (s *Sweeper) Dead() ([]runstate.Run, error) {
	runs, err := runstate.List(s.Dir)
	if err != nil {
		return nil, err
	}
	var dead []runstate.Run
	for _, run := range runs {
		if !run.Live && s.Host != "" && run.Header.Host == s.Host {
			dead = append(dead, run)
		}
	}
	return dead, nil
}

// Sweep takes away what it can, and tells of each thing. Its error is of the
// folder of state files; that of a thing is in what it tells. wanted chooses
// things; nil: all.
func (s *Sweeper) Sweep(ctx context.Context, wanted func(runstate.Run, runstate.Entry) bool, tell func(Swept)) error {
	runs, err := s.Dead()
	if err != nil {
		return err
	}
	account := sync.OnceValue(func() error { return s.checkAccount(ctx) })
	for _, run := range runs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if run.Err != nil {
			s.name(run, fmt.Errorf("%w: %w", errRead, run.Err), tell)
			continue
		}
		f, err := runstate.Take(run.Path)
		switch {
		case errors.Is(err, runstate.ErrLive), errors.Is(err, fs.ErrNotExist):
			continue // another process is about it, or was
		case err != nil:
			s.name(run, err, tell)
			continue
		}
		w := &sweep{Sweeper: s, f: f, run: run, tell: tell, wanted: wanted, account: account}
		w.all(ctx)
		if err := f.Close(); err != nil {
			s.Log.Warn("state file of an earlier run could not be ended", "file", run.Path, "err", err)
		}
	}
	return nil
}

// name tells of what a file names, all of which stays.
func (s *Sweeper) name(run runstate.Run, why error, tell func(Swept)) {
	if len(run.Left) == 0 {
		s.Log.Warn("an earlier run's state file cannot be read whole", "file", run.Path, "err", why)
	}
	for _, e := range run.Left {
		tell(Swept{Run: run.Header, Path: run.Path, Entry: e, Fate: Left, Err: why})
	}
}

func (s *Sweeper) checkAccount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	return s.Volumes.Check(ctx)
}

// sweep is the work on one state file.
type sweep struct {
	*Sweeper
	f       *runstate.File
	run     runstate.Run
	wanted  func(runstate.Run, runstate.Entry) bool
	account func() error // asked once: whether this account is that of the runs

	mu   sync.Mutex // of tell
	tell func(Swept)
}

// all goes by kinds, in sweepOrder, but for attachments, which their volumes take with
// them: those that are left are seen to afterwards.
func (w *sweep) all(ctx context.Context) {
	n := 0
	for _, i := range w.f.Open() {
		if i.Entry().Fields["kept"] == "" {
			n++
		}
	}
	if n > 0 { // EC2 may let one wait
		w.Log.Info("taking away what an earlier run left", "run", w.run.Header.Run, "things", n)
	}
	for _, phase := range []struct {
		kind string
		do   func(context.Context, *runstate.Intent, runstate.Entry) (Fate, error)
	}{
		{runstate.KindMount, w.mount},
		{runstate.KindLoop, w.loop},
		{runstate.KindVolume, w.volume},
		{runstate.KindAttachment, w.attachment},
		{runstate.KindUpload, w.upload},
		{runstate.KindClaim, w.claim},
		{"", w.unknown},
	} {
		var some errgroup.Group
		some.SetLimit(sweepAtOnce)
		for _, i := range w.f.Open() {
			e := i.Entry()
			known := e.Kind == phase.kind || phase.kind == "" && !knownKind(e.Kind)
			if !known || w.wanted != nil && !w.wanted(w.run, e) {
				continue
			}
			some.Go(func() error {
				w.one(ctx, i, e, phase.do)
				return nil
			})
		}
		_ = some.Wait() // none returns an error
	}
}

func knownKind(kind string) bool { return slices.Contains(sweepOrder[:], kind) }

// one takes one thing away, strikes it, and tells what became of it.
func (w *sweep) one(ctx context.Context, i *runstate.Intent, e runstate.Entry, do func(context.Context, *runstate.Intent, runstate.Entry) (Fate, error)) {
	bounded, cancel := context.WithTimeoutCause(ctx, w.Limit, fmt.Errorf("not done within %s", w.Limit))
	defer cancel()
	w.Log.Debug("sweeping", "run", w.run.Header.Run, "kind", e.Kind, "what", e.What())
	fate, err := do(bounded, i, e)
	if err != nil {
		fate = Left
	} else if fate != Found {
		if err = i.Done(); err != nil {
			w.Log.Warn("what was taken away could not be struck from the state file", "file", w.run.Path, "what", e.What(), "err", err)
			err = nil
		}
	}
	if now := i.Entry(); now.Kind != "" {
		e = now // with what became known of it
	}
	if e.Kind == runstate.KindVolume && fate != Left && fate != Found {
		w.attachments(ctx, e.Fields["volume"])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, below := KeptBelow(w.run.Left, e)
	w.tell(Swept{w.run.Header, w.run.Path, e, fate, err, below})
}

// attachments is about those of a volume that is done with: it was detached before it
// was deleted, and so it is told.
func (w *sweep) attachments(ctx context.Context, volume string) {
	for _, i := range w.f.Open() {
		e := i.Entry()
		if e.Kind == runstate.KindAttachment && e.Fields["volume"] == volume && (w.wanted == nil || w.wanted(w.run, e)) {
			w.one(ctx, i, e, w.attachment)
		}
	}
}

// owner is what the run's things carry.
func (w *sweep) owner() catalog.Identity {
	h := w.run.Header
	return catalog.Identity{Host: h.Host, Boot: h.Boot, Run: h.Run}
}

// settled tells whether all that the run asked for must show by now.
func (w *sweep) settled() bool { return !time.Now().Before(w.settles()) }

// settles is when that is: Settle after the run's last sign of life, or after now
// where that lies in the future, since clocks are set back.
func (w *sweep) settles() time.Time {
	last, now := w.f.Changed(), time.Now()
	if last.After(now) {
		last = now
	}
	return last.Add(w.Settle)
}

// await looks until something is found, or until it would have shown.
func (w *sweep) await(ctx context.Context, look func(context.Context) (bool, error)) error {
	until := w.settles()
	for {
		last := !time.Now().Before(until)
		found, err := look(ctx)
		if found || last || err != nil {
			return err
		}
		if err := pause.For(ctx, max(w.Settle/10, time.Millisecond)); err != nil {
			return err
		}
	}
}

func (w *sweep) unknown(_ context.Context, _ *runstate.Intent, e runstate.Entry) (Fate, error) {
	return Left, fmt.Errorf("this version does not know what a %q is", e.Kind)
}
