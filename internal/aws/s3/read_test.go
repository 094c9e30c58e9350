package s3_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

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

func TestReader(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	data := random(t, 5*simPart)
	put(t, b.store, "k", data, objstore.CreateOptions{})
	r, err := b.store.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, data); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// A connection that is cut in the middle is not seen, as long as there is progress.
func TestReadGoesOnAfterACut(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	data := random(t, 20*simPart)
	put(t, b.store, "k", data, objstore.CreateOptions{})
	for _, cut := range []int64{1, 1000, 4 * simPart} {
		for _, off := range []int64{0, 77} {
			b.sim.SetFault(awssim.Times(4, awssim.Action("GetObject"), awssim.Fault{CutBody: cut}))
			r, err := b.store.Open(t.Context(), "k", off)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data[off:]) {
				t.Errorf("cut after %d, from %d: %d bytes, %v; want %d", cut, off, len(got), err, len(data)-int(off))
			}
		}
	}
}

func TestReadGivesUp(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	put(t, b.store, "k", make([]byte, 20*simPart), objstore.CreateOptions{})
	b.sim.SetFault(awssim.Times(1000, awssim.Action("GetObject"), awssim.Fault{CutBody: 10}))
	r, err := b.store.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if len(got) != 60 {
		t.Errorf("%d bytes, want 10 of each of 6 requests", len(got))
	}
	wantError(t, err, "read k at byte 60, cut off 5 times", "")
	if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
		t.Errorf("the next read: %v, want the same error", again)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// Two objects must not be read as one.
func TestReplacedWhileRead(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	first := put(t, b.store, "k", make([]byte, 20*simPart), objstore.CreateOptions{})
	b.sim.SetFault(awssim.Times(1, awssim.Action("GetObject"), awssim.Fault{CutBody: 10}))
	r, err := b.store.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b.store, "k", random(t, 20*simPart), objstore.CreateOptions{IfMatch: first.ETag})
	got, err := io.ReadAll(r)
	wantError(t, err, "replaced while it was read", "")
	if len(got) != 10 {
		t.Errorf("%d bytes were read, want the 10 of the first object", len(got))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
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
		r, err := b.store.Open(t.Context(), key, off)
		if err == nil {
			err = errors.Join(errors.New("it was opened"), r.Close())
		}
		return err
	}
	wantError(t, open("short", 4), "it has no byte 4", "")
	wantError(t, open("cold", 0), "object is in an archive storage class", "restore-object")
	wantError(t, open("secret", 0), "kms:Decrypt", "kms:Decrypt")
	wantError(t, open("missing", 0), "object is missing or forbidden", "")
	b.sim.SetPolicy(ownRights())
	wantError(t, open("missing", 0), "object is missing or forbidden", "s3:ListBucket")
	b.sim.DenyActions([]string{"s3:GetObject"})
	if err := open("short", 0); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("forbidden: %v, want ErrNotExist", err)
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
