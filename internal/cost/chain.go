package cost

import (
	"cmp"
	"math"
	"math/bits"
)

// maxVolume is the size of the largest EBS volume.
const maxVolume = 64 << 40

// chain is the snapshots of one volume that are billed in the standard tier, the
// oldest first. A block that several of them hold is billed to the oldest of
// those; where that one goes, it is billed to the next.
type chain struct {
	size   int64   // bytes of the volume; 0: not known
	billed []Range // of each snapshot: blocks that the one before does not hold
	full   []Range // of each snapshot: all its blocks
	held   []bool
	spans  []indexSpan // exact knowledge; nil: none
}

// indexSpan is a Span by positions in the chain.
type indexSpan struct {
	first, last int
	bytes       int64
}

// link is what is known of one snapshot of a chain.
type link struct {
	billed   int64
	isBilled bool  // billed is known
	full     int64 // 0: not known
	held     bool
}

// newChain fills in what is not known: sizes between bounds, and an estimate.
func newChain(size int64, links []link) *chain {
	c := &chain{size: size}
	for i, l := range links {
		c.held = append(c.held, l.held)
		c.billed = append(c.billed, l.billedRange(size, i, links))
		c.full = append(c.full, c.fullRange(i, l.full))
	}
	// Blocks of a snapshot stay in the next, or are written over there.
	for i := len(links) - 2; i >= 0; i-- {
		if links[i].full > 0 {
			continue
		}
		f, next := c.full[i], c.full[i+1]
		low, high := max(f.Low, next.Low-c.billed[i+1].High), min(f.High, next.High)
		c.full[i] = between(low, f.Estimate, high)
	}
	return c
}

// billedRange is exact where a bill tells. Else it holds at least what the
// snapshot has more than the one before, and that is the estimate: savings are
// not to be made of what nobody knows.
func (l link) billedRange(size int64, i int, links []link) Range {
	switch {
	case l.isBilled:
		return exactly(l.billed)
	case i == 0 && l.full > 0:
		return exactly(l.full)
	case i > 0 && l.full > 0 && links[i-1].full > 0:
		low := max(0, l.full-links[i-1].full)
		return Range{low, low, l.full}
	case l.full > 0:
		return Range{0, 0, l.full}
	}
	return Range{0, 0, size}
}

// fullRange is exact where EC2 tells. The oldest is billed for all it holds;
// each later one holds at least what the one before does (disks do not shrink),
// and at most that and all it is billed for.
func (c *chain) fullRange(i int, known int64) Range {
	b := c.billed[i]
	switch {
	case known > 0:
		return exactly(known)
	case i == 0:
		return b
	}
	before := c.full[i-1]
	high := min(add(before.High, b.High), cmp.Or(c.size, maxVolume))
	return between(max(before.Low, b.Low), c.overwrite(before.Estimate, b.Estimate), high)
}

// shared is what the oldest snapshot holds without being billed for it: blocks
// that it shares with snapshots of another volume.
func (c *chain) shared() int64 { return max(0, c.full[0].Low-c.billed[0].High) }

// overwrite is how many bytes of a volume are in blocks of either of two sets
// that were written at random: a + b - a·b/size. Without the size of the volume
// the smaller set lies within the larger.
func (c *chain) overwrite(a, b int64) int64 {
	if c.size == 0 || a > c.size || b > c.size {
		return max(a, b)
	}
	return a + b - mulDiv(a, b, c.size)
}

// prefix is what moving the oldest snapshots that can be moved does.
type prefix struct {
	freed Range // bytes no longer billed
	stays Range // bytes billed to the snapshots that stay
}

// gap gathers what is billed to the snapshots between one that is there and the
// next that is: the blocks in which those two differ.
type gap struct{ low, estimate, high int64 }

func (c *chain) widen(g gap, b Range) gap {
	return gap{max(g.low, b.Low), c.overwrite(g.estimate, b.Estimate), add(g.high, b.High)}
}

// across bounds the bytes of blocks that to holds and from does not; from is -1
// for nothing at all. g was gathered from the snapshots after from, to among them.
func (c *chain) across(from, to int, g gap) Range {
	f := c.full[to]
	if to == from+1 {
		return c.billed[to]
	}
	if from < 0 {
		high := min(f.High, g.high)
		return between(min(max(0, f.Low-c.shared()), high), f.Estimate, high)
	}
	high := min(g.high, f.High, cmp.Or(c.size, maxVolume))
	return between(min(max(g.low, f.Low-c.full[from].High), high), g.estimate, high)
}

// prefixes has one element for each snapshot that can be moved: what happens
// when it and all older ones that can be moved are.
func (c *chain) prefixes() []prefix {
	if c.spans != nil {
		return c.exactPrefixes()
	}
	n := len(c.billed)
	after := make([]Range, n+1) // billed from there on
	for i := n - 1; i >= 0; i-- {
		after[i] = after[i+1].plus(c.billed[i])
	}
	var result []prefix
	var kept, past Range // billed to those that stay; to all so far
	var g gap
	last := -1 // that stays
	for i, b := range c.billed {
		g, past = c.widen(g, b), past.plus(b)
		if c.held[i] {
			kept, g, last = kept.plus(c.across(last, i, g)), gap{}, i
			continue
		}
		stays, before := kept, past
		if next := i + 1; next < n {
			stays = stays.plus(c.across(last, next, c.widen(g, c.billed[next])))
			before = before.plus(c.billed[next])
		}
		result = append(result, prefix{freed: before.minus(stays), stays: stays.plus(after[min(i+2, n)])})
	}
	return result
}

// exactPrefixes: a span is freed once all snapshots that share it are moved.
func (c *chain) exactPrefixes() []prefix {
	var total int64
	freedAt := make([]int64, len(c.billed)) // by the last snapshot that holds them
	holds := make([]int, len(c.billed)+1)   // held ones before
	for i, held := range c.held {
		holds[i+1] = holds[i]
		if held {
			holds[i+1]++
		}
	}
	for _, s := range c.spans {
		total = add(total, s.bytes)
		if holds[s.last+1] == holds[s.first] {
			freedAt[s.last] = add(freedAt[s.last], s.bytes)
		}
	}
	var result []prefix
	var freed int64
	for i, bytes := range freedAt {
		freed = add(freed, bytes)
		if !c.held[i] {
			result = append(result, prefix{exactly(freed), exactly(total - freed)})
		}
	}
	return result
}

// increments is what each snapshot that can be moved holds and the one that is
// moved before it does not; the first is whole.
func (c *chain) increments() []Range {
	var result []Range
	var g gap
	last := -1
	for i, b := range c.billed {
		g = c.widen(g, b)
		if c.held[i] {
			continue
		}
		if last < 0 {
			result = append(result, c.full[i])
		} else {
			result = append(result, c.across(last, i, g))
		}
		g, last = gap{}, i
	}
	return result
}

func exactly(n int64) Range { return Range{n, n, n} }

// between puts an estimate between bounds; where facts contradict each other,
// the lower one stands.
func between(low, estimate, high int64) Range {
	high = max(low, high)
	return Range{low, min(max(low, estimate), high), high}
}

func (r Range) plus(o Range) Range {
	return Range{add(r.Low, o.Low), add(r.Estimate, o.Estimate), add(r.High, o.High)}
}

// minus is never below nothing.
func (r Range) minus(o Range) Range {
	return between(max(0, r.Low-o.High), r.Estimate-o.Estimate, max(0, r.High-o.Low))
}

// add stops at the largest number; neither is negative.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// mulDiv is a·b/c rounded down, for a and b from 0 to c.
func mulDiv(a, b, c int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(high, low, uint64(c))
	return int64(q)
}
