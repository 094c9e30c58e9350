package aws_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"snap-to-s3/internal/aws"
)

// A server on loopback begins its answer while the client may still look for
// more of the request's body: that must not cut the answer off.
func TestLongAnswersArriveWhole(t *testing.T) {
	const keys, calls = 5000, 60
	answer := `<?xml version="1.0"?><DeleteResult>` + strings.Repeat("<Deleted><Key>a-key-of-some-length</Key></Deleted>", keys) + "</DeleteResult>"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if _, err := io.WriteString(w, answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	s := load(t, server.URL, aws.Options{})
	for range calls {
		out, err := client(s).DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{
			Bucket: awssdk.String("b"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: awssdk.String("k")}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Deleted) != keys {
			t.Fatalf("%d keys in the answer, want %d", len(out.Deleted), keys)
		}
	}
	if n := s.Retries(); n != 0 {
		t.Errorf("%d of %d calls had to be made again", n, calls)
	}
}
