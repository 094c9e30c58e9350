package awssim_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func (s sandbox) imds() *imds.Client {
	return imds.New(imds.Options{Endpoint: s.MetadataEndpoint()})
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{Region: "eu-west-1", Zone: "eu-west-1c", InstanceID: "i-00000000000000001"})
	doc, err := s.imds().GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{doc.InstanceID, doc.Region, doc.AvailabilityZone, doc.AccountID, doc.Architecture}
	if diff := cmp.Diff([]string{"i-00000000000000001", "eu-west-1", "eu-west-1c", "111122223333", "x86_64"}, got); diff != "" {
		t.Error(diff)
	}
	region, err := s.imds().GetRegion(t.Context(), nil)
	if err != nil || region.Region != "eu-west-1" {
		t.Errorf("region %+v, %v", region, err)
	}
	for path, want := range map[string]string{
		"instance-id": "i-00000000000000001", "placement/availability-zone": "eu-west-1c", "placement/region": "eu-west-1",
		"iam/security-credentials/": "snap-to-s3-role", "instance-type": "m6i.large", "services/partition": "aws",
	} {
		out, err := s.imds().GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if text, err := io.ReadAll(out.Content); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

func TestMetadataTokens(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return now })
	call := func(method, path string, header map[string]string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.MetadataEndpoint()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text), resp.Header
	}
	const ttl, id = "X-aws-ec2-metadata-token-ttl-seconds", "/latest/meta-data/instance-id"
	status, token, header := call("PUT", "/latest/api/token", map[string]string{ttl: "60"})
	if status != 200 || header.Get(ttl) != "60" || header.Get("Date") != "Tue, 01 Jan 2030 00:00:00 GMT" {
		t.Fatalf("token: %d %v", status, header)
	}
	with := map[string]string{"X-aws-ec2-metadata-token": token}
	tests := []struct {
		name, method, path string
		header             map[string]string
		status             int
	}{
		{"IMDSv1", "GET", id, nil, 401},
		{"unknown token", "GET", id, map[string]string{"X-aws-ec2-metadata-token": "x"}, 401},
		{"token", "GET", id, with, 200},
		{"nothing there", "GET", "/latest/meta-data/nothing", with, 404},
		{"other method", "POST", id, with, 405},
		{"token by GET", "GET", "/latest/api/token", with, 405},
		{"no life", "PUT", "/latest/api/token", nil, 400},
		{"life of 0", "PUT", "/latest/api/token", map[string]string{ttl: "0"}, 400},
		{"life over 6 h", "PUT", "/latest/api/token", map[string]string{ttl: "21601"}, 400},
		{"by a proxy", "PUT", "/latest/api/token", map[string]string{ttl: "60", "X-Forwarded-For": "10.0.0.1"}, 403},
	}
	for _, tt := range tests {
		if status, text, _ := call(tt.method, tt.path, tt.header); status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, status, text, tt.status)
		}
	}
	now = now.Add(time.Minute)
	if status, _, _ := call("GET", id, with); status != 401 {
		t.Errorf("the token has expired: %d", status)
	}
}

// The role's credentials work until they expire; near their end there are new ones.
func TestRoleCredentials(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{RoleLife: time.Hour})
	now := time.Now()
	s.SetClock(func() time.Time { return now })
	role := func() awssim.Credential {
		t.Helper()
		c, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = s.imds() }).Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return awssim.Credential{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.SessionToken, Expires: c.Expires}
	}
	list := func(c awssim.Credential) answer {
		return s.send(ask{method: "GET", path: "/demo", query: "list-type=2", cred: c, at: now})
	}
	one := role()
	if got := list(one); got.status != 200 {
		t.Fatalf("role: %+v", got)
	}
	s.SetPolicy([]string{})
	if got := list(one); got.code != "AccessDenied" || !strings.Contains(got.body, "arn:aws:sts::111122223333:assumed-role/snap-to-s3-role/i-0123456789abcdef0 is not") {
		t.Errorf("role's name: %+v", got)
	}
	s.SetPolicy(nil)
	now = now.Add(50 * time.Minute)
	if again := role(); again.AccessKeyID != one.AccessKeyID {
		t.Errorf("new credentials 10 min before the end: %+v", again)
	}
	now = now.Add(6 * time.Minute)
	two := role()
	if two.AccessKeyID == one.AccessKeyID {
		t.Error("the same credentials 4 min before the end")
	}
	now = now.Add(5 * time.Minute)
	if got := list(one); got.code != "ExpiredToken" {
		t.Errorf("expired: %+v", got)
	}
	if got := list(two); got.status != 200 {
		t.Errorf("renewed: %+v", got)
	}
}

// What Env says is all that the SDK needs.
func TestEnvironment(t *testing.T) {
	s := start(t, awssim.Config{})
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_S3",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "SNAP_TO_S3_DEV_ROOT", "SNAP_TO_S3_SYS_ROOT",
	} {
		t.Setenv(name, s.env(name))
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s3.NewFromConfig(cfg).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: bytes.NewReader(noise(100))})
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := s.Object("demo", "k"); !ok || o.Size != 100 {
		t.Errorf("object %+v", o)
	}
	if _, err := imds.NewFromConfig(cfg).GetRegion(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestMetadataFaults(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	s.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Service != "imds" {
			return awssim.Fault{}
		}
		return awssim.Fault{CutBefore: c.Action == "GET", Before: &awssim.Error{Status: 403, Message: "no"}}
	})
	if _, err := s.imds().GetRegion(t.Context(), nil); err == nil {
		t.Error("a token came though it is forbidden")
	}
	calls := s.Calls()
	if len(calls) == 0 || calls[0].Fault != "before" || calls[0].Status != 403 {
		t.Errorf("trace %+v", calls)
	}
}
