package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

const (
	// MaxTags is how many tags of its owner's a resource has at most (EC2 API
	// reference, CreateTags).
	MaxTags = 50
	// MaxKey is the longest key of a tag in characters (the same).
	MaxKey = 127

	// Live is how long after its last renewal an owner is taken for alive.
	Live = 60 * time.Minute
	// giveUp is when a run takes its own claim for lost: early enough before
	// Live that its last write is over when others may take the claim.
	giveUp = 30 * time.Minute

	defaultSettle = 4 * time.Second // the predecessor's
	defaultRenew  = 5 * time.Minute

	looks       = 4                // readings before one that shows nothing new is believed
	tries       = 3                // of a write whose answer was an error
	undoTimeout = 30 * time.Second // for taking a claim back after its context ended
)

// Protocol claims snapshots for one run. It is safe for concurrent use; its
// fields are not changed once it is in use.
type Protocol struct {
	Catalog Catalog
	Tag     string
	Self    Identity
	Region  string           // of the snapshots, for the commands that messages give; "": whatever is configured
	Now     func() time.Time // AWS's time; nil: this machine's
	Settle  time.Duration    // wait between writing a claim and reading it back; 0: 4 s
	Renew   time.Duration    // between two renewals of an owner; 0: 5 minutes
	Log     *slog.Logger     // nil: none
}

// ClaimRequest says what is claimed and how.
type ClaimRequest struct {
	Snapshot snapshot.Snapshot
	From, To string // the tag's value now and while the work goes on: Migrate, Migrating
	AnyValue bool   // a person named the snapshot: whatever the tag says, From is not looked at

	// Noted, unless nil, is told the claim's number before it is written, so that a
	// claim whose run dies can be told from one written over it. Its error ends
	// the claim.
	Noted func(claimID string) error
}

// Claim is the right to work on one snapshot. It ends with Complete or GiveBack.
type Claim struct {
	p        *Protocol
	snapshot snapshot.ID
	to       string
	id       string
	prior    State
	leftover map[string]string // id and owner tags of a dead claim that ours stands beside
	combined bool
	log      *slog.Logger

	stopRenewal func()                  // stops it and waits
	end         context.CancelCauseFunc // ends the context that Claim returned

	writing   sync.Mutex // held while the owner is written, so that each text builds on the last
	mu        sync.Mutex
	owner     Owner    // as last confirmed
	texts     []string // owner texts that may stand in the tags: the confirmed one and later tries
	attempted *target  // what Complete or GiveBack began to write
}

// Claim marks a snapshot as ours and keeps it so until Complete, GiveBack or
// Stop, which end the returned context; it also ends, with cause ErrLost, when
// the claim is found lost. ErrClaimed tells that the snapshot is somebody else's
// or no longer marked. On any error the snapshot is as it was, or the error says
// what stays.
func (p *Protocol) Claim(ctx context.Context, r ClaimRequest) (context.Context, *Claim, error) {
	if err := p.validate(r); err != nil {
		return nil, nil, fmt.Errorf("claim %s: %w", r.Snapshot.ID, err)
	}
	tags, err := p.tags(ctx, r.Snapshot.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("claim %s: %w", r.Snapshot.ID, err)
	}
	if err := p.allowed(r, StateOf(tags, p.Tag)); err != nil {
		return nil, nil, err
	}
	c, write, err := p.plan(r, tags)
	if err != nil {
		return nil, nil, fmt.Errorf("claim %s: %w", r.Snapshot.ID, err)
	}
	if r.Noted != nil {
		if err := r.Noted(c.id); err != nil {
			return nil, nil, fmt.Errorf("claim %s: %w", r.Snapshot.ID, err)
		}
	}
	if err := c.take(ctx, write); err != nil {
		return nil, nil, err
	}
	ctx, c.end = context.WithCancelCause(ctx)
	c.stopRenewal = p.renew(ctx, c.renewal())
	return ctx, c, nil
}

// Owner is the owner as it was last written.
func (c *Claim) Owner() Owner {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner
}

// Unclaimed returns a snapshot's tags as they are without a claim, this one or a
// dead one that it took over: what a record of the snapshot is to say of it.
func (c *Claim) Unclaimed(tags map[string]string) map[string]string {
	without := map[string]string{}
	maps.Copy(without, tags)
	delete(without, idTag(c.p.Tag))
	delete(without, ownerTag(c.p.Tag))
	delete(without, c.p.Tag)
	if t := c.before(); t.present {
		without[c.p.Tag] = t.value
	}
	return without
}

func (p *Protocol) validate(r ClaimRequest) error {
	switch {
	case !inProgress(r.To):
		return fmt.Errorf("%q is not a value for work in progress", r.To)
	case p.Tag == "":
		return errors.New("the tag's name is empty")
	case len(ownerTag(p.Tag)) > MaxKey:
		return fmt.Errorf("%s is longer than the %d characters of a tag's key", ownerTag(p.Tag), MaxKey)
	}
	return p.Self.validate()
}

// allowed tells whether the tags, read just now, leave the snapshot to us.
func (p *Protocol) allowed(r ClaimRequest, st State) error {
	id, now := r.Snapshot.ID, p.now()
	if !r.AnyValue {
		if st.Present && st.raw == r.From {
			return nil
		}
		return fmt.Errorf("%s is no longer marked %q: %w: %s", id, r.From, ErrClaimed, st.who(p.Tag, now))
	}
	switch {
	case st.Owned && st.Owner.Identity == p.Self:
	case st.InProgress() && st.Live(now): // beside another value an owner is only what a run could not delete
		err := fmt.Errorf("%s: %w: %s", id, ErrClaimed, st.who(p.Tag, now))
		return hint.Wrap(err, fmt.Sprintf("an owner is taken for dead %s after it was last renewed; if you know that run is dead, name the snapshot again then",
			shortDuration(Live)))
	case st.InProgress() && st.Owned:
		p.log().Warn("taking over a claim that was not renewed", "snapshot", id, "value", st.Value, "owner", st.Owner.String())
	case st.InProgress():
		p.log().Warn("taking over a snapshot in progress that has no owner", "snapshot", id, "value", st.Value, "claim_id", st.ID)
	}
	return nil
}

// plan makes the claim and the tags that write it, or says why they have no room.
func (p *Protocol) plan(r ClaimRequest, tags map[string]string) (*Claim, map[string]string, error) {
	prior := StateOf(tags, p.Tag)
	o := Owner{Identity: p.Self, Renewed: p.now().Truncate(time.Second), Before: prior.raw, HadBefore: prior.Present}
	switch {
	case prior.InProgress() && prior.Owned: // what a dead run would have given back
		o.Before, o.HadBefore = prior.Owner.Before, prior.Owner.HadBefore
	case prior.Value == Migrating: // nobody's: given back so that it can be chosen again
		o.Before = Migrate
	case prior.Value == Validating:
		o.Before = Migrated
	}
	c := &Claim{
		p: p, snapshot: r.Snapshot.ID, to: r.To, id: newID(prior.ID), prior: prior, owner: o,
		texts: []string{o.String()}, log: p.log().With("snapshot", r.Snapshot.ID),
	}
	apart := map[string]string{p.Tag: r.To, idTag(p.Tag): c.id, ownerTag(p.Tag): o.String()}
	missing := 0
	for key := range apart {
		if _, ok := tags[key]; !ok {
			missing++
		}
	}
	if missing <= room(tags) {
		if !fits(o.String()) {
			return nil, nil, p.tooLong(ownerTag(p.Tag), o)
		}
		return c, apart, nil
	}
	if !prior.Present && room(tags) < 1 {
		err := fmt.Errorf("it has %d tags, the most there can be, so that %s has no room", MaxTags, p.Tag)
		return nil, nil, hint.Wrap(err, fmt.Sprintf("delete a tag of %s that nobody needs: aws ec2 delete-tags --resources %s --tags Key=…", c.snapshot, c.snapshot))
	}
	c.combined = true
	one := combined(r.To, c.id, o.String())
	if !fits(one) {
		return nil, nil, p.tooLong(p.Tag, o)
	}
	c.leftover = map[string]string{}
	for _, key := range []string{idTag(p.Tag), ownerTag(p.Tag)} {
		if v, ok := tags[key]; ok {
			c.leftover[key] = v
		}
	}
	return c, map[string]string{p.Tag: one}, nil
}

func (p *Protocol) tooLong(key string, o Owner) error {
	err := fmt.Errorf("the owner with the value before (%q) does not fit the %d characters of the tag %s", o.Before, MaxValue, key)
	return hint.Wrap(err, fmt.Sprintf("give the tag %s a shorter value, for example %s", p.Tag, Migrate))
}

// newID draws the claim's number, and never the one that stands there: a reading
// from before our write must be told from one after it.
func newID(old string) string {
	for {
		if id := strconv.FormatUint(uint64(rand.Uint32()), 10); id != old {
			return id
		}
	}
}

func (p *Protocol) now() time.Time {
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	// Round(0) drops the monotonic reading: that clock stands still while a
	// machine is suspended, and others' claims on our snapshots do not wait.
	return now().UTC().Round(0)
}

func (p *Protocol) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}

func (p *Protocol) settle() time.Duration {
	if p.Settle == 0 {
		return defaultSettle
	}
	return p.Settle
}

// pause is the time between two looks at tags that do not show our claim yet.
func (p *Protocol) pause() time.Duration { return p.settle() / 4 }

// tags reads a snapshot's tags from the service.
func (p *Protocol) tags(ctx context.Context, id snapshot.ID) (map[string]string, error) {
	for s, err := range p.Catalog.Snapshots(ctx, Filter{IDs: []snapshot.ID{id}}) {
		if err != nil {
			return nil, fmt.Errorf("read the tags of %s: %w", id, err)
		}
		return s.Tags, nil
	}
	return nil, fmt.Errorf("read the tags of %s: there is no such snapshot any more", id)
}

func shortDuration(d time.Duration) string { return fmt.Sprintf("%d minutes", int(d.Minutes())) }
