package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
)

// More objects than a page has are listed once each, in as few calls as there are pages.
func TestListPages(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	const n = 1000 + 1
	var running sync.WaitGroup
	for from := range 4 {
		running.Go(func() {
			for i := from; i < n; i += 4 {
				put(t, b.store, fmt.Sprintf("vol-1/%04d + ü", i), nil, objstore.CreateOptions{})
			}
		})
	}
	running.Wait()
	put(t, b.store, "vol-2", nil, objstore.CreateOptions{})
	b.sim.ResetCalls()
	i := 0
	for o, err := range b.store.List(t.Context(), "vol-1/") {
		if want := fmt.Sprintf("vol-1/%04d + ü", i); err != nil || o.Key != want {
			t.Fatalf("object %d: %q, %v; want %q", i, o.Key, err, want)
		}
		i++
	}
	if calls := b.sim.Calls(); i != n || len(calls) != 2 {
		t.Errorf("%d objects in %d calls, want %d in 2", i, len(calls), n)
	}
	b.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.N > 3 {
			return awssim.Fault{Before: &awssim.Error{Status: 403, Code: "ExpiredToken"}}
		}
		return awssim.Fault{}
	})
	i = 0
	var last error
	for _, err := range b.store.List(t.Context(), "vol-1/") {
		i++
		last = err
	}
	if i != 1001 || last == nil || errors.Is(last, objstore.ErrForbidden) {
		t.Errorf("the second page fails: %d yields, %v; want 1000 objects and the error", i, last)
	}
}

func TestListForbidden(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{})
	b.sim.SetPolicy(ownRights())
	yields := 0
	for _, err := range b.store.List(t.Context(), "vol-1/") {
		yields++
		if !errors.Is(err, objstore.ErrForbidden) {
			t.Errorf("%v, want ErrForbidden", err)
		}
		wantError(t, err, `list the objects of bucket archive under "vol-1/": access denied, s3:ListBucket is needed`,
			"allow s3:ListBucket on bucket archive (the bucket itself, not archive/*)")
	}
	if yields != 1 {
		t.Errorf("%d yields, want one error", yields)
	}
	s := b.open("nowhere", aws.Options{}, s3.Options{})
	b.sim.SetPolicy(nil)
	for _, err := range s.List(t.Context(), "") {
		if !errors.Is(err, s3.ErrNoBucket) || errors.Is(err, objstore.ErrForbidden) {
			t.Errorf("a missing bucket: %v, want ErrNoBucket", err)
		}
	}
}

// Whatever a store answers, the list ends, and nothing is taken for an object that
// is none.
func TestListOfADisobedientStore(t *testing.T) {
	const object = "<Contents><Key>vol-1/k</Key><Size>1</Size><ETag>a</ETag></Contents>"
	for name, c := range map[string]struct {
		body    string
		objects int
		text    string
	}{
		"endless":    {"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" + object, 2, "the same page again and again"},
		"no token":   {"<IsTruncated>true</IsTruncated>" + object, 1, "the same page again and again"},
		"no key":     {"<Contents><Size>1</Size><ETag>a</ETag></Contents>", 0, "without a key, a size or an ETag"},
		"no size":    {"<Contents><Key>vol-1/k</Key><ETag>a</ETag></Contents>", 0, "without a key, a size or an ETag"},
		"elsewhere":  {"<Contents><Key>vol-2/k</Key><Size>1</Size><ETag>a</ETag></Contents>", 0, `lists "vol-2/k", which is not under it`},
		"not a code": {"<EncodingType>url</EncodingType><Contents><Key>vol-1/%zz</Key><Size>1</Size><ETag>a</ETag></Contents>", 0, "invalid URL escape"},
		"no class":   {object, 1, ""},
		"a proxy":    {"<html>log in</html>", 0, "does not begin with <ListBucketResult>"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name == "a proxy" {
				fmt.Fprint(w, c.body)
				return
			}
			fmt.Fprintf(w, `<?xml version="1.0"?><ListBucketResult>%s</ListBucketResult>`, c.body)
		}))
		setEnv(t, server.URL, "a", "b")
		session, err := aws.Load(t.Context(), aws.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store, err := s3.New(session, bucket, s3.Options{})
		if err != nil {
			t.Fatal(err)
		}
		objects := 0
		var last error
		for o, err := range store.List(t.Context(), "vol-1/") {
			if last = err; err == nil {
				objects++
				if o.StorageClass != "STANDARD" {
					t.Errorf("%s: %+v", name, o)
				}
			}
		}
		server.Close()
		if objects != c.objects {
			t.Errorf("%s: %d objects, want %d", name, objects, c.objects)
		}
		if c.text != "" {
			wantError(t, last, c.text, "")
		} else if last != nil {
			t.Errorf("%s: %v", name, last)
		}
	}
}
