package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snap-to-s3/internal/pause"
)

// renewTimeout bounds the write of one renewal. The write is not cut short when
// the renewal is stopped: a request that was given up may still be carried out,
// and would then overwrite what Complete or GiveBack writes after it.
const renewTimeout = time.Minute

// Held is a thing other than a snapshot that carries an owner tag: a temporary
// volume.
type Held interface {
	// ReadOwner returns the owner tag's value, "" where there is none.
	ReadOwner(ctx context.Context) (string, error)
	WriteOwner(ctx context.Context, value string) error
}

// renewal is how one owner tag is kept young.
type renewal struct {
	name   string
	owner  func() Owner
	look   func(context.Context) error // nil: still ours; ErrLost: not
	write  func(context.Context, Owner) error
	cancel context.CancelCauseFunc // called with ErrLost
}

func (c *Claim) renewal() renewal {
	return renewal{
		name:  string(c.snapshot),
		owner: c.Owner,
		look: func(ctx context.Context) error {
			st, v, err := c.look(ctx, looks)
			if err == nil && v != ours {
				err = c.lost(st)
			}
			return err
		},
		write:  c.writeOwner,
		cancel: c.end,
	}
}

// SetBefore changes what GiveBack will set the tag to, also for a run that takes
// over after this one died. It is for the moment at which going back to the value
// before would lie. The claim is to be checked right before it.
func (c *Claim) SetBefore(ctx context.Context, value string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	o := c.Owner()
	if o.HadBefore && o.Before == value {
		return nil
	}
	o.Before, o.HadBefore, o.Renewed = value, true, c.p.now()
	if !fits(o.String()) {
		return c.p.tooLong(ownerTag(c.p.Tag), o)
	}
	return c.putOwner(ctx, o)
}

// writeOwner renews the owner.
func (c *Claim) writeOwner(ctx context.Context, o Owner) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	now := c.Owner()
	o.Before, o.HadBefore = now.Before, now.HadBefore // SetBefore may have come between
	return c.putOwner(ctx, o)
}

func (c *Claim) putOwner(ctx context.Context, o Owner) error {
	text := o.String()
	c.mu.Lock()
	c.texts = append(c.texts, text) // before the call: a lost answer may have been a success
	c.mu.Unlock()
	tags := map[string]string{ownerTag(c.p.Tag): text}
	if c.combined {
		tags = map[string]string{c.p.Tag: combined(c.to, c.id, text)}
	}
	if err := c.p.Catalog.SetTags(ctx, c.snapshot, tags); err != nil {
		return fmt.Errorf("renew the owner of %s: %w", c.snapshot, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner, c.texts = o, []string{text}
	return nil
}

// Hold renews the owner tag of h as a claim's is renewed, until stop, which
// waits for it. When h turns out to be somebody else's, or could not be renewed
// for too long, cancel is called with ErrLost, and nothing is written any more.
func (p *Protocol) Hold(ctx context.Context, cancel context.CancelCauseFunc, h Held, o Owner) (stop func()) {
	name := "volume of run " + o.Run
	if s, ok := h.(fmt.Stringer); ok {
		name = s.String()
	}
	return p.renew(ctx, renewal{
		name:   name,
		owner:  func() Owner { return o }, // o is the renewing goroutine's alone
		look:   func(ctx context.Context) error { return p.lookHeld(ctx, name, h, o.Identity) },
		cancel: cancel,
		write: func(ctx context.Context, next Owner) error {
			if err := h.WriteOwner(ctx, next.String()); err != nil {
				return fmt.Errorf("renew the owner of %s: %w", name, err)
			}
			o = next
			return nil
		},
	})
}

func (p *Protocol) lookHeld(ctx context.Context, name string, h Held, self Identity) error {
	for i := 1; ; i++ {
		text, err := h.ReadOwner(ctx)
		if err != nil {
			return fmt.Errorf("read the owner of %s: %w", name, err)
		}
		owner, err := ParseOwner(text)
		switch {
		case err == nil && owner.Identity == self:
			return nil
		case err == nil:
			return fmt.Errorf("%s: %w: its owner is now %s, run %s", name, ErrLost, owner.Host, owner.Run)
		case i == looks:
			return fmt.Errorf("%s: %w: its owner tag is %q", name, ErrLost, text)
		}
		if err := pause.For(ctx, p.pause()); err != nil {
			return err
		}
	}
}

// renew keeps an owner tag young in a goroutine until stop, which waits for it.
// It outlives ctx, since the clean-up after ctx ended may take long and the
// thing is still ours meanwhile.
func (p *Protocol) renew(ctx context.Context, r renewal) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.renewing(ctx, r)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (p *Protocol) renewing(ctx context.Context, r renewal) {
	every := p.Renew
	if every == 0 {
		every = defaultRenew
	}
	for wait := every; pause.For(ctx, wait) == nil; {
		err := p.renewOnce(ctx, r)
		switch {
		case err == nil:
			wait = every
			p.log().Debug("owner renewed", "name", r.name)
		case errors.Is(err, ErrLost):
			r.cancel(err)
			return
		case ctx.Err() == nil:
			wait = every / 10
			p.log().Warn("owner not renewed, trying again", "name", r.name, "in", wait, "err", err)
		}
	}
}

// renewOnce looks before it writes, and at the clock last: a process that was
// stopped meanwhile must not overwrite its successor.
func (p *Protocol) renewOnce(ctx context.Context, r renewal) error {
	stale := p.fresh(r.name, r.owner())
	if err := r.look(ctx); err != nil {
		if stale != nil && !errors.Is(err, ErrLost) {
			return stale
		}
		return err
	}
	// This machine's clock may have been set meanwhile; the answer has told AWS's time.
	o := r.owner()
	if err := p.fresh(r.name, o); err != nil {
		return err
	}
	o.Renewed = p.now().Truncate(time.Second)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewTimeout)
	defer cancel()
	return r.write(ctx, o)
}

// fresh returns ErrLost when the owner was not renewed for so long that others
// will soon take it for dead.
func (p *Protocol) fresh(name string, o Owner) error {
	if old := p.now().Sub(o.Renewed); old > giveUp {
		return fmt.Errorf("%s: %w: not renewed for %s", name, ErrLost, old.Round(time.Second))
	}
	return nil
}
