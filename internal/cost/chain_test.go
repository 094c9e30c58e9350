package cost

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/snapshot"
)

// history is the truth of a volume: which version of each block each snapshot
// holds; 0 is none. Blocks are written, never taken away.
type history [][]int

func drawHistory(t *rapid.T) history {
	blocks, n := rapid.IntRange(1, 12).Draw(t, "blocks"), rapid.IntRange(1, 7).Draw(t, "snapshots")
	now := make([]int, blocks)
	var h history
	for i := range n {
		for b := range blocks {
			if rapid.Bool().Draw(t, "written") {
				now[b] = i + 1
			}
		}
		h = append(h, append([]int(nil), now...))
	}
	return h
}

// stored is what is billed to the snapshots that are kept: each version once.
func (h history) stored(kept func(int) bool) int64 {
	seen := map[[2]int]bool{}
	for i, blocks := range h {
		for b, version := range blocks {
			if version > 0 && kept(i) {
				seen[[2]int{b, version}] = true
			}
		}
	}
	return int64(len(seen)) * blockSize
}

func (h history) billed(i int) int64 {
	return h.stored(func(k int) bool { return k <= i }) - h.stored(func(k int) bool { return k < i })
}

func (h history) full(i int) int64 { return h.stored(func(k int) bool { return k == i }) }

func (h history) links(held []bool) []link {
	var links []link
	for i := range h {
		links = append(links, link{billed: h.billed(i), isBilled: true, full: h.full(i), held: held[i]})
	}
	return links
}

func (h history) size() int64 { return int64(len(h[0])) * blockSize }

func drawHeld(t *rapid.T, n int) []bool {
	return rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "held")
}

// moves calls check for each number of oldest movable snapshots.
func (h history) moves(held []bool, check func(nth int, stays, freed int64)) {
	moved := map[int]bool{}
	for i := range h {
		if held[i] {
			continue
		}
		moved[i] = true
		stays := h.stored(func(k int) bool { return !moved[k] })
		check(len(moved)-1, stays, h.stored(func(int) bool { return true })-stays)
	}
}

func (r Range) has(n int64) bool {
	return r.Low <= n && n <= r.High && r.Low <= r.Estimate && r.Estimate <= r.High
}

// What deleting does lies within the bounds, whatever is known.
func TestBoundsHoldTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		held := drawHeld(t, len(h))
		links := h.links(held)
		for i := range links {
			if rapid.Bool().Draw(t, "full unknown") {
				links[i].full = 0
			}
			if links[i].full > 0 && i > 0 && rapid.Bool().Draw(t, "not in the bill") {
				links[i].isBilled, links[i].billed = false, 0
			}
		}
		size := rapid.SampledFrom([]int64{0, h.size()}).Draw(t, "size")
		c := newChain(size, links)
		for i := range h {
			if !c.full[i].has(h.full(i)) || !c.billed[i].has(h.billed(i)) {
				t.Fatalf("snapshot %d: full %d, billed %d; said %+v, %+v", i, h.full(i), h.billed(i), c.full[i], c.billed[i])
			}
		}
		prefixes := c.prefixes()
		h.moves(held, func(nth int, stays, freed int64) {
			if p := prefixes[nth]; !p.stays.has(stays) || !p.freed.has(freed) {
				t.Fatalf("moving %d: stays %d, freed %d; said %+v", nth+1, stays, freed, p)
			}
		})
		i, last := 0, -1
		for k := range h {
			if held[k] {
				continue
			}
			own := h.full(k)
			if last >= 0 {
				own = h.stored(func(x int) bool { return x == k || x == last }) - h.full(last)
			}
			if got := c.increments()[i]; !got.has(own) {
				t.Fatalf("increment of %d: %d, said %+v", k, own, got)
			}
			i, last = i+1, k
		}
	})
}

// The first snapshots are of another volume, from one of which this one was
// made: what they share stays billed to them.
func TestBoundsOfAVolumeMadeFromASnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		others := rapid.IntRange(0, len(h)-1).Draw(t, "of another volume")
		held := drawHeld(t, len(h))
		prefixes := newChain(h.size(), h.links(held)[others:]).prefixes()
		moved, nth := map[int]bool{}, 0
		for i := others; i < len(h); i++ {
			if held[i] {
				continue
			}
			moved[i] = true
			stays := h.stored(func(k int) bool { return !moved[k] })
			freed := h.stored(func(int) bool { return true }) - stays
			if stays -= h.stored(func(k int) bool { return k < others }); !prefixes[nth].stays.has(stays) || !prefixes[nth].freed.has(freed) {
				t.Fatalf("moving %d: stays %d, freed %d; said %+v", nth+1, stays, freed, prefixes[nth])
			}
			nth++
		}
	})
}

// With full sizes and a bill, moving the oldest of a chain is exact, and so is
// everything with lists of blocks.
func TestExactWhereItCanBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		free := make([]bool, len(h))
		prefixes := newChain(h.size(), h.links(free)).prefixes()
		h.moves(free, func(nth int, stays, freed int64) {
			if diff := cmp.Diff(prefix{exactly(freed), exactly(stays)}, prefixes[nth], cmp.AllowUnexported(prefix{})); diff != "" {
				t.Fatalf("moving %d with full sizes (-truth +said):\n%s", nth+1, diff)
			}
		})
		held := drawHeld(t, len(h))
		c, err := exactChain(h.size(), h.holdings(held), h.spans())
		if err != nil {
			t.Fatal(err)
		}
		for i := range h {
			if c.full[i] != exactly(h.full(i)) || c.billed[i] != exactly(h.billed(i)) {
				t.Fatalf("snapshot %d: full %d, billed %d; said %+v, %+v", i, h.full(i), h.billed(i), c.full[i], c.billed[i])
			}
		}
		prefixes = c.prefixes()
		h.moves(held, func(nth int, stays, freed int64) {
			if p := prefixes[nth]; p.stays != exactly(stays) || p.freed != exactly(freed) {
				t.Fatalf("moving %d with spans: stays %d, freed %d; said %+v", nth+1, stays, freed, p)
			}
		})
	})
}

func (h history) holdings(held []bool) []Holding {
	var all []Holding
	for i := range h {
		x := Holding{
			Partition: "aws", Account: "1", Region: "us-east-1", ID: h.id(i), Volume: "vol-0000000b", VolumeSize: h.size(),
			Start: time.Unix(int64(i)*86400, 0), FullSize: h.full(i), InBill: true, Billed: h.billed(i),
		}
		if held[i] {
			x.Holds = []string{"ami-1 uses it"}
		}
		all = append(all, x)
	}
	return all
}

func (h history) id(i int) snapshot.ID { return snapshot.ID(fmt.Sprintf("snap-%08x", i)) }

func (h history) spans() []Span {
	var spans []Span
	for b := range h[0] {
		for first := 0; first < len(h); {
			last := first
			for last+1 < len(h) && h[last+1][b] == h[first][b] {
				last++
			}
			if h[first][b] > 0 {
				spans = append(spans, Span{h.id(first), h.id(last), blockSize})
			}
			first = last + 1
		}
	}
	return spans
}

// The estimates of docs/cost-model.md: what is written at random.
func TestEstimates(t *testing.T) {
	c := newChain(100<<30, []link{
		{billed: 40 << 30, isBilled: true}, {billed: 10 << 30, isBilled: true}, {billed: 20 << 30, isBilled: true, held: true}, {billed: 5 << 30, isBilled: true},
	})
	gib := func(x float64) int64 { return int64(x * (1 << 30)) }
	want := []Range{
		exactly(gib(40)), {gib(40), gib(46), gib(50)}, // 40 + 10 - 40·10/100
		{gib(40), gib(56.8), gib(70)}, {gib(40), gib(58.96), gib(75)},
	}
	for i, w := range want {
		if d := c.full[i].Estimate - w.Estimate; c.full[i].Low != w.Low || c.full[i].High != w.High || d < -4 || d > 4 {
			t.Errorf("full size of %d: %+v, want %+v", i, c.full[i], w)
		}
	}
}

// Facts that contradict each other, and huge ones, give a range and no panic.
func TestContradictions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 16*maxVolume))
		n := rapid.IntRange(1, 6).Draw(t, "n")
		var links []link
		for range n {
			links = append(links, link{
				billed: some.Draw(t, "billed"), isBilled: rapid.Bool().Draw(t, "is"), full: some.Draw(t, "full"), held: rapid.Bool().Draw(t, "held"),
			})
		}
		c := newChain(some.Draw(t, "size"), links)
		check := func(r Range) {
			if r.Low < 0 || r.Low > r.Estimate || r.Estimate > r.High {
				t.Fatalf("%+v", r)
			}
		}
		for i := range links {
			check(c.full[i])
			check(c.billed[i])
		}
		for _, p := range c.prefixes() {
			check(p.freed)
			check(p.stays)
		}
		for _, r := range c.increments() {
			check(r)
		}
	})
}

func TestArithmeticStops(t *testing.T) {
	if got := add(math.MaxInt64-1, 2); got != math.MaxInt64 {
		t.Errorf("sum: %d", got)
	}
	if got := mulDiv(math.MaxInt64, math.MaxInt64, math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("product: %d", got)
	}
	if got := Dollar.down(1, math.MaxInt64); got != maxMoney {
		t.Errorf("amount: %d", got)
	}
	if got := Money(math.MinInt64 + 1).Plus(-5); got != math.MinInt64 {
		t.Errorf("negative sum: %d", got)
	}
}
