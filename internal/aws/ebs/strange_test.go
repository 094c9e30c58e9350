package ebs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"snap-to-s3/internal/aws/ebs"
	"snap-to-s3/internal/hint"
)

// What is no list, or half of one, must not pass for a snapshot without blocks.
func TestAnswersThatAreNoLists(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	for _, c := range []struct{ name, answer, want string }{
		{"nothing", "", "says that a block has 0 bytes"},
		{"an empty object", "{}", "says that a block has 0 bytes"},
		{"a page of a proxy", "<html>please log in</html>", "not one of AWS's"},
		{"half of one", `{"BlockSize":524288,"Blocks":[{"BlockIndex":1`, "not one of AWS's"},
		{"other blocks", `{"BlockSize":4096,"Blocks":[]}`, "has 4096 bytes"},
		{"out of order", `{"BlockSize":524288,"Blocks":[{"BlockIndex":5},{"BlockIndex":4}]}`, "block 4 comes behind block 5"},
		{"twice", `{"BlockSize":524288,"Blocks":[{"BlockIndex":5},{"BlockIndex":5}]}`, "block 5 comes behind block 5"},
		{"below nothing", `{"BlockSize":524288,"Blocks":[{"BlockIndex":-1}]}`, "block -1"},
		{"without an index", `{"BlockSize":524288,"Blocks":[{"BlockToken":"x"}]}`, "without its index"},
		{"the same page again", `{"BlockSize":524288,"Blocks":[],"NextToken":"x"}`, "without an end"},
		{"pages without an end", `{"BlockSize":524288,"Blocks":[],"NextToken":"%d"}`, "without an end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer := c.answer
				if strings.Contains(answer, "%d") {
					answer = fmt.Sprintf(answer, n.Add(1))
				}
				if _, err := w.Write([]byte(answer)); err != nil {
					t.Error(err)
				}
			}))
			t.Cleanup(server.Close)
			s := connect(t, []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=us-east-1"}, server.URL)
			l := ebs.New(ebs.Config{Session: s, PerSecond: 100_000})
			_, err := collect(l.Blocks(t.Context(), "snap-0123456789abcdef0"))
			if err == nil || !strings.Contains(err.Error(), c.want) || hint.Of(err) == "" {
				t.Errorf("got %v (hint: %s), want %q", err, hint.Of(err), c.want)
			}
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"BlockSize":524288,"ChangedBlocks":[{"BlockIndex":1}]}`)) // the client says what it got
	}))
	t.Cleanup(server.Close)
	s := connect(t, []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=us-east-1"}, server.URL)
	_, err := collect(ebs.New(ebs.Config{Session: s}).Changed(t.Context(), "snap-00000001", "snap-00000002"))
	if err == nil || !strings.Contains(err.Error(), "neither snapshot holds") {
		t.Errorf("a change without tokens: %v", err)
	}
}
