package codec

import (
	"encoding/binary"
	"math/bits"
)

// Limits of the lz4 block format (lz4_Block_format.md, "End of block
// conditions"): the last five bytes are literals, and the last match starts at
// least twelve bytes before the end.
const (
	lz4MinMatch     = 4
	lz4LastLiterals = 5
	lz4MatchMargin  = 12
	lz4Window       = 64 << 10
	lz4MaxOffset    = lz4Window - 1
)

const hcHashLog = 16

// hcMatcher compresses blocks as the lz4 program's levels 3-9 do: hash chains
// searched to a depth, and before a match is taken, a look for a longer one that
// overlaps its end. pierrec's own high compression takes the longest match at each
// place as it comes; at any depth that is up to 6 % behind the program's level 9,
// which is why this exists.
//
// One is 384 KiB, reused from block to block, and not safe for concurrent use.
type hcMatcher struct {
	depth int
	head  [1 << hcHashLog]int32 // last position of a hash, plus one; 0 none
	chain [lz4Window]uint16     // distance to the position before with the same hash; 0 none
	next  int                   // first position not yet in the chains
}

// hcMatch is src[start:start+len] = src[start-offset:…].
type hcMatch struct{ start, length, offset int }

func (m hcMatch) end() int { return m.start + m.length }

func hcHash(v uint32) uint32 { return v * 2654435761 >> (32 - hcHashLog) }

// newHCMatcher returns the matcher of an lz4 level from 3 on: 4 candidates at
// level 3, twice as many with each level above.
func newHCMatcher(level int) *hcMatcher { return &hcMatcher{depth: 1 << (level - 1)} }

// compress appends src as one lz4 block to dst.
func (c *hcMatcher) compress(dst, src []byte) []byte {
	clear(c.head[:])
	c.next = 0
	w := hcWriter{dst: dst, src: src}
	for pos := 0; pos <= len(src)-lz4MatchMargin; {
		m, found := c.search(src, pos, hcMatch{start: pos, length: lz4MinMatch - 1})
		if !found {
			pos++
			continue
		}
		c.extend(&w, m)
		pos = w.anchor
	}
	return appendLiterals(w.dst, src[w.anchor:], 0)
}

// extend writes m, or better matches that begin in it and reach further.
func (c *hcMatcher) extend(w *hcWriter, m hcMatch) {
	// held is a match whose end m covers too. It is written once it is known
	// that m stays: a third match that reaches back to held replaces m.
	var held hcMatch
	for m.end()-2 <= len(w.src)-lz4MatchMargin {
		longer, found := c.search(w.src, m.end()-2, m)
		if !found {
			break
		}
		replaced := held.length > 0 && longer.start <= held.end()
		if !replaced && longer.start-m.start >= lz4MinMatch {
			w.match(held, m.start)
			held = m
		}
		m = longer
	}
	w.match(held, m.start)
	w.match(m, m.end())
}

// hcWriter writes the sequences of a block.
type hcWriter struct {
	dst, src []byte
	anchor   int // first byte not yet written
}

// match writes m as far as limit, with the literals before it.
func (w *hcWriter) match(m hcMatch, limit int) {
	if m.length == 0 {
		return
	}
	length := min(m.length, limit-m.start)
	w.dst = appendSequence(w.dst, w.src[w.anchor:m.start], length, m.offset)
	w.anchor = m.start + length
}

// search looks for a match through pos that is longer than best and starts no
// earlier than best does.
func (c *hcMatcher) search(src []byte, pos int, best hcMatch) (hcMatch, bool) {
	c.insert(src, pos)
	low, limit, found := best.start, len(src)-lz4LastLiterals, false
	want := binary.LittleEndian.Uint32(src[pos:])
	cand := int(c.head[hcHash(want)]) - 1
	for try := c.depth; try > 0 && cand >= 0 && pos-cand <= lz4MaxOffset; try-- {
		// What would make a match longer than best lies around this byte: most
		// candidates end here.
		at := low + best.length - 1 - pos
		if cand+at >= 0 &&
			binary.LittleEndian.Uint16(src[cand+at:]) == binary.LittleEndian.Uint16(src[pos+at:]) &&
			binary.LittleEndian.Uint32(src[cand:]) == want {
			end := pos + lz4MinMatch + matchLen(src[cand+lz4MinMatch:], src[pos+lz4MinMatch:limit])
			start, ref := pos, cand
			for start > low && ref > 0 && src[start-1] == src[ref-1] {
				start--
				ref--
			}
			if end-start > best.length {
				best, found = hcMatch{start, end - start, start - ref}, true
				if end == limit {
					break
				}
			}
		}
		step := int(c.chain[cand&(lz4Window-1)])
		if step == 0 {
			break
		}
		cand -= step
	}
	return best, found
}

// insert puts all positions before pos into the chains.
func (c *hcMatcher) insert(src []byte, pos int) {
	for i := c.next; i < pos; i++ {
		h := hcHash(binary.LittleEndian.Uint32(src[i:]))
		step := i + 1 - int(c.head[h])
		if c.head[h] == 0 || step > lz4MaxOffset {
			step = 0
		}
		c.chain[i&(lz4Window-1)] = uint16(step)
		c.head[h] = int32(i + 1)
	}
	c.next = max(c.next, pos)
}

// matchLen counts the bytes in which a and b agree; a is at least as long as b.
func matchLen(a, b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// appendSequence appends literals and the match that follows them.
func appendSequence(dst, literals []byte, length, offset int) []byte {
	length -= lz4MinMatch
	dst = appendLiterals(dst, literals, min(length, 15))
	dst = append(dst, byte(offset), byte(offset>>8))
	if length >= 15 {
		dst = appendLength(dst, length-15)
	}
	return dst
}

// appendLiterals appends a token with the given low half, and literals.
func appendLiterals(dst, literals []byte, low int) []byte {
	dst = append(dst, byte(min(len(literals), 15)<<4|low))
	if len(literals) >= 15 {
		dst = appendLength(dst, len(literals)-15)
	}
	return append(dst, literals...)
}

func appendLength(dst []byte, n int) []byte {
	for ; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}
