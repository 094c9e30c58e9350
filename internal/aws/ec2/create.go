package ec2

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

// create makes the volume. What finds it again after a kill is on disk before
// the call: the client token and the owner tag, which the call itself carries.
func (t *volume) create(ctx context.Context) error {
	v, r := t.volumes, t.request
	t.step("creating volume")
	token := rand.Text()
	intent, err := v.cfg.State.Intend(runstate.KindVolume, t.fields(map[string]string{"token": token, "zone": v.cfg.Instance.Zone}))
	if err != nil {
		return fmt.Errorf("note the creation of a volume from %s: %w", r.Snapshot.ID, err)
	}
	t.made, t.mayExist = intent, true
	in := &awsec2.CreateVolumeInput{
		AvailabilityZone: awssdk.String(v.cfg.Instance.Zone),
		SnapshotId:       awssdk.String(string(r.Snapshot.ID)),
		VolumeType:       types.VolumeType(t.typ.name),
		ClientToken:      &token, // the SDK's retries carry it too: a lost answer makes no second volume
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeVolume,
			Tags: tagList(map[string]string{
				nameTag: nameValue, v.cfg.Tag: inProgress, v.ownerTag(): r.Owner.String(),
			}),
		}},
	}
	if n := t.typ.iops(r.Snapshot.SizeGiB()); n > 0 {
		in.Iops = &n
	}
	callCtx, cancel := t.call(ctx)
	defer cancel()
	out, err := v.client.CreateVolume(callCtx, in)
	if err != nil {
		return t.settleCreate(ctx, err)
	}
	t.id, t.kmsKey = volumeID(awssdk.ToString(out.VolumeId)), awssdk.ToString(out.KmsKeyId)
	t.mayExist = t.id == ""
	return t.noteCreated()
}

func (t *volume) noteCreated() error {
	if t.id == "" {
		return fmt.Errorf("create a volume from %s: EC2 gave no volume id", t.request.Snapshot.ID)
	}
	t.log.Info("created volume", "volume", t.id, "type", t.typ.name, "size_gib", t.request.Snapshot.SizeGiB())
	return t.noteID()
}

// noteID puts the volume's id in the state file.
func (t *volume) noteID() error {
	if err := t.made.Update(map[string]string{"volume": string(t.id)}); err != nil {
		return fmt.Errorf("note that volume %s was created: %w", t.id, err)
	}
	return nil
}

// settleCreate finds out whether a CreateVolume that returned an error took
// place all the same, and goes on with the volume if so.
func (t *volume) settleCreate(ctx context.Context, cause error) error {
	failed := t.explainCreate(ctx, cause)
	t.refused = aws.Code(cause) != "" && !unclear(cause)
	if ctx.Err() != nil || t.refused {
		return failed // takeBack looks for it
	}
	found, err := t.searchSettled(ctx)
	if err != nil {
		return failed
	}
	t.mayExist = false
	if !found {
		return failed
	}
	return t.noteCreated()
}

func (t *volume) explainCreate(ctx context.Context, err error) error {
	doing := fmt.Sprintf("create %s volume of %d GiB from %s in %s",
		t.typ.withArticle(), t.request.Snapshot.SizeGiB(), t.request.Snapshot.ID, t.volumes.cfg.Instance.Zone)
	switch aws.Code(err) {
	case codeVolumeLimit:
		return hint.Wrap(fmt.Errorf("%s: the account's quota of %s storage in %s is used up (%s: %s)",
			doing, t.typ.name, t.volumes.region(), aws.Code(err), message(err)),
			"delete volumes that are not needed, run fewer --jobs, choose another --volume-type, or have the EBS storage quota raised (Service Quotas)")
	case codeIOPSLimit:
		return hint.Wrap(fmt.Errorf("%s: the account's quota of provisioned IOPS in %s is used up (%s: %s)",
			doing, t.volumes.region(), aws.Code(err), message(err)),
			"use --volume-type gp3, which needs no provisioned IOPS")
	}
	return explain(ctx, err, doing)
}

// awaitAvailable waits until the volume can be attached.
func (t *volume) awaitAvailable(ctx context.Context) error {
	v := t.volumes
	t.step("waiting for volume %s", t.id)
	begun, state := time.Now(), "not known to EC2 yet"
	err := v.wait(ctx, v.cfg.Timing.VolumeWait, func(ctx context.Context) (bool, error) {
		got, err := t.look(ctx)
		if errors.Is(err, errNoVolume) {
			if t.gone() {
				return false, t.broken("it vanished while it was being made")
			}
			return false, nil
		}
		if err != nil {
			return false, err
		}
		state = string(got.State)
		switch got.State {
		case types.VolumeStateAvailable:
			return true, nil
		case types.VolumeStateCreating:
			return false, nil
		case types.VolumeStateError:
			return false, t.broken("it went into state error while it was being made")
		}
		return false, fmt.Errorf("it is %s: someone else has taken or deleted it", state)
	})
	if still := late(err, "volume %s of %s is still %s after %s", t.id, t.request.Snapshot.ID, state, v.cfg.Timing.VolumeWait); still != nil {
		return hint.Wrap(still, "see whether AWS Health reports a problem with EBS in "+v.cfg.Instance.Zone+", and try again later")
	}
	if err != nil {
		return explain(ctx, err, fmt.Sprintf("create volume %s of %s", t.id, t.request.Snapshot.ID))
	}
	t.log.Info("volume is available", "volume", t.id, "elapsed", time.Since(begun).Round(time.Millisecond))
	return nil
}

// broken is the error of a volume that EC2 could not make. A KMS key that must
// not be used shows in this way alone: CreateVolume succeeds and the volume
// fails later (EC2 API reference, CreateVolume).
func (t *volume) broken(what string) error {
	err := errors.New(what)
	key := t.kmsKey
	if key == "" {
		key = t.request.Snapshot.KMSKeyID
	}
	if key == "" {
		return hint.Wrap(err, "EC2 gives no reason for this; if the account encrypts new volumes by default, "+
			"check that its default KMS key is enabled and that these credentials may use it")
	}
	return hint.Wrap(fmt.Errorf("%w: most likely its KMS key %s could not be used", err, key),
		"check that key "+strconv.Quote(key)+" is enabled and that its policy lets these credentials do kms:CreateGrant, kms:Decrypt, "+
			"kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt* through EC2")
}
