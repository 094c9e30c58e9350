package ec2

import (
	"context"
	"fmt"
	"iter"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/snapshot"
)

var _ analyze.Estate = (*Catalog)(nil)

// Owned implements analyze.Estate.
func (c *Catalog) Owned(ctx context.Context) iter.Seq2[analyze.OwnedSnapshot, error] {
	doing := "list the snapshots of " + c.region
	in := &awsec2.DescribeSnapshotsInput{OwnerIds: []string{owner}, MaxResults: awssdk.Int32(pageSize)}
	return func(yield func(analyze.OwnedSnapshot, error) bool) {
		for page, err := range c.pages(ctx, in) {
			if err != nil {
				yield(analyze.OwnedSnapshot{}, explain(ctx, err, doing))
				return
			}
			for _, s := range page {
				got, err := convert(s)
				if !yield(analyze.OwnedSnapshot{Snapshot: got, Account: awssdk.ToString(s.OwnerId)}, err) || err != nil {
					return
				}
			}
		}
	}
}

// Volumes implements analyze.Estate. Those that are being deleted are none.
func (c *Catalog) Volumes(ctx context.Context) iter.Seq2[analyze.EBSVolume, error] {
	doing := "list the volumes of " + c.region
	return func(yield func(analyze.EBSVolume, error) bool) {
		pages := awsec2.NewDescribeVolumesPaginator(c.client, &awsec2.DescribeVolumesInput{MaxResults: awssdk.Int32(volumePage)},
			func(o *awsec2.DescribeVolumesPaginatorOptions) { o.StopOnDuplicateToken = true })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(analyze.EBSVolume{}, explain(ctx, err, doing))
				return
			}
			for _, v := range page.Volumes {
				if v.State == types.VolumeStateDeleting || v.State == types.VolumeStateDeleted {
					continue
				}
				one := analyze.EBSVolume{
					ID: snapshot.VolumeID(awssdk.ToString(v.VolumeId)), Size: int64(awssdk.ToInt32(v.Size)) << 30, Name: tagMap(v.Tags)["Name"],
				}
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}

// everybody is who can make volumes of a public snapshot (EC2 API reference,
// DescribeSnapshots, RestorableBy).
const everybody = "all"

// Shared implements analyze.Estate. EC2 tells of no other accounts than those it
// is asked for, but for one call for each snapshot.
func (c *Catalog) Shared(ctx context.Context, with []string) (map[snapshot.ID]bool, error) {
	shared := map[snapshot.ID]bool{}
	in := &awsec2.DescribeSnapshotsInput{
		OwnerIds: []string{owner}, MaxResults: awssdk.Int32(pageSize), RestorableByUserIds: append([]string{everybody}, with...),
	}
	for page, err := range c.pages(ctx, in) {
		if err != nil {
			return nil, explain(ctx, err, fmt.Sprintf("look for snapshots in %s that are shared", c.region))
		}
		for _, s := range page {
			shared[snapshot.ID(awssdk.ToString(s.SnapshotId))] = true
		}
	}
	return shared, nil
}
