package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snap-to-s3/internal/snapshot"
)

// Abandoned is a claim whose run is no more.
type Abandoned struct {
	Snapshot snapshot.ID
	Owner    Identity
	ClaimID  string // the claim's number, where it is known
	// Renewed, unless zero, is when the owner was last seen to be renewed: one that
	// was renewed since is alive after all.
	Renewed time.Time
}

// Freed is what came of an abandoned claim.
type Freed string

// What comes of an abandoned claim.
const (
	FreedBack    Freed = "given back"   // the tag has the value before
	FreedTags    Freed = "tags removed" // the tag was right already; id and owner went
	FreedNothing Freed = "not its own"  // the snapshot does not name that run, or is gone
)

// Free gives back the claim of a run that is no more, as the run itself would
// have: the value before is the owner tag's. Nothing is changed unless the owner
// tag, read just now, names that run. That the run is dead is for the caller to
// know. Where the claim's number is known and another one stands there, somebody
// who writes no owner (the predecessor) has claimed the snapshot since: only the
// dead run's owner goes then.
func (p *Protocol) Free(ctx context.Context, a Abandoned) (Freed, error) {
	tags, err := p.tags(ctx, a.Snapshot)
	if _, gone := errors.AsType[*UnknownError](err); gone {
		return FreedNothing, nil
	}
	if err != nil {
		return "", fmt.Errorf("free the claim on %s: %w", a.Snapshot, err)
	}
	st := StateOf(tags, p.Tag)
	if !st.Owned || st.Owner.Identity != a.Owner || !a.Renewed.IsZero() && st.Owner.Renewed.After(a.Renewed) {
		return FreedNothing, nil
	}
	c := p.abandoned(a, st)
	taken := a.ClaimID != "" && st.ID != "" && st.ID != a.ClaimID
	switch {
	case taken:
		err = p.Catalog.DeleteTags(ctx, a.Snapshot, map[string]string{ownerTag(p.Tag): st.ownerText})
	case st.InProgress():
		if err = c.finish(ctx, c.before()); err == nil {
			return FreedBack, nil
		}
	default: // Complete or GiveBack was cut short between its two steps
		err = c.drop(ctx, target{st.raw, st.Present})
	}
	if errors.Is(err, ErrLost) { // somebody took it meanwhile
		return FreedNothing, nil
	}
	if err != nil {
		return "", fmt.Errorf("free the claim on %s: %w", a.Snapshot, err)
	}
	return FreedTags, nil
}

// FreeNobodys puts a snapshot in progress whose claim has no owner, the
// predecessor's, back to where it can be chosen again. Whether somebody is at work
// on it nobody can tell, so that a person must have said it. seen is what that
// person saw: where the tags have changed since, nothing is done.
func (p *Protocol) FreeNobodys(ctx context.Context, id snapshot.ID, seen State) (Freed, error) {
	tags, err := p.tags(ctx, id)
	if err != nil {
		return "", fmt.Errorf("put back %s: %w", id, err)
	}
	st := StateOf(tags, p.Tag)
	if st != seen || st.Owned || !st.InProgress() {
		return FreedNothing, nil
	}
	back := map[string]string{p.Tag: Migrate}
	if st.Value == Validating {
		back[p.Tag] = Migrated
	}
	err = p.Catalog.SetTags(ctx, id, back)
	if err == nil && st.ID != "" {
		err = p.Catalog.DeleteTags(ctx, id, map[string]string{idTag(p.Tag): st.ID})
	}
	if err != nil {
		return "", fmt.Errorf("put back %s: %w", id, err)
	}
	return FreedBack, nil
}

// FreeCommand is what a person can run in place of Free, or of FreeNobodys where the
// claim has no owner.
func (p *Protocol) FreeCommand(id snapshot.ID, st State) string {
	if !st.Owned {
		st.Owner.Before, st.Owner.HadBefore = Migrate, true
		if st.Value == Validating {
			st.Owner.Before = Migrated
		}
	}
	c := p.abandoned(Abandoned{Snapshot: id, Owner: st.Owner.Identity}, st)
	if !st.InProgress() {
		return c.dropCommand()
	}
	return c.GiveBackCommand()
}

// abandoned is the claim as the dead run would hold it now.
func (p *Protocol) abandoned(a Abandoned, st State) *Claim {
	as := p.For(p.Tag)
	as.Self = a.Owner
	return &Claim{
		p: as, snapshot: a.Snapshot, to: st.Value, id: st.ID, owner: st.Owner, texts: []string{st.ownerText},
		combined: st.Combined, log: p.log().With("snapshot", a.Snapshot),
		end: func(error) {},
	}
}

// For is the protocol for another tag.
func (p *Protocol) For(tag string) *Protocol {
	return &Protocol{
		Catalog: p.Catalog, Tag: tag, Self: p.Self, Region: p.Region,
		Now: p.Now, Settle: p.Settle, Renew: p.Renew, Log: p.Log,
	}
}

// Rival returns the owner by which a run may still write to this snapshot's
// archives: one in the snapshot's tags, whatever tag drives that run's work, that
// was renewed recently. There being none proves that the run is dead or has lost
// its claim, and so commits nothing any more, since every commit is preceded by a
// look at that owner (Check). Our own claim must hold when this is asked.
func (c *Claim) Rival(ctx context.Context, run string) (Owner, bool, error) {
	tags, err := c.p.tags(ctx, c.snapshot)
	if err != nil {
		return Owner{}, false, fmt.Errorf("see whether run %s is at work: %w", run, err)
	}
	o, ok := LiveOwner(tags, run, c.p.now())
	return o, ok, nil
}

// Busy tells whether the tags of a snapshot say, under whatever name, that somebody
// works on it who may be alive: a live owner, or progress that has no owner at all.
func Busy(tags map[string]string, now time.Time) bool {
	if _, live := LiveOwner(tags, "", now); live {
		return true
	}
	for key, value := range tags {
		if inProgress(value) && !StateOf(tags, key).Owned {
			return true
		}
	}
	return false
}

// LiveOwner finds the owner of a run, or with "" of any, in the tags of a
// snapshot: under whatever name, in either form, and renewed so recently that it
// must be taken for alive.
func LiveOwner(tags map[string]string, run string, now time.Time) (Owner, bool) {
	for key, value := range tags {
		st, ok := parseCombined(value)
		if !ok && strings.HasSuffix(key, ownerTag("")) {
			var err error
			st.Owner, err = ParseOwner(value)
			st.Owned, ok = err == nil, err == nil
		}
		if ok && (run == "" || st.Owner.Run == run) && st.Live(now) {
			return st.Owner, true
		}
	}
	return Owner{}, false
}
