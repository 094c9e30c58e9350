package awssim

import (
	"bufio"
	"encoding/base64"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The simulator shares no code with what it tests.
func TestImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{"snap-to-s3/internal/awssim"}) {
		t.Errorf("imports beside the standard library: %v", got)
	}
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, action string
		want            bool
	}{
		{"s3:PutObject", "s3:PutObject", true},
		{"S3:putobject", "s3:PutObject", true},
		{"s3:PutObject", "s3:PutObjectTagging", false},
		{"s3:PutObject*", "s3:PutObjectTagging", true},
		{"s3:*Object", "s3:GetObject", true},
		{"*", "ec2:CreateTags", true},
		{"s3:*", "ec2:CreateTags", false},
		{"s3:?etObject", "s3:GetObject", true},
		{"s3:?etObject", "s3:etObject", false},
		{"", "s3:GetObject", false},
	}
	for _, tt := range tests {
		if got := anyMatch([]string{tt.pattern}, tt.action); got != tt.want {
			t.Errorf("%q on %q: %v", tt.pattern, tt.action, got)
		}
	}
}

// The CRC of a concatenation is the same whether it is computed at once or joined.
func TestJoinedChecksums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]checksumAlgorithm{algCRC32, algCRC32C, algCRC64NVME}).Draw(t, "algorithm")
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 50), 1, 8).Draw(t, "pieces")
		var parts []*part
		all := a.hash()
		for _, piece := range pieces {
			h := a.hash()
			h.Write(piece)
			all.Write(piece)
			parts = append(parts, &part{blob: blob{size: int64(len(piece))}, digests: map[checksumAlgorithm][]byte{a: h.Sum(nil)}})
		}
		if got, want := combineChecksum(a, fullObject, parts).value, base64.StdEncoding.EncodeToString(all.Sum(nil)); got != want {
			t.Fatalf("%s of %d pieces: %s, want %s", a, len(pieces), got, want)
		}
	})
}

// The check value of the CRC catalogue.
func TestNVMePolynomial(t *testing.T) {
	t.Parallel()
	if got := crc64.Checksum([]byte("123456789"), crc64.MakeTable(nvmePolynomial)); got != 0xae8b14860a799888 {
		t.Errorf("got %x", got)
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=00,Signature=01")
	f.Add("AWS4-HMAC-SHA256 Credential=,SignedHeaders=b;a,Signature=")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err != nil {
			return
		}
		if a.keyID+"/"+a.scope() == "" || a.signature == "" || len(a.signed) == 0 || !strings.Contains(header, a.keyID+"/"+a.scope()) {
			t.Errorf("%q became %+v", header, a)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=5-", "bytes=-5", "bytes=9-2", "bytes=-0", "bytes=1-2,3-4", "x=1", "bytes=99999999999999999999-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		size = max(0, size%(1<<50))
		from, length, partial, e := takeRange(header, size)
		if e != nil {
			if e.Status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("%q of %d: %v", header, size, e)
			}
			return
		}
		if from < 0 || length < 0 || from+length > size || partial && length == 0 || !partial && length != size {
			t.Errorf("%q of %d: from %d, %d bytes, partial %v", header, size, from, length, partial)
		}
	})
}

func FuzzTagging(f *testing.F) {
	f.Add("a=b&c=d")
	f.Add("a=%C3%A9+x&b")
	f.Add("a=1&a=2")
	f.Add("%zz=;")
	f.Fuzz(func(t *testing.T, header string) {
		tags, e := parseTagging(header)
		if e != nil {
			return
		}
		again := url.Values{}
		for _, tag := range tags {
			again.Set(tag.Key, tag.Value)
		}
		if len(tags) > maxObjectTags || len(again) != len(tags) {
			t.Fatalf("%q became %v", header, tags)
		}
		same, e := parseTagging(again.Encode())
		if e != nil || len(same) != len(tags) {
			t.Errorf("%q became %v, then %v, %v", header, tags, same, e)
		}
	})
}

func FuzzChunked(f *testing.F) {
	f.Add("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", int64(3))
	f.Add("0\r\n\r\n", int64(0))
	f.Add("ffffffffffffffff\r\n", int64(1))
	f.Add("-1\r\n", int64(1))
	f.Fuzz(func(t *testing.T, body string, want int64) {
		want = max(0, want%1000)
		var trailer http.Header
		r := &chunkedReader{r: bufio.NewReaderSize(strings.NewReader(body), maxChunkLine), want: want, trailer: &trailer}
		got, err := io.ReadAll(r)
		if err == nil && int64(len(got)) != want || int64(len(got)) > want {
			t.Errorf("%q: %d bytes of %d, %v", body, len(got), want, err)
		}
		if err == nil && !strings.Contains(body, "\r\n\r\n") && body != "0\r\n\r\n" {
			t.Errorf("%q ended without its end", body)
		}
	})
}

func FuzzListing(f *testing.F) {
	f.Add("a\nb/1\nb/2\nc", "", "/", "")
	f.Add("a\nb/1\nb/2\nc", "b/", "/", "b/1")
	f.Fuzz(func(t *testing.T, keys, prefix, delimiter, after string) {
		all := slices.Compact(slices.Sorted(strings.SplitSeq(keys, "\n")))
		last := ""
		for _, g := range groupKeys(all, listing{prefix, delimiter, after}) {
			if !strings.HasPrefix(g.last, prefix) || !strings.HasPrefix(g.last, g.prefix) || g.last <= last && last != "" || g.last <= after {
				t.Errorf("%q %q %q %q: %+v after %q", keys, prefix, delimiter, after, g, last)
			}
			last = g.last
		}
	})
}
