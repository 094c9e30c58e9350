package ec2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
	"snap-to-s3/internal/runstate"
)

const (
	attachTries = 10
	// EC2 recommends f to p for EBS volumes; the rest is valid where these are
	// all taken (EC2 user guide, "Device names").
	firstLetters = "fghijklmnop"
	moreLetters  = "qrstuvwxyz"
)

// attach asks EC2 to attach the volume at a free name. Another process may take
// the name in between, so it is tried again with another one. The name a volume
// was found at after an answer was lost is as good as any.
func (t *volume) attach(ctx context.Context) error {
	t.step("attaching volume %s", t.id)
	bounded, cancel := context.WithTimeout(ctx, t.volumes.cfg.Timing.AttachWait)
	defer cancel()
	doing := fmt.Sprintf("attach volume %s to %s", t.id, t.volumes.cfg.Instance.ID)
	for try := 1; ; try++ {
		err := t.attachOnce(bounded)
		if err == nil {
			return nil
		}
		switch k := aws.Code(err); {
		case ctx.Err() != nil:
			return explain(ctx, err, doing)
		case k == codeAttachmentLimit:
			return hint.Wrap(fmt.Errorf("%s: the instance cannot have more volumes (%s: %s)", doing, k, message(err)),
				"detach volumes that are not needed, run fewer --jobs, or use an instance type with more attachments")
		case !nameTaken(err) && !unclear(err) && k != codeIncorrectState && k != codeVolumeInUse:
			return explain(ctx, err, doing)
		case try == attachTries:
			return hint.Wrap(fmt.Errorf("%s: tried %d times, the last time: %w", doing, try, explain(ctx, err, t.place())),
				"run the command again; something else may be attaching volumes to this instance all the time")
		}
		t.log.Debug("attach will be tried again", "volume", t.id, "device", t.device, "err", err)
		if err := pause.For(bounded, jitter(t.volumes.cfg.Timing.Poll*time.Duration(try))); err != nil {
			if ctx.Err() != nil {
				return explain(ctx, err, doing)
			}
			return fmt.Errorf("%s: no success within %s", doing, t.volumes.cfg.Timing.AttachWait)
		}
	}
}

// place is where the last try was to attach the volume.
func (t *volume) place() string {
	if t.device == "" {
		return "choose a device name"
	}
	return "at " + t.device
}

// attachOnce makes one try. On an error it has looked whether the volume is
// attached all the same.
func (t *volume) attachOnce(ctx context.Context) error {
	v := t.volumes
	letter, err := v.reserve(ctx)
	if err != nil {
		return err
	}
	t.volumes.release(t.letter)
	t.letter, t.device = letter, "/dev/sd"+string(letter)
	fields := t.fields(map[string]string{
		"volume": string(t.id), "instance": v.cfg.Instance.ID, "device": t.device,
	})
	if t.joined == nil {
		t.joined, err = v.cfg.State.Intend(runstate.KindAttachment, fields)
	} else {
		err = t.joined.Update(fields)
	}
	if err != nil {
		return fmt.Errorf("note the attachment of volume %s: %w", t.id, err)
	}
	callCtx, cancel := t.call(ctx)
	defer cancel()
	_, err = v.client.AttachVolume(callCtx, &awsec2.AttachVolumeInput{
		VolumeId: awssdk.String(string(t.id)), InstanceId: &v.cfg.Instance.ID, Device: &t.device,
	})
	t.attachAsked = time.Now()
	if err == nil {
		return nil
	}
	got, lookErr := t.look(ctx)
	if lookErr != nil {
		return err // the next try, or the taking back, looks again
	}
	here, elsewhere := t.attachment(got)
	switch {
	case elsewhere != "":
		return fmt.Errorf("volume %s has been attached to %s by someone else", t.id, elsewhere)
	case here != nil:
		t.device = awssdk.ToString(here.Device)
		return nil
	}
	return err
}

// nameTaken tells whether the device name was the trouble. EC2 has used more
// than one code for it.
func nameTaken(err error) bool {
	k := aws.Code(err)
	return k == codeDeviceInUse || k == codeInvalidValue && strings.Contains(message(err), "already in use")
}

// letterOf finds the letter in a device name: /dev/sdf, /dev/xvdf and sdf1 are
// one place to EC2.
var letterOf = regexp.MustCompile(`^(?:/dev/)?(?:sd|xvd|hd)([a-z])[0-9]*$`)

// reserve chooses a letter that neither EC2 nor another job of this process nor
// a device of this machine uses, at random, so that processes rarely collide.
func (v *Volumes) reserve(ctx context.Context) (byte, error) {
	out, err := v.client.DescribeInstanceAttribute(ctx, &awsec2.DescribeInstanceAttributeInput{
		InstanceId: &v.cfg.Instance.ID, Attribute: types.InstanceAttributeNameBlockDeviceMapping,
	})
	if err != nil {
		return 0, err
	}
	used := map[byte]bool{}
	for _, m := range out.BlockDeviceMappings {
		if found := letterOf.FindStringSubmatch(awssdk.ToString(m.DeviceName)); found != nil {
			used[found[1][0]] = true
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, letters := range []string{firstLetters, moreLetters} {
		for _, i := range rand.Perm(len(letters)) {
			if l := letters[i]; !used[l] && !v.taken[l] && !v.dev.hasLetter(l) {
				v.taken[l] = true
				return l, nil
			}
		}
	}
	return 0, hint.Wrap(fmt.Errorf("instance %s has no free device name from /dev/sdf to /dev/sdz", v.cfg.Instance.ID),
		"detach volumes that are not needed, or run fewer --jobs")
}

func (v *Volumes) release(letter byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.taken, letter)
}

// awaitAttached waits until EC2 says that the volume is attached here.
func (t *volume) awaitAttached(ctx context.Context) error {
	v := t.volumes
	begun, state := time.Now(), "not attached yet"
	err := v.wait(ctx, v.cfg.Timing.AttachWait, func(ctx context.Context) (bool, error) {
		got, err := t.look(ctx)
		if errors.Is(err, errNoVolume) && !t.gone() {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		here, elsewhere := t.attachment(got)
		if elsewhere != "" {
			return false, fmt.Errorf("it has been attached to %s by someone else", elsewhere)
		}
		if here == nil {
			if time.Since(t.attachAsked) >= v.cfg.Timing.Settle {
				return false, errors.New("it is not attached any more: someone else has detached it")
			}
			return false, nil
		}
		state = string(here.State)
		if here.State == types.VolumeAttachmentStateDetaching {
			return false, errors.New("someone else is detaching it")
		}
		t.device = awssdk.ToString(here.Device)
		return here.State == types.VolumeAttachmentStateAttached, nil
	})
	if still := late(err, "volume %s is still %s at %s of %s after %s",
		t.id, state, t.device, v.cfg.Instance.ID, v.cfg.Timing.AttachWait); still != nil {
		return hint.Wrap(still, "try again; where it happens again and again, the instance has to be stopped and started, which frees the name")
	}
	if err != nil {
		return explain(ctx, err, fmt.Sprintf("wait for volume %s to be attached", t.id))
	}
	t.log.Info("volume is attached", "volume", t.id, "device", t.device, "elapsed", time.Since(begun).Round(time.Millisecond))
	return nil
}

// jitter is d give or take a half.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d+1)
}
