package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/objstore/objstoretest"
)

// behind puts a server before the sandbox that rejects writes with certain
// headers, as stores do that lag behind S3. Conditions of reads are HTTP's own.
func (b *sandbox) behind(reject func(http.Header) (status int, code string)) string {
	b.Helper()
	return b.inFrontOf(func(r *http.Request) (int, string) {
		if r.Method == http.MethodGet {
			return 0, ""
		}
		return reject(r.Header)
	})
}

func (b *sandbox) inFrontOf(reject func(*http.Request) (status int, code string)) string {
	b.Helper()
	target, err := url.Parse(b.sim.Endpoint())
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, code := reject(r); status != 0 {
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>not here</Message></Error>", code)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

func hasPrefix(h http.Header, prefix string) bool {
	for name := range h {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func TestStoresThatKnowLess(t *testing.T) {
	noChecksums := func(h http.Header) (int, string) {
		if hasPrefix(h, "X-Amz-Checksum-Algorithm") || hasPrefix(h, "X-Amz-Checksum-Crc64nvme") {
			return 400, "InvalidArgument"
		}
		return 0, ""
	}
	noConditions := func(h http.Header) (int, string) {
		if hasPrefix(h, "If-None-Match") || hasPrefix(h, "If-Match") {
			return 501, "NotImplemented"
		}
		return 0, ""
	}
	for _, c := range []struct {
		name   string
		reject func(http.Header) (int, string)
		says   []string
	}{
		{"no checksums", noChecksums, []string{"does not know CRC64NVME"}},
		{"no conditions", noConditions, []string{"rejects conditional writes"}},
		{"neither", func(h http.Header) (int, string) {
			if status, code := noChecksums(h); status != 0 {
				return status, code
			}
			return noConditions(h)
		}, []string{"does not know CRC64NVME", "rejects conditional writes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, awssim.Config{}, s3.Options{})
			b.store = b.open(bucket, aws.Options{S3Endpoint: b.behind(c.reject)}, s3.Options{})
			f := b.fixture()
			f.Conditions, f.CRC = false, false
			objstoretest.Run(t, func(*testing.T) objstoretest.Fixture { return f })
			for _, said := range c.says {
				if n := strings.Count(b.log.String(), said); n != 1 {
					t.Errorf("%q is said %d times, want once:\n%s", said, n, b.log)
				}
			}
			if !b.store.CustomEndpoint() {
				t.Error("it is taken for Amazon's")
			}
		})
	}
}

// A mistake of ours must come out as what it is, not as a lesson about the store.
func TestARejectionIsNotLearned(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.sim.SetFault(awssim.Times(1000, awssim.Action("PutObject"), awssim.Fault{
		Before: &awssim.Error{Status: 400, Code: "InvalidArgument", Message: "no."},
	}))
	_, err := tryPut(t, b.store, "k", []byte("x"), ours())
	wantError(t, err, "store k in bucket archive: InvalidArgument: no. (HTTP 400", "")
	b.sim.SetFault(nil)
	if info := put(t, b.store, "k", []byte("x"), ours()); info.CRC64NVME == "" {
		t.Error("the next object is sent without its checksum")
	}
	if b.log.Len() != 0 {
		t.Errorf("it was said:\n%s", b.log)
	}
}

func TestEndpoints(t *testing.T) {
	setEnv(t, "", "a", "s")
	for _, c := range []struct {
		endpoint string
		custom   bool
	}{
		{"", false},
		{"https://s3.eu-west-1.amazonaws.com", false},
		{"https://bucket.vpce-1-2.s3.us-east-1.vpce.amazonaws.com", false},
		{"https://minio.example.com:9000", true},
		{"http://127.0.0.1:9000", true},
	} {
		session, err := aws.Load(t.Context(), aws.Options{S3Endpoint: c.endpoint})
		if err != nil {
			t.Fatal(err)
		}
		store, err := s3.New(session, bucket, s3.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := s3.ConditionsHonoured
		if c.custom {
			want = s3.ConditionsUnknown
		}
		if store.CustomEndpoint() != c.custom || store.ConditionalWrites() != want {
			t.Errorf("%q: custom %v, conditions %v; want %v, %v", c.endpoint, store.CustomEndpoint(), store.ConditionalWrites(), c.custom, want)
		}
	}
	session, err := aws.Load(t.Context(), aws.Options{S3Endpoint: "minio.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s3.New(session, bucket, s3.Options{})
	wantError(t, err, `"minio.example.com" is no URL`, "https://host:port")
	_, err = s3.New(session, "", s3.Options{})
	wantError(t, err, "no bucket is named", "--bucket")
}

// Bodies are not hashed for the signature, on http either; the checksum is ours.
func TestBodiesAreNotHashed(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	seen := make(chan http.Header, 100)
	b.store = b.open(bucket, aws.Options{S3Endpoint: b.behind(func(h http.Header) (int, string) {
		if h.Get("X-Amz-Checksum-Crc64nvme") != "" && h.Get("X-Amz-Mp-Object-Size") == "" {
			seen <- h.Clone()
		}
		return 0, ""
	})}, s3.Options{Conditions: s3.ConditionsHonoured})
	put(t, b.store, "small", []byte("x"), ours())
	put(t, b.store, "large", make([]byte, 3*simPart), ours())
	close(seen)
	n := 0
	for h := range seen {
		n++
		if got := h.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
			t.Errorf("body hash %q, want UNSIGNED-PAYLOAD", got)
		}
		if h.Get("X-Amz-Trailer") != "" || h.Get("X-Amz-Sdk-Checksum-Algorithm") != "" {
			t.Errorf("the SDK computes a checksum of its own: %v", h)
		}
	}
	if n != 4 {
		t.Errorf("%d bodies with our checksum, want an object and three parts", n)
	}
}

// A store that takes conditions from PutObject and rejects them from
// CompleteMultipartUpload: without them it is looked up what is there, right
// before the call, so that nobody's object is replaced.
func TestConditionsRejectedOfCompleteOnly(t *testing.T) {
	for _, known := range []s3.Conditions{s3.ConditionsHonoured, s3.ConditionsUnknown} {
		t.Run(known.String(), func(t *testing.T) {
			b := start(t, awssim.Config{}, s3.Options{})
			var completes atomic.Int64
			theirs := b.open(bucket, aws.Options{}, s3.Options{Conditions: s3.ConditionsHonoured})
			endpoint := b.inFrontOf(func(r *http.Request) (int, string) {
				if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") || !hasPrefix(r.Header, "If-") {
					return 0, ""
				}
				if completes.Add(1) == 1 {
					// Between any look before the call and the call without conditions.
					put(t, theirs, "k", []byte("somebody's"), objstore.CreateOptions{})
				}
				return 501, "NotImplemented"
			})
			b.store = b.open(bucket, aws.Options{S3Endpoint: endpoint}, s3.Options{Conditions: known})
			put(t, b.store, "small", []byte("x"), ours()) // teaches that conditions are honoured
			_, err := tryPut(t, b.store, "k", make([]byte, 3*simPart), ours())
			if !errors.Is(err, objstore.ErrExists) {
				t.Errorf("upload over somebody's object: %v, want ErrExists", err)
			}
			if o, _ := b.sim.Object(bucket, "k"); o.Size != int64(len("somebody's")) {
				t.Errorf("somebody's object was replaced: %d bytes", o.Size)
			}
			info := put(t, b.store, "free", make([]byte, 3*simPart), ours())
			b.wantObject(t, "free", 3*simPart)
			put(t, b.store, "free", make([]byte, 2*simPart), objstore.CreateOptions{IfMatch: info.ETag})
			if _, err := tryPut(t, b.store, "free", make([]byte, 2*simPart), objstore.CreateOptions{IfMatch: info.ETag}); !errors.Is(err, objstore.ErrExists) {
				t.Errorf("replacing what was replaced already: %v, want ErrExists", err)
			}
			if got := b.store.ConditionalWrites(); got != s3.ConditionsIgnored {
				t.Errorf("conditional writes are %v, want ignored", got)
			}
			if n := strings.Count(b.log.String(), "rejects conditional writes"); n != 1 {
				t.Errorf("it is said %d times, want once:\n%s", n, b.log)
			}
		})
	}
}

// That a look-up fails says nothing of the words that the store knows: the write
// is not tried in fewer.
func TestLookUpBeforeAWriteFails(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsIgnored})
	b.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch c.Action {
		case "HeadObject", "GetObject":
			return awssim.Fault{Before: &awssim.Error{Status: 400, Code: "InvalidRequest", Message: "no."}}
		}
		return awssim.Fault{}
	})
	_, err := tryPut(t, b.store, "k", []byte("x"), ours())
	wantError(t, err, "store k: look up k in bucket archive: InvalidRequest: no.", "")
	if _, there := b.sim.Object(bucket, "k"); there {
		t.Error("the object is written all the same")
	}
	if n := len(b.sim.Calls()); n > 3 {
		t.Errorf("%d calls, want one look-up", n)
	}
}
