package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// Stat tells of an object without reading it.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	doing := "look up " + key + " in bucket " + s.bucket
	info, err := s.head(ctx, key, types.ChecksumModeEnabled)
	switch aws.Status(err) {
	case 404:
		return objstore.Info{}, fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)
	case 400, 403:
		return s.statWithoutReason(ctx, key, doing, err)
	}
	return info, s.explain(err, doing)
}

// statWithoutReason goes on after a HEAD that was refused. Such an answer has no
// body and so no reason: the object may be missing (without s3:ListBucket), the
// credentials may have expired, or the checksum is behind a KMS key that these
// credentials may not use. A GET of one byte tells.
func (s *Store) statWithoutReason(ctx context.Context, key, doing string, headErr error) (objstore.Info, error) {
	_, err := do(s, func(c *awss3.Client) (struct{}, error) {
		out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: awssdk.String("bytes=0-0")})
		if err == nil {
			err = discard(out.Body)
		}
		return struct{}{}, err
	})
	switch code := aws.Code(err); {
	case code == "NoSuchKey", code == "AccessDenied" && !aboutKMS(err):
		return objstore.Info{}, fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)
	case err == nil, aboutKMS(err), code == "InvalidObjectState", code == "InvalidRange":
	default:
		return objstore.Info{}, s.explain(err, doing)
	}
	info, err := s.head(ctx, key, "")
	if err != nil {
		err = headErr
	}
	return info, s.explain(err, doing)
}

func (s *Store) head(ctx context.Context, key string, mode types.ChecksumMode) (objstore.Info, error) {
	out, err := do(s, func(c *awss3.Client) (*awss3.HeadObjectOutput, error) {
		return c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &s.bucket, Key: &key, ChecksumMode: mode})
	})
	if err != nil {
		return objstore.Info{}, err
	}
	class := string(out.StorageClass)
	if class == "" {
		class = "STANDARD" // S3 leaves the header out for it (S3 API reference, "HeadObject")
	}
	return objstore.Info{
		Key: key, Size: awssdk.ToInt64(out.ContentLength), ETag: awssdk.ToString(out.ETag),
		CRC64NVME: awssdk.ToString(out.ChecksumCRC64NVME), StorageClass: class,
		Metadata: out.Metadata, Modified: awssdk.ToTime(out.LastModified), Restore: awssdk.ToString(out.Restore),
		Encryption: objstore.Encryption{
			Mode: string(out.ServerSideEncryption), KMSKeyID: awssdk.ToString(out.SSEKMSKeyId),
		},
	}, nil
}

// Open reads an object from byte off to its end. When the connection is cut,
// reading goes on in a new request, as long as it is the same object.
func (s *Store) Open(ctx context.Context, key string, off int64) (io.ReadCloser, error) {
	r := &reader{key: key, off: off}
	r.open = func(off int64) (io.ReadCloser, error) { return s.get(ctx, r, off) }
	r.done = func() error { return context.Cause(ctx) }
	body, err := r.open(off)
	if err != nil {
		return nil, err
	}
	r.body = body
	return r, nil
}

// get starts one request for the rest of the object.
func (s *Store) get(ctx context.Context, r *reader, off int64) (io.ReadCloser, error) {
	doing := fmt.Sprintf("read %s in bucket %s", r.key, s.bucket)
	in := &awss3.GetObjectInput{Bucket: &s.bucket, Key: &r.key, IfMatch: optional(r.etag)}
	if off > 0 {
		in.Range = awssdk.String(fmt.Sprintf("bytes=%d-", off))
	}
	out, err := do(s, func(c *awss3.Client) (*awss3.GetObjectOutput, error) { return c.GetObject(ctx, in) })
	if err != nil {
		return nil, s.explainGet(err, doing, off)
	}
	if want := fmt.Sprintf("bytes %d-", off); off > 0 && !strings.HasPrefix(awssdk.ToString(out.ContentRange), want) {
		return nil, errors.Join(
			fmt.Errorf("%s: asked from byte %d on, the store sent %q", doing, off, awssdk.ToString(out.ContentRange)),
			out.Body.Close())
	}
	r.etag, r.size = awssdk.ToString(out.ETag), off+awssdk.ToInt64(out.ContentLength)
	return out.Body, nil
}

func (s *Store) explainGet(err error, doing string, off int64) error {
	switch code := aws.Code(err); {
	case code == "NoSuchKey":
		return fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)
	case code == "AccessDenied" && aboutKMS(err):
		return aws.ExplainWith(err, doing, "allow kms:Decrypt on the key that the object is encrypted with")
	case code == "AccessDenied":
		return hint.Wrap(fmt.Errorf("%s: %w", doing, objstore.ErrNotExist),
			"where the object is known to be there, allow s3:GetObject on "+s.bucket+"/*; s3:ListBucket lets S3 tell missing from forbidden")
	case code == "InvalidObjectState":
		return hint.Wrap(fmt.Errorf("%s: %w", doing, objstore.ErrArchived),
			"thaw it first: aws s3api restore-object")
	case code == "InvalidRange":
		return fmt.Errorf("%s: it has no byte %d", doing, off)
	case aws.Status(err) == 412:
		return fmt.Errorf("%s: the object was replaced while it was read", doing)
	}
	return s.explain(err, doing)
}

// How often a cut connection is replaced before enough bytes came in between.
const (
	reopenTries    = 5
	reopenProgress = 8 << 20 // bytes
)

// reader is an object's body across connections.
type reader struct {
	key   string
	etag  string
	off   int64
	size  int64 // of the object
	body  io.ReadCloser
	open  func(off int64) (io.ReadCloser, error)
	done  func() error // why the caller's context ended, or nil
	tries int
	moved int64 // bytes since the first of these tries
	err   error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	r.off += int64(n)
	if r.moved += int64(n); r.moved >= reopenProgress {
		r.tries, r.moved = 0, 0
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
	case r.off == r.size:
		err = io.EOF // the cut came after the last byte
	default:
		err = r.reopen(err)
	}
	r.err = err
	return n, err
}

// reopen goes on where the connection was cut.
func (r *reader) reopen(cut error) error {
	if err := r.done(); err != nil {
		return fmt.Errorf("read %s at byte %d: %w", r.key, r.off, err)
	}
	if r.tries++; r.tries > reopenTries {
		return aws.Explain(cut, fmt.Sprintf("read %s at byte %d, cut off %d times", r.key, r.off, reopenTries))
	}
	_ = r.body.Close() // it is broken: cut says how
	body, err := r.open(r.off)
	if err != nil {
		// Close must find a body that is closed already.
		r.body = io.NopCloser(strings.NewReader(""))
		return err
	}
	r.body = body
	return nil
}

// Close ends the request.
func (r *reader) Close() error { return r.body.Close() }
