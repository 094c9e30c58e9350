package catalog

import (
	"context"
	"errors"
	"fmt"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
)

// target is how the tag is to stand after a claim.
type target struct {
	value   string
	present bool
}

func (t target) shows(st State) bool { return st.Present == t.present && st.raw == t.value }

func (t target) String() string {
	if !t.present {
		return "deleted"
	}
	return fmt.Sprintf("set to %q", t.value)
}

func (c *Claim) before() target {
	o := c.Owner()
	return target{o.Before, o.HadBefore}
}

// Check reads the tags again and returns ErrLost when the claim is not ours any
// more, or was not renewed for so long that others may take it. It is to be
// called right before everything that cannot be undone.
func (c *Claim) Check(ctx context.Context) error {
	st, v, err := c.look(ctx, looks)
	if err != nil {
		return fmt.Errorf("check the claim: %w", err)
	}
	if v != ours {
		return c.lost(st)
	}
	if err := c.p.fresh(string(c.snapshot), c.Owner()); err != nil {
		c.end(err)
		return err
	}
	return nil
}

// Complete sets the tag to value and takes id and owner away, in this order, so
// that at no time the tag says "migrating" without an owner. It stops the
// renewal. It returns ErrLost when the claim is not ours; any other error leaves
// it possible to call Complete again, or GiveBack.
func (c *Claim) Complete(ctx context.Context, value string) error {
	c.stopRenewal()
	if !fits(value) || inProgress(value) {
		return fmt.Errorf("complete %s: %q is not a value for a finished snapshot", c.snapshot, value)
	}
	if err := c.p.fresh(string(c.snapshot), c.Owner()); err != nil {
		c.end(err)
		return err
	}
	return c.finish(ctx, target{value, true})
}

// GiveBack puts the tag back to what it was before, and takes id and owner away.
// It stops the renewal. A claim that is not ours any more is left alone but for
// our own id and owner, and the error is ErrLost. It is to be called with a
// context that is still alive, and may be called again after any other error.
func (c *Claim) GiveBack(ctx context.Context) error {
	c.stopRenewal()
	return c.finish(ctx, c.before())
}

// Stop ends the renewal and waits for it, and leaves the tags as they are. After
// Complete and GiveBack it does nothing.
func (c *Claim) Stop() {
	c.stopRenewal()
	c.end(context.Canceled)
}

func (c *Claim) finish(ctx context.Context, t target) error {
	err := c.write(ctx, t)
	if err == nil {
		c.end(context.Canceled)
		return nil
	}
	if errors.Is(err, ErrLost) {
		return err
	}
	if left, ok := errors.AsType[*LeftoverError](err); ok {
		return hint.Wrap(err, "delete them with: "+left.Command)
	}
	return hint.Wrap(err, c.restore())
}

// write brings the tag to t if it is ours. A write that returned an error may
// have been done all the same, so after one the tags are read again.
func (c *Claim) write(ctx context.Context, t target) error {
	var failed error
	for range tries {
		st, v, err := c.look(ctx, looks)
		switch {
		case err != nil && failed != nil:
			return fmt.Errorf("tag %s of %s may not be %s: %w, and then: %w", c.p.Tag, c.snapshot, t, failed, err)
		case err != nil:
			return fmt.Errorf("tag %s of %s could not be %s: %w", c.p.Tag, c.snapshot, t, err)
		case v == ended && t.shows(st):
			return c.drop(ctx, t)
		case v != ours:
			c.leave(ctx, st)
			if failed != nil && t == c.before() {
				return nil // it was given back after all, and somebody took it since
			}
			return c.lost(st)
		}
		c.attempt(t)
		if failed = c.put(ctx, t); failed == nil {
			return c.drop(ctx, t)
		}
		if pause.For(ctx, c.p.pause()) != nil {
			break
		}
	}
	return fmt.Errorf("tag %s of %s could not be %s: %w", c.p.Tag, c.snapshot, t, failed)
}

func (c *Claim) attempt(t target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempted = &t
}

func (c *Claim) put(ctx context.Context, t target) error {
	if t.present {
		return c.p.Catalog.SetTags(ctx, c.snapshot, map[string]string{c.p.Tag: t.value})
	}
	if !c.combined {
		return c.p.Catalog.DeleteTags(ctx, c.snapshot, map[string]string{c.p.Tag: c.to})
	}
	for _, text := range c.standing() {
		tags := map[string]string{c.p.Tag: combined(c.to, c.id, text)}
		if err := c.p.Catalog.DeleteTags(ctx, c.snapshot, tags); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes id and owner by key and value.
func (c *Claim) drop(ctx context.Context, t target) error {
	var failed error
	for range tries {
		if failed = c.dropOnce(ctx); failed == nil {
			return nil
		}
		if pause.For(ctx, c.p.pause()) != nil {
			break
		}
	}
	return &LeftoverError{
		Command: c.dropCommand(),
		err: fmt.Errorf("tag %s of %s was %s, but %s and %s may stay: %w",
			c.p.Tag, c.snapshot, t, idTag(c.p.Tag), ownerTag(c.p.Tag), failed),
	}
}

func (c *Claim) dropCommand() string {
	return fmt.Sprintf("aws ec2 delete-tags %s--resources %s --tags Key=%s Key=%s",
		c.p.region(), c.snapshot, idTag(c.p.Tag), ownerTag(c.p.Tag))
}

// LeftoverError says that Complete or GiveBack has set the tag, and that id and
// owner may stay beside it.
type LeftoverError struct {
	Command string // what a person can run to delete them
	err     error
}

func (e *LeftoverError) Error() string { return e.err.Error() }

// Unwrap returns why they could not be deleted.
func (e *LeftoverError) Unwrap() error { return e.err }

func (c *Claim) dropOnce(ctx context.Context) error {
	if c.combined {
		if len(c.leftover) == 0 {
			return nil
		}
		return c.p.Catalog.DeleteTags(ctx, c.snapshot, c.leftover)
	}
	for _, text := range c.standing() {
		tags := map[string]string{idTag(c.p.Tag): c.id, ownerTag(c.p.Tag): text}
		if err := c.p.Catalog.DeleteTags(ctx, c.snapshot, tags); err != nil {
			return err
		}
	}
	return nil
}

// standing are the owner texts that may be in the tags now.
func (c *Claim) standing() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.texts...)
}

func (c *Claim) lost(st State) error {
	err := fmt.Errorf("%s: %w: %s", c.snapshot, ErrLost, c.says(st))
	if c.end != nil {
		c.end(err)
	}
	return err
}
