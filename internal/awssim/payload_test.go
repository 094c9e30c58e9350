package awssim_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/awssim"
)

func TestPayloadHash(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	zeros := strings.Repeat("0", 64)
	tests := []struct {
		name, payload, code string
	}{
		{"right", "", ""},
		{"unsigned", "UNSIGNED-PAYLOAD", ""},
		{"wrong", zeros, "XAmzContentSHA256Mismatch"},
		{"nonsense", "abc", "InvalidArgument"},
		{"signed chunks", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "NotImplemented"},
	}
	for _, size := range []int{10, 100_000} { // in memory, in a file
		for _, tt := range tests {
			key := fmt.Sprintf("%s%d", strings.ReplaceAll(tt.name, " ", ""), size)
			got := s.send(ask{method: "PUT", path: "/demo/" + key, body: string(noise(size)), payload: tt.payload})
			if got.code != tt.code {
				t.Errorf("%s of %d: %+v", tt.name, size, got)
			}
			if _, there := s.Object("demo", key); there != (tt.code == "") {
				t.Errorf("%s of %d: there is %v", tt.name, size, there)
			}
		}
	}
	if got := s.send(ask{method: "PUT", path: "/demo/k", stream: strings.NewReader("abc"), length: -1, payload: "UNSIGNED-PAYLOAD"}); got.status != 411 || got.code != "MissingContentLength" {
		t.Errorf("without a length: %+v", got)
	}
	if got := s.send(ask{method: "PUT", path: "/demo/k", stream: io.MultiReader(), length: 6 << 30, payload: "UNSIGNED-PAYLOAD", header: map[string]string{"Expect": "100-continue"}}); got.code != "EntityTooLarge" {
		t.Errorf("over 5 GiB: %+v", got)
	}
}

func TestChecksumHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	body := "123456789"
	const (
		crc64  = "rosUhgp5mIg=" // ae8b14860a799888, the CRC catalogue's check value of CRC-64/NVME
		crc32  = "y/Q5Jg=="     // cbf43926
		crc32c = "4waSgw=="     // e3069283
	)
	tests := []struct {
		name   string
		header map[string]string
		code   string
	}{
		{"crc64nvme", map[string]string{"X-Amz-Checksum-Crc64nvme": crc64}, ""},
		{"crc32", map[string]string{"X-Amz-Checksum-Crc32": crc32, "X-Amz-Sdk-Checksum-Algorithm": "CRC32"}, ""},
		{"crc32c", map[string]string{"X-Amz-Checksum-Crc32c": crc32c}, ""},
		{"sha256", map[string]string{"X-Amz-Checksum-Sha256": "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="}, ""},
		{"wrong", map[string]string{"X-Amz-Checksum-Crc64nvme": "AAAAAAAAAAA="}, "BadDigest"},
		{"short", map[string]string{"X-Amz-Checksum-Crc64nvme": crc32}, "InvalidRequest"},
		{"two", map[string]string{"X-Amz-Checksum-Crc64nvme": crc64, "X-Amz-Checksum-Crc32": crc32}, "InvalidRequest"},
		{"announced only", map[string]string{"X-Amz-Sdk-Checksum-Algorithm": "CRC32"}, "InvalidRequest"},
		{"announced another", map[string]string{"X-Amz-Sdk-Checksum-Algorithm": "CRC32", "X-Amz-Checksum-Crc64nvme": crc64}, "InvalidRequest"},
		{"unknown", map[string]string{"X-Amz-Checksum-Xxhash64": "AAAAAAAAAAA="}, "NotImplemented"},
	}
	for _, tt := range tests {
		if got := s.send(ask{method: "PUT", path: "/demo/k", body: body, header: tt.header}); got.code != tt.code {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	if got := s.send(ask{method: "PUT", path: "/demo/k", body: body}); got.header.Get("X-Amz-Checksum-Crc64nvme") != crc64 {
		t.Errorf("S3 computes its own: %v", got.header)
	}
}

// chunks is aws-chunked by hand.
func chunks(trailer string, sizes ...int) (body string, plain []byte) {
	var b strings.Builder
	for i, n := range sizes {
		data := noise(n + i)[:n]
		plain = append(plain, data...)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, data)
	}
	return b.String() + "0\r\n" + trailer + "\r\n", plain
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	_, plain := chunks("", 8192, 100_000, 7)
	right := "x-amz-checksum-crc64nvme:" + crc64nvme(plain) + "\r\n"
	wrong := "x-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\n"
	good, _ := chunks(right, 8192, 100_000, 7)
	tests := []struct {
		name, body, code string
		header           map[string]string // over the usual
	}{
		{"right", good, "", nil},
		{"wrong checksum", strings.Replace(good, right, wrong, 1), "BadDigest", nil},
		{"small chunk in the middle", first(chunks(right, 7, 100_000, 8192)), "InvalidChunkSizeError", nil},
		{"no trailer", first(chunks("", 8192, 100_000, 7)), "MalformedTrailerError", nil},
		{"a trailer not announced", first(chunks(right+"x-amz-other:1\r\n", 8192, 100_000, 7)), "MalformedTrailerError", nil},
		{"trailer without colon", first(chunks("nonsense\r\n", 8192, 100_000, 7)), "MalformedTrailerError", nil},
		{"too short", first(chunks(right, 8192, 100_000)), "IncompleteBody", nil},
		{"too long", first(chunks(right, 8192, 100_000, 8)), "IncompleteBody", nil},
		{"cut", good[:len(good)-2], "IncompleteBody", nil},
		{"size no number", "zz\r\n" + good, "InvalidRequest", nil},
		{"line without CR", "7\nabc", "InvalidRequest", nil},
		{"chunk longer than said", strings.Replace(good, "2000\r\n", "1fff\r\n", 1), "IncompleteBody", nil},
		{"no decoded length", good, "MissingContentLength", map[string]string{"X-Amz-Decoded-Content-Length": "x"}},
		{"announced twice", good, "InvalidRequest", map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}},
	}
	for _, tt := range tests {
		header := map[string]string{
			"X-Amz-Trailer": "x-amz-checksum-crc64nvme", "X-Amz-Decoded-Content-Length": fmt.Sprint(len(plain)), "Content-Encoding": "aws-chunked",
		}
		for k, v := range tt.header {
			header[k] = v
		}
		key := strings.ReplaceAll(tt.name, " ", "-")
		got := s.send(ask{method: "PUT", path: "/demo/" + key, body: tt.body, header: header, payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})
		if got.code != tt.code {
			t.Errorf("%s: %+v", tt.name, got)
		}
		o, there := s.Object("demo", key)
		if there != (tt.code == "") {
			t.Errorf("%s: there is %v", tt.name, there)
		}
		if there && (!bytes.Equal(s.read(key), plain) || o.Headers.Get("Content-Encoding") != "") {
			t.Errorf("%s: %d bytes, %v", tt.name, o.Size, o.Headers)
		}
	}
}

func first(s string, _ []byte) string { return s }

// Over HTTPS the SDK sends trailing checksums: a proxy that ends TLS shows that
// what it sends is understood.
func TestTrailersBySDK(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	target, err := url.Parse(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	var mode string
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		if v := r.In.Header.Get("X-Amz-Content-Sha256"); r.In.Method == "PUT" {
			mode = v
		}
	}})
	defer proxy.Close()
	secure := s.client(func(o *s3.Options) {
		o.BaseEndpoint = aws.String(proxy.URL)
		o.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: proxy.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
	})
	for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha256} {
		for _, size := range []int{0, 10, 3 << 20} {
			body := noise(size)
			_, err := secure.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: bytes.NewReader(body), ChecksumAlgorithm: a})
			if err != nil {
				t.Fatalf("%s %d: %v", a, size, err)
			}
			if got := s.read("k"); !bytes.Equal(got, body) {
				t.Errorf("%s %d: %d bytes", a, size, len(got))
			}
			if size > 0 && mode != "STREAMING-UNSIGNED-PAYLOAD-TRAILER" {
				t.Errorf("the SDK sent %s, so this test shows nothing", mode)
			}
		}
	}
}

// The SDK as it is set up by default, with its own checksums and validation.
func TestSDKDefaults(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	c := s.client(func(o *s3.Options) {
		o.RequestChecksumCalculation, o.ResponseChecksumValidation = aws.RequestChecksumCalculationWhenSupported, aws.ResponseChecksumValidationWhenSupported
	})
	ctx, bucket, key, body := t.Context(), aws.String("demo"), aws.String("k"), noise(100_000)
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{
			PartNumber: aws.Int32(1), ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32, ChecksumCRC64NVME: p.ChecksumCRC64NVME,
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*string{nil, aws.String("bytes=10-20")} {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, Range: r})
		if err != nil {
			t.Fatal(err)
		}
		want := body
		if r != nil {
			want = body[10:21]
		}
		if got, err := io.ReadAll(out.Body); !bytes.Equal(got, want) || err != nil {
			t.Errorf("range %s: %d bytes of %d, %v", aws.ToString(r), len(got), len(want), err)
		}
	}
}
