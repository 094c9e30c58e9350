package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

// Release implements workflow.Volume.
func (t *volume) Release(ctx context.Context) error {
	if t.released.Swap(true) {
		return fmt.Errorf("release volume %s: it was released before", t.id)
	}
	t.stop()
	if t.request.Keep {
		defer t.closeDevice()
		return t.keep(ctx)
	}
	t.closeDevice()
	return t.remove(ctx)
}

// closeDevice only warns: all has been read by now, and detaching tells whether
// the device is still held.
func (t *volume) closeDevice() {
	if t.Source == nil {
		return
	}
	if err := t.Close(); err != nil {
		t.log.Warn("device did not close", "volume", t.id, "err", err)
	}
}

// takeBack undoes what Open has done and returns cause, with what could not be
// undone. It goes on where ctx has ended.
func (t *volume) takeBack(ctx context.Context, cause error) error {
	timing := t.volumes.cfg.Timing
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), timing.DetachWait+2*(timing.Settle+timing.Call))
	defer cancel()
	if t.stop != nil {
		t.stop()
	}
	t.closeDevice()
	if t.made == nil {
		return cause
	}
	t.log.Info("taking back", "volume", t.id, "err", cause)
	if err := t.findUnknown(clean); err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	if err := t.remove(clean); err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	return cause
}

// findUnknown finds the volume of a CreateVolume that has not answered. Where
// EC2 has refused it, one look is enough.
func (t *volume) findUnknown(ctx context.Context) error {
	if t.id != "" || !t.mayExist {
		return nil
	}
	if t.refused {
		if got, err := t.search(ctx); err == nil {
			t.id = volumeID(awssdk.ToString(got.VolumeId))
			t.noteFound()
		}
		return nil
	}
	if _, err := t.searchSettled(ctx); err != nil {
		v := t.volumes
		command := fmt.Sprintf("aws ec2 describe-volumes --region %s --filters %s %s", v.region(),
			hint.Quote("Name=snapshot-id,Values="+string(t.request.Snapshot.ID)), hint.Quote("Name=tag-key,Values="+v.ownerTag()))
		err = explain(ctx, err, fmt.Sprintf("see whether a volume was made from %s", t.request.Snapshot.ID))
		reason := err.Error()
		return also(fmt.Errorf("%w; one that was made costs money until it is deleted, and is shown by: %s", err, command),
			t.made.Stay(reason, command))
	}
	t.noteFound()
	return nil
}

// noteFound notes the id of a volume found by findUnknown. It only warns: the
// volume is removed all the same, and if it stays that is noted again.
func (t *volume) noteFound() {
	if t.id == "" {
		return
	}
	if err := t.noteID(); err != nil {
		t.log.Warn("volume could not be noted", "volume", t.id, "err", err)
		return
	}
	t.mayExist = false
}

// remove takes the volume away and settles the state file.
func (t *volume) remove(ctx context.Context) error {
	defer func() { t.volumes.release(t.letter) }()
	if t.id == "" {
		return t.finish()
	}
	return t.end(t.bringDown(ctx))
}

// untilDone has step bring the volume on, until step says that it is where it is to
// be, the volume is gone, or DetachWait is over. It looks before each step and after
// it, so that neither a lost answer nor an old view of EC2 matters. state becomes
// what the volume was last seen in.
func (t *volume) untilDone(ctx context.Context, state *string, step func(context.Context, types.Volume) (bool, error)) error {
	*state = "there, as far as is known,"
	v := t.volumes
	return v.wait(ctx, v.cfg.Timing.DetachWait, func(ctx context.Context) (bool, error) {
		got, err := t.look(ctx)
		switch {
		case errors.Is(err, errNoVolume):
			return t.gone(), nil
		case err != nil:
			return false, err
		case got.State == types.VolumeStateDeleting, got.State == types.VolumeStateDeleted:
			return true, nil
		}
		*state = string(got.State)
		return step(ctx, got)
	})
}

// bringDown brings the volume from any state to its end: detached and deleted.
func (t *volume) bringDown(ctx context.Context) error {
	allowed := t.otherOwner
	if t.guard != nil {
		allowed = t.guard
	}
	begun, state := time.Now(), ""
	err := t.untilDone(ctx, &state, func(ctx context.Context, got types.Volume) (bool, error) {
		if err := allowed(got); err != nil {
			return false, err
		}
		here, elsewhere := t.attachment(got)
		t.detached = here == nil && elsewhere == ""
		switch {
		case elsewhere != "":
			t.elsewhere = true
			return false, fmt.Errorf("it is attached to %s now", elsewhere)
		case here != nil && t.idle != nil:
			state = string(here.State)
			if idle, err := t.idle(ctx, *here); !idle || err != nil {
				return false, err
			}
			return false, t.detach(ctx, *here)
		case here != nil:
			state = string(here.State)
			return false, t.detach(ctx, *here)
		}
		return false, t.delete(ctx)
	})
	return t.explainRemove(ctx, err, state, time.Since(begun))
}

// explainRemove says what a removal has come to. Which limit ends it, its own or
// that of ctx, makes no difference to who has to see to the volume.
func (t *volume) explainRemove(ctx context.Context, err error, state string, took time.Duration) error {
	if err == nil {
		return nil
	}
	doing := "remove volume " + string(t.id)
	if _, ok := errors.AsType[*foreignError](err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	still := late(err, "it is still %s after %s", state, t.volumes.cfg.Timing.DetachWait)
	if ctx.Err() != nil {
		still = fmt.Errorf("it is still %s after %s: %w", state, took.Round(time.Millisecond), ended(ctx))
	}
	if still == nil {
		return explain(ctx, err, doing)
	}
	return fmt.Errorf("%s: %w", doing, hint.Wrap(still, "where it does not go by itself, see whether something holds the device (lsof, mount); "+
		"aws ec2 detach-volume --force is the last resort"))
}

// end settles the state file after err: the volume is done with, or it is another
// run's, or it stays.
func (t *volume) end(err error) error {
	if err == nil {
		return t.finish()
	}
	if _, ok := errors.AsType[*foreignError](err); ok {
		return also(err, t.finish())
	}
	return t.stays(err, t.removeCommand(), t.detachCommand())
}

// detach asks for it, unless it was asked a moment ago. A volume stuck in
// attaching only leaves by force.
func (t *volume) detach(ctx context.Context, here types.VolumeAttachment) error {
	t.step("detaching volume %s", t.id)
	if here.State == types.VolumeAttachmentStateDetaching ||
		!t.detachAsked.IsZero() && time.Since(t.detachAsked) < t.volumes.cfg.Timing.Settle {
		return nil
	}
	callCtx, cancel := t.call(ctx)
	defer cancel()
	_, err := t.volumes.client.DetachVolume(callCtx, &awsec2.DetachVolumeInput{
		VolumeId:   awssdk.String(string(t.id)),
		InstanceId: &t.volumes.cfg.Instance.ID,
		Force:      awssdk.Bool(here.State == types.VolumeAttachmentStateAttaching),
	})
	if err == nil {
		t.detachAsked = time.Now()
		t.log.Debug("asked to detach volume", "volume", t.id)
	}
	return notYet(err)
}

// delete asks for the deletion of a free volume; the next look tells.
func (t *volume) delete(ctx context.Context) error {
	t.step("deleting volume %s", t.id)
	callCtx, cancel := t.call(ctx)
	defer cancel()
	_, err := t.volumes.client.DeleteVolume(callCtx, &awsec2.DeleteVolumeInput{VolumeId: awssdk.String(string(t.id))})
	if err == nil {
		t.deleteAsked = true
		t.log.Info("deleted volume", "volume", t.id)
	}
	return notYet(err)
}

// notYet drops the errors that mean that EC2 is at another point than the last
// look showed: the next look tells where.
func notYet(err error) error {
	switch aws.Code(err) {
	case codeIncorrectState, codeVolumeInUse, codeVolumeNotFound:
		return nil
	}
	return err
}

// finish strikes volume and attachment from the state file.
func (t *volume) finish() error {
	for _, intent := range []*runstate.Intent{t.joined, t.made} {
		if intent == nil {
			continue
		}
		if err := intent.Done(); err != nil {
			return fmt.Errorf("note that volume %s is done with: %w", t.id, err)
		}
	}
	return nil
}

// stays notes what could not be removed and says how to remove it.
func (t *volume) stays(err error, command, detach string) error {
	reason := err.Error()
	err = fmt.Errorf("%w; what may stay costs money until you run: %s", err, command)
	if t.mayExist { // found only now
		err = also(err, t.made.Update(map[string]string{"volume": string(t.id)}))
	}
	switch {
	case t.joined == nil:
	case t.detached:
		err = also(err, t.joined.Done())
	default:
		err = also(err, t.joined.Stay(reason, detach))
	}
	return also(err, t.made.Stay(reason, command))
}

func also(err, more error) error {
	if more == nil {
		return err
	}
	return fmt.Errorf("%w; nor could that be noted: %w", err, more)
}
