package ec2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sys/unix"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// unfitError says why a kept volume does not serve. It is as it was, but for what
// was mounted of it.
type unfitError struct{ error }

func (e *unfitError) Unwrap() error { return e.error }

// reuse makes a kept volume this run's, attached and open. Where it does not serve
// the error is an unfitError.
//
// The volume is noted in this run's state file before its tags are changed, and
// struck from that of the run that kept it at the end alone, whose file is locked
// until then. So whoever is killed leaves it to be swept, or as it was.
func (v *Volumes) reuse(ctx context.Context, cancel context.CancelCauseFunc, r workflow.VolumeRequest, typ volumeType, got types.Volume) (*volume, error) {
	t := v.newVolume(r, typ)
	t.id, t.kmsKey, t.reused = volumeID(awssdk.ToString(got.VolumeId)), awssdk.ToString(got.KmsKeyId), true
	old, err := t.fits(got)
	if err != nil {
		return nil, &unfitError{err}
	}
	defer func() {
		if err := old.Close(); err != nil {
			t.log.Warn("state file of an earlier run could not be ended", "run", old.Owner().Run, "err", err)
		}
	}()
	if err := t.adopt(ctx, cancel, got, old); err != nil {
		return nil, t.giveBack(ctx, got, err)
	}
	if err := old.Done(); err != nil {
		t.log.Warn("a volume that serves again could not be struck from the state file of the run that kept it",
			"volume", t.id, "run", old.Owner().Run, "err", err)
	}
	t.log.Info("a kept volume serves again", "volume", t.id, "device", t.device, "kept_by", old.Owner().Run)
	return t, nil
}

// fits takes the volume from the run that kept it, if that is no more and the volume
// is of use.
func (t *volume) fits(got types.Volume) (*workflow.KeptVolume, error) {
	v, tags := t.volumes, tagMap(got.Tags)
	here, elsewhere := t.attachment(got)
	o, err := catalog.ParseOwner(tags[v.ownerTag()])
	switch {
	case elsewhere != "":
		return nil, fmt.Errorf("it is attached to %s", elsewhere)
	case here != nil && here.State != types.VolumeAttachmentStateAttached:
		return nil, fmt.Errorf("it is %s", here.State)
	case here == nil && got.State != types.VolumeStateAvailable:
		return nil, fmt.Errorf("it is %s", got.State)
	case int64(awssdk.ToInt32(got.Size)) != t.request.Snapshot.SizeGiB():
		return nil, fmt.Errorf("it has %d GiB by now, the snapshot %d", awssdk.ToInt32(got.Size), t.request.Snapshot.SizeGiB())
	case snapshot.ID(awssdk.ToString(got.SnapshotId)) != t.request.Snapshot.ID:
		return nil, fmt.Errorf("it was made from %s", awssdk.ToString(got.SnapshotId))
	case err != nil:
		return nil, fmt.Errorf("its owner tag cannot be read: %w", err)
	}
	if n := touched(tags[v.mountedTag()], t.request.Raw); n != "" {
		return nil, fmt.Errorf("%s of it was mounted, which may have written to it", n)
	}
	return workflow.TakeKept(filepath.Dir(v.cfg.State.Path()), t.request.Owner.Identity, o.Identity, t.id)
}

// touched names what was mounted of what is to be read raw, "" where nothing was. In
// both lists 0 is the whole disk.
func touched(mounted string, raw []int) string {
	for _, text := range strings.FieldsFunc(mounted, isComma) {
		n, err := strconv.Atoi(text)
		switch {
		case len(raw) == 0:
		case err != nil:
			return strconv.Quote(text)
		case n == 0:
			return "the whole disk"
		case slices.Contains(raw, 0) || slices.Contains(raw, n):
			return "partition " + text
		}
	}
	return ""
}

// adopt takes the volume over. What it had done when it fails, giveBack undoes.
func (t *volume) adopt(ctx context.Context, cancel context.CancelCauseFunc, got types.Volume, old *workflow.KeptVolume) error {
	t.step("taking over kept volume %s", t.id)
	here, _ := t.attachment(got)
	if err := t.free(ctx, here, old); err != nil {
		return err
	}
	if here != nil {
		if err := t.openDevice(ctx); err != nil {
			return err
		}
	}
	if err := t.noteAdoption(here != nil); err != nil {
		return err
	}
	if err := t.takeOver(ctx, old.Owner()); err != nil {
		return err
	}
	t.stop = t.volumes.cfg.Protocol.Hold(ctx, cancel, held{t.volumes, t.id}, t.request.Owner)
	if here == nil {
		if err := t.attach(ctx); err != nil {
			return err
		}
		if err := t.awaitAttached(ctx); err != nil {
			return err
		}
		if err := t.openDevice(ctx); err != nil {
			return err
		}
	}
	return t.dropPages()
}

// free ends what the run that kept the volume has mounted of it, but only where
// nobody else has it: people keep a volume in order to use it.
func (t *volume) free(ctx context.Context, here *types.VolumeAttachment, old *workflow.KeptVolume) error {
	if here == nil {
		return old.Free(ctx, "")
	}
	t.device = awssdk.ToString(here.Device)
	path, err := t.volumes.dev.find(t.id, t.device)
	if err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("it is attached at %s, and has no device on this machine", t.device)
	}
	if err := nobodyHas(ctx, path); err != nil {
		return err
	}
	return old.Free(ctx, path)
}

// nobodyHas makes sure that no mount and nobody else has a device for himself. Loop
// devices over it do not show in this way.
func nobodyHas(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		return nil
	}
	answer := make(chan error, 1) // a device may not answer the open
	go func() {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
		if err == nil {
			err = f.Close()
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("%w: %w", workflow.ErrInUse, err)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// noteAdoption tells the state file of a volume that is about to be this run's.
func (t *volume) noteAdoption(attached bool) (err error) {
	v := t.volumes
	t.made, err = v.cfg.State.Intend(runstate.KindVolume, t.fields(map[string]string{
		"volume": string(t.id), "zone": v.cfg.Instance.Zone,
	}))
	if err == nil && attached {
		t.joined, err = v.cfg.State.Intend(runstate.KindAttachment, t.fields(map[string]string{
			"volume": string(t.id), "instance": v.cfg.Instance.ID, "device": t.device,
		}))
	}
	if err != nil {
		return fmt.Errorf("note that volume %s is taken over: %w", t.id, err)
	}
	return nil
}

// takeOver writes this run's tags on the volume.
func (t *volume) takeOver(ctx context.Context, from catalog.Identity) error {
	v, doing := t.volumes, fmt.Sprintf("take over kept volume %s", t.id)
	callCtx, cancel := t.call(ctx)
	defer cancel()
	got, err := t.look(callCtx)
	if err == nil {
		err = t.stillKept(got, from)
	}
	if err != nil {
		return explain(ctx, err, doing)
	}
	t.taken = true
	err = setTags(callCtx, v.client, string(t.id), map[string]string{
		v.cfg.Tag: inProgress, v.ownerTag(): t.request.Owner.String(),
	})
	t.untouched = aws.Code(err) != "" && !unclear(err)
	if err == nil {
		err = t.awaitTags(ctx)
	}
	return explain(ctx, err, doing)
}

// awaitTags waits until EC2 shows that the volume is this run's: until then it would
// be taken for another's.
func (t *volume) awaitTags(ctx context.Context) error {
	timing := t.volumes.cfg.Timing
	err := t.volumes.wait(ctx, timing.Settle+timing.Call, func(ctx context.Context) (bool, error) {
		got, err := t.look(ctx)
		if errors.Is(err, errNoVolume) && !t.gone() {
			return false, nil
		}
		return err == nil && t.otherOwner(got) == nil, err
	})
	if still := late(err, "its tags do not show after %s", timing.Settle+timing.Call); still != nil {
		return still
	}
	return err
}

// stillKept says what has become of a volume since it was listed.
func (t *volume) stillKept(got types.Volume, from catalog.Identity) error {
	tags := tagMap(got.Tags)
	here, elsewhere := t.attachment(got)
	o, err := catalog.ParseOwner(tags[t.volumes.ownerTag()])
	switch {
	case tags[t.volumes.cfg.Tag] != kept, err != nil, o.Identity != from:
		return fmt.Errorf("it has changed hands: %s is %q, %s is %q", t.volumes.cfg.Tag, tags[t.volumes.cfg.Tag],
			t.volumes.ownerTag(), tags[t.volumes.ownerTag()])
	case elsewhere != "":
		return fmt.Errorf("it is attached to %s now", elsewhere)
	case (here != nil) != (t.joined != nil), got.State != types.VolumeStateAvailable && got.State != types.VolumeStateInUse:
		return fmt.Errorf("it is %s now", got.State)
	}
	return nil
}

// dropPages makes sure that what is read comes from the volume: it was mounted and
// read before, and while anybody has its device open the page cache keeps that.
func (t *volume) dropPages() error {
	f, err := os.OpenFile(t.node, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("drop cached pages of %s: %w", t.node, err)
	}
	err = unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0)
	if errors.Is(err, unix.ENOTTY) { // the image that stands for a device in a sandbox
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("drop cached pages of %s: %w", t.node, err)
	}
	return nil
}
