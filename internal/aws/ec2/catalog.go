package ec2

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

const (
	pageSize  = 1000 // the most DescribeSnapshots gives in a page
	idsACall  = 200  // snapshot ids asked for in one call: answers stay small and fast
	owner     = "self"
	completed = string(snapshot.StateCompleted)
)

// Catalog lists this account's snapshots of one region and writes their tags.
// It is safe for concurrent use.
type Catalog struct {
	client *awsec2.Client
	region string
}

var (
	_ catalog.Catalog    = (*Catalog)(nil)
	_ catalog.WorkLister = (*Catalog)(nil)
)

// NewCatalog returns the catalog of the session's account and region.
func NewCatalog(s *aws.Session) *Catalog {
	return &Catalog{client: newClient(s), region: s.Config.Region}
}

// Snapshots implements catalog.Catalog. Chosen by tag, only completed snapshots
// come, in EC2's order; chosen by id, all states, in the order asked for, each
// once.
func (c *Catalog) Snapshots(ctx context.Context, f catalog.Filter) iter.Seq2[snapshot.Snapshot, error] {
	switch {
	case len(f.IDs) > 0:
		return c.byID(ctx, f.IDs)
	case f.Tag != "":
		return c.byTag(ctx, f.Tag, f.Value)
	}
	return func(yield func(snapshot.Snapshot, error) bool) {
		yield(snapshot.Snapshot{}, errors.New("list snapshots: neither ids nor a tag given"))
	}
}

// InWork implements catalog.WorkLister.
func (c *Catalog) InWork(ctx context.Context, tag string) iter.Seq2[snapshot.Snapshot, error] {
	doing := fmt.Sprintf("list snapshots that are worked on (%s) in %s", tag, c.region)
	inTag := types.Filter{Name: awssdk.String("tag:" + tag), Values: []string{
		// Of a claim in one value, more follows behind a blank.
		catalog.Migrating, catalog.Migrating + " *", catalog.Validating, catalog.Validating + " *",
	}}
	return func(yield func(snapshot.Snapshot, error) bool) {
		for _, f := range []types.Filter{inTag, filter("tag-key", literal(tag+"-owner"))} {
			in := &awsec2.DescribeSnapshotsInput{
				OwnerIds: []string{owner}, MaxResults: awssdk.Int32(pageSize), Filters: []types.Filter{f},
			}
			for page, err := range c.pages(ctx, in) {
				if err != nil {
					yield(snapshot.Snapshot{}, explain(ctx, err, doing))
					return
				}
				for _, s := range page {
					if got, err := convert(s); !yield(got, err) || err != nil {
						return
					}
				}
			}
		}
	}
}

func (c *Catalog) byTag(ctx context.Context, tag, value string) iter.Seq2[snapshot.Snapshot, error] {
	doing := fmt.Sprintf("list snapshots tagged %s=%s in %s", tag, value, c.region)
	in := &awsec2.DescribeSnapshotsInput{
		OwnerIds:   []string{owner},
		MaxResults: awssdk.Int32(pageSize),
		Filters:    []types.Filter{filter("tag:"+tag, literal(value)), filter("status", completed)},
	}
	return func(yield func(snapshot.Snapshot, error) bool) {
		for page, err := range c.pages(ctx, in) {
			if err != nil {
				yield(snapshot.Snapshot{}, explain(ctx, err, doing))
				return
			}
			for _, s := range page {
				got, err := convert(s)
				if err == nil && (got.Tags[tag] != value || got.State != snapshot.StateCompleted) {
					continue // the filter's view of the tags may be older than the answer's
				}
				if !yield(got, err) || err != nil {
					return
				}
			}
		}
	}
}

// pages yields the pages of one request, and what the SDK says of a failure. A
// page may be empty and yet not the last: the token alone tells.
func (c *Catalog) pages(ctx context.Context, in *awsec2.DescribeSnapshotsInput) iter.Seq2[[]types.Snapshot, error] {
	return func(yield func([]types.Snapshot, error) bool) {
		for in := *in; ; {
			out, err := c.client.DescribeSnapshots(ctx, &in)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(out.Snapshots, nil) {
				return
			}
			next := awssdk.ToString(out.NextToken)
			if next == "" {
				return
			}
			if next == awssdk.ToString(in.NextToken) {
				yield(nil, hint.Wrap(errors.New("EC2 gives the same page of snapshots again and again"), strangeList))
				return
			}
			in.NextToken = &next
		}
	}
}

func (c *Catalog) byID(ctx context.Context, ids []snapshot.ID) iter.Seq2[snapshot.Snapshot, error] {
	var unique []snapshot.ID
	seen := map[snapshot.ID]bool{}
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	return func(yield func(snapshot.Snapshot, error) bool) {
		for chunk := range slices.Chunk(unique, idsACall) {
			got, err := c.describe(ctx, chunk)
			if err != nil {
				yield(snapshot.Snapshot{}, err)
				return
			}
			for _, id := range chunk {
				s, ok := got[id]
				if !ok { // EC2 leaves out what is not visible, without an error
					yield(snapshot.Snapshot{}, c.unknown(id))
					return
				}
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// describe looks a chunk of ids up. Where EC2 refuses all of them for one and
// does not say which, each is asked for alone.
func (c *Catalog) describe(ctx context.Context, ids []snapshot.ID) (map[snapshot.ID]snapshot.Snapshot, error) {
	in := &awsec2.DescribeSnapshotsInput{OwnerIds: []string{owner}}
	for _, id := range ids {
		in.SnapshotIds = append(in.SnapshotIds, string(id))
	}
	found := make(map[snapshot.ID]snapshot.Snapshot, len(ids))
	for page, err := range c.pages(ctx, in) {
		switch k := aws.Code(err); {
		case err == nil:
		case k != codeSnapshotNotFound && k != codeSnapshotMalformed:
			return nil, explain(ctx, err, fmt.Sprintf("describe %s in %s", some(ids), c.region))
		case len(ids) == 1:
			return nil, c.unknown(ids[0])
		default:
			if i := slices.IndexFunc(ids, func(id snapshot.ID) bool { return named(message(err), id) }); i >= 0 {
				return nil, c.unknown(ids[i])
			}
			return c.describeEach(ctx, ids)
		}
		for _, s := range page {
			got, err := convert(s)
			if err != nil {
				return nil, err
			}
			found[got.ID] = got
		}
	}
	return found, nil
}

func (c *Catalog) describeEach(ctx context.Context, ids []snapshot.ID) (map[snapshot.ID]snapshot.Snapshot, error) {
	found := make(map[snapshot.ID]snapshot.Snapshot, len(ids))
	for _, id := range ids {
		one, err := c.describe(ctx, []snapshot.ID{id})
		if err != nil {
			return nil, err
		}
		for k, v := range one {
			found[k] = v
		}
	}
	return found, nil
}

func (c *Catalog) unknown(id snapshot.ID) error {
	return hint.Wrap(&catalog.UnknownError{Snapshot: id, Region: c.region},
		"check the id, the region (--region) and the account of the credentials; a snapshot that another account shares must be copied first")
}

// named tells whether text contains the whole id: a short id may be the start
// of a long one.
func named(text string, id snapshot.ID) bool {
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, string(id))
		if !ok {
			return false
		}
		if after == "" || !strings.Contains("0123456789abcdef", after[:1]) {
			return true
		}
		rest = after
	}
}

func some(ids []snapshot.ID) string {
	if len(ids) == 1 {
		return string(ids[0])
	}
	return fmt.Sprintf("%s and %d more snapshots", ids[0], len(ids)-1)
}

const strangeList = "see what AWS says of it: aws ec2 describe-snapshots --owner-ids self; something between this machine and AWS may change answers"

// convert translates EC2's snapshot; EC2 speaks GiB.
func convert(s types.Snapshot) (snapshot.Snapshot, error) {
	id, err := snapshot.ParseID(awssdk.ToString(s.SnapshotId))
	if err != nil {
		return snapshot.Snapshot{}, hint.Wrap(fmt.Errorf("read the list of snapshots: %w", err), strangeList)
	}
	if awssdk.ToInt32(s.VolumeSize) <= 0 || s.StartTime == nil {
		return snapshot.Snapshot{}, hint.Wrap(fmt.Errorf("read the list of snapshots: EC2 gives no size or start time for %s", id), strangeList)
	}
	return snapshot.Snapshot{
		ID:          id,
		VolumeID:    snapshot.VolumeID(awssdk.ToString(s.VolumeId)),
		Size:        int64(*s.VolumeSize) << 30,
		FullSize:    awssdk.ToInt64(s.FullSnapshotSizeInBytes),
		Start:       *s.StartTime,
		Description: awssdk.ToString(s.Description),
		Tags:        tagMap(s.Tags),
		State:       snapshot.State(s.State),
		StateReason: awssdk.ToString(s.StateMessage),
		// A snapshot restored for a while can be used like any other.
		Archived:  s.StorageTier == types.StorageTierArchive && s.RestoreExpiryTime == nil,
		Encrypted: awssdk.ToBool(s.Encrypted),
		KMSKeyID:  awssdk.ToString(s.KmsKeyId),
	}, nil
}
