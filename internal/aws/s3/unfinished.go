package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/objstore"
)

var _ objstore.Uploads = (*Store)(nil)

// Unfinished implements objstore.Uploads. It needs
// s3:ListBucketMultipartUploads on the bucket.
func (s *Store) Unfinished(ctx context.Context, prefix string) iter.Seq2[objstore.Unfinished, error] {
	doing := "list unfinished uploads in bucket " + s.bucket
	return func(yield func(objstore.Unfinished, error) bool) {
		in := &awss3.ListMultipartUploadsInput{
			Bucket: &s.bucket, Prefix: &prefix,
			EncodingType: types.EncodingTypeUrl, // keys can have what XML has not
		}
		for {
			out, err := do(s, func(c *awss3.Client) (*awss3.ListMultipartUploadsOutput, error) {
				return c.ListMultipartUploads(ctx, in)
			})
			if err != nil {
				yield(objstore.Unfinished{}, s.explain(err, doing))
				return
			}
			for _, u := range out.Uploads {
				one, err := unfinished(out.EncodingType, u)
				if err != nil {
					err = fmt.Errorf("%s: %w", doing, err)
				}
				if !yield(one, err) || err != nil {
					return
				}
			}
			if !awssdk.ToBool(out.IsTruncated) {
				return
			}
			key, err := decoded(out.EncodingType, awssdk.ToString(out.NextKeyMarker))
			if err == nil && key == awssdk.ToString(in.KeyMarker) && awssdk.ToString(out.NextUploadIdMarker) == awssdk.ToString(in.UploadIdMarker) {
				err = errors.New("the store gives the same page again and again")
			}
			if err != nil {
				yield(objstore.Unfinished{}, fmt.Errorf("%s: %w", doing, err))
				return
			}
			in.KeyMarker, in.UploadIdMarker = &key, out.NextUploadIdMarker
		}
	}
}

func unfinished(encoding types.EncodingType, u types.MultipartUpload) (objstore.Unfinished, error) {
	key, err := decoded(encoding, awssdk.ToString(u.Key))
	if err == nil && (key == "" || awssdk.ToString(u.UploadId) == "" || u.Initiated == nil) {
		err = errors.New("the store gives an upload without a key, an id or a time")
	}
	if err != nil {
		return objstore.Unfinished{}, err
	}
	return objstore.Unfinished{Key: key, ID: *u.UploadId, Begun: u.Initiated.UTC()}, nil
}

// decoded undoes the encoding of a key, which a store says that it has made.
func decoded(encoding types.EncodingType, text string) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return text, nil
	}
	return url.QueryUnescape(text)
}

// AbortUpload implements objstore.Uploads. A part that was on its way when its
// process died may still arrive after the first call: a second one follows.
func (s *Store) AbortUpload(ctx context.Context, key, id string) error {
	u := &upload{store: s, key: key, id: id}
	u.cut.Store(true)
	return u.Abort(ctx)
}
