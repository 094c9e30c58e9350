package awssim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"snap-to-s3/internal/awssim"
)

// startEC2 starts a server whose Close must find nothing left behind, and a
// client of it that does not try again.
func startEC2(t *testing.T, cfg awssim.Config) (*awssim.Server, *ec2.Client) {
	t.Helper()
	s, c := startMessy(t, cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, c
}

// startMessy is startEC2 for tests that leave something behind.
func startMessy(t *testing.T, cfg awssim.Config) (*awssim.Server, *ec2.Client) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := awssim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // what it returns is looked at elsewhere
	env := map[string]string{}
	for _, kv := range s.Env() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return s, ec2.New(ec2.Options{
		Region:       env["AWS_REGION"],
		BaseEndpoint: aws.String(env["AWS_ENDPOINT_URL_EC2"]),
		Credentials:  credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], ""),
		Retryer:      aws.NopRetryer{},
		HTTPClient:   &http.Client{Transport: plainBodies{http.DefaultTransport}},
	})
}

// plainBodies hides the WriteTo of the SDK's request bodies. The SDK (smithy-go
// v1.28.8, ClientHandler) closes a body as soon as the answer begins; WriteTo
// then returns io.EOF as an error to net/http, which may just be looking for
// more of it, and cuts the connection under the answer. A server on loopback
// is quick enough for that.
type plainBodies struct{ http.RoundTripper }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.RoundTripper.RoundTrip(r)
}

// wantCode checks that an error is this AWS error and that its text has words.
func wantCode(t *testing.T, err error, code, words string) {
	t.Helper()
	var api smithy.APIError
	switch {
	case code == "" && err == nil:
	case code == "":
		t.Fatalf("got %v, want no error", err)
	case !errors.As(err, &api):
		t.Fatalf("got %v, want %s", err, code)
	case api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), words):
		t.Fatalf("got %s: %s, want %s: …%s…", api.ErrorCode(), api.ErrorMessage(), code, words)
	}
}

func addSnapshot(t *testing.T, s *awssim.Server, spec awssim.SnapshotSpec) string {
	t.Helper()
	if spec.SizeGiB == 0 && spec.SizeBytes == 0 && spec.Image == "" {
		spec.SizeBytes, spec.SizeGiB = 1<<20, 1
	}
	id, err := s.AddSnapshot(spec)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func describeOne(t *testing.T, c *ec2.Client, id string) types.Volume {
	t.Helper()
	out, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Volumes) != 1 || *out.Volumes[0].VolumeId != id {
		t.Fatalf("describe %s: got %d volumes", id, len(out.Volumes))
	}
	return out.Volumes[0]
}

// untilState describes a volume until it and its attachment are in these states.
func untilState(t *testing.T, c *ec2.Client, id, state, attachment string) types.Volume {
	t.Helper()
	var v types.Volume
	for range 20 {
		v = describeOne(t, c, id)
		got := ""
		if len(v.Attachments) > 0 {
			got = string(v.Attachments[0].State)
		}
		if string(v.State) == state && got == attachment {
			return v
		}
	}
	t.Fatalf("volume %s is %s with attachments %v, want %s %s", id, v.State, v.Attachments, state, attachment)
	return v
}

func createVolume(t *testing.T, c *ec2.Client, snapshot string) string {
	t.Helper()
	out, err := c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		SnapshotId: &snapshot, AvailabilityZone: aws.String("us-east-1a"), VolumeType: types.VolumeTypeGp3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.VolumeId
}

func availableVolume(t *testing.T, c *ec2.Client, snapshot string) string {
	t.Helper()
	id := createVolume(t, c, snapshot)
	// Its image is filled in the background, so looks alone do not tell when.
	waitFor(t, func() bool { return describeOne(t, c, id).State == types.VolumeStateAvailable })
	return id
}

// waitFor asks until it is so; each question is a call, so it needs no pause.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for range 20000 {
		if so() {
			return
		}
	}
	t.Fatal("it never came to be")
}

const instanceID = "i-0123456789abcdef0"

func attachVolume(t *testing.T, c *ec2.Client, id, device string) {
	t.Helper()
	_, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: aws.String(instanceID), Device: &device})
	if err != nil {
		t.Fatal(err)
	}
	untilState(t, c, id, "in-use", "attached")
}

func detachVolume(t *testing.T, c *ec2.Client, id string) {
	t.Helper()
	if _, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id}); err != nil {
		t.Fatal(err)
	}
}

func deleteVolume(t *testing.T, c *ec2.Client, id string) {
	t.Helper()
	if _, err := c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &id}); err != nil {
		t.Fatal(err)
	}
}

// removeVolume detaches and deletes a volume, as a good program does.
func removeVolume(t *testing.T, c *ec2.Client, id string) {
	t.Helper()
	if len(describeOne(t, c, id).Attachments) > 0 {
		detachVolume(t, c, id)
		untilState(t, c, id, "available", "")
	}
	deleteVolume(t, c, id)
}

// testDisk writes a sparse disk image with data at the given offsets.
func testDisk(t *testing.T, size int64, offsets ...int64) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i, off := range offsets {
		p := bytes.Repeat([]byte{byte(i + 1)}, int(min(4096, size-off)))
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

func TestUnknownActionAndParameter(t *testing.T) {
	t.Parallel()
	_, c := startEC2(t, awssim.Config{})
	_, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	wantCode(t, err, "InvalidAction", "DescribeVpcs")
	_, err = c.CreateVolume(t.Context(), &ec2.CreateVolumeInput{OutpostArn: aws.String("arn:x"), Size: aws.Int32(1)})
	wantCode(t, err, "UnknownParameter", "OutpostArn")
	_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: aws.String("vol-00000000"), DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation", "")
}

func TestEC2AfterClose(t *testing.T) {
	t.Parallel()
	s, c := startMessy(t, awssim.Config{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DescribeVolumes(context.Background(), &ec2.DescribeVolumesInput{}); err == nil {
		t.Fatal("a closed server answers")
	}
	if _, err := s.AddSnapshot(awssim.SnapshotSpec{SizeGiB: 1}); err == nil {
		t.Fatal("a closed server takes a snapshot")
	}
}
