package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/objstore"
)

// List implements objstore.Store. It needs s3:ListBucket on the bucket.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	doing := fmt.Sprintf("list the objects of bucket %s under %q", s.bucket, prefix)
	return func(yield func(objstore.Info, error) bool) {
		in := &awss3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: &prefix,
			EncodingType: types.EncodingTypeUrl, // keys can have what XML has not
		}
		for {
			out, err := do(s, func(c *awss3.Client) (*awss3.ListObjectsV2Output, error) { return c.ListObjectsV2(ctx, in) })
			if err != nil {
				yield(objstore.Info{}, s.explainList(err, doing))
				return
			}
			for _, o := range out.Contents {
				info, err := listed(out.EncodingType, o, prefix)
				if err != nil {
					err = fmt.Errorf("%s: %w", doing, err)
				}
				if !yield(info, err) || err != nil {
					return
				}
			}
			if !awssdk.ToBool(out.IsTruncated) {
				return
			}
			next := awssdk.ToString(out.NextContinuationToken)
			if next == "" || next == awssdk.ToString(in.ContinuationToken) {
				yield(objstore.Info{}, fmt.Errorf("%s: the store gives the same page again and again", doing))
				return
			}
			in.ContinuationToken = &next
		}
	}
}

// listed is an object as a list tells of it.
func listed(encoding types.EncodingType, o types.Object, prefix string) (objstore.Info, error) {
	key, err := decoded(encoding, awssdk.ToString(o.Key))
	switch {
	case err != nil:
		return objstore.Info{}, err
	case key == "" || o.Size == nil || *o.Size < 0 || awssdk.ToString(o.ETag) == "":
		return objstore.Info{}, errors.New("the store lists an object without a key, a size or an ETag")
	case !strings.HasPrefix(key, prefix):
		return objstore.Info{}, fmt.Errorf("the store lists %q, which is not under it", key)
	}
	return objstore.Info{
		Key: key, Size: *o.Size, ETag: *o.ETag, StorageClass: classOf(string(o.StorageClass)), Modified: awssdk.ToTime(o.LastModified),
	}, nil
}

// forbidden is an error of a call for which a right is missing.
type forbidden struct{ err error }

func (e *forbidden) Error() string   { return e.err.Error() }
func (e *forbidden) Unwrap() []error { return []error{e.err, objstore.ErrForbidden} }

func (s *Store) explainList(err error, doing string) error {
	if aws.Code(err) != "AccessDenied" {
		return s.explain(err, doing)
	}
	return &forbidden{aws.ExplainWith(err, doing, "allow s3:ListBucket on bucket "+s.bucket+" (the bucket itself, not "+s.bucket+"/*)")}
}
