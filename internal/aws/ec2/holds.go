package ec2

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

var _ workflow.HoldFinder = (*Catalog)(nil)

// The tags that AWS puts on snapshots which it manages itself (AWS Backup developer
// guide, "Tags on backups"; EBS user guide, "Amazon Data Lifecycle Manager": tags
// on snapshots).
const (
	backupTag    = "aws:backup:source-resource"
	lifecycleTag = "aws:dlm:lifecycle-policy-id"
)

// codeUnauthorized is what EC2 says where a right is missing.
const codeUnauthorized = "UnauthorizedOperation"

// holdsACall is how many values the filters of a call may have (EC2 API reference,
// Filter).
const holdsACall = 200

// Holds implements workflow.HoldFinder.
func (c *Catalog) Holds(ctx context.Context, s []snapshot.Snapshot) (workflow.Holds, error) {
	h := holding{catalog: c, of: map[snapshot.ID]map[workflow.Hold]bool{}}
	var ids []string
	for _, one := range s {
		if _, twice := h.of[one.ID]; twice {
			continue
		}
		h.of[one.ID] = map[workflow.Hold]bool{}
		ids = append(ids, string(one.ID))
		if source, ok := one.Tags[backupTag]; ok {
			h.of[one.ID][workflow.Hold{Kind: workflow.HoldBackup, By: source}] = true
		}
		if policy, ok := one.Tags[lifecycleTag]; ok {
			h.of[one.ID][workflow.Hold{Kind: workflow.HoldLifecycle, By: policy}] = true
		}
	}
	for _, look := range []struct {
		what, action string
		do           func(context.Context, []string) error
	}{
		{"AMIs", "DescribeImages", h.images},
		{"locks", "DescribeLockedSnapshots", h.locks},
	} {
		for chunk := range slices.Chunk(ids, holdsACall) {
			err := look.do(ctx, chunk)
			if aws.Code(err) == codeUnauthorized {
				h.unknown = append(h.unknown, fmt.Sprintf("%s: ec2:%s is not allowed", look.what, look.action))
				break
			}
			if err != nil {
				return workflow.Holds{}, explain(ctx, err, fmt.Sprintf("look for %s that hold snapshots in %s", look.what, c.region))
			}
		}
	}
	return h.answer(), nil
}

// holding is what was found; each hold once.
type holding struct {
	catalog *Catalog
	of      map[snapshot.ID]map[workflow.Hold]bool
	unknown []string
}

func (h *holding) answer() workflow.Holds {
	a := workflow.Holds{Of: map[snapshot.ID][]workflow.Hold{}, Unknown: h.unknown}
	for id, holds := range h.of {
		var all []workflow.Hold
		for hold := range holds {
			all = append(all, hold)
		}
		slices.SortFunc(all, func(a, b workflow.Hold) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.By, b.By))
		})
		if len(all) > 0 {
			a.Of[id] = all
		}
	}
	return a
}

// images finds this account's images that are made of the snapshots. Those that are
// disabled hold them too, and are not listed without being asked for.
func (h *holding) images(ctx context.Context, ids []string) error {
	pages := awsec2.NewDescribeImagesPaginator(h.catalog.client, &awsec2.DescribeImagesInput{
		Owners: []string{owner}, IncludeDisabled: awssdk.Bool(true), IncludeDeprecated: awssdk.Bool(true),
		Filters:    []types.Filter{{Name: awssdk.String("block-device-mapping.snapshot-id"), Values: ids}},
		MaxResults: awssdk.Int32(pageSize),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, image := range page.Images {
			for _, m := range image.BlockDeviceMappings {
				if m.Ebs != nil {
					h.add(awssdk.ToString(m.Ebs.SnapshotId), workflow.Hold{Kind: workflow.HoldImage, By: awssdk.ToString(image.ImageId)})
				}
			}
		}
	}
	return nil
}

// add: an image may be made of snapshots that nobody asked for.
func (h *holding) add(id string, hold workflow.Hold) {
	if holds := h.of[snapshot.ID(id)]; holds != nil {
		holds[hold] = true
	}
}

// locks finds the locks of the snapshots. A snapshot that is gone has none, and
// would have EC2 refuse the call for all the others.
func (h *holding) locks(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		in := &awsec2.DescribeLockedSnapshotsInput{SnapshotIds: ids}
		err := h.lockPages(ctx, in)
		if aws.Code(err) != codeSnapshotNotFound {
			return err
		}
		there := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return named(message(err), snapshot.ID(id)) })
		if len(there) < len(ids) {
			ids = there
			continue
		}
		if len(ids) == 1 {
			return nil
		}
		half := len(ids) / 2 // EC2 does not say which
		if err := h.locks(ctx, ids[:half]); err != nil {
			return err
		}
		ids = ids[half:]
	}
	return nil
}

func (h *holding) lockPages(ctx context.Context, in *awsec2.DescribeLockedSnapshotsInput) error {
	for {
		out, err := h.catalog.client.DescribeLockedSnapshots(ctx, in)
		if err != nil {
			return err
		}
		for _, s := range out.Snapshots {
			if s.LockState != types.LockStateExpired {
				h.add(awssdk.ToString(s.SnapshotId), workflow.Hold{Kind: workflow.HoldLock, By: spokenLock(s)})
			}
		}
		next := awssdk.ToString(out.NextToken)
		if next == "" || next == awssdk.ToString(in.NextToken) {
			return nil
		}
		in.NextToken = &next
	}
}

// spokenLock is a lock's state and end: "governance until 2027-01-31T00:00:00Z".
func spokenLock(s types.LockedSnapshotsInfo) string {
	text := string(s.LockState)
	if s.LockExpiresOn != nil {
		text += " until " + s.LockExpiresOn.UTC().Format(time.RFC3339)
	}
	return text
}
