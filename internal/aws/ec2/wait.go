package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/pause"
	"snap-to-s3/internal/snapshot"
)

type volumeID = snapshot.VolumeID

// Timing bounds every wait for EC2 and for the kernel.
type Timing struct {
	Poll    time.Duration // first pause between two looks; it grows by half each time
	PollMax time.Duration // longest pause

	// Settle is how long EC2 may not know yet, or know again what was before,
	// after it has answered: its views are eventually consistent.
	Settle time.Duration
	Call   time.Duration // one call, with its retries, that is not bounded by a wait

	VolumeWait time.Duration // creation
	AttachWait time.Duration // the calls to attach; then again until attached
	DeviceWait time.Duration // the device in this machine
	DetachWait time.Duration // detaching and deleting together
	ReadStall  time.Duration // no read of the volume is answered: it hangs
}

// DefaultTiming is what suits EC2: it mostly needs seconds, and where it needs
// longer than this it does not come back. A volume that stays in creating costs
// VolumeWait and DetachWait: ten minutes. DetachWait is less than what a caller
// gives for cleaning up, so that the limit that is reached is one that can say
// what was waited for.
func DefaultTiming() Timing {
	return Timing{
		Poll: 300 * time.Millisecond, PollMax: 10 * time.Second, Settle: 15 * time.Second, Call: 2 * time.Minute,
		VolumeWait: 6 * time.Minute, AttachWait: 5 * time.Minute,
		DeviceWait: 2 * time.Minute, DetachWait: 4 * time.Minute,
		ReadStall: 10 * time.Minute,
	}
}

func (t Timing) orDefault() Timing {
	d := DefaultTiming()
	for _, f := range []struct{ have, def *time.Duration }{
		{&t.Poll, &d.Poll},
		{&t.PollMax, &d.PollMax},
		{&t.Settle, &d.Settle},
		{&t.Call, &d.Call},
		{&t.VolumeWait, &d.VolumeWait},
		{&t.AttachWait, &d.AttachWait},
		{&t.DeviceWait, &d.DeviceWait},
		{&t.DetachWait, &d.DetachWait},
		{&t.ReadStall, &d.ReadStall},
	} {
		if *f.have == 0 {
			*f.have = *f.def
		}
	}
	return t
}

// tooLongError ends a wait at its limit.
type tooLongError struct{ passing error } // the last failed look, explained; nil: none failed

func (e *tooLongError) Error() string {
	if e.passing == nil {
		return "waited too long"
	}
	return "waited too long: " + e.passing.Error()
}

// late is nil unless a wait ended at its limit. Then it says what was waited for,
// and why the last look failed, if it did.
func late(err error, format string, args ...any) error {
	end, ok := errors.AsType[*tooLongError](err)
	if !ok {
		return nil
	}
	still := fmt.Errorf(format, args...)
	if end.passing == nil {
		return still
	}
	return fmt.Errorf("%w: %w", still, end.passing)
}

// wait calls look until it is done, at growing intervals, for at most limit. An
// error of look ends the wait, unless it is an AWS call that may work later. At
// the limit it returns a tooLongError, with the last such error.
func (v *Volumes) wait(ctx context.Context, limit time.Duration, look func(context.Context) (bool, error)) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var passing error
	for every := v.cfg.Timing.Poll; ; every = min(every+every/2, v.cfg.Timing.PollMax) {
		done, err := look(bounded)
		switch {
		case err != nil && !unclear(err):
			return err
		case err == nil && done:
			return nil
		case err == nil:
			passing = nil
		case bounded.Err() == nil:
			passing = err
			v.cfg.Log.Debug("call will be made again", "err", err)
		}
		if pause.For(bounded, every) != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &tooLongError{aws.Explain(passing, "the last look failed")}
		}
	}
}

// errNoVolume: EC2 does not know the volume, or not yet.
var errNoVolume = errors.New("no such volume")

// describe looks at one volume. Its error is the SDK's, or errNoVolume.
func (v *Volumes) describe(ctx context.Context, id volumeID) (types.Volume, error) {
	out, err := v.client.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{VolumeIds: []string{string(id)}})
	switch {
	case aws.Code(err) == codeVolumeNotFound:
		return types.Volume{}, errNoVolume
	case err != nil:
		return types.Volume{}, err
	case len(out.Volumes) == 0:
		return types.Volume{}, errNoVolume
	}
	return out.Volumes[0], nil
}
