package block_test

import (
	"testing"

	"snap-to-s3/internal/block"
)

func TestAllZero(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 4096} {
		p := make([]byte, n)
		if !block.AllZero(p) {
			t.Errorf("%d zeros: not zero", n)
		}
		for i := range p {
			p[i] = 1
			if block.AllZero(p) {
				t.Errorf("byte %d of %d set: zero", i, n)
			}
			p[i] = 0
		}
		for i := range p {
			p[i] = 0xff
		}
		if n > 0 && block.AllZero(p) {
			t.Errorf("%d bytes of ff: zero", n)
		}
	}
}
