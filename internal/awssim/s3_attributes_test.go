package awssim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/awssim"
)

// Both ways to write take the same attributes and refuse the same.
func writes(key string, header map[string]string) []ask {
	return []ask{
		{method: "PUT", path: "/demo/" + key, body: "x", header: header},
		{method: "POST", path: "/demo/" + key, query: "uploads=", header: header},
	}
}

func TestAttributeLimits(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	tags := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("k%d=v", i))
		}
		return strings.Join(all, "&")
	}
	meta := func(n int) map[string]string { return map[string]string{"X-Amz-Meta-K": strings.Repeat("m", n-1)} }
	big := map[string]string{"Cache-Control": strings.Repeat("h", 8<<10)}
	one := func(name, v string) map[string]string { return map[string]string{name: v} }
	tests := []struct {
		name   string
		header map[string]string
		code   string
	}{
		{"ten tags", one("X-Amz-Tagging", tags(10)), ""},
		{"eleven tags", one("X-Amz-Tagging", tags(11)), "InvalidTag"},
		{"tag key of 128", one("X-Amz-Tagging", strings.Repeat("k", 128)+"=v"), ""},
		{"tag key of 129", one("X-Amz-Tagging", strings.Repeat("k", 129)+"=v"), "InvalidTag"},
		{"tag value of 256", one("X-Amz-Tagging", "k="+strings.Repeat("v", 256)), ""},
		{"tag value of 257", one("X-Amz-Tagging", "k="+strings.Repeat("v", 257)), "InvalidTag"},
		{"tag value of 129 pairs of UTF-16", one("X-Amz-Tagging", "k="+strings.Repeat("%F0%9D%94%B8", 129)), "InvalidTag"},
		{"tag with all that is allowed", one("X-Amz-Tagging", "k%C3%A9+_.%3A%2F%3D%2B-%40=%E6%97%A5+9"), ""},
		{"tag with a star", one("X-Amz-Tagging", "k%2A=v"), "InvalidTag"},
		{"tag value with a hash", one("X-Amz-Tagging", "k=%23"), "InvalidTag"},
		{"tag without a key", one("X-Amz-Tagging", "=v"), "InvalidTag"},
		{"tag of aws", one("X-Amz-Tagging", "AWS%3Ax=v"), "InvalidTag"},
		{"tag twice", one("X-Amz-Tagging", "k=1&k=2"), "InvalidArgument"},
		{"tag badly encoded", one("X-Amz-Tagging", "k=%zz"), "InvalidArgument"},
		{"metadata of 2 KB", meta(2048), ""},
		{"metadata over 2 KB", meta(2049), "MetadataTooLarge"},
		{"headers over 8 KB", big, "RequestHeaderSectionTooLarge"},
		{"class", one("X-Amz-Storage-Class", "GLACIER_IR"), ""},
		{"no class", one("X-Amz-Storage-Class", "COLD"), "InvalidStorageClass"},
		{"encryption", one("X-Amz-Server-Side-Encryption", "AES256"), ""},
		{"no encryption", one("X-Amz-Server-Side-Encryption", "ROT13"), "InvalidEncryptionAlgorithmError"},
		{"key without KMS", one("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "k"), "InvalidArgument"},
	}
	for _, tt := range tests {
		for _, a := range writes("k", tt.header) {
			if got := s.send(a); got.code != tt.code {
				t.Errorf("%s by %s: got %d %q, want %q", tt.name, a.method, got.status, got.code, tt.code)
			}
		}
	}
	for n, want := range map[int]string{1024: "", 1025: "KeyTooLongError"} {
		for _, a := range writes(strings.Repeat("k", n), nil) {
			if got := s.send(a); got.code != want {
				t.Errorf("key of %d by %s: %+v", n, a.method, got)
			}
		}
	}
}

func TestMetadataOutsideASCII(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	err := s.put("k", nil, func(in *s3.PutObjectInput) {
		in.Metadata = map[string]string{"plain": "a b", "accent": "é", "tab": "a\tb", "latin1": "\xe9"}
	})
	if err != nil {
		t.Fatal(err)
	}
	got := s.send(ask{method: "HEAD", path: "/demo/k"}).header
	if got.Get("X-Amz-Meta-Plain") != "a b" || got.Get("X-Amz-Meta-Accent") != "=?UTF-8?B?w6k=?=" || got.Get("X-Amz-Missing-Meta") != "2" {
		t.Errorf("got %v", got)
	}
}

func TestKMS(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	arn := func(id string) string { return "arn:aws:kms:us-east-1:111122223333:key/" + id }
	s.AddKMSKey(awssim.KMSKey{ID: "good", Alias: "alias/mine"})
	s.AddKMSKey(awssim.KMSKey{ID: "denied", Deny: []string{"kms:GenerateDataKey"}})
	s.AddKMSKey(awssim.KMSKey{ID: "off", Disabled: true})
	kms := func(key string) map[string]string {
		h := map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms"}
		if key != "" {
			h["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"] = key
		}
		return h
	}
	tests := []struct{ key, code, text string }{
		{"good", "", ""},
		{arn("good"), "", ""},
		{"alias/mine", "", ""},
		{"", "", ""},
		{"denied", "AccessDenied", "is not authorized to perform: kms:GenerateDataKey on resource: " + arn("denied")},
		{"off", "KMS.DisabledException", arn("off") + " is disabled"},
		{"nobody", "KMS.NotFoundException", arn("nobody")},
		{"arn:aws:kms:eu-west-1:111122223333:key/good", "KMS.NotFoundException", "Invalid arn"},
	}
	for _, tt := range tests {
		for _, a := range writes("k", kms(tt.key)) {
			if got := s.send(a); got.code != tt.code || !strings.Contains(got.body, tt.text) {
				t.Errorf("%s by %s: %+v", tt.key, a.method, got)
			}
		}
	}
	if got := s.send(ask{method: "PUT", path: "/demo/k", body: "x", header: kms("alias/mine")}); got.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != arn("good") {
		t.Errorf("the key is not told: %v", got.header)
	}
	o, _ := s.Object("demo", "k")
	if o.Encryption != "aws:kms" || o.KMSKey != arn("good") || o.ETag == `"9dd4e461268c8034f5c8564e155c67a6"` {
		t.Errorf("inspection: %+v (an ETag under KMS is no MD5)", o)
	}
	s.AddKMSKey(awssim.KMSKey{ID: "good", Deny: []string{"kms:Decrypt"}})
	if got := s.send(ask{method: "GET", path: "/demo/k"}); got.code != "AccessDenied" || !strings.Contains(got.body, "kms:Decrypt") {
		t.Errorf("GET without kms:Decrypt: %+v", got)
	}
	m := s.begin("m", func(in *s3.CreateMultipartUploadInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, aws.String("good")
	})
	m.part(1, 10)
	if _, err := m.complete(); code(err) != "AccessDenied" {
		t.Errorf("completion without kms:Decrypt: %v", err)
	}
	s.AddKMSKey(awssim.KMSKey{ID: "good", Deny: []string{"kms:*"}})
	if _, err := m.tryPart(2, noise(10)); code(err) != "AccessDenied" {
		t.Errorf("a part without kms:GenerateDataKey: %v", err)
	}
	s.AddBucket(awssim.Bucket{Name: "demo", DefaultKMSKey: "denied"})
	if got := code(s.put("d", nil)); got != "AccessDenied" {
		t.Errorf("the bucket's key is denied: %q", got)
	}
}

func TestColdClasses(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	now := time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return now })
	call := func(method, key, query, body string) answer {
		t.Helper()
		return s.send(ask{method: method, path: "/demo/" + key, query: query, body: body, at: now})
	}
	thaw := func(key string, days int, tier string) answer {
		t.Helper()
		return call("POST", key, "restore=", fmt.Sprintf(
			`<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Days>%d</Days><GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters></RestoreRequest>`, days, tier))
	}
	for key, class := range map[string]string{"warm": "GLACIER_IR", "cold": "GLACIER", "deep": "DEEP_ARCHIVE"} {
		a := ask{method: "PUT", path: "/demo/" + key, body: "x", header: map[string]string{"X-Amz-Storage-Class": class}, at: now}
		if got := s.send(a); got.status != 200 {
			t.Fatalf("%s: %+v", key, got)
		}
	}
	if got := call("GET", "warm", "", ""); got.body != "x" {
		t.Errorf("warm: %+v", got)
	}
	if got := thaw("warm", 1, "Standard"); got.code != "InvalidObjectState" {
		t.Errorf("thaw of what is warm: %+v", got)
	}
	if got := call("HEAD", "cold", "", ""); got.status != 200 || got.header.Get("X-Amz-Storage-Class") != "GLACIER" || got.header.Get("X-Amz-Restore") != "" {
		t.Errorf("HEAD of what is cold: %+v", got)
	}
	if got := call("GET", "cold", "", ""); got.status != 403 || got.code != "InvalidObjectState" || !strings.Contains(got.body, "<StorageClass>GLACIER</StorageClass>") {
		t.Errorf("GET of what is cold: %+v", got)
	}
	if got := thaw("deep", 1, "Expedited"); got.code != "MalformedXML" {
		t.Errorf("no such tier: %+v", got)
	}
	if got := thaw("cold", 0, "Standard"); got.code != "MalformedXML" {
		t.Errorf("no days: %+v", got)
	}
	if got := thaw("cold", 3, "Bulk"); got.status != 202 {
		t.Errorf("thaw: %+v", got)
	}
	if got := thaw("cold", 3, "Bulk"); got.status != 409 || got.code != "RestoreAlreadyInProgress" {
		t.Errorf("thaw again: %+v", got)
	}
	if got := thaw("cold", 3, "Standard"); got.status != 202 {
		t.Errorf("a faster tier: %+v", got)
	}
	now = now.Add(4 * time.Hour)
	if got := call("GET", "cold", "", ""); got.code != "InvalidObjectState" {
		t.Errorf("too early: %+v", got)
	}
	if got := call("HEAD", "cold", "", "").header.Get("X-Amz-Restore"); got != `ongoing-request="true"` {
		t.Errorf("under way: %q", got)
	}
	now = now.Add(time.Hour)
	if got := call("GET", "cold", "", ""); got.body != "x" || got.header.Get("X-Amz-Restore") != `ongoing-request="false", expiry-date="Sat, 05 Jan 2030 00:00:00 GMT"` {
		t.Errorf("thawed: %+v", got)
	}
	if got := thaw("cold", 10, "Standard"); got.status != 200 {
		t.Errorf("longer: %+v", got)
	}
	now = now.Add(30 * 24 * time.Hour)
	if got := call("GET", "cold", "", ""); got.code != "InvalidObjectState" {
		t.Errorf("frozen again: %+v", got)
	}
}

func TestArchiveTier(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", noise(3), func(in *s3.PutObjectInput) { in.StorageClass = types.StorageClassIntelligentTiering }); err != nil {
		t.Fatal(err)
	}
	if err := s.put("plain", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ bucket, key, tier string }{
		{"demo", "k", "NO_TIER"}, {"demo", "plain", "ARCHIVE_ACCESS"}, {"demo", "missing", "ARCHIVE_ACCESS"}, {"missing", "k", "ARCHIVE_ACCESS"},
	} {
		if err := s.SetArchiveTier(c.bucket, c.key, c.tier); err == nil {
			t.Errorf("%+v was set", c)
		}
	}
	for _, tier := range []string{"ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS", ""} {
		if err := s.SetArchiveTier("demo", "k", tier); err != nil {
			t.Fatal(err)
		}
		head := s.send(ask{method: "HEAD", path: "/demo/k"})
		if head.status != 200 || head.header.Get("X-Amz-Archive-Status") != tier || head.header.Get("X-Amz-Storage-Class") != "INTELLIGENT_TIERING" {
			t.Errorf("HEAD in %q: %+v", tier, head)
		}
		got := s.send(ask{method: "GET", path: "/demo/k"})
		if cold := got.code == "InvalidObjectState" && strings.Contains(got.body, "<AccessTier>"+tier+"</AccessTier>"); cold != (tier != "") {
			t.Errorf("GET in %q: %+v", tier, got)
		}
	}
}

func TestRestoreBySDK(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", nil, func(in *s3.PutObjectInput) { in.StorageClass = types.StorageClassDeepArchive }); err != nil {
		t.Fatal(err)
	}
	_, err := s.client().RestoreObject(t.Context(), &s3.RestoreObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("k"),
		RestoreRequest: &types.RestoreRequest{Days: aws.Int32(2), GlacierJobParameters: &types.GlacierJobParameters{Tier: types.TierBulk}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if code(err) != "InvalidObjectState" {
		t.Errorf("got %v", err)
	}
}

// The action list: each call needs its own, and the predecessor's three do for
// a migration.
func TestPolicy(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{MinPartSize: 1})
	if err := s.put("there", []byte("x")); err != nil {
		t.Fatal(err)
	}
	m := s.begin("m")
	tests := []struct{ action, method, path, query, body string }{
		{"s3:PutObject", "PUT", "/demo/k", "", "x"},
		{"s3:PutObject", "POST", "/demo/k", "uploads=", ""},
		{"s3:PutObject", "PUT", "/demo/m", "partNumber=1&uploadId=" + m.id, "x"},
		{"s3:ListMultipartUploadParts", "GET", "/demo/m", "uploadId=" + m.id, ""},
		{"s3:GetObject", "GET", "/demo/there", "", ""},
		{"s3:GetObject", "HEAD", "/demo/there", "", ""},
		{"s3:GetObjectTagging", "GET", "/demo/there", "tagging=", ""},
		{"s3:ListBucket", "GET", "/demo", "list-type=2", ""},
		{"s3:ListBucket", "HEAD", "/demo", "", ""},
		{"s3:ListBucketMultipartUploads", "GET", "/demo", "uploads=", ""},
		{"s3:GetBucketLocation", "GET", "/demo", "location=", ""},
		{"s3:AbortMultipartUpload", "DELETE", "/demo/m", "uploadId=" + m.id, ""},
		{"s3:DeleteObject", "DELETE", "/demo/there", "", ""},
	}
	for _, tt := range tests {
		a := ask{method: tt.method, path: tt.path, query: tt.query, body: tt.body}
		s.SetPolicy([]string{"s3:Nothing"})
		got := s.send(a)
		if got.status != 403 || tt.method != "HEAD" && (got.code != "AccessDenied" || !strings.Contains(got.body, "arn:aws:iam::111122223333:user/sandbox is not authorized to perform: "+tt.action)) {
			t.Errorf("%s %s?%s refused: %+v", tt.method, tt.path, tt.query, got)
		}
		s.SetPolicy(nil)
		s.DenyActions([]string{tt.action})
		if got := s.send(a); got.status != 403 {
			t.Errorf("%s %s?%s denied: %+v", tt.method, tt.path, tt.query, got)
		}
		s.DenyActions(nil)
		s.SetPolicy([]string{tt.action})
		if got := s.send(a); got.status >= 300 {
			t.Errorf("%s %s?%s allowed: %+v", tt.method, tt.path, tt.query, got)
		}
	}
	s.SetPolicy([]string{"s3:PutObject"})
	tagged := map[string]string{"X-Amz-Tagging": "a=b"}
	for _, a := range writes("t", tagged) {
		if got := s.send(a); got.code != "AccessDenied" || !strings.Contains(got.body, "s3:PutObjectTagging") {
			t.Errorf("tags without the right: %+v", got)
		}
	}
	if got := s.send(ask{method: "PUT", path: "/demo/k", header: map[string]string{"If-Match": `"x"`}}); !strings.Contains(got.body, "s3:GetObject") {
		t.Errorf("If-Match without s3:GetObject: %+v", got)
	}
	s.SetPolicy([]string{"s3:Put*"})
	if got := s.send(writes("t", tagged)[0]); got.status != 200 {
		t.Errorf("by wildcard: %+v", got)
	}
	ec2 := ask{
		method: "POST", path: "/", service: "ec2", body: "Action=DescribeSnapshots&Version=2016-11-15",
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	}
	got := s.send(ec2)
	if got.status != 403 || got.code != "UnauthorizedOperation" || !strings.Contains(got.body, "ec2:DescribeSnapshots") || !strings.Contains(got.body, "Encoded authorization failure message: ") {
		t.Errorf("EC2: %+v", got)
	}
	s.SetPolicy([]string{"ec2:Describe*"})
	if got := s.send(ec2); got.status != 200 {
		t.Errorf("EC2 by wildcard: %+v", got)
	}
}

// A HEAD tells how many tags there are only to who may read them.
func TestTagCount(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	if err := s.put("k", nil, func(in *s3.PutObjectInput) { in.Tagging = aws.String("a=b") }); err != nil {
		t.Fatal(err)
	}
	for policy, want := range map[string]string{"s3:*": "1", "s3:GetObject": ""} {
		s.SetPolicy([]string{policy})
		if got := s.send(ask{method: "HEAD", path: "/demo/k"}).header.Get("X-Amz-Tagging-Count"); got != want {
			t.Errorf("%s: %q", policy, got)
		}
	}
}
