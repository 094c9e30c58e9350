package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
)

// verdict is what a reading of the tags says of our claim.
type verdict int

const (
	pending verdict = iota // neither ours nor a foreign one: a reading from before our write, perhaps
	ours
	foreign // somebody wrote after us
	ended   // it shows what Complete or GiveBack began to write
)

func (c *Claim) judge(st State) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := st.Owned && st.Owner.Identity == c.p.Self
	switch {
	case st.Value == c.to && st.ID == c.id && mine:
		if !slices.Contains(c.texts, st.ownerText) {
			c.texts = append(c.texts, st.ownerText)
		}
		return ours
	case st.ID != "" && st.ID != c.id && st.ID != c.prior.ID,
		st.Owned && !mine && st.Owner.Identity != c.prior.Owner.Identity:
		return foreign
	case c.attempted != nil && c.attempted.shows(st):
		return ended
	case st.raw != c.prior.raw && st.Value != c.to:
		return foreign
	}
	return pending
}

// look reads the tags until they say something of our claim, n times at most. A
// claim that never shows is pending.
func (c *Claim) look(ctx context.Context, n int) (State, verdict, error) {
	for i := 1; ; i++ {
		tags, err := c.p.tags(ctx, c.snapshot)
		if err != nil {
			return State{}, pending, err
		}
		st := StateOf(tags, c.p.Tag)
		if v := c.judge(st); v != pending || i == n {
			return st, v, nil
		}
		if err := pause.For(ctx, c.p.pause()); err != nil {
			return State{}, pending, fmt.Errorf("read the tags of %s: %w", c.snapshot, err)
		}
	}
}

// take writes the claim and reads it back after the others had their time.
func (c *Claim) take(ctx context.Context, write map[string]string) error {
	if err := c.p.Catalog.SetTags(ctx, c.snapshot, write); err != nil {
		return c.withdraw(ctx, fmt.Errorf("write the claim on %s: %w", c.snapshot, err))
	}
	if err := pause.For(ctx, c.p.settle()); err != nil {
		return c.withdraw(ctx, fmt.Errorf("claim %s: %w", c.snapshot, err))
	}
	st, v, err := c.look(ctx, looks)
	switch {
	case err != nil:
		return c.withdraw(ctx, fmt.Errorf("claim %s: %w", c.snapshot, err))
	case v == ours:
		return nil
	case v == foreign:
		c.leave(ctx, st)
		return fmt.Errorf("%s: %w: %s", c.snapshot, ErrClaimed, c.says(st))
	}
	err = fmt.Errorf("claim %s: it was written, but the tags still do not show it (%s)", c.snapshot, c.says(st))
	return c.withdraw(ctx, hint.Wrap(err, c.restore()))
}

// withdraw takes back a claim that may or may not have been written, also when
// the caller's context has ended, and returns cause with what stays.
func (c *Claim) withdraw(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	// Twice the usual: the wait after the write may have been cut short.
	st, v, err := c.look(ctx, 2*looks)
	if err == nil && v == ours {
		err = c.write(ctx, c.before())
	} else if err == nil {
		c.leave(ctx, st)
	}
	if err != nil && !errors.Is(err, ErrLost) {
		return hint.Wrap(&StaysError{
			Command: c.GiveBackCommand(),
			err:     fmt.Errorf("%w; its tag %s may stay at %q: %w", cause, c.p.Tag, c.to, err),
		}, c.restore())
	}
	return cause
}

// StaysError says that a claim was not made, and yet its tags may stay.
type StaysError struct {
	Command string // what a person can run to take them back
	err     error
}

func (e *StaysError) Error() string { return e.err.Error() }

// Unwrap returns why the claim was not made, and why its tags may stay.
func (e *StaysError) Unwrap() error { return e.err }

// leave takes our id and owner off a snapshot whose claim we do not have, each by
// key and value, so that nothing of anybody else's can go. They stand there when
// the foreign write was not one of this tool: the predecessor writes no owner,
// and a person only the tag. A wrong owner would name a run that is not at work.
func (c *Claim) leave(ctx context.Context, seen State) {
	if len(c.remains(seen)) == 0 {
		return
	}
	// One reading is not enough: where it is older than our write, removing the
	// owner would leave a claim that is nobody's.
	if pause.For(ctx, c.p.settle()) != nil {
		return
	}
	st, v, err := c.look(ctx, 1)
	if err == nil && v != ours {
		if tags := c.remains(st); len(tags) > 0 {
			err = c.p.Catalog.DeleteTags(ctx, c.snapshot, tags)
		}
	}
	if err != nil {
		c.log.Warn("id and owner of a claim that was not won may stay", "tag", ownerTag(c.p.Tag), "err", err)
	}
}

// remains are the tags of ours that st shows, where they stand apart.
func (c *Claim) remains(st State) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tags := map[string]string{}
	if st.Combined {
		return tags
	}
	if st.ID == c.id {
		tags[idTag(c.p.Tag)] = c.id
	}
	if slices.Contains(c.texts, st.ownerText) {
		tags[ownerTag(c.p.Tag)] = st.ownerText
	}
	return tags
}

// says describes a state that is not our claim's. What of ours still stands in it
// is left out: it would name us as the one who took the snapshot.
func (c *Claim) says(st State) string {
	if st.Owner.Identity == c.p.Self {
		st.Owner, st.Owned = Owner{}, false
	}
	if st.ID == c.id {
		st.ID = ""
	}
	return st.who(c.p.Tag, c.p.now())
}

// restore is the next step where we could not put the tag back ourselves.
func (c *Claim) restore() string {
	return fmt.Sprintf("look at it with: aws ec2 describe-tags %s--filters Name=resource-id,Values=%s; if %s is %q, put it back with: %s",
		c.p.region(), c.snapshot, c.p.Tag, c.to, c.restoreCommand())
}

func (c *Claim) restoreCommand() string {
	if t := c.before(); t.present {
		return fmt.Sprintf("aws ec2 create-tags %s--resources %s --tags %s", c.p.region(), c.snapshot, shellTag(c.p.Tag, t.value))
	}
	return fmt.Sprintf("aws ec2 delete-tags %s--resources %s --tags Key=%s", c.p.region(), c.snapshot, c.p.Tag)
}

// GiveBackCommand is what a person can run where GiveBack could not do it.
func (c *Claim) GiveBackCommand() string {
	if c.combined {
		return c.restoreCommand()
	}
	return fmt.Sprintf("%s && aws ec2 delete-tags %s--resources %s --tags Key=%s Key=%s",
		c.restoreCommand(), c.p.region(), c.snapshot, idTag(c.p.Tag), ownerTag(c.p.Tag))
}

// region is a command's option, and a blank behind it.
func (p *Protocol) region() string {
	if p.Region == "" {
		return ""
	}
	return "--region " + p.Region + " "
}

// shellTag writes a tag as an argument of the aws program, in its JSON form where
// its short form or a shell would read the value otherwise.
func shellTag(key, value string) string {
	if strings.Trim(key+value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:") == "" {
		return "Key=" + key + ",Value=" + value
	}
	text, err := json.Marshal([]map[string]string{{"Key": key, "Value": value}})
	if err != nil {
		panic("catalog: a map of strings that JSON cannot write: " + err.Error())
	}
	return "'" + strings.ReplaceAll(string(text), "'", `'\''`) + "'"
}
