package awssim_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 3 << 20} {
		body := noise(size)
		key := fmt.Sprintf("o%d", size)
		err := s.put(key, body, func(in *s3.PutObjectInput) {
			in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc64nvme
			in.ContentType = aws.String("application/x-test")
			in.Metadata = map[string]string{"Snapshot-Id": "snap-1", "description": "=?UTF-8?B?w6k=?="}
			in.Tagging = aws.String("Name=a+b&team=x%2Fy")
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(out.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%s: %d bytes of %d came back, %v", key, len(got), size, err)
		}
		if *out.ChecksumCRC64NVME != crc64nvme(body) || out.ChecksumType != types.ChecksumTypeFullObject || *out.ContentType != "application/x-test" {
			t.Errorf("%s: checksum %q %q, type %q", key, *out.ChecksumCRC64NVME, out.ChecksumType, *out.ContentType)
		}
		want := map[string]string{"snapshot-id": "snap-1", "description": "=?UTF-8?B?w6k=?="}
		if diff := cmp.Diff(want, out.Metadata); diff != "" || *out.TagCount != 2 || out.ServerSideEncryption != "AES256" {
			t.Errorf("%s: metadata %s, tags %d, encryption %s", key, diff, *out.TagCount, out.ServerSideEncryption)
		}
	}
	tags, err := s.client().GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String("demo"), Key: aws.String("o1")})
	if err != nil || len(tags.TagSet) != 2 || *tags.TagSet[0].Value != "a b" || *tags.TagSet[1].Value != "x/y" {
		t.Errorf("tags: %+v, %v", tags, err)
	}
	o, _ := s.Object("demo", "o1")
	if o.StorageClass != "STANDARD" || o.ChecksumAlgorithm != "CRC64NVME" || o.Encryption != "AES256" || len(s.Objects("demo")) != 5 {
		t.Errorf("inspection: %+v, %d objects", o, len(s.Objects("demo")))
	}
}

// An object that is replaced or deleted can be read on by those who began.
func TestReadersKeepWhatTheyRead(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	body := noise(8 << 20)
	if err := s.put("k", body); err != nil {
		t.Fatal(err)
	}
	out, err := s.client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := out.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if err := s.put("empty", nil); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		key, header, want, contentRange string
		status                          int
	}{
		{"k", "bytes=0-0", "0", "bytes 0-0/10", 206},
		{"k", "bytes=3-5", "345", "bytes 3-5/10", 206},
		{"k", "bytes=7-", "789", "bytes 7-9/10", 206},
		{"k", "bytes=8-100", "89", "bytes 8-9/10", 206},
		{"k", "bytes=-4", "6789", "bytes 6-9/10", 206},
		{"k", "bytes=-40", "0123456789", "bytes 0-9/10", 206},
		{"k", "bytes=5-3", "0123456789", "", 200},
		{"k", "bytes=0-1,3-4", "0123456789", "", 200},
		{"k", "lines=1-2", "0123456789", "", 200},
		{"k", "bytes=10-", "", "bytes */10", 416},
		{"k", "bytes=-0", "", "bytes */10", 416},
		{"empty", "bytes=0-", "", "bytes */0", 416},
	}
	for _, tt := range tests {
		got := s.send(ask{method: "GET", path: "/demo/" + tt.key, header: map[string]string{"Range": tt.header, "X-Amz-Checksum-Mode": "ENABLED"}})
		if tt.status == 416 {
			if got.code != "InvalidRange" {
				t.Errorf("%s %s: code %q", tt.key, tt.header, got.code)
			}
			got.body = ""
		}
		if got.status != tt.status || got.body != tt.want || got.header.Get("Content-Range") != tt.contentRange {
			t.Errorf("%s %s: got %d %q %q", tt.key, tt.header, got.status, got.body, got.header.Get("Content-Range"))
		}
		if whole := got.status == 200; whole != (got.header.Get("X-Amz-Checksum-Type") != "") {
			t.Errorf("%s %s: checksum headers of %d: %v", tt.key, tt.header, got.status, got.header)
		}
	}
}

func TestReadConditions(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	o, _ := s.Object("demo", "k")
	later, before := o.Modified.Add(time.Hour).UTC().Format(http.TimeFormat), o.Modified.Add(-time.Hour).UTC().Format(http.TimeFormat)
	tests := []struct {
		name, value string
		status      int
	}{
		{"If-Match", o.ETag, 200},
		{"If-Match", `"other"`, 412},
		{"If-None-Match", o.ETag, 304},
		{"If-None-Match", `"other"`, 200},
		{"If-Modified-Since", later, 304},
		{"If-Modified-Since", before, 200},
		{"If-Unmodified-Since", before, 412},
		{"If-Unmodified-Since", later, 200},
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, tt := range tests {
			if got := s.send(ask{method: method, path: "/demo/k", header: map[string]string{tt.name: tt.value}}); got.status != tt.status {
				t.Errorf("%s %s %s: got %d, want %d", method, tt.name, tt.value, got.status, tt.status)
			}
		}
	}
}

func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	none := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	match := func(etag string) func(*s3.PutObjectInput) {
		return func(in *s3.PutObjectInput) { in.IfMatch = &etag }
	}
	if got := code(s.put("k", []byte("a"), match(`"x"`))); got != "NoSuchKey" {
		t.Errorf("If-Match of nothing: %q", got)
	}
	if err := s.put("k", []byte("a"), none); err != nil {
		t.Fatal(err)
	}
	if got := code(s.put("k", []byte("b"), none)); got != "PreconditionFailed" {
		t.Errorf("If-None-Match over an object: %q", got)
	}
	o, _ := s.Object("demo", "k")
	if got := code(s.put("k", []byte("b"), match(`"x"`))); got != "PreconditionFailed" {
		t.Errorf("If-Match of another: %q", got)
	}
	if got := s.read("k"); string(got) != "a" {
		t.Errorf("a refused write had an effect: %q", got)
	}
	if err := s.put("k", []byte("b"), match(o.ETag)); err != nil {
		t.Errorf("If-Match of this one: %v", err)
	}
	for _, header := range []map[string]string{{"If-None-Match": o.ETag}, {"If-Match": "*"}, {"If-Match": o.ETag, "If-None-Match": "*"}} {
		if got := s.send(ask{method: "PUT", path: "/demo/k", body: "c", header: header}); got.code != "NotImplemented" {
			t.Errorf("%v: %+v", header, got)
		}
	}
	if err := s.Invariants(); err != nil {
		t.Errorf("nothing was written over unnamed, but: %v", err)
	}
	if err := s.put("k", []byte("c")); err != nil {
		t.Fatal(err)
	}
	if err := s.Invariants(); err == nil || !strings.Contains(err.Error(), "s3://demo/k was replaced by a write that did not name what it replaces") {
		t.Errorf("a write over an object that was not named: %v", err)
	}
	s.AddBucket(awssim.Bucket{Name: "demo", IgnoreConditionals: true})
	if err := s.put("k", []byte("taken"), none); err != nil || string(s.read("k")) != "taken" {
		t.Errorf("a store without conditions: %v, %q", err, s.read("k"))
	}
}

// A deletion while a conditional write is under way is a conflict. Most of the
// body is more than sockets hold: once it is written, the server reads it, and
// has taken the conditions.
func TestConditionalWriteConflict(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", []byte("old")); err != nil {
		t.Fatal(err)
	}
	o, _ := s.Object("demo", "k")
	content := noise(32 << 20)
	body, w := io.Pipe()
	done := make(chan string, 1)
	go func() {
		got, err := s.trySend(ask{
			method: "PUT", path: "/demo/k", stream: body, length: int64(len(content)), payload: "UNSIGNED-PAYLOAD",
			header: map[string]string{"If-Match": o.ETag},
		})
		done <- fmt.Sprint(got.status, " ", got.code, " ", err)
	}()
	if _, err := w.Write(content[:30<<20]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content[30<<20:]); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "409 ConditionalRequestConflict <nil>" {
		t.Errorf("got %s", got)
	}
	if _, ok := s.Object("demo", "k"); ok {
		t.Error("the refused write is there")
	}
}

func TestMissingKeyAndTheRightToList(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	ctx := t.Context()
	head := func() error {
		_, err := s.client().HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: aws.String("nothing")})
		return err
	}
	get := func() error {
		_, err := s.client().GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("nothing")})
		return err
	}
	if h, g := code(head()), code(get()); h != "NotFound" || g != "NoSuchKey" {
		t.Errorf("with the right: %q, %q", h, g)
	}
	s.SetPolicy([]string{"s3:GetObject"})
	if h, g := code(head()), code(get()); h != "Forbidden" || g != "AccessDenied" {
		t.Errorf("without it: %q, %q", h, g)
	}
	s.SetPolicy([]string{"s3:ListBucket"})
	if h := code(head()); h != "Forbidden" {
		t.Errorf("without GetObject: %q", h)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := s.send(ask{method: "DELETE", path: "/demo/k", header: map[string]string{"If-Match": `"other"`}}); got.code != "PreconditionFailed" {
		t.Errorf("conditional: %+v", got)
	}
	for range 2 { // it may be gone already
		if got := s.send(ask{method: "DELETE", path: "/demo/k"}); got.status != 204 {
			t.Errorf("got %+v", got)
		}
	}
	if len(s.Objects("demo")) != 0 {
		t.Error("it is still there")
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	for _, k := range []string{"a", "b/1", "b/2", "b/3", "c", "d/x y", "d/z", "e"} {
		if err := s.put(k, []byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	list := func(in s3.ListObjectsV2Input) (keys []string, pages int) {
		in.Bucket = aws.String("demo")
		for p := s3.NewListObjectsV2Paginator(s.client(), &in); p.HasMorePages(); pages++ {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page.CommonPrefixes {
				keys = append(keys, *c.Prefix)
			}
			for _, o := range page.Contents {
				keys = append(keys, *o.Key)
			}
		}
		return keys, pages
	}
	tests := []struct {
		name  string
		in    s3.ListObjectsV2Input
		want  []string
		pages int
	}{
		{"all", s3.ListObjectsV2Input{}, []string{"a", "b/1", "b/2", "b/3", "c", "d/x y", "d/z", "e"}, 1},
		{"paged", s3.ListObjectsV2Input{MaxKeys: aws.Int32(3)}, []string{"a", "b/1", "b/2", "b/3", "c", "d/x y", "d/z", "e"}, 3},
		{"prefix", s3.ListObjectsV2Input{Prefix: aws.String("b/")}, []string{"b/1", "b/2", "b/3"}, 1},
		{"delimiter paged", s3.ListObjectsV2Input{Delimiter: aws.String("/"), MaxKeys: aws.Int32(1)}, []string{"a", "b/", "c", "d/", "e"}, 5},
		{"after", s3.ListObjectsV2Input{StartAfter: aws.String("b/2")}, []string{"b/3", "c", "d/x y", "d/z", "e"}, 1},
		{"encoded", s3.ListObjectsV2Input{EncodingType: types.EncodingTypeUrl, Prefix: aws.String("d/x")}, []string{"d/x%20y"}, 1},
		{"none", s3.ListObjectsV2Input{Prefix: aws.String("q")}, nil, 1},
	}
	for _, tt := range tests {
		keys, pages := list(tt.in)
		if diff := cmp.Diff(tt.want, keys); diff != "" || pages != tt.pages {
			t.Errorf("%s: %d pages %s", tt.name, pages, diff)
		}
	}
	for _, q := range []string{"list-type=2&max-keys=x", "list-type=2&continuation-token=%21", "list-type=1", "list-type=2&encoding-type=x"} {
		if got := s.send(ask{method: "GET", path: "/demo", query: q}); got.code != "InvalidArgument" {
			t.Errorf("%s: %+v", q, got)
		}
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	s.AddBucket(awssim.Bucket{Name: "far", Region: "eu-west-1"})
	s.AddBucket(awssim.Bucket{Name: "closed", Deny: true})
	far := func(o *s3.Options) { o.Region = "eu-west-1" }
	ctx := t.Context()
	_, err := s.client().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("far")})
	if err == nil {
		t.Error("a bucket of another region was reached")
	}
	got := s.send(ask{method: "HEAD", path: "/far"})
	if got.status != 301 || got.header.Get("X-Amz-Bucket-Region") != "eu-west-1" || got.body != "" {
		t.Errorf("HEAD: %+v", got)
	}
	got = s.send(ask{method: "GET", path: "/far/k"})
	if got.code != "PermanentRedirect" || !strings.Contains(got.body, "<Endpoint>far.s3.eu-west-1.amazonaws.com</Endpoint>") || got.header.Get("X-Amz-Bucket-Region") != "eu-west-1" {
		t.Errorf("GET: %+v", got)
	}
	out, err := s.client(far).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("far")})
	if err != nil || *out.BucketRegion != "eu-west-1" {
		t.Errorf("in its region: %+v, %v", out, err)
	}
	for bucket, want := range map[string]string{"far": "eu-west-1", "demo": ""} {
		loc, err := s.client().GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
		if err != nil || string(loc.LocationConstraint) != want {
			t.Errorf("location of %s: %+v, %v", bucket, loc, err)
		}
	}
	if got := s.send(ask{method: "GET", path: "/nowhere/k"}); got.status != 404 || got.code != "NoSuchBucket" {
		t.Errorf("no bucket: %+v", got)
	}
	if got := s.send(ask{method: "GET", path: "/closed/k"}); got.code != "AccessDenied" || !strings.Contains(got.body, "explicit deny in a resource-based policy") {
		t.Errorf("denying bucket: %+v", got)
	}
	if got := s.send(ask{method: "GET", path: "/demo/k", header: map[string]string{"X-Amz-Expected-Bucket-Owner": "999999999999"}}); got.code != "AccessDenied" {
		t.Errorf("another owner expected: %+v", got)
	}
}

func TestUnknownOperations(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	tests := []struct {
		name string
		ask  ask
		code string
	}{
		{"copy", ask{method: "PUT", path: "/demo/k", header: map[string]string{"X-Amz-Copy-Source": "demo/x"}}, "NotImplemented"},
		{"acl", ask{method: "PUT", path: "/demo/k", query: "acl"}, "NotImplemented"},
		{"acl header", ask{method: "PUT", path: "/demo/k", header: map[string]string{"X-Amz-Acl": "public-read"}}, "NotImplemented"},
		{"make bucket", ask{method: "PUT", path: "/demo2"}, "MethodNotAllowed"},
		{"list buckets", ask{method: "GET", path: "/"}, "MethodNotAllowed"},
		{"post", ask{method: "POST", path: "/demo/k"}, "MethodNotAllowed"},
		{"sse on get", ask{method: "GET", path: "/demo/k", header: map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}}, "InvalidArgument"},
		{"metadata on get", ask{method: "GET", path: "/demo/k", header: map[string]string{"X-Amz-Meta-A": "b"}}, "NotImplemented"},
	}
	for _, tt := range tests {
		if got := s.send(tt.ask); got.code != tt.code {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
