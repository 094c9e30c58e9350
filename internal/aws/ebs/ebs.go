// Package ebs lists the blocks of snapshots, on the EBS direct APIs. It needs the
// rights ebs:ListSnapshotBlocks and ebs:ListChangedBlocks. It refuses to take half
// a list for a whole one: an answer that does not say how large a block is, or
// that is out of order, is an error. It reads no block, and decides nothing.
package ebs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/snapshot"
)

const (
	blockSize = 512 << 10 // EBS user guide, "EBS direct APIs concepts"
	pageSize  = 10_000    // the most MaxResults may be (EBS direct APIs reference, ListSnapshotBlocks)

	// usualRate leaves a fifth of the 50 requests a second that an account has
	// in a region for each kind of list, and cannot have raised, to others.
	usualRate = 40
)

// Config is what lists need.
type Config struct {
	Session   *aws.Session
	PerSecond int // requests of each kind; less than 1: 40
}

// Lists lists blocks of the snapshots of the session's region. It is safe for
// concurrent use; all who share it share its pace.
type Lists struct {
	client   *awsebs.Client
	region   string
	blocks   pace
	changed  pace
	requests atomic.Int64
}

var _ analyze.BlockLists = (*Lists)(nil)

// New returns the lists of the session's region.
func New(c Config) *Lists {
	if c.PerSecond < 1 {
		c.PerSecond = usualRate
	}
	every := time.Second / time.Duration(c.PerSecond)
	return &Lists{
		client: awsebs.NewFromConfig(c.Session.Config), region: c.Session.Config.Region,
		blocks: pace{every: every}, changed: pace{every: every},
	}
}

// Requests is how many requests were made so far, without the repetitions of
// those that failed.
func (l *Lists) Requests() int64 { return l.requests.Load() }

// Blocks implements analyze.BlockLists.
func (l *Lists) Blocks(ctx context.Context, id snapshot.ID) iter.Seq2[int64, error] {
	list := list[int64]{
		doing: fmt.Sprintf("list blocks of %s in %s", id, l.region),
		index: func(i int64) int64 { return i },
		wait:  l.blocks.wait,
	}
	list.ask = func(ctx context.Context, w where) (page[int64], error) {
		l.requests.Add(1)
		out, err := l.client.ListSnapshotBlocks(ctx, &awsebs.ListSnapshotBlocksInput{
			SnapshotId: awssdk.String(string(id)), MaxResults: awssdk.Int32(pageSize), NextToken: w.token, StartingBlockIndex: w.from,
		})
		if err != nil {
			return page[int64]{}, err
		}
		p := page[int64]{next: awssdk.ToString(out.NextToken), blockSize: awssdk.ToInt32(out.BlockSize)}
		for _, b := range out.Blocks {
			if b.BlockIndex == nil {
				return p, errNoIndex
			}
			p.blocks = append(p.blocks, int64(*b.BlockIndex))
		}
		return p, nil
	}
	return list.all(ctx)
}

// Changed implements analyze.BlockLists.
func (l *Lists) Changed(ctx context.Context, first, second snapshot.ID) iter.Seq2[analyze.BlockChange, error] {
	list := list[analyze.BlockChange]{
		doing: fmt.Sprintf("list blocks that changed from %s to %s in %s", first, second, l.region),
		index: func(c analyze.BlockChange) int64 { return c.Index },
		wait:  l.changed.wait,
	}
	list.ask = func(ctx context.Context, w where) (page[analyze.BlockChange], error) {
		l.requests.Add(1)
		out, err := l.client.ListChangedBlocks(ctx, &awsebs.ListChangedBlocksInput{
			FirstSnapshotId: awssdk.String(string(first)), SecondSnapshotId: awssdk.String(string(second)),
			MaxResults: awssdk.Int32(pageSize), NextToken: w.token, StartingBlockIndex: w.from,
		})
		if err != nil {
			return page[analyze.BlockChange]{}, err
		}
		p := page[analyze.BlockChange]{next: awssdk.ToString(out.NextToken), blockSize: awssdk.ToInt32(out.BlockSize)}
		p.blocks, err = changes(out.ChangedBlocks)
		return p, err
	}
	return list.all(ctx)
}

var (
	errNoIndex = errors.New("AWS lists a block without its index")
	errNoToken = errors.New("AWS lists a changed block that neither snapshot holds")
)

// changes reads a page. A token stands for each snapshot that holds the block.
func changes(listed []types.ChangedBlock) ([]analyze.BlockChange, error) {
	all := make([]analyze.BlockChange, 0, len(listed))
	for _, b := range listed {
		switch {
		case b.BlockIndex == nil:
			return nil, errNoIndex
		case b.FirstBlockToken == nil && b.SecondBlockToken == nil:
			return nil, errNoToken
		}
		all = append(all, analyze.BlockChange{Index: int64(*b.BlockIndex), Gone: b.SecondBlockToken == nil})
	}
	return all, nil
}
