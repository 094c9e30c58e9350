package awssim_test

import (
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

func TestSignatures(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	temporary := s.TemporaryCredential(time.Hour)
	expired := s.TemporaryCredential(-time.Second)
	noToken, wrongToken := temporary, temporary
	noToken.Token, wrongToken.Token = "", "something else"
	wrongSecret := s.credentials()
	wrongSecret.SecretAccessKey += "x"
	unknown := awssim.Credential{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}
	get := ask{method: "GET", path: "/demo", query: "list-type=2&prefix=a%20b%2Fc%2Bd"}
	describe := ask{
		method: "POST", path: "/", service: "ec2", body: "Action=DescribeSnapshots&Version=2016-11-15&Owner.1=self",
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
	}
	with := func(a ask, change func(*ask)) ask { change(&a); return a }
	tests := []struct {
		name   string
		ask    ask
		status int
		code   string
	}{
		{"s3", get, 200, ""},
		{"s3 temporary", with(get, func(a *ask) { a.cred = temporary }), 200, ""},
		{"s3 unsigned payload", with(get, func(a *ask) { a.payload = "UNSIGNED-PAYLOAD" }), 200, ""},
		{"s3 anonymous", with(get, func(a *ask) { a.noSignature = true }), 403, "AccessDenied"},
		{"s3 malformed", with(get, func(a *ask) { a.noSignature = true; a.header = map[string]string{"Authorization": "AWS x:y"} }), 400, "AuthorizationHeaderMalformed"},
		{"s3 unknown key", with(get, func(a *ask) { a.cred = unknown }), 403, "InvalidAccessKeyId"},
		{"s3 wrong secret", with(get, func(a *ask) { a.cred = wrongSecret }), 403, "SignatureDoesNotMatch"},
		{"s3 token missing", with(get, func(a *ask) { a.cred = noToken }), 403, "InvalidAccessKeyId"},
		{"s3 token wrong", with(get, func(a *ask) { a.cred = wrongToken }), 400, "InvalidToken"},
		{"s3 token expired", with(get, func(a *ask) { a.cred = expired }), 400, "ExpiredToken"},
		{"s3 old", with(get, func(a *ask) { a.at = time.Now().Add(-16 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		{"s3 early", with(get, func(a *ask) { a.at = time.Now().Add(16 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		{"s3 a little old", with(get, func(a *ask) { a.at = time.Now().Add(-14 * time.Minute) }), 200, ""},
		{"s3 header not signed", with(get, func(a *ask) { a.unsigned = map[string]string{"X-Amz-Request-Payer": "requester"} }), 403, "AccessDenied"},
		{"s3 region changed", with(get, func(a *ask) { a.region = "eu-west-1" }), 301, "PermanentRedirect"},
		{"ec2", describe, 200, ""},
		{"ec2 anonymous", with(describe, func(a *ask) { a.noSignature = true }), 403, "MissingAuthenticationToken"},
		{"ec2 unknown key", with(describe, func(a *ask) { a.cred = unknown }), 401, "AuthFailure"},
		{"ec2 wrong secret", with(describe, func(a *ask) { a.cred = wrongSecret }), 401, "AuthFailure"},
		{"ec2 expired", with(describe, func(a *ask) { a.cred = expired }), 400, "RequestExpired"},
		{"ec2 skewed", with(describe, func(a *ask) { a.at = time.Now().Add(-16 * time.Minute) }), 400, "RequestExpired"},
		{"ec2 other body", with(describe, func(a *ask) { a.payload = strings.Repeat("0", 64) }), 401, "AuthFailure"},
		{"ec2 other region", with(describe, func(a *ask) { a.region = "eu-west-1" }), 401, "AuthFailure"},
		{"ec2 no version", with(describe, func(a *ask) { a.body = "Action=DescribeSnapshots" }), 400, "NoSuchVersion"},
		{"ec2 no action", with(describe, func(a *ask) { a.body = "Version=2016-11-15" }), 400, "MissingAction"},
	}
	for _, tt := range tests {
		got := s.send(tt.ask)
		if got.status != tt.status || got.code != tt.code {
			t.Errorf("%s: got %d %q, want %d %q: %s", tt.name, got.status, got.code, tt.status, tt.code, got.body)
		}
	}
}

// A signature covers path, query, method and headers: a change to any is refused.
func TestSignatureCoversTheRequest(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	odd := "/demo/vol-1/2017-01-01T00:00:00+00:00 snap-1 - é \"%41\".img.lz4"
	path := "/demo/vol-1/2017-01-01T00%3A00%3A00%2B00%3A00%20snap-1%20-%20%C3%A9%20%22%2541%22.img.lz4"
	if got := s.send(ask{method: "PUT", path: path, body: "x"}); got.status != 200 {
		t.Fatalf("put of an odd key: %+v", got)
	}
	if _, ok := s.Object("demo", strings.TrimPrefix(odd, "/demo/")); !ok {
		t.Errorf("the odd key is not there: %v", s.Objects("demo"))
	}
	got := s.send(ask{method: "GET", path: path, unsigned: map[string]string{"X-Amz-Date": time.Now().Add(time.Second).UTC().Format("20060102T150405Z")}})
	if got.code != "SignatureDoesNotMatch" {
		t.Errorf("another date: %+v", got)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	then := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	s.SetClock(func() time.Time { return then })
	got := s.send(ask{method: "GET", path: "/demo", query: "list-type=2"})
	if got.code != "RequestTimeTooSkewed" || got.header.Get("Date") != "Tue, 06 May 2031 07:08:09 GMT" {
		t.Errorf("by our clock: %s, Date %q", got.code, got.header.Get("Date"))
	}
	if got := s.send(ask{method: "GET", path: "/demo", query: "list-type=2", at: then}); got.status != 200 {
		t.Errorf("by the server's clock: %+v", got)
	}
}

func TestRevokedCredential(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	s.RevokeCredential(s.credentials().AccessKeyID)
	if got := s.send(ask{method: "GET", path: "/demo", query: "list-type=2"}); got.code != "InvalidAccessKeyId" {
		t.Errorf("got %+v", got)
	}
}
