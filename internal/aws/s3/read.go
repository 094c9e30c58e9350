package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
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
	case code == "NoSuchKey":
		return objstore.Info{}, fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)
	case code == "AccessDenied" && !aboutKMS(err):
		return objstore.Info{}, s.unseen(err, doing)
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
	return objstore.Info{
		Key: key, Size: awssdk.ToInt64(out.ContentLength), ETag: awssdk.ToString(out.ETag),
		CRC64NVME: awssdk.ToString(out.ChecksumCRC64NVME), StorageClass: classOf(string(out.StorageClass)),
		Metadata: out.Metadata, Modified: awssdk.ToTime(out.LastModified), Restore: awssdk.ToString(out.Restore),
		Encryption: objstore.Encryption{
			Mode: string(out.ServerSideEncryption), KMSKeyID: awssdk.ToString(out.SSEKMSKeyId),
		},
		ArchiveStatus: string(out.ArchiveStatus),
	}, nil
}

// classOf is a storage class as the tool names it: S3's answer to HEAD leaves
// STANDARD out (S3 API reference, "HeadObject").
func classOf(class string) string {
	if class == "" {
		return "STANDARD"
	}
	return class
}

// Open reads an object, or a range of it, in one request.
func (s *Store) Open(ctx context.Context, key string, r objstore.Range) (io.ReadCloser, error) {
	doing := fmt.Sprintf("read %s in bucket %s", key, s.bucket)
	if r.Off < 0 || r.Len < 0 {
		return nil, fmt.Errorf("%s: there are no %d bytes from byte %d on", doing, r.Len, r.Off)
	}
	in := &awss3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: optional(r.ETag), Range: optional(rangeHeader(r))}
	out, err := do(s, func(c *awss3.Client) (*awss3.GetObjectOutput, error) { return c.GetObject(ctx, in) })
	if err != nil {
		return nil, s.explainGet(err, doing, r)
	}
	want, err := answered(out, r)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", doing, err), out.Body.Close())
	}
	ended := func() error { return context.Cause(ctx) }
	return &body{ReadCloser: out.Body, bucket: s.bucket, left: want, ended: ended}, nil
}

func rangeHeader(r objstore.Range) string {
	switch {
	case r.Len > 0 && r.Off <= math.MaxInt64-r.Len:
		return fmt.Sprintf("bytes=%d-%d", r.Off, r.Off+r.Len-1)
	case r.Off > 0 || r.Len > 0:
		return fmt.Sprintf("bytes=%d-", r.Off)
	}
	return ""
}

var contentRange = regexp.MustCompile(`^bytes ([0-9]+)-[0-9]+/([0-9]+)$`)

// answered is how many bytes must come. What the store sends is held against what
// it was asked for: some ignore ranges, and some conditions.
func answered(out *awss3.GetObjectOutput, r objstore.Range) (int64, error) {
	if etag := awssdk.ToString(out.ETag); r.ETag != "" && etag != "" && strings.Trim(etag, `"`) != strings.Trim(r.ETag, `"`) {
		return 0, objstore.ErrChanged
	}
	if rangeHeader(r) == "" {
		if out.ContentLength == nil {
			return 0, errors.New("the store does not say how long the object is")
		}
		return *out.ContentLength, nil
	}
	got := awssdk.ToString(out.ContentRange)
	m := contentRange.FindStringSubmatch(got)
	if m == nil {
		return 0, fmt.Errorf("asked from byte %d on, the store sent %q", r.Off, got)
	}
	from, errFrom := strconv.ParseInt(m[1], 10, 64)
	size, errSize := strconv.ParseInt(m[2], 10, 64)
	if errFrom != nil || errSize != nil || from != r.Off || size <= from {
		return 0, fmt.Errorf("asked from byte %d on, the store sent %q", r.Off, got)
	}
	if r.Len > 0 {
		return min(r.Len, size-from), nil
	}
	return size - from, nil
}

// unseen is the error of an object that S3 neither gives nor says to be missing.
// Of one that is not there it names s3:ListBucket as what is lacking; where it names
// s3:GetObject, the object may well be there (both as S3 answers within an account,
// S3 user guide, "Troubleshoot access denied (403 Forbidden) errors in Amazon S3").
// Without either name nothing can be told.
func (s *Store) unseen(err error, doing string) error {
	if readRefusal.MatchString(err.Error()) {
		return &forbidden{aws.ExplainWith(err, doing, "allow s3:GetObject on "+s.bucket+"/* in the IAM policy of these credentials, and in the bucket's own")}
	}
	return hint.Wrap(&forbidden{fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)},
		"where the object is known to be there, allow s3:GetObject on "+s.bucket+"/*; s3:ListBucket lets S3 tell missing from forbidden")
}

var readRefusal = regexp.MustCompile(`not authorized to perform:? s3:GetObject\b`)

func (s *Store) explainGet(err error, doing string, r objstore.Range) error {
	switch code := aws.Code(err); {
	case code == "NoSuchKey" && r.ETag != "", aws.Status(err) == 412:
		return fmt.Errorf("%s: %w", doing, objstore.ErrChanged)
	case code == "NoSuchKey":
		return fmt.Errorf("%s: %w", doing, objstore.ErrNotExist)
	case code == "AccessDenied" && aboutKMS(err):
		return aws.ExplainWith(err, doing, "allow kms:Decrypt on the key that the object is encrypted with")
	case code == "AccessDenied":
		return s.unseen(err, doing)
	case code == "InvalidObjectState":
		return hint.Wrap(fmt.Errorf("%s: %w", doing, objstore.ErrArchived),
			"thaw it first: aws s3api restore-object")
	case code == "InvalidRange":
		return fmt.Errorf("%s: it has no byte %d", doing, r.Off)
	}
	return s.explain(err, doing)
}

// body is an answer that must have as many bytes as the store has said, and as were
// asked for: one that ends before is cut off. Its errors do not name the object: who
// reads knows which one, and at which byte he is.
type body struct {
	io.ReadCloser
	bucket string
	left   int64        // bytes
	ended  func() error // why the caller's context ended, or nil
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	doing := "receive from bucket " + b.bucket
	if int64(n) > b.left {
		return 0, fmt.Errorf("%s: the store sends more than it was asked for", doing)
	}
	b.left -= int64(n)
	switch {
	case err == nil, errors.Is(err, io.EOF) && b.left == 0:
		return n, err
	case b.ended() != nil:
		return n, fmt.Errorf("%s: %w", doing, b.ended())
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, aws.Explain(err, doing)
}
