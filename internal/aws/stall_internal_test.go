package aws

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A large body has its own stall time; that of other requests stays what it is,
// also on the same connection.
func TestLargeBodiesHaveTheirOwnStallTime(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		late := time.NewTimer(time.Second)
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	client := plainBodies{newHTTPClient(200 * time.Millisecond), time.Minute}
	for _, size := range []int{largeBody, largeBody - 1, 10} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err == nil {
			err = response.Body.Close()
		}
		_, stalled := errors.AsType[*StallError](err)
		if size >= largeBody && err != nil || size < largeBody && !stalled {
			t.Errorf("a body of %d bytes: %v", size, err)
		}
	}
}
