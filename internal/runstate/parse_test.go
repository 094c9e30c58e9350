package runstate

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"op":"run","v":1,"header":{"run":"r"}}` + "\n" + `{"op":"intend","n":1,"kind":"volume","fields":{"a":"b"}}` + "\n" + `{"op":"stay","n":1,"reason":"x"}` + "\n{"))
	f.Add([]byte(`{"op":"run","v":1,"header":{}}` + "\n" + `{"op":"intend","n":1,"kind":"claim"}` + "\n" + `{"op":"done","n":1}` + "\n"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, left, err := parse(bytes.NewReader(b))
		if lines := bytes.Count(b, []byte("\n")); len(left) > lines {
			t.Errorf("%d entries in %d lines", len(left), lines)
		}
		// What is torn off at the end never changes what the whole lines say.
		torn := append(bytes.Clone(b[:bytes.LastIndexByte(b, '\n')+1]), `{"op":"done","n":1}`...)
		_, again, errAgain := parse(bytes.NewReader(torn))
		if diff := cmp.Diff(left, again); diff != "" || (err == nil) != (errAgain == nil) {
			t.Errorf("with another torn end: errors %v and %v (-before +after):\n%s", err, errAgain, diff)
		}
	})
}
