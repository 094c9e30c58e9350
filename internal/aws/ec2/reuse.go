package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/catalog"
)

const volumePage = 500 // volumes in a page of DescribeVolumes

// reuse looks for a volume of this snapshot that an earlier run kept, and takes
// it. What it finds and leaves alone, it names in a warning.
func (t *volume) reuse(ctx context.Context) (bool, error) {
	t.step("looking for a kept volume")
	callCtx, cancel := t.call(ctx)
	defer cancel()
	found, err := t.tagged(callCtx)
	if err != nil {
		return false, explain(ctx, err, fmt.Sprintf("look for volumes of %s", t.request.Snapshot.ID))
	}
	var best *types.Volume
	for i := range found {
		got := &found[i]
		if got.State == types.VolumeStateDeleting || got.State == types.VolumeStateDeleted {
			continue
		}
		if reason := t.unusable(*got); reason != "" {
			t.log.Warn("another volume of this snapshot is left alone; it costs money while it exists",
				"volume", awssdk.ToString(got.VolumeId), "state", got.State, "reason", reason)
			continue
		}
		if best == nil || got.State == types.VolumeStateInUse {
			best = got // one that is attached here already needs nothing more
		}
	}
	if best == nil {
		return false, nil
	}
	return t.takeOver(ctx, *best)
}

// tagged are the volumes with our tag, made from the snapshot, in this zone.
func (t *volume) tagged(ctx context.Context) ([]types.Volume, error) {
	v := t.volumes
	var found []types.Volume
	pages := awsec2.NewDescribeVolumesPaginator(v.client, &awsec2.DescribeVolumesInput{
		MaxResults: awssdk.Int32(volumePage),
		Filters: []types.Filter{
			filter("tag-key", literal(v.cfg.Tag)),
			filter("snapshot-id", string(t.request.Snapshot.ID)),
			filter("availability-zone", v.cfg.Instance.Zone),
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Volumes...)
	}
	return found, nil
}

// unusable says why the whole volume must not be read as the snapshot's image,
// or "". Only our own kept volumes that were never mounted are known to hold
// what the snapshot holds: the predecessor's have no owner tag, and it mounts.
func (t *volume) unusable(got types.Volume) string {
	tags := tagMap(got.Tags)
	here, elsewhere := t.attachment(got)
	_, mounted := tags[t.volumes.mountedTag()]
	o, err := catalog.ParseOwner(tags[t.volumes.ownerTag()])
	switch {
	case tags[t.volumes.ownerTag()] == "":
		return "it has no owner tag, so it may have been written to"
	case err != nil:
		return "its owner tag cannot be read: " + err.Error()
	case tags[t.volumes.cfg.Tag] != kept:
		return fmt.Sprintf("run %s on %s made it and did not keep it, last renewed %s",
			o.Run, o.Host, o.Renewed.UTC().Format(time.RFC3339))
	case mounted:
		return "it was mounted, so it may have been written to"
	case elsewhere != "":
		return "it is attached to " + elsewhere
	case int64(awssdk.ToInt32(got.Size)) != t.request.Snapshot.SizeGiB():
		return "its size is not the snapshot's any more"
	case got.State == types.VolumeStateInUse && (here == nil || here.State != types.VolumeAttachmentStateAttached),
		got.State != types.VolumeStateInUse && got.State != types.VolumeStateAvailable:
		return "it is not in a state to be used"
	}
	return ""
}

// takeOver makes a kept volume this run's.
func (t *volume) takeOver(ctx context.Context, got types.Volume) (bool, error) {
	v := t.volumes
	id := volumeID(awssdk.ToString(got.VolumeId))
	intent, err := v.cfg.State.Intend("volume", t.fields(map[string]string{"volume": string(id), "reused": "yes"}))
	if err != nil {
		return false, fmt.Errorf("note the use of volume %s: %w", id, err)
	}
	t.id, t.reused, t.made, t.ownerBefore = id, true, intent, tagMap(got.Tags)[v.ownerTag()]
	if here, _ := t.attachment(got); here != nil {
		t.wasAttached, t.device = true, awssdk.ToString(here.Device)
	}
	callCtx, cancel := t.call(ctx)
	defer cancel()
	err = setTags(callCtx, v.client, string(id), map[string]string{
		v.cfg.Tag: inProgress, v.ownerTag(): t.request.Owner.String(),
	})
	if err != nil {
		return false, err
	}
	t.log.Info("using kept volume", "volume", id)
	return true, nil
}

// fields are what finds the volume again after a kill, with more.
func (t *volume) fields(more map[string]string) map[string]string {
	v := t.volumes
	more["snapshot"] = string(t.request.Snapshot.ID)
	more["region"] = v.region()
	more["zone"] = v.cfg.Instance.Zone
	more["tag"] = v.cfg.Tag
	more["owner"] = t.request.Owner.String()
	return more
}

func (v *Volumes) region() string { return v.cfg.Session.Config.Region }

// errNone: no volume carries this run's owner tag for this snapshot.
var errNone = errors.New("no volume with this owner tag")

// search finds the volume of a CreateVolume whose answer is not known, by the
// owner tag that the call carried.
func (t *volume) search(ctx context.Context) (types.Volume, error) {
	found, err := t.tagged(ctx)
	if err != nil {
		return types.Volume{}, err
	}
	for _, got := range found {
		if tagMap(got.Tags)[t.volumes.ownerTag()] == t.request.Owner.String() &&
			got.State != types.VolumeStateDeleting && got.State != types.VolumeStateDeleted {
			return got, nil
		}
	}
	return types.Volume{}, errNone
}

// searchSettled searches until it finds, or until EC2 would show a volume if
// there were one.
func (t *volume) searchSettled(ctx context.Context) (found bool, err error) {
	deadline := time.Now().Add(t.volumes.cfg.Timing.Settle)
	err = t.volumes.wait(ctx, t.volumes.cfg.Timing.Settle+t.volumes.cfg.Timing.Call, func(ctx context.Context) (bool, error) {
		got, err := t.search(ctx)
		if errors.Is(err, errNone) {
			return time.Now().After(deadline), nil
		}
		if err == nil {
			t.id, found = volumeID(awssdk.ToString(got.VolumeId)), true
		}
		return err == nil, err
	})
	return found, err
}
