package awssim_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/awssim"
)

const testPart = 64<<10 + 4 // parts that are files, of no round size

// multi is an upload in the making.
type multi struct {
	sandbox
	key, id string
	parts   []types.CompletedPart
	body    []byte
}

func (s sandbox) begin(key string, change ...func(*s3.CreateMultipartUploadInput)) *multi {
	s.t.Helper()
	in := &s3.CreateMultipartUploadInput{
		Bucket: aws.String("demo"), Key: &key,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	}
	for _, f := range change {
		f(in)
	}
	out, err := s.client().CreateMultipartUpload(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	return &multi{sandbox: s, key: key, id: *out.UploadId}
}

func (m *multi) tryPart(n int, body []byte, change ...func(*s3.UploadPartInput)) (*s3.UploadPartOutput, error) {
	in := &s3.UploadPartInput{
		Bucket: aws.String("demo"), Key: &m.key, UploadId: &m.id, PartNumber: aws.Int32(int32(n)), Body: bytes.NewReader(body),
		ChecksumCRC64NVME: aws.String(crc64nvme(body)),
	}
	for _, f := range change {
		f(in)
	}
	return m.client().UploadPart(m.t.Context(), in)
}

func (m *multi) part(n, size int, change ...func(*s3.UploadPartInput)) {
	m.t.Helper()
	body := noise(size + n)
	out, err := m.tryPart(n, body, change...)
	if err != nil {
		m.t.Fatalf("part %d: %v", n, err)
	}
	m.body = append(m.body, body...)
	m.parts = append(m.parts, types.CompletedPart{
		ETag: out.ETag, PartNumber: aws.Int32(int32(n)), ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumCRC32: out.ChecksumCRC32, ChecksumSHA256: out.ChecksumSHA256,
	})
}

func (m *multi) complete(change ...func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: aws.String("demo"), Key: &m.key, UploadId: &m.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: append([]types.CompletedPart(nil), m.parts...)},
	}
	for _, f := range change {
		f(in)
	}
	return m.client().CompleteMultipartUpload(m.t.Context(), in)
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: testPart})
	m := s.begin("k", func(in *s3.CreateMultipartUploadInput) {
		in.StorageClass, in.Metadata, in.Tagging = types.StorageClassStandardIa, map[string]string{"a": "b"}, aws.String("x=y")
	})
	m.part(1, testPart)
	m.part(2, testPart)
	m.part(3, 2*testPart)
	m.part(4, 5)
	if _, err := m.tryPart(5, noise(9)); err != nil { // not listed: goes away
		t.Fatal(err)
	}
	out, err := m.complete(func(in *s3.CompleteMultipartUploadInput) {
		in.ChecksumCRC64NVME, in.ChecksumType, in.MpuObjectSize = aws.String(crc64nvme(m.body)), types.ChecksumTypeFullObject, aws.Int64(int64(len(m.body)))
		in.IfNoneMatch = aws.String("*")
	})
	if err != nil {
		t.Fatal(err)
	}
	if *out.ChecksumCRC64NVME != crc64nvme(m.body) || out.ChecksumType != "FULL_OBJECT" || !strings.HasSuffix(*out.ETag, `-4"`) {
		t.Errorf("answer %q %q %q", *out.ChecksumCRC64NVME, out.ChecksumType, *out.ETag)
	}
	if !bytes.Equal(s.read("k"), m.body) {
		t.Error("the bytes differ")
	}
	across := fmt.Sprintf("bytes=%d-%d", testPart-3, 2*testPart+10)
	if got := s.send(ask{method: "GET", path: "/demo/k", header: map[string]string{"Range": across}}); got.body != string(m.body[testPart-3:2*testPart+11]) {
		t.Errorf("a range across parts: %d bytes", len(got.body))
	}
	head, err := s.client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || *head.ChecksumCRC64NVME != crc64nvme(m.body) || head.StorageClass != "STANDARD_IA" || *head.ContentLength != int64(len(m.body)) || head.Metadata["a"] != "b" {
		t.Errorf("head %+v, %v", head, err)
	}
	if o, _ := s.Object("demo", "k"); len(o.Parts) != 4 || len(o.Tags) != 1 {
		t.Errorf("inspection: %+v", o)
	}
	if _, err := m.complete(); code(err) != "NoSuchUpload" {
		t.Errorf("completed twice: %v", err)
	}
}

// Each way in which a completion is refused leaves the upload as it was.
func TestCompleteRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: testPart})
	if err := s.put("k", []byte("old")); err != nil {
		t.Fatal(err)
	}
	m := s.begin("k")
	m.part(1, testPart)
	m.part(2, testPart)
	m.part(3, 5)
	list := func(parts ...types.CompletedPart) func(*s3.CompleteMultipartUploadInput) {
		return func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts = parts }
	}
	other := m.parts[0]
	other.ETag = aws.String(`"00000000000000000000000000000000"`)
	wrongSum := m.parts[0]
	wrongSum.ChecksumCRC64NVME = aws.String(crc64nvme([]byte("other")))
	absent := m.parts[0]
	absent.PartNumber = aws.Int32(9)
	tests := []struct {
		name, code string
		change     func(*s3.CompleteMultipartUploadInput)
	}{
		{"no parts", "MalformedXML", list()},
		{"order", "InvalidPartOrder", list(m.parts[1], m.parts[0])},
		{"twice", "InvalidPartOrder", list(m.parts[0], m.parts[0])},
		{"other etag", "InvalidPart", list(other, m.parts[1])},
		{"other checksum", "InvalidPart", list(wrongSum, m.parts[1])},
		{"absent part", "InvalidPart", list(m.parts[0], absent)},
		{"gap", "InternalError", list(m.parts[0], m.parts[2])},
		{"size", "InvalidRequest", func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(1) }},
		{"whole checksum", "BadDigest", func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC64NVME = aws.String(crc64nvme(nil)) }},
		{"checksum type", "BadDigest", func(in *s3.CompleteMultipartUploadInput) { in.ChecksumType = types.ChecksumTypeComposite }},
		{"checksum algorithm", "InvalidRequest", func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }},
		{"there already", "PreconditionFailed", func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") }},
		{"another there", "PreconditionFailed", func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = aws.String(`"x"`) }},
		{"unknown upload", "NoSuchUpload", func(in *s3.CompleteMultipartUploadInput) { in.UploadId = aws.String("x") }},
		{"other key", "NoSuchUpload", func(in *s3.CompleteMultipartUploadInput) { in.Key = aws.String("other") }},
	}
	for _, tt := range tests {
		if _, err := m.complete(tt.change); code(err) != tt.code {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.code)
		}
	}
	if got := string(s.read("k")); got != "old" || len(s.Uploads("demo")) != 1 || s.Uploads("demo")[0].Parts != 3 {
		t.Fatalf("a refusal had an effect: %q, %+v", got, s.Uploads("demo"))
	}
	if _, err := m.complete(); err != nil {
		t.Errorf("at last: %v", err)
	}
	small := s.begin("small")
	small.part(1, testPart-10)
	small.part(2, 5)
	if _, err := small.complete(); code(err) != "EntityTooSmall" {
		t.Errorf("a small part that is not the last: %v", err)
	}
}

func TestPartRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: testPart})
	m := s.begin("k")
	tests := []struct {
		name, code string
		n          int
		change     func(*s3.UploadPartInput)
	}{
		{"number 0", "InvalidArgument", 0, nil},
		{"number 10,001", "InvalidArgument", 10_001, nil},
		{"unknown upload", "NoSuchUpload", 1, func(in *s3.UploadPartInput) { in.UploadId = aws.String("x") }},
		{"wrong checksum", "BadDigest", 1, func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = aws.String(crc64nvme([]byte("x"))) }},
		{"other algorithm", "InvalidRequest", 1, func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME, in.ChecksumCRC32 = nil, aws.String("AAAAAA==") }},
		{"malformed checksum", "InvalidRequest", 1, func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = aws.String("AAAAAA==") }},
		{"wrong md5", "BadDigest", 1, func(in *s3.UploadPartInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") }},
		{"malformed md5", "InvalidDigest", 1, func(in *s3.UploadPartInput) { in.ContentMD5 = aws.String("AAAA") }},
	}
	for _, tt := range tests {
		change := tt.change
		if change == nil {
			change = func(*s3.UploadPartInput) {}
		}
		if _, err := m.tryPart(tt.n, noise(100), change); code(err) != tt.code {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.code)
		}
	}
	if got := s.Uploads("demo")[0].Parts; got != 0 {
		t.Errorf("%d refused parts are there", got)
	}
	if _, err := m.tryPart(1, noise(100), func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = nil }); err != nil {
		t.Errorf("a full-object upload's part needs no checksum: %v", err)
	}
	if _, err := m.tryPart(10_000, noise(100)); err != nil {
		t.Errorf("the last number: %v", err)
	}
}

func TestChecksumsOfUploads(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: testPart})
	plain := func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = nil }
	with := func(a types.ChecksumAlgorithm) func(*s3.UploadPartInput) {
		return func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME, in.ChecksumAlgorithm = nil, a }
	}
	create := func(a types.ChecksumAlgorithm, k types.ChecksumType) func(*s3.CreateMultipartUploadInput) {
		return func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm, in.ChecksumType = a, k }
	}
	head := func(key string) *s3.HeadObjectOutput {
		t.Helper()
		out, err := s.client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run := func(key string, m *multi, part func(*s3.UploadPartInput)) *s3.HeadObjectOutput {
		t.Helper()
		m.part(1, testPart, part)
		m.part(2, testPart+7, part)
		if _, err := m.complete(); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return head(key)
	}

	none := s.begin("none", create("", ""))
	if out := run("none", none, plain); aws.ToString(out.ChecksumCRC64NVME) != crc64nvme(none.body) || out.ChecksumType != "FULL_OBJECT" {
		t.Errorf("none asked for: %+v", out)
	}
	whole := s.begin("whole", create(types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject))
	sum := crc32.ChecksumIEEE
	if out := run("whole", whole, plain); aws.ToString(out.ChecksumCRC32) != base64.StdEncoding.EncodeToString(be32(sum(whole.body))) || out.ChecksumType != "FULL_OBJECT" {
		t.Errorf("CRC32 of the whole: %+v", out)
	}
	c := s.begin("composite", create(types.ChecksumAlgorithmCrc32, ""))
	if _, err := c.tryPart(1, noise(9), plain); code(err) != "InvalidRequest" {
		t.Errorf("a composite upload's part without a checksum: %v", err)
	}
	out := run("composite", c, with(types.ChecksumAlgorithmCrc32))
	n := len(noise(testPart + 1))
	parts := append(be32(sum(c.body[:n])), be32(sum(c.body[n:]))...)
	if want := base64.StdEncoding.EncodeToString(be32(sum(parts))) + "-2"; aws.ToString(out.ChecksumCRC32) != want || out.ChecksumType != "COMPOSITE" {
		t.Errorf("composite: %q %q, want %q", aws.ToString(out.ChecksumCRC32), out.ChecksumType, want)
	}
	sha := s.begin("sha", create(types.ChecksumAlgorithmSha256, ""))
	if out := run("sha", sha, with(types.ChecksumAlgorithmSha256)); !strings.HasSuffix(aws.ToString(out.ChecksumSHA256), "-2") {
		t.Errorf("SHA-256: %+v", out)
	}
	missing := s.begin("missing", create(types.ChecksumAlgorithmSha256, ""))
	missing.part(1, testPart, with(types.ChecksumAlgorithmSha256))
	missing.parts[0].ChecksumSHA256 = nil
	if _, err := missing.complete(); code(err) != "InvalidRequest" {
		t.Errorf("a composite completion without the part's checksum: %v", err)
	}
	for name, header := range map[string]map[string]string{
		"composite crc64nvme": {"X-Amz-Checksum-Algorithm": "CRC64NVME", "X-Amz-Checksum-Type": "COMPOSITE"},
		"whole sha256":        {"X-Amz-Checksum-Algorithm": "SHA256", "X-Amz-Checksum-Type": "FULL_OBJECT"},
		"type alone":          {"X-Amz-Checksum-Type": "FULL_OBJECT"},
		"unknown algorithm":   {"X-Amz-Checksum-Algorithm": "MD4"},
	} {
		if got := s.send(ask{method: "POST", path: "/demo/x", query: "uploads=", header: header}); got.code != "InvalidRequest" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

func TestAbortAndLeftovers(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: testPart})
	stays, goes := s.begin("b/stays"), s.begin("a/goes")
	stays.part(1, testPart)
	goes.part(1, testPart)
	abort := func() error {
		_, err := s.client().AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String("demo"), Key: &goes.key, UploadId: &goes.id})
		return err
	}
	if err := abort(); err != nil {
		t.Fatal(err)
	}
	if err := abort(); code(err) != "NoSuchUpload" {
		t.Errorf("aborted twice: %v", err)
	}
	if _, err := goes.tryPart(2, noise(9)); code(err) != "NoSuchUpload" {
		t.Errorf("a part after the abort: %v", err)
	}
	err := s.Close()
	if want := "left behind: multipart upload " + stays.id + " of s3://demo/b/stays with 1 parts"; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "a/goes") {
		t.Errorf("close: %v, want %s", err, want)
	}
}

func TestListUploadsAndParts(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	var want []string
	for _, key := range []string{"a", "b", "b", "c/1"} {
		m := s.begin(key)
		want = append(want, key+" "+m.id)
	}
	m := s.begin("q")
	for n := 1; n <= 5; n++ {
		m.part(n*3, 10)
	}
	var got []string
	in := &s3.ListMultipartUploadsInput{Bucket: aws.String("demo"), MaxUploads: aws.Int32(2)}
	for p := s3.NewListMultipartUploadsPaginator(s.client(), in); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Uploads {
			got = append(got, *u.Key+" "+*u.UploadId)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(append(want, "q "+m.id)) {
		t.Errorf("uploads %v, want %v", got, want)
	}
	var numbers []int32
	for p := s3.NewListPartsPaginator(s.client(), &s3.ListPartsInput{Bucket: aws.String("demo"), Key: &m.key, UploadId: &m.id, MaxParts: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range page.Parts {
			numbers = append(numbers, *part.PartNumber)
			if *part.ChecksumCRC64NVME == "" || *part.Size != int64(10+*part.PartNumber) {
				t.Errorf("part %+v", part)
			}
		}
	}
	if fmt.Sprint(numbers) != "[3 6 9 12 15]" {
		t.Errorf("parts %v", numbers)
	}
	page, err := s.client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("demo"), Prefix: aws.String("c/")})
	if err != nil || len(page.Uploads) != 1 {
		t.Errorf("by prefix: %+v, %v", page, err)
	}
}
