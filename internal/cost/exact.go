package cost

import (
	"fmt"
	"math"

	"snap-to-s3/internal/snapshot"
)

// exactChain is a chain of which every block is known.
func exactChain(size int64, h []Holding, spans []Span) (*chain, error) {
	c := &chain{size: size, spans: []indexSpan{}}
	at := map[snapshot.ID]int{}
	for _, x := range h {
		if x.inChain() {
			at[x.ID] = len(c.held)
			c.held = append(c.held, !x.movable())
		}
	}
	billed := make([]int64, len(c.held))
	grows := make([]int64, len(c.held)+1) // full size against the one before
	var total int64
	for _, s := range spans {
		first, ok1 := at[s.First]
		last, ok2 := at[s.Last]
		total = add(total, max(0, s.Bytes))
		if !ok1 || !ok2 || first > last || s.Bytes < 0 || total == math.MaxInt64 {
			return nil, fmt.Errorf("the blocks that %s to %s share (%d bytes) fit none of its snapshots", s.First, s.Last, s.Bytes)
		}
		c.spans = append(c.spans, indexSpan{first, last, s.Bytes})
		billed[first] += s.Bytes
		grows[first] += s.Bytes
		grows[last+1] -= s.Bytes
	}
	var full int64
	for i, n := range billed {
		full += grows[i]
		c.billed, c.full = append(c.billed, exactly(n)), append(c.full, exactly(full))
	}
	return c, nil
}
