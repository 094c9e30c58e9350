package awssim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"snap-to-s3/internal/awssim"
)

// sandbox is a server with one bucket and what a test needs to call it.
type sandbox struct {
	*awssim.Server
	t *testing.T
}

func start(t *testing.T, cfg awssim.Config) sandbox {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := awssim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !t.Failed() && !strings.Contains(err.Error(), "left behind: multipart upload") {
			t.Errorf("close: %v", err)
		}
	})
	s.AddBucket(awssim.Bucket{Name: "demo"})
	return sandbox{s, t}
}

// env is one variable of the server's environment.
func (s sandbox) env(name string) string {
	s.t.Helper()
	for _, pair := range s.Env() {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v
		}
	}
	s.t.Fatalf("no %s in the environment", name)
	return ""
}

func (s sandbox) credentials() awssim.Credential {
	return awssim.Credential{AccessKeyID: s.env("AWS_ACCESS_KEY_ID"), SecretAccessKey: s.env("AWS_SECRET_ACCESS_KEY")}
}

// client is the real S3 client, without retries unless changed.
func (s sandbox) client(change ...func(*s3.Options)) *s3.Client {
	c := s.credentials()
	o := s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.Endpoint()), UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	}
	return s3.New(o, change...)
}

// ask is a request made by hand and signed by the SDK's signer.
type ask struct {
	method, path string
	query        string
	header       map[string]string
	body         string
	stream       io.Reader // instead of body
	payload      string    // x-amz-content-sha256; default: the body's hash
	region       string
	service      string
	cred         awssim.Credential
	at           time.Time
	unsigned     map[string]string // headers added after signing
	length       int64             // Content-Length if not the body's; -1: unknown
	noSignature  bool
}

// answer is what came back.
type answer struct {
	status int
	code   string
	header http.Header
	body   string
}

func (s sandbox) send(a ask) answer {
	s.t.Helper()
	out, err := s.trySend(a)
	if err != nil {
		s.t.Fatalf("%s %s: %v", a.method, a.path, err)
	}
	return out
}

func (s sandbox) trySend(a ask) (answer, error) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), a.method, s.Endpoint()+a.path+"?"+a.query, strings.NewReader(a.body))
	if err != nil {
		s.t.Fatal(err)
	}
	if a.body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	if a.stream != nil {
		req.Body = io.NopCloser(a.stream)
	}
	if a.length != 0 {
		req.ContentLength = a.length
	}
	for name, v := range a.header {
		req.Header[http.CanonicalHeaderKey(name)] = []string{v}
	}
	if !a.noSignature {
		s.sign(req, a)
	}
	for name, v := range a.unsigned {
		req.Header.Set(name, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	var e struct {
		Code   string
		Errors []struct{ Code string } `xml:"Errors>Error"`
	}
	if resp.StatusCode >= 300 && len(text) > 0 {
		if err := xml.Unmarshal(text, &e); err != nil {
			return answer{}, fmt.Errorf("error document %q: %w", text, err)
		}
		if len(e.Errors) > 0 {
			e.Code = e.Errors[0].Code
		}
	}
	return answer{resp.StatusCode, e.Code, resp.Header, string(text)}, nil
}

func (s sandbox) sign(req *http.Request, a ask) {
	s.t.Helper()
	if a.payload == "" {
		sum := sha256.Sum256([]byte(a.body))
		a.payload = hex.EncodeToString(sum[:])
	}
	if a.region == "" {
		a.region = "us-east-1"
	}
	if a.service == "" {
		a.service = "s3"
	}
	if a.at.IsZero() {
		a.at = time.Now()
	}
	if a.cred.AccessKeyID == "" {
		a.cred = s.credentials()
	}
	if a.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", a.payload)
	}
	cred := aws.Credentials{AccessKeyID: a.cred.AccessKeyID, SecretAccessKey: a.cred.SecretAccessKey, SessionToken: a.cred.Token}
	err := v4.NewSigner().SignHTTP(context.Background(), cred, req, a.payload, a.service, a.region, a.at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		s.t.Fatal(err)
	}
}

// code is the AWS error code of an SDK error, "" for nil.
func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return fmt.Sprintf("no API error: %v", err)
	}
	return ""
}

func (s sandbox) put(key string, body []byte, change ...func(*s3.PutObjectInput)) error {
	in := &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String(key), Body: bytes.NewReader(body)}
	for _, f := range change {
		f(in)
	}
	_, err := s.client().PutObject(s.t.Context(), in)
	return err
}

func (s sandbox) read(key string) []byte {
	s.t.Helper()
	o, ok := s.Object("demo", key)
	if !ok {
		s.t.Fatalf("no object %s", key)
	}
	r := o.Open()
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// crc64nvme is the Base64 of the checksum, by the table's definition.
func crc64nvme(b []byte) string {
	sum := crc64.Checksum(b, crc64.MakeTable(0x9a6c9329ac4bc9b5))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}

// noise is n bytes that repeat in no part size.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
