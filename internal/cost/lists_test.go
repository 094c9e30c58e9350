package cost

import "testing"

func TestLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		region   string
		requests int64
		want     Money
		known    bool
	}{
		{"us-east-1", 633, 379_800, true},
		{"us-east-1", 1_000_000_000, 600 * Dollar, true},
		{"us-east-1", 0, 0, true},
		{"nowhere-1", 633, 0, false},
	} {
		if got, ok := Builtin().Lists(c.region, c.requests); got != c.want || ok != c.known {
			t.Errorf("%d lists in %s: %s, %t; want %s, %t", c.requests, c.region, got, ok, c.want, c.known)
		}
	}
}
