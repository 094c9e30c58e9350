package ec2

import (
	"context"
	"errors"
	"fmt"
)

// keep leaves the volume attached, marked so that no clean-up takes it.
func (t *volume) keep(ctx context.Context) error {
	v := t.volumes
	defer func() { v.release(t.letter) }()
	callCtx, cancel := t.call(ctx)
	defer cancel()
	got, err := t.look(callCtx)
	if err == nil {
		err = t.otherOwner(got)
	}
	if err == nil {
		err = setTags(callCtx, v.client, string(t.id), map[string]string{v.cfg.Tag: kept})
	}
	doing := fmt.Sprintf("mark volume %s as kept", t.id)
	if _, ok := errors.AsType[*foreignError](err); ok {
		return t.end(fmt.Errorf("%s: %w", doing, err))
	}
	if err != nil {
		return t.end(explain(ctx, err, doing))
	}
	command := t.removeCommand()
	t.log.Info("kept volume", "volume", t.id, "device", t.device, "remove_with", command)
	return t.noteKept(command)
}

// noteKept leaves the volume in the state file, with the command that takes it away
// and the path of its device, by which what is mounted of it is known.
func (t *volume) noteKept(command string) error {
	err := t.made.Update(map[string]string{"kept": t.node})
	if err == nil {
		err = t.made.Stay("it was to be kept", command)
	}
	if err == nil {
		err = t.joined.Done()
	}
	if err != nil {
		return fmt.Errorf("note that volume %s is kept, which costs money until you run: %s: %w", t.id, command, err)
	}
	return nil
}
