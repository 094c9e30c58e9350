package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/objstore"
)

// How long a store may usually be silent while it puts an object together. S3 sends
// blanks meanwhile; others copy every part first.
const completePatience = 15 * time.Minute

// upload is one object on its way into the bucket. It implements
// objstore.Uploader.
type upload struct {
	store   *Store
	key     string
	options objstore.CreateOptions
	id      string
	cut     atomic.Bool // a part was under way when its context ended
}

// Begin starts the multipart upload. An answer that gets lost may leave an
// upload that nobody knows by its id: the retry makes another one. Such a one
// has no parts, costs nothing, and shows in ListMultipartUploads.
func (u *upload) Begin(ctx context.Context) (string, error) {
	err := u.store.speak(words{checksums: true}, func(w words) error {
		in := &awss3.CreateMultipartUploadInput{
			Bucket: &u.store.bucket, Key: &u.key, Metadata: u.options.Metadata,
			ContentType: optional(u.options.ContentType), Tagging: optional(tagging(u.options.Tags)),
			StorageClass:         types.StorageClass(u.options.StorageClass),
			ServerSideEncryption: types.ServerSideEncryption(u.options.Encryption.Mode),
			SSEKMSKeyId:          optional(u.options.Encryption.KMSKeyID),
		}
		if w.checksums {
			in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
		}
		out, err := do(u.store, func(c *awss3.Client) (*awss3.CreateMultipartUploadOutput, error) {
			return c.CreateMultipartUpload(ctx, in)
		})
		if err == nil {
			u.id = awssdk.ToString(out.UploadId)
		}
		return err
	})
	if err == nil && u.id == "" {
		err = errors.New("the store gave no upload id")
	}
	return u.id, u.explain(err, "begin the upload of "+u.key)
}

// UploadPart stores one part. A part that arrives damaged is sent again.
func (u *upload) UploadPart(ctx context.Context, p objstore.Part) (string, error) {
	known, _ := u.store.dialect.now()
	in := &awss3.UploadPartInput{
		Bucket: &u.store.bucket, Key: &u.key, UploadId: &u.id,
		PartNumber: awssdk.Int32(int32(p.Number)), //nolint:gosec // at most 10,000
		Body:       p.Body, ContentLength: &p.Size,
	}
	if known.checksums {
		in.ChecksumCRC64NVME = awssdk.String(objstore.FormatCRC64NVME(p.CRC64NVME))
	}
	out, err := do(u.store, func(c *awss3.Client) (*awss3.UploadPartOutput, error) {
		if _, err := p.Body.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("rewind the part: %w", err)
		}
		return c.UploadPart(ctx, in, bodyOptions)
	})
	if err == nil && awssdk.ToString(out.ETag) == "" {
		err = errors.New("the store gave no ETag")
	}
	if err != nil {
		if ctx.Err() != nil {
			u.cut.Store(true)
		}
		return "", u.explain(err, fmt.Sprintf("upload part %d of %s", p.Number, u.key))
	}
	return *out.ETag, nil
}

// bodyOptions are for requests with a body. It is not hashed for the
// signature: TLS, and the CRC64NVME that is signed, keep it.
func bodyOptions(o *awss3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	o.Retryer = retry.AddWithErrorCodes(o.Retryer, "BadDigest", "XAmzContentChecksumMismatch")
}

// Put stores a whole object in one request.
func (u *upload) Put(ctx context.Context, p objstore.Part) (objstore.Info, error) {
	info, err := u.commit(ctx, commit{
		name: "store " + u.key, size: p.Size, crc: p.CRC64NVME,
		send: func(ctx context.Context, w words) (objstore.Info, error) { return u.putOnce(ctx, p, w) },
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return u.probeConditions(ctx, p, info)
}

func (u *upload) putOnce(ctx context.Context, p objstore.Part, w words) (objstore.Info, error) {
	in := &awss3.PutObjectInput{
		Bucket: &u.store.bucket, Key: &u.key, Metadata: u.options.Metadata,
		Body: p.Body, ContentLength: &p.Size,
		ContentType: optional(u.options.ContentType), Tagging: optional(tagging(u.options.Tags)),
		StorageClass:         types.StorageClass(u.options.StorageClass),
		ServerSideEncryption: types.ServerSideEncryption(u.options.Encryption.Mode),
		SSEKMSKeyId:          optional(u.options.Encryption.KMSKeyID),
	}
	if w.checksums {
		in.ChecksumCRC64NVME = awssdk.String(objstore.FormatCRC64NVME(p.CRC64NVME))
	}
	if w.conditions {
		in.IfMatch, in.IfNoneMatch = u.condition()
	}
	out, err := do(u.store, func(c *awss3.Client) (*awss3.PutObjectOutput, error) {
		if _, err := p.Body.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("rewind the object: %w", err)
		}
		return c.PutObject(ctx, in, bodyOptions)
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return u.info(p.Size, told{
		etag: out.ETag, crc: out.ChecksumCRC64NVME,
		encryption: string(out.ServerSideEncryption), kmsKey: out.SSEKMSKeyId,
	}), nil
}

// Complete makes the parts an object.
func (u *upload) Complete(ctx context.Context, whole objstore.Whole) (objstore.Info, error) {
	return u.commit(ctx, commit{
		name: "complete the upload of " + u.key, size: whole.Size, crc: whole.CRC64NVME, multipart: true,
		send: func(ctx context.Context, w words) (objstore.Info, error) {
			return u.completeOnce(ctx, whole, w)
		},
	})
}

func (u *upload) completeOnce(ctx context.Context, whole objstore.Whole, w words) (objstore.Info, error) {
	parts := make([]types.CompletedPart, len(whole.Parts))
	for i, p := range whole.Parts {
		parts[i] = types.CompletedPart{
			ETag:       awssdk.String(p.ETag),
			PartNumber: awssdk.Int32(int32(p.Number)), //nolint:gosec // at most 10,000
		}
		if w.checksums {
			parts[i].ChecksumCRC64NVME = awssdk.String(objstore.FormatCRC64NVME(p.CRC64NVME))
		}
	}
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &u.store.bucket, Key: &u.key, UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	if w.checksums {
		in.ChecksumCRC64NVME = awssdk.String(objstore.FormatCRC64NVME(whole.CRC64NVME))
		in.ChecksumType = types.ChecksumTypeFullObject
		in.MpuObjectSize = &whole.Size
	}
	if w.conditions {
		in.IfMatch, in.IfNoneMatch = u.condition()
	}
	out, err := do(u.store, func(c *awss3.Client) (*awss3.CompleteMultipartUploadOutput, error) {
		return c.CompleteMultipartUpload(aws.Patient(ctx, u.store.options.Patience), in)
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return u.info(whole.Size, told{
		etag: out.ETag, crc: out.ChecksumCRC64NVME,
		encryption: string(out.ServerSideEncryption), kmsKey: out.SSEKMSKeyId,
	}), nil
}

// Abort takes the upload back. A part that was cut off may still arrive after
// the first call, so a second one follows (S3 API reference,
// "AbortMultipartUpload").
func (u *upload) Abort(ctx context.Context) error {
	calls := 1
	if u.cut.Load() {
		calls = 2
	}
	for range calls {
		gone, err := u.abortOnce(ctx)
		if err != nil {
			return u.leftUpload(err)
		}
		if gone {
			return nil
		}
	}
	return nil
}

// abortOnce tells whether there was nothing to abort any more.
func (u *upload) abortOnce(ctx context.Context) (gone bool, err error) {
	_, err = do(u.store, func(c *awss3.Client) (*awss3.AbortMultipartUploadOutput, error) {
		return c.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
			Bucket: &u.store.bucket, Key: &u.key, UploadId: &u.id,
		})
	})
	if aws.Code(err) == "NoSuchUpload" {
		return true, nil
	}
	return false, err
}

// told is what the answer to a write says of the object.
type told struct {
	etag, crc, kmsKey *string
	encryption        string
}

// info is what is known of an object just written; the store need not be asked again.
func (u *upload) info(size int64, t told) objstore.Info {
	class := u.options.StorageClass
	if class == "" {
		class = "STANDARD"
	}
	return objstore.Info{
		Key: u.key, Size: size, ETag: awssdk.ToString(t.etag), CRC64NVME: awssdk.ToString(t.crc),
		StorageClass: class, Metadata: maps.Clone(u.options.Metadata), Modified: u.store.session.Now(),
		Encryption: objstore.Encryption{Mode: t.encryption, KMSKeyID: awssdk.ToString(t.kmsKey)},
	}
}

// condition is the header that keeps what is there from being replaced.
func (u *upload) condition() (ifMatch, ifNoneMatch *string) {
	if u.options.IfMatch != "" {
		return awssdk.String(u.options.IfMatch), nil
	}
	return nil, awssdk.String("*")
}

// tagging writes tags as S3's header wants them: as a query string.
func tagging(tags []objstore.Tag) string {
	pairs := make([]string, len(tags))
	for i, t := range tags {
		pairs[i] = escape(t.Key) + "=" + escape(t.Value)
	}
	return strings.Join(pairs, "&")
}

// escape writes a blank as %20: not every store reads a plus as one.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

var _ objstore.Uploader = (*upload)(nil)
