package awssim_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	kms := s.KMSDenied("kms:GenerateDataKey", "k1")
	boom := &awssim.Error{Status: 500, Code: "InternalError"}
	tests := []struct {
		name   string
		fault  awssim.Fault
		code   string // "" success, "cut" no answer
		effect bool
		mark   string // in the trace
	}{
		{"none", awssim.Fault{}, "", true, ""},
		{"delay", awssim.Fault{Delay: time.Millisecond}, "", true, ""},
		{"before", awssim.Fault{Before: boom}, "InternalError", false, "before"},
		{"before wins", awssim.Fault{Before: boom, LoseAnswer: true}, "InternalError", false, "before"},
		{"kms", awssim.Fault{Before: kms}, "AccessDenied", false, "before"},
		{"throttle", awssim.Fault{Throttle: true}, "SlowDown", false, "throttle"},
		{"cut", awssim.Fault{CutBefore: true}, "cut", false, "cut"},
		{"after", awssim.Fault{After: boom}, "InternalError", true, "after"},
		{"lost", awssim.Fault{LoseAnswer: true}, "cut", true, "lost"},
	}
	for _, size := range []int{3, 4 << 20} {
		for _, tt := range tests {
			s.ResetCalls()
			s.SetFault(func(c awssim.Call) awssim.Fault {
				if c.Action != "PutObject" || c.Bucket != "demo" || c.N != 1 {
					t.Errorf("%s: the hook saw %+v", tt.name, c)
				}
				return tt.fault
			})
			got := code(s.put(tt.name, noise(size)))
			if tt.code == "cut" && strings.HasPrefix(got, "no API error: ") {
				got = "cut"
			}
			_, effect := s.Object("demo", tt.name)
			if got != tt.code || effect != tt.effect {
				t.Errorf("%s of %d: got %q, effect %v", tt.name, size, got, effect)
			}
			if calls := s.Calls(); len(calls) != 1 || calls[0].Fault != tt.mark || calls[0].Summary != "demo/"+tt.name {
				t.Errorf("%s of %d: trace %+v", tt.name, size, calls)
			}
			s.SetFault(nil)
			if _, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("demo"), Key: &tt.name}); err != nil {
				t.Error(err)
			}
		}
	}
}

// A hang ends when the client goes, or the server closes.
func TestHang(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]awssim.Fault{"before": {Hang: true}, "after": {HangAfter: true}} {
		s := start(t, awssim.Config{})
		began := make(chan struct{}, 2)
		s.SetFault(func(awssim.Call) awssim.Fault { began <- struct{}{}; return fault })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		put := func(ctx context.Context) error {
			_, err := s.client().PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("x")})
			return err
		}
		go func() { done <- put(ctx) }()
		<-began
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		go func() { done <- put(context.WithoutCancel(ctx)) }()
		<-began
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
		if err := <-done; err == nil {
			t.Errorf("%s: an answer came", name)
		}
	}
}

func TestCutBody(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", noise(1<<20)); err != nil {
		t.Fatal(err)
	}
	s.SetFault(awssim.Times(1, awssim.Action("GetObject"), awssim.Fault{CutBody: 1000}))
	for i, want := range []int{1000, 1 << 20} {
		out, err := s.client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(out.Body)
		if len(got) != want || (err == nil) != (i == 1) {
			t.Errorf("read %d: %d bytes, %v", i, len(got), err)
		}
		if err := out.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestShortRange(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	data := noise(100)
	if err := s.put("k", data); err != nil {
		t.Fatal(err)
	}
	s.SetFault(func(awssim.Call) awssim.Fault { return awssim.Fault{ShortRange: 10} })
	for _, c := range []struct{ header, said, body string }{
		{"bytes=5-", "bytes 5-14/100", string(data[5:15])},
		{"bytes=5-50", "bytes 5-14/100", string(data[5:15])},
		{"bytes=5-9", "bytes 5-9/100", string(data[5:10])},
		{"", "", string(data)},
	} {
		in := &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")}
		if c.header != "" {
			in.Range = &c.header
		}
		out, err := s.client().GetObject(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(out.Body)
		if err := errors.Join(err, out.Body.Close()); err != nil || string(got) != c.body || aws.ToString(out.ContentRange) != c.said {
			t.Errorf("%q: %d bytes, %q, %v; want %d, %q", c.header, len(got), aws.ToString(out.ContentRange), err, len(c.body), c.said)
		}
	}
}

// An answer that hangs in the middle ends when the client goes, or the server closes.
func TestHangBody(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", noise(1000)); err != nil {
		t.Fatal(err)
	}
	s.SetFault(func(awssim.Call) awssim.Fault { return awssim.Fault{HangBody: 10} })
	ctx, cancel := context.WithCancel(t.Context())
	for _, end := range []func(){cancel, func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}} {
		out, err := s.client().GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		end()
		ctx = context.WithoutCancel(ctx)
		if n, err := out.Body.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("after the end: %d, %v", n, err)
		}
		_ = out.Body.Close() // broken already
	}
}

// CompleteMultipartUpload may answer 200 and yet have failed, and takes its time.
func TestCompletionThatFailsWith200(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1, CompleteTime: 30 * time.Millisecond})
	m := s.begin("k")
	m.part(1, 10)
	s.SetFault(awssim.Times(1, awssim.Action("CompleteMultipartUpload"), awssim.Fault{Before: &awssim.Error{Status: 200, Code: "InternalError", Message: "We encountered an internal error."}}))
	if _, err := m.complete(); code(err) != "InternalError" {
		t.Errorf("got %v", err)
	}
	if got := s.Calls(); got[len(got)-1].Status != 200 || got[len(got)-1].Code != "InternalError" {
		t.Errorf("trace: %+v", got[len(got)-1])
	}
	if _, err := m.complete(); err != nil { // white space comes first, and is understood
		t.Fatal(err)
	}
	if got := s.read("k"); string(got) != string(m.body) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	s.SetQuota("s3:PutObject", awssim.Quota{PerSecond: 1e-9, Burst: 2})
	for i, want := range []string{"", "", "SlowDown"} {
		if got := code(s.put("k", nil)); got != want {
			t.Errorf("call %d: %q", i, got)
		}
	}
	if got := s.send(ask{method: "GET", path: "/demo/k"}); got.status != 200 {
		t.Errorf("another action: %+v", got)
	}
	s.SetQuota("s3:PutObject", awssim.Quota{})
	if err := s.put("k", nil); err != nil {
		t.Errorf("without quota: %v", err)
	}
	s.SetQuota("ec2", awssim.Quota{PerSecond: 1e-9})
	got := s.send(ask{
		method: "POST", path: "/", service: "ec2", body: "Action=DescribeTags&Version=2016-11-15",
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	if got.status != 503 || got.code != "RequestLimitExceeded" {
		t.Errorf("EC2: %+v", got)
	}
}

func TestTimesStops(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	var asked atomic.Int64
	twice := awssim.Times(2, func(c awssim.Call) bool { asked.Add(1); return c.Key == "k" }, awssim.Fault{Throttle: true})
	s.SetFault(twice)
	var got []string
	for _, key := range []string{"other", "k", "k", "k"} {
		got = append(got, code(s.put(key, nil)))
	}
	if diff := cmp.Diff([]string{"", "SlowDown", "SlowDown", ""}, got); diff != "" || asked.Load() != 3 {
		t.Errorf("asked %d times: %s", asked.Load(), diff)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	m := s.begin("vol-1/k")
	m.part(1, 10)
	if _, err := m.complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") }); err != nil {
		t.Fatal(err)
	}
	s.send(ask{method: "HEAD", path: "/demo/nothing"})
	s.send(ask{
		method: "POST", path: "/", service: "ec2", body: "Action=CreateTags&Version=2016-11-15&ResourceId.1=snap-0123456789abcdef0&Tag.1.Key=a&Tag.1.Value=b",
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	var got []string
	for _, c := range s.Calls() {
		got = append(got, c.String())
	}
	want := []string{
		"s3 CreateMultipartUpload demo/vol-1/k",
		"s3 UploadPart demo/vol-1/k part 1",
		"s3 CompleteMultipartUpload demo/vol-1/k if-none-match=*",
		"s3 HeadObject demo/nothing → NoSuchKey",
		"ec2 CreateTags snap-0123456789abcdef0 a=b → InvalidSnapshot.NotFound",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if part := s.Calls()[1]; part.Part != 1 || part.Bucket != "demo" || part.Key != "vol-1/k" {
		t.Errorf("S3 call: %+v", part)
	}
	if last := s.Calls()[4]; last.Target != "snap-0123456789abcdef0" || last.Status != 400 {
		t.Errorf("EC2 call: %+v", last)
	}
}
