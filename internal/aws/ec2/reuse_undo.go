package ec2

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// giveBack leaves the volume as it was, and returns an unfitError; where it cannot,
// or the work has ended, another.
func (t *volume) giveBack(ctx context.Context, was types.Volume, cause error) error {
	timing := t.volumes.cfg.Timing
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), timing.DetachWait+2*timing.Call)
	defer cancel()
	if t.stop != nil {
		t.stop()
	}
	t.closeDevice()
	defer t.volumes.release(t.letter)
	err := t.restore(clean, was)
	if err == nil {
		err = t.finish()
	} else if _, ok := errors.AsType[*foreignError](err); ok {
		err = also(err, t.finish())
		t.log.Warn("a kept volume is not this run's any more", "volume", t.id, "reason", err.Error())
		err = nil
	} else {
		err = t.stays(explain(clean, err, fmt.Sprintf("give kept volume %s back", t.id)), t.removeCommand(), t.detachCommand())
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w; %w", cause, err)
	case ctx.Err() != nil:
		return cause
	}
	return &unfitError{cause}
}

// restore takes back what was done to the volume since it was looked at as was.
func (t *volume) restore(ctx context.Context, was types.Volume) error {
	if !t.taken {
		return nil
	}
	v, before := t.volumes, tagMap(was.Tags)
	attached, _ := t.attachment(was)
	var state string
	err := t.untilDone(ctx, &state, func(ctx context.Context, got types.Volume) (bool, error) {
		owner := tagMap(got.Tags)[v.ownerTag()]
		theirs := owner == before[v.ownerTag()] // or what we wrote does not show yet
		if err := t.otherOwner(got); err != nil && !theirs {
			return false, err
		}
		here, elsewhere := t.attachment(got)
		switch {
		case theirs && t.untouched:
			return true, nil
		case attached == nil && here != nil && elsewhere == "":
			return false, t.detach(ctx, *here)
		}
		callCtx, cancel := t.call(ctx)
		defer cancel()
		err := setTags(callCtx, v.client, string(t.id), map[string]string{v.cfg.Tag: kept, v.ownerTag(): before[v.ownerTag()]})
		return err == nil, err
	})
	if still := late(err, "it is still %s after %s", state, v.cfg.Timing.DetachWait); still != nil {
		return still
	}
	return err
}
