package aws_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
)

// metadataService is IMDSv2: no answer without a token.
func metadataService(calls *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			_, _ = w.Write([]byte("token-1"))
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token-1":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/latest/dynamic/instance-identity/document":
			_, _ = w.Write([]byte(`{"instanceId":"i-0abc","region":"eu-west-1","availabilityZone":"eu-west-1b","accountId":"123456789012"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func TestInstance(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, metadataService(&calls))
	s := load(t, server.URL, aws.Options{})
	want := aws.Instance{ID: "i-0abc", Region: "eu-west-1", Zone: "eu-west-1b", Account: "123456789012"}
	for range 3 {
		got, err := s.Instance(t.Context())
		if err != nil || got != want {
			t.Fatalf("instance %+v, %v; want %+v", got, err, want)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d requests, want one for the token and one for the document", calls.Load())
	}
}

func TestRegionFromTheInstance(t *testing.T) {
	var calls atomic.Int64
	server := serve(t, metadataService(&calls))
	load(t, server.URL, aws.Options{})
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	s, err := aws.Load(t.Context(), aws.Options{})
	if err != nil || s.Config.Region != "eu-west-1" {
		t.Errorf("region %v, %v; want the instance's", s, err)
	}
}

func TestNotAnInstance(t *testing.T) {
	for _, c := range []struct {
		name string
		url  func(*testing.T) string
	}{
		{"refused", func(*testing.T) string { return "http://127.0.0.1:1" }},
		{"blocked", func(t *testing.T) string {
			return serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }).URL
		}},
		// Version 1 alone would answer without a token; it is not asked.
		{"version 1 only", func(t *testing.T) string {
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				_, _ = w.Write([]byte(`{"instanceId":"i-1","region":"r","availabilityZone":"z"}`))
			}).URL
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, c.url(t), aws.Options{})
			start := time.Now()
			got, err := s.Instance(t.Context())
			if err == nil || !strings.Contains(err.Error(), "not on an EC2 instance, or the service is blocked") || hint.Of(err) == "" {
				t.Errorf("instance %+v, %v, hint %q", got, err, hint.Of(err))
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
			t.Log(err)
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestNoRegionAnywhere(t *testing.T) {
	load(t, "http://127.0.0.1:1", aws.Options{})
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	s, err := aws.Load(t.Context(), aws.Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "no AWS region is configured") || !strings.Contains(hint.Of(err), "--region") {
		t.Errorf("session %v, error %v, hint %q", s, err, hint.Of(err))
	}
}
