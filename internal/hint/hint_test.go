package hint

import (
	"errors"
	"fmt"
	"testing"
)

func TestWrapAndReplace(t *testing.T) {
	fault := errors.New("the disk is full")
	near := fmt.Errorf("write: %w", Wrap(fault, "remove something"))
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"none":               {fault, ""},
		"of an error within": {near, "remove something"},
		"the nearest stays":  {Wrap(near, "buy another"), "remove something"},
		"unless replaced":    {Replace(near, "buy another"), "buy another"},
	} {
		if got := Of(c.err); got != c.want || !errors.Is(c.err, fault) {
			t.Errorf("%s: hint %q of %v, want %q", name, got, c.err, c.want)
		}
	}
	if Wrap(nil, "x") != nil || Replace(nil, "x") != nil {
		t.Error("no error became one")
	}
}
