package workflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/words"
)

// Cleaner shows what runs have left on this host, in the account and in a bucket,
// and takes away what is nobody's any more. It knows four kinds of proof, by which
// it groups what it finds (Group), and takes away only what Would says. Before each
// step it reads again what the proof rests on.
type Cleaner struct {
	Sweeper *Sweeper // of dead runs of this host; its ports serve for the rest
	Tag     string   // the tag that drives the work
	Bucket  string   // "": no bucket is looked at
	Store   objstore.Uploads
	// Endpoint is where Store is asked, "" for Amazon's usual place: for commands.
	Endpoint string
	Only     []string // ids of snapshots, volumes, uploads, runs; empty: all
	Apply    bool     // else it only shows
	Now      func() time.Time
	Log      *slog.Logger
}

// Group is by what it is known whose a thing is.
type Group string

// The groups of what was left, in the order in which they are shown.
const (
	GroupDead   Group = "dead-run"    // a dead run of this host: its state file names it
	GroupStale  Group = "stale-owner" // its owner, on any host, was not renewed for an hour
	GroupUpload Group = "upload"      // an upload begun over a day ago for a snapshot that nobody has
	GroupNobody Group = "no-owner"    // it names no owner, as what the predecessor makes
	GroupKept   Group = "kept"        // it was to be kept
)

// Leftover is a thing that was found, and what became of it.
type Leftover struct {
	Group    Group
	Kind     string // as in state files
	ID       string // of the volume, upload or snapshot; of others a name
	What     string // the thing in one line
	Snapshot snapshot.ID
	Run      string        // whose it is, where that is known
	Host     string        // of that run
	Age      time.Duration // since it was made or last renewed; 0: not known
	Would    string        // what is done with it: "delete"; "": nothing
	Fate     Fate
	Err      error  // why it stays, or would
	Command  string // what a person can run
	File     string // the state file

	over string // of a kept volume, and what is kept mounted of it: the device's path
}

// CleanSummary counts what was found.
type CleanSummary struct {
	Found, Removed, Spared, Left int
	Nothing                      []string // ids that were asked for, of which nothing was found; nil where not all was looked at
	Elapsed                      time.Duration
}

// ErrIncomplete says that not all could be looked at, or taken away.
var ErrIncomplete = errors.New("not all was cleaned up")

// oldUpload is from when on an upload that nobody has the snapshot of is taken for
// left: whoever begins one has the snapshot, and jobs take days at most with it.
const oldUpload = 24 * time.Hour

// Clean tells of each thing as it is found or done with. Its error joins
// what could not be looked at; ErrIncomplete is among it where something stays
// that was to go.
func (c *Cleaner) Clean(ctx context.Context, tell func(Leftover)) (CleanSummary, error) {
	started := time.Now()
	w := &cleaning{Cleaner: c, tell: tell, seen: map[string]bool{}, met: map[string]bool{}, snapshots: map[snapshot.ID]*snapshot.Snapshot{}}
	var problems []error
	for _, look := range []func(context.Context) error{w.deadRuns, w.volumes, w.claims, w.uploads} {
		if ctx.Err() != nil {
			break
		}
		if err := look(ctx); err != nil {
			problems = append(problems, err)
		}
	}
	w.later()
	if len(problems) == 0 {
		w.sum.Nothing = slices.DeleteFunc(slices.Clone(c.Only), func(id string) bool { return w.met[id] })
	}
	w.sum.Elapsed = time.Since(started)
	switch {
	case ctx.Err() != nil:
		return w.sum, context.Cause(ctx)
	case c.Apply && w.sum.Left > 0:
		problems = append(problems, fmt.Errorf("%w: %s left, each is named above", ErrIncomplete, words.Count(w.sum.Left, "thing")))
	}
	return w.sum, errors.Join(problems...)
}

// cleaning is one pass.
type cleaning struct {
	*Cleaner
	tell      func(Leftover)
	sum       CleanSummary
	seen      map[string]bool // by kind and id: what is told of already
	met       map[string]bool // ids, of themselves, snapshots and runs, of what is told of
	snapshots map[snapshot.ID]*snapshot.Snapshot
	behind    []Leftover // of groups that are told of last
}

// report counts and tells.
func (w *cleaning) report(l Leftover) {
	w.seen[l.Kind+" "+l.ID] = true
	w.met[l.ID], w.met[string(l.Snapshot)], w.met[l.Run] = true, true, true
	if l.Fate != Found && l.Fate != Left {
		l.Command = "" // there is nothing to be done any more
	}
	switch l.Fate {
	case Removed:
		w.sum.Removed++
	case Spared, Gone:
		w.sum.Spared++
	case Left:
		w.sum.Left++
	case Found:
		w.sum.Found++
	}
	w.tell(l)
}

// later tells of what is nobody's or kept, behind what is taken away.
func (w *cleaning) later() {
	w.mounts()
	slices.SortStableFunc(w.behind, func(a, b Leftover) int {
		order := []Group{GroupNobody, GroupKept}
		byGroup := slices.Index(order, a.Group) - slices.Index(order, b.Group)
		if byGroup != 0 || a.Group == GroupNobody {
			return byGroup
		}
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.over, b.over), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	for _, l := range w.behind {
		w.report(l)
	}
}

// chosen tells whether a thing is among those that were asked for.
func (w *cleaning) chosen(names ...string) bool {
	return len(w.Only) == 0 || slices.ContainsFunc(names, w.named)
}

// named tells whether a person named a thing itself.
func (w *cleaning) named(id string) bool { return id != "" && slices.Contains(w.Only, id) }

// act does what l would, or leaves it at having found it. What do returns decides:
// ErrKept and ErrForeign spare the thing.
func (w *cleaning) act(ctx context.Context, l Leftover, do func(context.Context) (Fate, error)) Leftover {
	if l.Fate = Found; !w.Apply || l.Would == "" {
		return l
	}
	bounded, cancel := context.WithTimeoutCause(ctx, w.Sweeper.Limit, fmt.Errorf("not done within %s", w.Sweeper.Limit))
	defer cancel()
	l.Fate, l.Err = do(bounded)
	switch {
	case errors.Is(l.Err, ErrKept), errors.Is(l.Err, ErrForeign):
		l.Fate = Spared
	case l.Err != nil:
		l.Fate = Left
	}
	return l
}

// deadRuns is about what state files of this host name.
func (w *cleaning) deadRuns(ctx context.Context) error {
	wanted := func(run runstate.Run, e runstate.Entry) bool {
		of := e
		if v, kept := KeptBelow(run.Left, e); kept {
			of = v
		}
		return w.chosen(run.Header.Run, of.Fields["snapshot"], of.Fields["volume"], e.Fields["upload"])
	}
	tell := func(l Leftover) {
		if l.Group == GroupKept {
			w.behind = append(w.behind, l)
			return
		}
		w.report(l)
	}
	if w.Apply {
		return w.Sweeper.Sweep(ctx, wanted, func(s Swept) { tell(w.swept(s)) })
	}
	runs, err := w.Sweeper.Dead()
	for _, run := range runs {
		slices.SortStableFunc(run.Left, func(a, b runstate.Entry) int {
			return slices.Index(sweepOrder[:], a.Kind) - slices.Index(sweepOrder[:], b.Kind)
		})
		for _, e := range run.Left {
			if !wanted(run, e) {
				continue
			}
			l := w.swept(Swept{Run: run.Header, Path: run.Path, Entry: e, Fate: Found})
			if l.Err = run.Err; run.Err != nil {
				l.Would = ""
			}
			tell(l)
		}
	}
	return err
}

func (w *cleaning) swept(s Swept) Leftover {
	e := s.Entry
	l := Leftover{
		Group: GroupDead, Kind: e.Kind, What: e.What(), Snapshot: snapshot.ID(e.Fields["snapshot"]),
		Run: s.Run.Run, Host: s.Run.Host, Age: w.age(s.Run.Started), Fate: s.Fate, Err: s.Err, Command: e.Hint(), File: s.Path,
	}
	switch e.Kind {
	case runstate.KindVolume:
		l.ID, l.Would = e.Fields["volume"], wouldDelete
	case runstate.KindAttachment:
		l.ID, l.Would = e.Fields["volume"], "detach"
	case runstate.KindUpload:
		l.ID, l.Would = e.Fields["upload"], wouldAbort
	case runstate.KindClaim:
		l.ID, l.Would = e.Fields["snapshot"], wouldGiveBack
	case runstate.KindLoop:
		l.ID, l.Would = e.Fields["loop"], "detach"
	case runstate.KindMount:
		l.ID, l.Would = e.Fields["folder"], "unmount"
	}
	if e.Fields["kept"] != "" {
		l.Group, l.Would, l.over = GroupKept, "", e.Fields["kept"]
		if e.Kind == runstate.KindMount {
			l.over = e.Fields["backing"]
		}
	}
	return l
}

// What is done with things.
const (
	wouldDelete   = "delete"
	wouldAbort    = "abort"
	wouldGiveBack = "give back"
)

func (w *cleaning) age(since time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(0, w.Now().Sub(since)).Round(time.Second)
}

// stale reads an owner tag, and tells whether its run is taken for dead.
func (w *cleaning) stale(text string) (o catalog.Owner, stale bool, err error) {
	o, err = catalog.ParseOwner(text)
	return o, err == nil && w.Now().Sub(o.Renewed) >= catalog.Live, err
}
