package cost

import "math/big"

// Lists is what so many requests for lists of blocks (ListSnapshotBlocks,
// ListChangedBlocks) cost in a region; false: the table has no price for them.
func (t *Table) Lists(region string, requests int64) (Money, bool) {
	p, ok := t.prices[item{region, listItem}]
	return p.amount.share(big.NewInt(1000), requests), ok
}
