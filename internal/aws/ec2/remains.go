package ec2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// Remains finds and removes volumes that runs which are no more have left. It is
// safe for concurrent use.
type Remains struct{ cfg VolumesConfig }

var _ workflow.VolumeRemover = (*Remains)(nil)

// NewRemains returns a remover for the account and region of cfg's session. Of
// cfg, Tag, Protocol and State are not needed, and outside of an EC2 instance
// neither is Instance: then no volume counts as attached to this machine.
func NewRemains(cfg VolumesConfig) *Remains { return &Remains{cfg} }

// of is an opener for a tag, of which only what removes is used.
func (r *Remains) of(tag string) *Volumes {
	cfg := r.cfg
	cfg.Tag = tag
	return NewVolumes(cfg)
}

// Check implements workflow.VolumeRemover: EC2 knows this instance only for
// credentials of its account and in its region.
func (r *Remains) Check(ctx context.Context) error {
	v := r.of("")
	if v.cfg.Instance.ID == "" {
		return errors.New("see whose account this is: not on an EC2 instance")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, v.cfg.Timing.Call, fmt.Errorf("EC2 has not answered within %s", v.cfg.Timing.Call))
	defer cancel()
	_, err := v.client.DescribeInstanceAttribute(ctx, &awsec2.DescribeInstanceAttributeInput{
		InstanceId: &v.cfg.Instance.ID, Attribute: types.InstanceAttributeNameBlockDeviceMapping,
	})
	return explain(ctx, err, "see whether these credentials are of the account of "+v.cfg.Instance.ID)
}

// Find implements workflow.VolumeRemover.
func (r *Remains) Find(ctx context.Context, q workflow.VolumeQuery) ([]workflow.LeftVolume, error) {
	v := r.of(q.Tag)
	filters := []types.Filter{filter("tag-key", literal(q.Tag))}
	if q.ID != "" {
		filters = append(filters, filter("volume-id", string(q.ID)))
	}
	if o := q.Owner; o != (catalog.Identity{}) {
		filters = append(filters, filter("tag:"+v.ownerTag(), literal(o.Host+"/"+o.Boot+"/"+o.Run+"/")+"*"))
	}
	callCtx, cancel := context.WithTimeout(ctx, v.cfg.Timing.Call)
	defer cancel()
	found, err := v.list(callCtx, filters...)
	if err != nil {
		return nil, explain(ctx, err, fmt.Sprintf("list volumes tagged %s in %s", q.Tag, v.region()))
	}
	var all []workflow.LeftVolume
	for _, got := range found {
		if got.State != types.VolumeStateDeleting && got.State != types.VolumeStateDeleted {
			all = append(all, v.left(got))
		}
	}
	return all, nil
}

func (v *Volumes) left(got types.Volume) workflow.LeftVolume {
	tags, t := tagMap(got.Tags), &volume{volumes: v}
	l := workflow.LeftVolume{
		ID: volumeID(awssdk.ToString(got.VolumeId)), Snapshot: snapshot.ID(awssdk.ToString(got.SnapshotId)),
		SizeGiB: int64(awssdk.ToInt32(got.Size)), State: string(got.State),
		Value: tags[v.cfg.Tag], Owner: tags[v.ownerTag()], Created: awssdk.ToTime(got.CreateTime),
	}
	here, elsewhere := t.attachment(got)
	l.Instance = elsewhere
	if here != nil {
		l.Here = awssdk.ToString(here.Device)
		l.Node, _ = v.dev.find(l.ID, l.Here) // whoever removes it asks again
	}
	l.Command = v.removeCommand(l.ID, here == nil && elsewhere == "")
	return l
}

// RemoveLeft implements workflow.VolumeRemover.
func (r *Remains) RemoveLeft(ctx context.Context, q workflow.RemoveRequest) error {
	v := r.of(q.Tag)
	t := &volume{
		volumes: v, id: q.ID, settled: q.Settled, log: v.cfg.Log,
		request: workflow.VolumeRequest{Owner: catalog.Owner{Identity: q.Owner}, Step: q.Step},
	}
	switch {
	case q.Kept:
		t.guard = func(got types.Volume) error { return t.notKept(got, q.Seen) }
	case q.Owner == (catalog.Identity{}):
		t.guard = t.notNobodys
	default:
		t.guard = func(got types.Volume) error { return t.notThatRuns(got, q.Seen) }
	}
	t.idle = t.deviceIdle()
	return t.bringDown(ctx)
}

// notThatRuns says why a volume that a dead run has made is not to be touched.
// Unlike with one's own, a missing owner is a reason: the call that made the
// volume gave it one.
func (t *volume) notThatRuns(got types.Volume, seen string) error {
	tags := tagMap(got.Tags)
	text := tags[t.volumes.ownerTag()]
	o, err := catalog.ParseOwner(text)
	switch {
	case tags[t.volumes.cfg.Tag] == kept:
		return workflow.ErrKept
	case text == "":
		return fmt.Errorf("it has no tag %s any more, so that nothing proves whose it is", t.volumes.ownerTag())
	case err != nil || o.Identity != t.request.Owner.Identity, seen != "" && text != seen:
		return fmt.Errorf("%w: %s is %q", workflow.ErrForeign, t.volumes.ownerTag(), text)
	}
	return nil
}

// notKept is for a kept volume that a person has named: a run that has taken it over
// since has changed its tags.
func (t *volume) notKept(got types.Volume, seen string) error {
	tags := tagMap(got.Tags)
	if tags[t.volumes.cfg.Tag] != kept || tags[t.volumes.ownerTag()] != seen {
		return fmt.Errorf("%w: %s is %q, %s is %q", workflow.ErrForeign, t.volumes.cfg.Tag, tags[t.volumes.cfg.Tag],
			t.volumes.ownerTag(), tags[t.volumes.ownerTag()])
	}
	return nil
}

// notNobodys is for a volume without an owner: whoever made it may be at work.
func (t *volume) notNobodys(got types.Volume) error {
	tags := tagMap(got.Tags)
	here, elsewhere := t.attachment(got)
	switch {
	case tags[t.volumes.cfg.Tag] == kept:
		return workflow.ErrKept
	case tags[t.volumes.ownerTag()] != "":
		return fmt.Errorf("%w: it has an owner now: %s", workflow.ErrForeign, tags[t.volumes.ownerTag()])
	case tags[t.volumes.cfg.Tag] != inProgress:
		return fmt.Errorf("%w: its tag %s is %q", workflow.ErrForeign, t.volumes.cfg.Tag, tags[t.volumes.cfg.Tag])
	case here != nil || elsewhere != "":
		return hint.Wrap(fmt.Errorf("%w: it is attached, and nothing tells whether somebody reads it", workflow.ErrInUse),
			"if nobody does: "+t.volumes.removeCommand(t.id, false))
	}
	return nil
}

// heldFor is how long a device may be held before it is believed: the kernel takes
// away what a killed process had not at once, and what examines disks holds them
// for a moment.
const heldFor = 5 * time.Second

// deviceIdle tells whether nobody on this machine uses the device of an
// attachment: no mount, no loop device, nobody else who has it for himself.
func (t *volume) deviceIdle() func(context.Context, types.VolumeAttachment) (bool, error) {
	var since time.Time // it is held
	return func(ctx context.Context, here types.VolumeAttachment) (bool, error) {
		if here.State == types.VolumeAttachmentStateDetaching {
			return true, nil
		}
		path, err := t.volumes.dev.find(t.id, awssdk.ToString(here.Device))
		if path == "" || err != nil {
			return err == nil, err
		}
		source, err := block.OpenDevice(ctx, path)
		switch {
		case err == nil:
			return true, source.Close()
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENOMEDIUM), errors.Is(err, syscall.EIO):
			return true, nil // a device that does not work is in nobody's use
		case !errors.Is(err, syscall.EBUSY):
			return false, fmt.Errorf("see whether its device is in use: %w", err)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < min(heldFor, t.volumes.cfg.Timing.DetachWait/4) {
			return false, nil
		}
		return false, hint.Wrap(fmt.Errorf("%w: %w", workflow.ErrInUse, err), hint.Of(err))
	}
}
