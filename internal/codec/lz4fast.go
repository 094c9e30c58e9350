package codec

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	fastHashLog  = 13 // 32 KiB of positions stay in the nearest cache
	fastSkipLog  = 3  // after 8 misses in a row every second place is tried, after 8 more every third, …
	fastTokenMax = 15 // lengths from here on have bytes of their own
)

// fastMatcher compresses blocks as the lz4 program's levels 1 and 2 do: one
// candidate for each place, taken if it matches. It has a table of twice the
// program's size, and spends what that gains on skipping sooner where nothing
// matches, so that the ratio is the program's again. pierrec's port of the program's
// search takes a fifth longer; two thirds of the CPU time of an lz4 archive are
// spent here.
//
// One is 32 KiB, reused from block to block, and not safe for concurrent use.
type fastMatcher struct {
	table [1 << fastHashLog]uint32 // last position of a hash
}

// source is a block, read without bounds checks. Callers say why they are inside.
type source struct{ p unsafe.Pointer }

func (s source) byteAt(i int) byte { return *(*byte)(unsafe.Add(s.p, i)) }

func (s source) load32(i int) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(s.p, i))[:])
}

func (s source) load64(i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(s.p, i))[:])
}

// fastHash takes in the low five bytes.
func fastHash(v uint64) uint32 {
	return uint32((v << 24) * 889523592379 >> (64 - fastHashLog))
}

// compress writes src as one lz4 block to dst, which has at least
// lz4.CompressBlockBound(len(src)) bytes, and returns its length.
//
// It is one function, and longer than others here, because a call for each
// sequence of some ten bytes shows in the time of a backup.
//
// All loads lie in src: positions and candidates are at most lastStart, 12 bytes
// before the end, and loads there take at most 4 + 8.
func (c *fastMatcher) compress(dst, src []byte) int {
	if len(src) < lz4MatchMargin+1 {
		return lastLiterals(dst, 0, src)
	}
	clear(c.table[:])
	var (
		s         = source{unsafe.Pointer(&src[0])}
		lastStart = len(src) - lz4MatchMargin
		matchEnd  = len(src) - lz4LastLiterals
		di        = 0
		anchor    = 0 // first byte not yet written
		next      = 1 // a place to search at; the table says 0 for all else
	)
	for next <= lastStart {
		var pos, ref int
		v := s.load64(next)
		h := fastHash(v)
		for tries := 1 << fastSkipLog; ; tries++ {
			pos = next
			next += tries >> fastSkipLog
			if next > lastStart {
				return lastLiterals(dst, di, src[anchor:])
			}
			ref = int(c.table[h])
			c.table[h] = uint32(pos)
			want := uint32(v)
			v = s.load64(next)
			h = fastHash(v)
			if s.load32(ref) == want && pos-ref <= lz4MaxOffset {
				break
			}
		}
		for pos > anchor && ref > 0 && s.byteAt(pos-1) == s.byteAt(ref-1) {
			pos--
			ref--
		}
		token := di
		if n := pos - anchor; n <= 8 { // as literals does, for the usual case
			dst[di] = byte(n << 4)
			binary.LittleEndian.PutUint64(dst[di+1:], s.load64(anchor))
			di += 1 + n
		} else {
			di = literals(dst, di, s, anchor, n)
		}
		for {
			binary.LittleEndian.PutUint16(dst[di:], uint16(pos-ref))
			di += 2
			var n int
			if x := s.load64(pos+lz4MinMatch) ^ s.load64(ref+lz4MinMatch); x != 0 && pos+lz4MinMatch+8 <= matchEnd {
				n = bits.TrailingZeros64(x) >> 3 // most matches end here
			} else {
				n = s.count(pos+lz4MinMatch, ref+lz4MinMatch, matchEnd)
			}
			pos += lz4MinMatch + n
			if n >= fastTokenMax {
				dst[token] |= fastTokenMax
				di = putLength(dst, di, n-fastTokenMax)
			} else {
				dst[token] |= byte(n)
			}
			anchor = pos
			if pos > lastStart {
				return lastLiterals(dst, di, src[anchor:])
			}
			c.table[fastHash(s.load64(pos-2))] = uint32(pos - 2)
			// Often the next match begins right here, without literals.
			v := s.load64(pos)
			h := fastHash(v)
			ref = int(c.table[h])
			c.table[h] = uint32(pos)
			if s.load32(ref) != uint32(v) || pos-ref > lz4MaxOffset {
				break
			}
			token = di
			dst[di] = 0
			di++
		}
		next = pos + 1
	}
	return lastLiterals(dst, di, src[anchor:])
}

// count is how many bytes from a on, up to limit, equal those from b on; b < a.
func (s source) count(a, b, limit int) int {
	start := a
	for a+8 <= limit {
		if x := s.load64(a) ^ s.load64(b); x != 0 {
			return a - start + bits.TrailingZeros64(x)>>3
		}
		a += 8
		b += 8
	}
	for a < limit && s.byteAt(a) == s.byteAt(b) {
		a++
		b++
	}
	return a - start
}

// literals writes a token without a match length, and n bytes from that place.
// It copies by eight, so up to seven bytes too many: those read are inside the
// block, as a match follows that begins 12 bytes before its end or earlier, and
// those written are overwritten by that match and the last literals.
func literals(dst []byte, di int, s source, from, n int) int {
	if n >= fastTokenMax {
		dst[di] = fastTokenMax << 4
		di = putLength(dst, di+1, n-fastTokenMax)
	} else {
		dst[di] = byte(n << 4)
		di++
	}
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(dst[di+i:], s.load64(from+i))
	}
	return di + n
}

// lastLiterals writes what no match covers any more, and ends the block.
func lastLiterals(dst []byte, di int, rest []byte) int {
	return len(appendLiterals(dst[:di], rest, 0))
}

func putLength(dst []byte, di, n int) int {
	for ; n >= 255; n -= 255 {
		dst[di] = 255
		di++
	}
	dst[di] = byte(n)
	return di + 1
}
