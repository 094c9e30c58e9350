package ebs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"

	"snap-to-s3/internal/analyze"
	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
)

// maxEmpty is how many pages without a block may follow each other: a page may
// be empty and yet not the last (EBS direct APIs reference, MaxResults), but a
// list must come to its end.
const maxEmpty = 1000

// where is the place from which a page is asked for: a token, or an index, or
// the beginning.
type where struct {
	token *string
	from  *int32
}

type page[T any] struct {
	blocks    []T
	next      string // "": it is the last
	blockSize int32
}

// list is one list of blocks, by pages.
type list[T any] struct {
	doing string // "list blocks of snap-… in us-east-1"
	index func(T) int64
	wait  func(context.Context) error
	ask   func(context.Context, where) (page[T], error)
}

// all yields the whole list, or an error as its last element.
func (l list[T]) all(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		next, empty := int64(0), 0
		var at where
		for {
			p, err := l.page(ctx, at)
			if expired(err) && at.token != nil { // it is good for an hour; the place is known by its index, too
				at = where{from: awssdk.Int32(int32(next))}
				continue
			}
			if err != nil {
				yield(none, explain(ctx, err, l.doing))
				return
			}
			for _, b := range p.blocks {
				if l.index(b) < next {
					yield(none, strange(l.doing, fmt.Errorf("block %d comes behind block %d", l.index(b), next-1)))
					return
				}
				next = l.index(b) + 1
				if !yield(b, nil) {
					return
				}
			}
			if empty++; len(p.blocks) > 0 {
				empty = 0
			}
			switch {
			case p.next == "":
				return
			case p.next == awssdk.ToString(at.token), empty > maxEmpty:
				yield(none, strange(l.doing, errors.New("AWS gives pages without an end")))
				return
			}
			at = where{token: &p.next}
		}
	}
}

// page asks for one page. To the SDK nothing at all, and what is no list, is an
// empty last page; AWS always says how large a block is.
func (l list[T]) page(ctx context.Context, at where) (page[T], error) {
	if err := l.wait(ctx); err != nil {
		return page[T]{}, err
	}
	p, err := l.ask(ctx, at)
	if err == nil && p.blockSize != blockSize {
		err = fmt.Errorf("AWS says that a block has %d bytes, and not 524288", p.blockSize)
	}
	return p, err
}

// expired tells whether a token does not stand for a page any more.
func expired(err error) bool {
	e, ok := errors.AsType[*types.ValidationException](err)
	return ok && e.Reason == types.ValidationExceptionReasonInvalidPageToken
}

// refusedError is a failure that says nothing of other snapshots.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error        { return e.error }
func (e *refusedError) Is(target error) bool { return target == analyze.ErrBlocksRefused }

func strange(doing string, err error) error {
	return hint.Wrap(fmt.Errorf("%s: %w", doing, err), strangeList)
}

const strangeList = "see what AWS says of it: aws ebs list-snapshot-blocks; something between this machine and AWS may change answers"

// explain says what a failure means, and whether it is one of this snapshot alone
// (EBS direct APIs reference, "Errors", and the reasons of each exception).
func explain(ctx context.Context, err error, doing string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*smithy.OperationError](err); !ok {
		return strange(doing, err)
	}
	if e, ok := errors.AsType[*types.AccessDeniedException](err); ok {
		return denied(err, e, doing)
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return &refusedError{aws.ExplainWith(err, doing, "it may have been deleted just now; look at the region (--region) and the account of the credentials")}
	}
	e, ok := errors.AsType[*types.ValidationException](err)
	switch {
	case !ok:
		return aws.Explain(err, doing)
	case e.Reason == types.ValidationExceptionReasonUnrelatedSnapshots:
		return &refusedError{aws.ExplainWith(err, doing, "they have the same volume and share no blocks: one may be a copy, or was made after the volume had been replaced")}
	default:
		return &refusedError{aws.ExplainWith(err, doing, "blocks are listed of completed snapshots in the standard tier, of this account or shared with it; not of public ones and those on an Outpost")}
	}
}

// denied tells a right that is missing, which it is for all snapshots, from a key
// or a snapshot that is not for this account.
func denied(err error, e *types.AccessDeniedException, doing string) error {
	switch {
	case e.Reason == types.AccessDeniedExceptionReasonDependencyAccessDenied:
		return &refusedError{aws.ExplainWith(err, doing, "allow the use of its KMS key to these credentials; aws ec2 describe-snapshots shows which one it is")}
	case e.Reason == types.AccessDeniedExceptionReasonUnauthorizedAccount && !strings.Contains(e.ErrorMessage(), "not authorized to perform"):
		return &refusedError{hint.Wrap(fmt.Errorf("%s: it is not this account's to read (%s, %s)", doing, e.ErrorCode(), e.Reason),
			"a snapshot that another account shares must be copied first")}
	default:
		return aws.Explain(err, doing)
	}
}
