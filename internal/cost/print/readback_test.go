package print

import (
	"testing"

	"snap-to-s3/internal/cost"
)

// What reading back costs decides about cold classes: without a price it is not said
// to be free.
func TestReadBackWithoutPrice(t *testing.T) {
	t.Parallel()
	o := cost.Option{Retrieval: 2 * cost.Dollar}
	if got := ReadBack(cost.USD, o); got != "$2.00" || *readBack(o) != 2*cost.Dollar {
		t.Errorf("%q", got)
	}
	o.NoRetrieval = true
	if got := ReadBack(cost.USD, o); got != "not known" || readBack(o) != nil {
		t.Errorf("without a price: %q", got)
	}
}
