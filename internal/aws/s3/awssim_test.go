package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/objstore/objstoretest"
)

const (
	bucket  = "archive"
	simPart = 16 << 10
)

// sandbox is a simulated AWS with one bucket, and a store on it.
type sandbox struct {
	*testing.T
	sim   *awssim.Server
	store *s3.Store
	log   *bytes.Buffer
}

func simLimits() objstore.Limits { return objstore.Limits{MinPart: simPart, Floor: simPart} }

// start makes a sandbox. What a test leaves in it fails the test.
func start(t *testing.T, config awssim.Config, o s3.Options) *sandbox {
	t.Helper()
	config.MinPartSize, config.Dir = simPart, t.TempDir()
	sim, err := awssim.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	sim.AddBucket(awssim.Bucket{Name: bucket})
	setEnv(t, sim.Endpoint(), "", "")
	for _, pair := range sim.Env() {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	b := &sandbox{T: t, sim: sim, log: &bytes.Buffer{}}
	b.store = b.open(bucket, aws.Options{}, o)
	return b
}

func (b *sandbox) open(bucket string, a aws.Options, o s3.Options) *s3.Store {
	b.Helper()
	a.MaxBackoff = 5 * time.Millisecond
	session, err := aws.Load(b.Context(), a)
	if err != nil {
		b.Fatal(err)
	}
	o.Limits = simLimits()
	o.Log = slog.New(slog.NewTextHandler(b.log, nil))
	store, err := s3.New(session, bucket, o)
	if err != nil {
		b.Fatal(err)
	}
	return store
}

func (b *sandbox) fixture() objstoretest.Fixture {
	return objstoretest.Fixture{
		Store: b.store, PartSize: simPart, Many: 200,
		Conditions: true, CRC: true, Cold: true,
		Classes: []string{"STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"},
		Tags: func(t *testing.T, key string) []objstore.Tag {
			t.Helper()
			object, ok := b.sim.Object(bucket, key)
			if !ok {
				t.Fatalf("no object %s", key)
			}
			var tags []objstore.Tag
			for _, tag := range object.Tags {
				tags = append(tags, objstore.Tag{Key: tag.Key, Value: tag.Value})
			}
			return tags
		},
		Uploads: func(*testing.T) int { return len(b.sim.Uploads(bucket)) },
	}
}

// What the predecessor's policy allows, and taking uploads back.
func ownRights() []string {
	return []string{"s3:PutObject", "s3:PutObjectTagging", "s3:GetObject", "s3:AbortMultipartUpload"}
}

func TestSandbox(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	objstoretest.Run(t, func(*testing.T) objstoretest.Fixture { return b.fixture() })
	if got := b.store.ConditionalWrites(); got != s3.ConditionsHonoured {
		t.Errorf("conditional writes are %v, want honoured", got)
	}
}

// Without s3:ListBucket S3 answers 403 for what is missing.
func TestSandboxWithFewRights(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.SetPolicy(ownRights())
	f := b.fixture()
	f.Unlistable, f.NoList = true, true
	objstoretest.Run(t, func(*testing.T) objstoretest.Fixture { return f })
}

// A store that ignores conditions is asked first, and found out once.
func TestSandboxThatIgnoresConditions(t *testing.T) {
	b := start(t, awssim.Config{IgnoreConditionals: true}, s3.Options{})
	f := b.fixture()
	put(b.T, b.store, "first", []byte("x"), objstore.CreateOptions{})
	if got := b.store.ConditionalWrites(); got != s3.ConditionsIgnored {
		t.Errorf("conditional writes are %v, want ignored", got)
	}
	if n := strings.Count(b.log.String(), "ignores conditional writes"); n != 1 {
		t.Errorf("it is said %d times, want once:\n%s", n, b.log)
	}
	f.Conditions = false // races are lost there
	objstoretest.Run(t, func(*testing.T) objstoretest.Fixture { return f })
	for _, size := range []int{10, 2 * simPart} {
		key := fmt.Sprint("k", size)
		old := put(t, b.store, key, make([]byte, size), objstore.CreateOptions{})
		if _, err := tryPut(t, b.store, key, []byte("x"), objstore.CreateOptions{}); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("second write: %v, want ErrExists", err)
		}
		if _, err := tryPut(t, b.store, key, []byte("x"), objstore.CreateOptions{IfMatch: `"other"`}); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("replacing another object: %v, want ErrExists", err)
		}
		put(t, b.store, key, []byte("y"), objstore.CreateOptions{IfMatch: old.ETag})
	}
}

// tryPut writes one object; on an error it aborts, as a caller must.
func tryPut(t *testing.T, s objstore.Store, key string, data []byte, o objstore.CreateOptions) (objstore.Info, error) {
	t.Helper()
	w, err := s.Create(t.Context(), key, o)
	if err != nil {
		return objstore.Info{}, err
	}
	_, writeErr := w.Write(data)
	info, err := w.Commit(t.Context())
	if err != nil {
		if abortErr := w.Abort(context.WithoutCancel(t.Context())); abortErr != nil {
			t.Errorf("abort of %s: %v", key, abortErr)
		}
		return info, err
	}
	if writeErr != nil {
		t.Errorf("write of %s failed, commit did not: %v", key, writeErr)
	}
	return info, nil
}

func put(t *testing.T, s objstore.Store, key string, data []byte, o objstore.CreateOptions) objstore.Info {
	t.Helper()
	info, err := tryPut(t, s, key, data, o)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func wantError(t *testing.T, err error, text, next string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(hint.Of(err), next) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got  %v\nwant one line with %q\nhint %q, want one with %q", err, text, hint.Of(err), next)
	}
}

func TestBucketInAnotherRegion(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.sim.AddBucket(awssim.Bucket{Name: "far", Region: "eu-west-1"})
	for name, first := range map[string]func(*testing.T, *s3.Store){
		"region": func(t *testing.T, s *s3.Store) {
			t.Helper()
			if region, err := s.Region(t.Context()); err != nil || region != "eu-west-1" {
				t.Errorf("region %q, %v; want eu-west-1", region, err)
			}
		},
		"stat": func(t *testing.T, s *s3.Store) {
			t.Helper()
			if _, err := s.Stat(t.Context(), "missing"); !errors.Is(err, objstore.ErrNotExist) {
				t.Errorf("stat: %v", err)
			}
		},
		"put": func(t *testing.T, s *s3.Store) { t.Helper(); put(t, s, "small", []byte("x"), objstore.CreateOptions{}) },
		"upload": func(t *testing.T, s *s3.Store) {
			t.Helper()
			put(t, s, "large", make([]byte, 3*simPart), objstore.CreateOptions{Streams: 3})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := b.open("far", aws.Options{}, s3.Options{})
			first(t, s)
			if region, err := s.Region(t.Context()); err != nil || region != "eu-west-1" {
				t.Errorf("region %q, %v; want eu-west-1", region, err)
			}
			put(t, s, "after "+name, make([]byte, 3*simPart), objstore.CreateOptions{})
		})
	}
}

func TestBucketMissing(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	s := b.open("nowhere", aws.Options{}, s3.Options{})
	_, err := s.Region(t.Context())
	if !errors.Is(err, s3.ErrNoBucket) {
		t.Errorf("region: %v, want ErrNoBucket", err)
	}
	wantError(t, err, "no such bucket: nowhere", "aws s3 mb s3://nowhere")
	for _, size := range []int{1, 2 * simPart} {
		_, err := tryPut(t, s, "k", make([]byte, size), objstore.CreateOptions{})
		wantError(t, err, "no such bucket: nowhere", "--bucket")
	}
}

func TestKMSDenied(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.sim.AddKMSKey(awssim.KMSKey{ID: "1234abcd-12ab-34cd-56ef-1234567890ab", Deny: []string{"kms:GenerateDataKey"}})
	o := objstore.CreateOptions{Encryption: objstore.Encryption{Mode: "aws:kms", KMSKeyID: "1234abcd-12ab-34cd-56ef-1234567890ab"}}
	for _, size := range []int{1, 2 * simPart} {
		_, err := tryPut(t, b.store, "k", make([]byte, size), o)
		wantError(t, err, "KMS refuses the use of key 1234abcd-12ab-34cd-56ef-1234567890ab", "kms:GenerateDataKey")
	}
}

func TestAccessDenied(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.SetPolicy([]string{"s3:GetObject"})
	for _, size := range []int{1, 2 * simPart} {
		_, err := tryPut(t, b.store, "k", make([]byte, size), objstore.CreateOptions{})
		wantError(t, err, "access denied, s3:PutObject is needed", "allow s3:PutObject")
	}
}

// The predecessor's policy cannot abort: the upload is named, with the command.
func TestAbortDenied(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.DenyActions([]string{"s3:AbortMultipartUpload"})
	w, err := b.store.Create(t.Context(), "vol-1/it's here", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2*simPart)); err != nil {
		t.Fatal(err)
	}
	err = w.Abort(t.Context())
	left, ok := errors.AsType[*objstore.LeftBehindError](err)
	if !ok {
		t.Fatalf("abort: %v, want a LeftBehindError", err)
	}
	id := b.sim.Uploads(bucket)[0].ID
	command := `aws s3api abort-multipart-upload --bucket archive --key 'vol-1/it'\''s here' --upload-id ` + id +
		" --endpoint-url " + b.sim.Endpoint() + " --region us-east-1"
	if left.Command != command {
		t.Errorf("command\n%s, want\n%s", left.Command, command)
	}
	wantError(t, err, "multipart upload "+id+" of vol-1/it's here in bucket archive stays: abort it: access denied, s3:AbortMultipartUpload is needed", command)
	b.sim.DenyActions(nil)
	b.removeUploads()
}

// removeUploads takes away what a test meant to leave behind.
func (b *sandbox) removeUploads() {
	b.Helper()
	session, err := aws.Load(b.Context(), aws.Options{})
	if err != nil {
		b.Fatal(err)
	}
	client := awss3.NewFromConfig(session.Config, func(o *awss3.Options) { o.UsePathStyle = true })
	for _, u := range b.sim.Uploads(bucket) {
		if _, err := client.AbortMultipartUpload(b.Context(), &awss3.AbortMultipartUploadInput{
			Bucket: &u.Bucket, Key: &u.Key, UploadId: &u.ID,
		}); err != nil {
			b.Error(err)
		}
	}
}
