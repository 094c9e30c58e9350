package s3_test

import (
	"log/slog"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/objstore/objstoretest"
)

// setEnv makes all of AWS be one server on loopback.
func setEnv(t *testing.T, endpoint, access, secret string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "",
		"AWS_ENDPOINT_URL": endpoint, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_REGION": "us-east-1", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// versitygw runs the suite against a server that somebody else wrote.
func TestVersitygw(t *testing.T) {
	server := objstoretest.StartVersitygw(t, objstoretest.VersitygwOptions{Buckets: []string{"archive"}})
	setEnv(t, server.Endpoint, server.AccessKey, server.SecretKey)
	session, err := aws.Load(t.Context(), aws.Options{Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.New(session, "archive", s3.Options{Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	client := awss3.NewFromConfig(session.Config, func(o *awss3.Options) { o.UsePathStyle = true })
	bucket := "archive"
	objstoretest.Run(t, func(*testing.T) objstoretest.Fixture {
		return objstoretest.Fixture{
			Store: store, PartSize: 5 << 20, Many: 6,
			Conditions: true, CRC: true,
			Tags: func(t *testing.T, key string) []objstore.Tag {
				t.Helper()
				out, err := client.GetObjectTagging(t.Context(), &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
				if err != nil {
					t.Fatal(err)
				}
				var tags []objstore.Tag
				for _, tag := range out.TagSet {
					tags = append(tags, objstore.Tag{Key: *tag.Key, Value: *tag.Value})
				}
				return tags
			},
			Uploads: func(t *testing.T) int {
				t.Helper()
				out, err := client.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &bucket})
				if err != nil {
					t.Fatal(err)
				}
				return len(out.Uploads)
			},
		}
	})
	if got := store.ConditionalWrites(); got != s3.ConditionsHonoured {
		t.Errorf("conditional writes are %v, want honoured", got)
	}
}
