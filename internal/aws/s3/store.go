// Package s3 is an objstore.Store on Amazon S3 or a store that speaks its
// protocol. It owns what is peculiar to S3: regions, conditional writes,
// answers that got lost, archive classes, and stores that know less than
// Amazon's. It deletes no objects; uploads that others left unfinished it lists and
// aborts.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// Options changes how a bucket is used. The zero value is right for Amazon S3.
type Options struct {
	Region       string          // of the bucket, where it is known; else it is learned from S3
	Limits       objstore.Limits // of the store; S3's where zero
	UsePathStyle bool            // bucket in the path, not in the host name; always so with an own endpoint
	Conditions   Conditions      // whether the store honours conditional writes, where it is known
	// Patience is how long a store may be silent while it puts an object together;
	// 0: 15 minutes.
	Patience time.Duration
	Log      *slog.Logger
}

// Store is one bucket. It implements objstore.Store.
type Store struct {
	session *aws.Session
	bucket  string
	options Options
	log     *slog.Logger
	custom  bool
	dialect dialect

	seen   atomic.Pointer[string] // the bucket's region as S3 told it
	amazon atomic.Bool            // an answer said that it is Amazon's
	moving sync.Mutex
	moved  bool
	client atomic.Pointer[awss3.Client]
}

// ErrNoBucket says that the bucket does not exist.
var ErrNoBucket = errors.New("no such bucket")

// New returns a bucket as a Store. It asks the network for nothing.
func New(s *aws.Session, bucket string, o Options) (*Store, error) {
	if bucket == "" {
		return nil, hint.Wrap(errors.New("no bucket is named"), "name it: --bucket")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Patience == 0 {
		o.Patience = completePatience
	}
	st := &Store{session: s, bucket: bucket, options: o, log: o.Log.With("bucket", bucket)}
	client := st.newClient(o.Region)
	if endpoint := client.Options().BaseEndpoint; endpoint != nil {
		parsed, err := url.Parse(*endpoint)
		if err != nil || parsed.Host == "" {
			return nil, hint.Wrap(fmt.Errorf("the S3 endpoint %q is no URL", *endpoint),
				"write it as https://host:port in --endpoint-url or AWS_ENDPOINT_URL_S3")
		}
		st.custom = !aws.IsAWSHost(parsed.Hostname())
	}
	st.dialect.start(st.custom, o.Conditions)
	st.client.Store(client)
	return st, nil
}

// CustomEndpoint tells whether the bucket is not Amazon's: such a store may not
// honour conditional writes, and has other prices and limits.
func (s *Store) CustomEndpoint() bool { return s.custom }

// Endpoint is where the store is asked, "" for Amazon's usual place.
func (s *Store) Endpoint() string {
	return awssdk.ToString(s.client.Load().Options().BaseEndpoint)
}

// SaysAmazon tells whether the store has named itself as Amazon S3 does, in the
// Server header of its answers (S3 API reference, "Common response headers"):
// false as long as nothing was asked. A proxy passes it on; other stores have
// names of their own there, also those that name a bucket's region.
func (s *Store) SaysAmazon() bool { return s.amazon.Load() }

func (s *Store) newClient(region string) *awss3.Client {
	return awss3.NewFromConfig(s.session.Config, func(o *awss3.Options) {
		if region != "" {
			o.Region = region
		}
		if s.session.S3Endpoint != "" {
			o.BaseEndpoint = awssdk.String(s.session.S3Endpoint)
		}
		o.UsePathStyle = s.options.UsePathStyle || o.BaseEndpoint != nil
		// Checksums are ours: the SDK's own CRC64NVME is thirteen times slower.
		o.RequestChecksumCalculation = awssdk.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = awssdk.ResponseChecksumValidationWhenRequired
		o.APIOptions = append(o.APIOptions, s.observe)
	})
}

// observe looks at each attempt's answer: S3 tells the bucket's region with
// most of them, and one that did not come may have had its effect.
func (s *Store) observe(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("SnapToS3Answer",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
			middleware.DeserializeOutput, middleware.Metadata, error,
		) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			response, _ := out.RawResponse.(*smithyhttp.Response)
			if err != nil && mayHaveEffect(response, err) {
				countLost(ctx)
			}
			if response != nil {
				if region := response.Header.Get("X-Amz-Bucket-Region"); region != "" {
					s.seen.Store(&region)
				}
				if response.Header.Get("Server") == "AmazonS3" {
					s.amazon.Store(true)
				}
			}
			return out, metadata, err
		}), middleware.Before)
}

// do makes a call, and makes it again in the bucket's own region where S3 says
// that it is another one. call must be good to be made twice.
func do[T any](s *Store, call func(*awss3.Client) (T, error)) (T, error) {
	client := s.client.Load()
	out, err := call(client)
	region := otherRegion(err)
	if region == "" || region == client.Options().Region {
		return out, err
	}
	again, moved := s.move(client, region)
	if !moved {
		return out, err
	}
	return call(again)
}

// move makes a client for the region that S3 named, once: a store that sends
// one from place to place is not to be followed.
func (s *Store) move(from *awss3.Client, region string) (*awss3.Client, bool) {
	s.moving.Lock()
	defer s.moving.Unlock()
	if now := s.client.Load(); now != from {
		return now, true
	}
	if s.moved {
		return nil, false
	}
	s.moved = true
	s.log.Info("bucket is in another region", "region", region, "configured_region", from.Options().Region)
	client := s.newClient(region)
	s.client.Store(client)
	return client, true
}

var expectedRegion = regexp.MustCompile(`expecting '([a-z0-9-]+)'`)

// otherRegion is where an error says that the bucket is, or "". S3 answers 301
// at the wrong endpoint and 400 to a signature for the wrong region; of a HEAD
// only the header tells (S3 user guide, "Request redirection").
func otherRegion(err error) string {
	switch aws.Status(err) {
	case 301, 307, 400:
	default:
		return ""
	}
	if region := aws.Header(err, "X-Amz-Bucket-Region"); aws.IsRegion(region) {
		return region
	}
	if m := expectedRegion.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// probeKey is asked for to learn about the bucket, not about an object. GET and
// not HEAD: only that says whether it is the bucket that is missing.
const probeKey = "snap-to-s3-probe/no-such-object"

// Region is the region of the bucket; for a store with an endpoint of its own,
// that of the configuration. It needs no right: an answer that the object is
// missing or forbidden tells it too. A bucket that does not exist, and
// credentials that are not accepted, are errors here, so that it can be asked
// before anything is begun.
func (s *Store) Region(ctx context.Context) (string, error) {
	if seen := s.seen.Load(); seen != nil {
		return *seen, nil
	}
	_, err := do(s, func(c *awss3.Client) (struct{}, error) {
		out, err := c.GetObject(ctx, &awss3.GetObjectInput{
			Bucket: &s.bucket, Key: awssdk.String(probeKey), Range: awssdk.String("bytes=0-0"),
		})
		if err == nil {
			err = discard(out.Body)
		}
		return struct{}{}, err
	})
	switch aws.Code(err) {
	case "NoSuchKey", "AccessDenied", "InvalidRange", "InvalidObjectState":
		err = nil
	}
	if err != nil {
		return "", s.explain(err, "ask for the region of bucket "+s.bucket)
	}
	if seen := s.seen.Load(); seen != nil {
		return *seen, nil
	}
	return s.client.Load().Options().Region, nil
}

// discard reads what is left of a small answer, so that its connection is used again.
func discard(body io.ReadCloser) error {
	_, err := io.Copy(io.Discard, io.LimitReader(body, 1<<10))
	return errors.Join(err, body.Close())
}

// Create starts an object.
func (s *Store) Create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("create %s: %w", key, context.Cause(ctx))
	}
	return objstore.NewWriter(ctx, &upload{store: s, key: key, options: o}, key, o, s.options.Limits)
}

var _ objstore.Store = (*Store)(nil)
