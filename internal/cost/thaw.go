package cost

import "math/big"

// Thaw is what it costs to have S3 make an object of a cold class readable, by a
// standard retrieval; false: the table has no price for that.
func (t *Table) Thaw(region, class string, bytes int64) (Money, bool) {
	if t == nil {
		return 0, false
	}
	p, ok := t.prices[item{region, "s3:" + class + "-retrieval"}]
	return p.amount.share(big.NewInt(1<<30), bytes), ok
}
