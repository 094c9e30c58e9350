package cli

import (
	"errors"
	"fmt"
	"testing"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// What takes a thing away is told under "command", whoever knows it.
func TestJSONOfWhatIsLeft(t *testing.T) {
	why := errors.New("denied")
	upload := &objstore.LeftBehindError{Thing: "upload u", Command: "aws s3api abort-multipart-upload", Err: hint.Wrap(why, "ask for the right")}
	for name, c := range map[string]struct {
		err  error
		want jsonLeft
	}{
		"an upload": {fmt.Errorf("undo: %w", upload), jsonLeft{"undo: upload u stays: denied", "aws s3api abort-multipart-upload"}},
		"a volume":  {hint.Wrap(why, "aws ec2 delete-volume"), jsonLeft{"denied", "aws ec2 delete-volume"}},
		"who knows": {why, jsonLeft{"denied", ""}},
	} {
		if got := jsonLeftOf(c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
