package aws_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
)

func apiError(service, operation, code, message string) error {
	return &smithy.OperationError{
		ServiceID: service, OperationName: operation,
		Err: &smithy.GenericAPIError{Code: code, Message: message},
	}
}

func TestExplainAnswers(t *testing.T) {
	t.Parallel()
	blob := strings.Repeat("4uTxVhRJ", 50)
	for _, c := range []struct {
		err        error
		want, hint string
	}{
		{
			apiError("EC2", "CreateVolume", "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: "+blob),
			"make a volume: access denied, ec2:CreateVolume is needed (UnauthorizedOperation)", "allow ec2:CreateVolume",
		},
		{
			apiError("EC2", "CreateTags", "UnauthorizedOperation", "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/u is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:123456789012:volume/* because no identity-based policy allows the ec2:CreateTags action. Encoded authorization failure message: "+blob),
			"make a volume: access denied, ec2:CreateTags is needed: You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/u is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:123456789012:volume/* because no identity-based policy allows the ec2:CreateTags action", "allow ec2:CreateTags",
		},
		{
			apiError("S3", "HeadObject", "Forbidden", "Forbidden"),
			"make a volume: access denied, s3:GetObject is needed (Forbidden)", "allow s3:GetObject",
		},
		{
			apiError("S3", "UploadPart", "AccessDenied", "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:1:key/k because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"),
			"make a volume: access denied, kms:GenerateDataKey is needed: User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:1:key/k because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access", "allow kms:GenerateDataKey",
		},
		{
			apiError("EC2", "DescribeSnapshots", "RequestExpired", "Request has expired."),
			"make a volume: the AWS credentials have expired (RequestExpired)", "get new credentials",
		},
		{
			apiError("S3", "PutObject", "ExpiredToken", "The provided token has expired."),
			"make a volume: the AWS credentials have expired (ExpiredToken)", "get new credentials",
		},
		{
			apiError("EC2", "DescribeSnapshots", "AuthFailure", "AWS was not able to validate the provided access credentials"),
			"make a volume: AWS does not accept the credentials (AuthFailure)", "AWS_PROFILE",
		},
		{
			apiError("EC2", "DescribeSnapshots", "SignatureDoesNotMatch", "The Canonical String should have been 'POST x-amz-security-token:TOKEN'"),
			"make a volume: AWS does not accept the signature (SignatureDoesNotMatch): the secret key is not that of the access key, or a proxy changes requests", "AWS_PROFILE",
		},
		{
			apiError("S3", "PutObject", "RequestTimeTooSkewed", "The difference is too large."),
			"make a volume: this machine's clock is too far from AWS's (RequestTimeTooSkewed)", "clock",
		},
		{
			apiError("EC2", "CreateVolume", "RequestLimitExceeded", "Request limit exceeded."),
			"make a volume: AWS throttles: RequestLimitExceeded: Request limit exceeded.", "--jobs",
		},
		{
			apiError("EC2", "CreateVolume", "VolumeLimitExceeded", "Maximum number\n of volumes?X-Amz-Signature=abc&x=1"),
			"make a volume: VolumeLimitExceeded: Maximum number of volumes?X-Amz-Signature=REDACTED&x=1", "",
		},
		{errors.New("plain"), "make a volume: plain", ""},
	} {
		got := aws.Explain(c.err, "make a volume")
		if got.Error() != c.want || !strings.Contains(hint.Of(got), c.hint) || (c.hint == "") != (hint.Of(got) == "") {
			t.Errorf("got  %v\nwant %s\nhint %q, want one with %q", got, c.want, hint.Of(got), c.hint)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v is no longer its cause", got)
		}
	}
}

func TestExplainTwiceKeepsTheFirstHint(t *testing.T) {
	t.Parallel()
	inner := aws.Explain(apiError("EC2", "CreateTags", "RequestExpired", ""), "tag snap-1")
	outer := aws.Explain(inner, "claim snap-1")
	if want := "claim snap-1: tag snap-1: the AWS credentials have expired (RequestExpired)"; outer.Error() != want {
		t.Errorf("got %v, want %s", outer, want)
	}
	if hint.Of(outer) != hint.Of(inner) || hint.Of(inner) == "" {
		t.Errorf("hint %q, want that of the inner error, %q", hint.Of(outer), hint.Of(inner))
	}
	if aws.Explain(nil, "x") != nil {
		t.Error("no error was explained")
	}
}

func TestExplainNoAnswer(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	refused := httptest.NewServer(http.NotFoundHandler())
	refused.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	for _, c := range []struct{ url, want, hint string }{
		{refused.URL, fmt.Sprintf("look up k: nothing listens at %s: connection refused, 2 times in a row", strings.TrimPrefix(refused.URL, "http://")), "--endpoint-url"},
		{untrusted.URL, "look up k: the server's certificate is not trusted: x509: certificate signed by unknown authority", "AWS_CA_BUNDLE"},
		{"http://no-such-host.invalid", "look up k: ", "--region"},
	} {
		s := load(t, c.url, aws.Options{})
		got := aws.Explain(head(t.Context(), s), "look up k")
		if got == nil || !strings.HasPrefix(got.Error(), c.want) || !strings.Contains(hint.Of(got), c.hint) {
			t.Errorf("got  %v\nwant %s\nhint %q, want one with %q", got, c.want, hint.Of(got), c.hint)
		}
	}
}

// What a server cuts is told as that, and tried again.
func TestCutConnections(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"before the answer": {func(http.ResponseWriter) {}, "read k: the connection was cut, 2 times in a row"},
		"in the answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<Error><Code>NoSuch"))
			w.(http.Flusher).Flush()
		}, "read k: the answer was cut off, 2 times in a row"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				c.answer(w)
				panic(http.ErrAbortHandler)
			})
			err := aws.Explain(get(t.Context(), load(t, server.URL, aws.Options{})), "read k")
			if err == nil || err.Error() != c.want || hint.Of(err) == "" || calls.Load() != 2 {
				t.Errorf("got %v, hint %q, %d calls; want %s, 2 calls", err, hint.Of(err), calls.Load(), c.want)
			}
		})
	}
}

// EC2 has one word for expired credentials and for a wrong clock; the answer's
// date tells which, and a wrong clock is made up for.
func TestRequestExpired(t *testing.T) {
	for name, c := range map[string]struct {
		skew        time.Duration
		calls       int64
		want, hints string
	}{
		"credentials":  {0, 1, "read k: the AWS credentials have expired (RequestExpired)", "new credentials"},
		"clock behind": {time.Hour, 2, "", ""},
		"clock ahead":  {-time.Hour, 2, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				now := time.Now().Add(c.skew)
				w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
				signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
				if err != nil || c.skew == 0 || now.Sub(signed).Abs() > 15*time.Minute {
					answer(w, 400, "RequestExpired", "Request has expired.")
				}
			})
			err := get(t.Context(), load(t, server.URL, aws.Options{}))
			if calls.Load() != c.calls || (err == nil) != (c.want == "") {
				t.Errorf("%v after %d calls, want %q after %d", err, calls.Load(), c.want, c.calls)
			}
			if explained := aws.Explain(err, "read k"); err != nil && (explained.Error() != c.want || !strings.Contains(hint.Of(explained), c.hints)) {
				t.Errorf("got %v, hint %q", explained, hint.Of(explained))
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	nobody := serve(t, http.NotFound)
	load(t, nobody.URL, aws.Options{})
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	s, err := aws.Load(t.Context(), aws.Options{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = aws.Explain(head(t.Context(), s), "look up k")
	const want = "look up k: no AWS credentials were found: not in the environment, not in a profile, and this instance has no role"
	if err == nil || err.Error() != want || !strings.Contains(hint.Of(err), "AWS_PROFILE") {
		t.Errorf("got %v\nwant %s\nhint %q", err, want, hint.Of(err))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v to find no credentials", took)
	}
}

func TestClock(t *testing.T) {
	date := time.Now().Add(-3 * time.Hour)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
	})
	s := load(t, server.URL, aws.Options{})
	if err := head(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if off := time.Since(s.Now()); off.Abs() > time.Second {
		t.Errorf("the Date of a third-party S3 moved the clock by %v", off)
	}

	// The same answer under the name of AWS, which the client is told to reach
	// through a proxy.
	t.Setenv("HTTP_PROXY", server.URL)
	config := s.Config.Copy()
	config.BaseEndpoint = nil
	through := awss3.NewFromConfig(config, func(o *awss3.Options) {
		o.BaseEndpoint = awssdk.String("http://s3.us-east-1.amazonaws.com")
		o.HTTPClient = proxied(server.URL)
	})
	if _, err := through.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: awssdk.String("b"), Key: awssdk.String("k")}); err != nil {
		t.Fatal(err)
	}
	if off := time.Since(s.Now()); (off - 3*time.Hour).Abs() > 2*time.Second {
		t.Errorf("AWS's time is %v behind, want 3 h", off)
	}
}

// proxied sends every request to one server, whatever its host.
type proxied string

func (p proxied) Do(r *http.Request) (*http.Response, error) {
	to := r.Clone(r.Context())
	to.URL.Host, to.URL.Scheme = strings.TrimPrefix(string(p), "http://"), "http"
	response, err := http.DefaultTransport.RoundTrip(to)
	if response != nil {
		response.Request = r
	}
	return response, err
}

func TestIsAWSHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"s3.us-east-1.amazonaws.com": true, "b.s3.cn-north-1.amazonaws.com.cn": true,
		"bucket.vpce-1-2.s3.us-east-1.vpce.amazonaws.com": true, "s3.dualstack.eu-west-1.amazonaws.com": true,
		"localhost": false, "127.0.0.1": false, "minio.example.com": false, "amazonaws.com.example.org": false, "notamazonaws.com": false,
	} {
		if got := aws.IsAWSHost(host); got != want {
			t.Errorf("%s is AWS: %v, want %v", host, got, want)
		}
	}
}
