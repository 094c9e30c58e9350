package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
)

func random(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{byte(n)}).Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

// One request is one connection: what it brings before it is cut counts, and its end
// is not taken for the object's.
func TestOpenIsCut(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	data := random(t, 5*simPart)
	put(t, b.store, "k", data, objstore.CreateOptions{})
	for _, c := range []struct {
		fault awssim.Fault
		part  objstore.Range
		want  int64
	}{
		{awssim.Fault{CutBody: 1000}, objstore.Range{}, 1000},
		{awssim.Fault{CutBody: 1000}, objstore.Range{Off: 50, Len: 2000}, 1000},
		{awssim.Fault{ShortRange: 1000}, objstore.Range{Off: 50, Len: 2000}, 1000},
		{awssim.Fault{ShortRange: 1000}, objstore.Range{Off: 50}, 1000},
	} {
		b.sim.SetFault(awssim.Times(1, awssim.Action("GetObject"), c.fault))
		r, err := b.store.Open(t.Context(), "k", c.part)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		wantError(t, err, "receive from bucket archive: the answer was cut off", "")
		if want := data[c.part.Off:][:c.want]; !bytes.Equal(got, want) {
			t.Errorf("%+v: %d bytes, want other %d", c, len(got), len(want))
		}
		_ = r.Close() // broken already
	}
}

// The cause of an end is the caller's, not the SDK's.
func TestOpenEndsWithItsContext(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	put(t, b.store, "k", random(t, 5*simPart), objstore.CreateOptions{})
	b.sim.SetFault(awssim.Times(1, awssim.Action("GetObject"), awssim.Fault{HangBody: 1000}))
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := b.store.Open(ctx, "k", objstore.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the claim is lost")
	cancel(lost)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, lost) {
		t.Errorf("read after cancel: %v, want the cause", err)
	}
	_ = r.Close() // broken already
}

// A store that knows no ranges or no conditions is found out by its answer.
func TestOpenOfADisobedientStore(t *testing.T) {
	answers := map[string]http.Header{
		"the whole":     {},
		"another range": {"Content-Range": {"bytes 0-4/100"}},
		"nonsense":      {"Content-Range": {"bytes 7-11/*"}},
		"past the end":  {"Content-Range": {"bytes 7-11/7"}},
		"overflow":      {"Content-Range": {"bytes 7-11/99999999999999999999"}},
		"too much":      {"Content-Range": {"bytes 7-11/9"}},
		"another etag":  {"Content-Range": {"bytes 7-11/100"}, "Etag": {`"b"`}},
		"right":         {"Content-Range": {"bytes 7-11/100"}, "Etag": {`"a"`}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range answers[path.Base(r.URL.Path)] {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusPartialContent)
		if path.Base(r.URL.Path) != "past the end" {
			_, _ = w.Write([]byte("12345")) // the client may be gone
		}
	}))
	defer server.Close()
	setEnv(t, server.URL, "a", "b")
	session, err := aws.Load(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.New(session, bucket, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for key := range answers {
		r, err := store.Open(t.Context(), key, objstore.Range{Off: 7, Len: 5, ETag: `"a"`})
		if err == nil {
			var got []byte
			got, err = io.ReadAll(r)
			_ = r.Close() // read to its end or broken
			if len(got) > 0 && key != "right" {
				t.Errorf("%s: %q was read", key, got)
			}
		}
		if (err == nil) != (key == "right") || errors.Is(err, objstore.ErrChanged) != (key == "another etag") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.AddKMSKey(awssim.KMSKey{ID: "11111111-2222-3333-4444-555555555555"})
	put(t, b.store, "short", []byte("abc"), objstore.CreateOptions{})
	put(t, b.store, "cold", []byte("abc"), objstore.CreateOptions{StorageClass: "DEEP_ARCHIVE"})
	put(t, b.store, "secret", []byte("abc"), objstore.CreateOptions{
		Encryption: objstore.Encryption{Mode: "aws:kms", KMSKeyID: "11111111-2222-3333-4444-555555555555"},
	})
	b.sim.AddKMSKey(awssim.KMSKey{ID: "11111111-2222-3333-4444-555555555555", Deny: []string{"kms:Decrypt"}})
	open := func(key string, off int64) error {
		r, err := b.store.Open(t.Context(), key, objstore.Range{Off: off})
		if err == nil {
			err = errors.Join(errors.New("it was opened"), r.Close())
		}
		return err
	}
	wantError(t, open("short", 4), "it has no byte 4", "")
	wantError(t, open("cold", 0), "object is in an archive storage class", "restore-object")
	wantError(t, open("secret", 0), "kms:Decrypt", "kms:Decrypt")
	wantError(t, open("missing", 0), "object is missing or forbidden", "")
	if _, err := b.store.Open(t.Context(), "missing", objstore.Range{ETag: `"a"`}); !errors.Is(err, objstore.ErrChanged) {
		t.Errorf("missing, by its etag: %v, want ErrChanged", err)
	}
	b.sim.SetPolicy(ownRights())
	wantError(t, open("missing", 0), "object is missing or forbidden", "s3:ListBucket")
	b.sim.DenyActions([]string{"s3:GetObject"})
	for key, err := range map[string]error{"short": open("short", 0), "missing": open("missing", 0)} {
		wantError(t, err, "access denied, s3:GetObject is needed", "allow s3:GetObject on ")
		if errors.Is(err, objstore.ErrNotExist) || !errors.Is(err, objstore.ErrForbidden) {
			t.Errorf("%s, forbidden by name: %v, want ErrForbidden alone", key, err)
		}
	}
	b.sim.DenyActions(nil)
	b.sim.SetFault(awssim.Times(1, awssim.Action("GetObject"), awssim.Fault{Before: &awssim.Error{Status: 403, Code: "AccessDenied", Message: "Access Denied"}}))
	if err := open("short", 0); !errors.Is(err, objstore.ErrNotExist) || !errors.Is(err, objstore.ErrForbidden) {
		t.Errorf("forbidden without a reason: %v, want ErrNotExist and ErrForbidden", err)
	}
}

// A HEAD tells no reason. What is there must not be taken for missing, nor
// credentials that have ended for an object that is.
func TestStatFindsTheReason(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.AddKMSKey(awssim.KMSKey{ID: "11111111-2222-3333-4444-555555555555"})
	put(t, b.store, "secret", []byte("abc"), objstore.CreateOptions{
		Encryption: objstore.Encryption{Mode: "aws:kms", KMSKeyID: "11111111-2222-3333-4444-555555555555"},
	})
	b.sim.AddKMSKey(awssim.KMSKey{ID: "11111111-2222-3333-4444-555555555555", Deny: []string{"kms:Decrypt"}})
	// S3 refuses the HEAD that asks for the checksum, and no other.
	b.sim.SetFault(awssim.Times(1, awssim.Action("HeadObject"), awssim.Fault{Before: &awssim.Error{Status: 403, Code: "AccessDenied"}}))
	info, err := b.store.Stat(t.Context(), "secret")
	if err != nil || info.Size != 3 || info.Encryption.Mode != "aws:kms" {
		t.Errorf("stat of an object under a forbidden key: %+v, %v", info, err)
	}
	b.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action == "HeadObject" || c.Action == "GetObject" {
			return awssim.Fault{Before: &awssim.Error{Status: 400, Code: "ExpiredToken"}}
		}
		return awssim.Fault{}
	})
	_, err = b.store.Stat(t.Context(), "missing")
	wantError(t, err, "the AWS credentials have expired (ExpiredToken)", "get new credentials")
	if errors.Is(err, objstore.ErrNotExist) {
		t.Error("expired credentials were taken for a missing object")
	}
}
