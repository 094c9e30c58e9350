package ec2

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/workflow"
)

const volumePage = 500 // volumes in a page of DescribeVolumes

// earlier looks for volumes that earlier runs made from a snapshot, and names them,
// since they cost money. None of them is read, unless the request wants a kept one:
// whoever kept it did so in order to use it, and only a volume that was made just now
// is known to hold what the snapshot holds. It returns the one that serves, if any.
func (v *Volumes) earlier(ctx context.Context, cancel context.CancelCauseFunc, r workflow.VolumeRequest, typ volumeType) (reused *volume, err error) {
	t := v.newVolume(r, typ)
	t.step("looking for earlier volumes")
	callCtx, done := t.call(ctx)
	defer done()
	found, err := t.tagged(callCtx)
	if err != nil {
		return nil, explain(ctx, err, fmt.Sprintf("look for volumes of %s", r.Snapshot.ID))
	}
	for _, got := range found {
		id := volumeID(awssdk.ToString(got.VolumeId))
		tags := tagMap(got.Tags)
		switch {
		case got.State == types.VolumeStateDeleting, got.State == types.VolumeStateDeleted:
		case tags[v.cfg.Tag] != kept:
			r.Log.Warn("another volume of this snapshot is left alone; it costs money while it exists",
				"volume", id, "state", got.State, "reason", whose(tags[v.ownerTag()]))
		case reused == nil && r.Reuse:
			reused, err = v.reuse(ctx, cancel, r, typ, got)
			if why, ok := errors.AsType[*unfitError](err); ok {
				t.tellOfKept(got, why)
			} else if err != nil {
				return nil, err
			}
		case reused != nil:
			t.tellOfKept(got, errors.New("another kept one serves"))
		default:
			t.tellOfKept(got, errors.New("it may have been written to since"))
		}
	}
	return reused, nil
}

// tellOfKept says why a kept volume is not read.
func (t *volume) tellOfKept(got types.Volume, why error) {
	v, id := t.volumes, volumeID(awssdk.ToString(got.VolumeId))
	here, elsewhere := t.attachment(got)
	remove := workflow.UnmountKept(filepath.Dir(v.cfg.State.Path()), id, v.removeCommand(id, here == nil && elsewhere == ""))
	t.log.Info("a kept volume is not read, and costs money while it exists",
		"volume", id, "state", got.State, "reason", why.Error(), "remove_with", remove)
}

// whose says what an owner tag tells of the volume it is on.
func whose(tag string) string {
	if tag == "" {
		return "it has no owner tag: no run of this program made it"
	}
	o, err := catalog.ParseOwner(tag)
	if err != nil {
		return "its owner tag cannot be read: " + err.Error()
	}
	return fmt.Sprintf("run %s on %s made it and did not keep it, last renewed %s", o.Run, o.Host, o.Renewed.UTC().Format(time.RFC3339))
}

// tagged are the volumes with our tag, made from the snapshot, in this zone.
func (t *volume) tagged(ctx context.Context) ([]types.Volume, error) {
	v := t.volumes
	return v.list(ctx,
		filter("tag-key", literal(v.cfg.Tag)),
		filter("snapshot-id", string(t.request.Snapshot.ID)),
		filter("availability-zone", v.cfg.Instance.Zone),
	)
}

// list are the volumes that pass the filters. Its error is the SDK's.
func (v *Volumes) list(ctx context.Context, filters ...types.Filter) ([]types.Volume, error) {
	var found []types.Volume
	pages := awsec2.NewDescribeVolumesPaginator(v.client, &awsec2.DescribeVolumesInput{
		MaxResults: awssdk.Int32(volumePage), Filters: filters,
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

// fields are what a command that finds the volume can be made of after a kill,
// with more. Of the owner tag the start stays: the rest is written anew with each
// renewal.
func (t *volume) fields(more map[string]string) map[string]string {
	v, o := t.volumes, t.request.Owner
	more["snapshot"] = string(t.request.Snapshot.ID)
	more["region"] = v.region()
	more["tag"] = v.cfg.Tag
	more["owner_tag"] = v.ownerTag()
	more["owner"] = o.String()
	more["owner_prefix"] = o.Host + "/" + o.Boot + "/" + o.Run + "/"
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
