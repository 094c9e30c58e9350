//go:build cgo

package codec

import (
	"encoding/binary"
	"math/bits"
)

// Constants of XXH64 (xxHash specification 0.1.1).
const (
	xxh64Prime1 uint64 = 0x9E3779B185EBCA87
	xxh64Prime2 uint64 = 0xC2B2AE3D27D4EB4F
	xxh64Prime3 uint64 = 0x165667B19E3779F9
	xxh64Prime4 uint64 = 0x85EBCA77C2B2AE63
	xxh64Prime5 uint64 = 0x27D4EB2F165667C5
)

// xxh64 is the checksum of zstd frames, which keep its low half: XXH64 with seed 0.
func xxh64(p []byte) uint64 {
	n := uint64(len(p))
	h := xxh64Prime5
	if len(p) >= 32 {
		h, p = xxh64Stripes(p)
	}
	h += n
	for ; len(p) >= 8; p = p[8:] {
		h ^= xxh64Round(0, binary.LittleEndian.Uint64(p))
		h = bits.RotateLeft64(h, 27)*xxh64Prime1 + xxh64Prime4
	}
	if len(p) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(p)) * xxh64Prime1
		h = bits.RotateLeft64(h, 23)*xxh64Prime2 + xxh64Prime3
		p = p[4:]
	}
	for _, b := range p {
		h ^= uint64(b) * xxh64Prime5
		h = bits.RotateLeft64(h, 11) * xxh64Prime1
	}
	h = (h ^ h>>33) * xxh64Prime2
	h = (h ^ h>>29) * xxh64Prime3
	return h ^ h>>32
}

// xxh64Stripes takes in all whole stripes of 32 bytes and returns the rest.
func xxh64Stripes(p []byte) (uint64, []byte) {
	a, b, c, d := xxh64Prime1, xxh64Prime2, uint64(0), uint64(0)
	a += xxh64Prime2
	d -= xxh64Prime1
	for len(p) >= 32 {
		s := p[:32:len(p)]
		a = xxh64Round(a, binary.LittleEndian.Uint64(s))
		b = xxh64Round(b, binary.LittleEndian.Uint64(s[8:]))
		c = xxh64Round(c, binary.LittleEndian.Uint64(s[16:]))
		d = xxh64Round(d, binary.LittleEndian.Uint64(s[24:]))
		p = p[32:]
	}
	h := bits.RotateLeft64(a, 1) + bits.RotateLeft64(b, 7) + bits.RotateLeft64(c, 12) + bits.RotateLeft64(d, 18)
	for _, acc := range [4]uint64{a, b, c, d} {
		h = (h^xxh64Round(0, acc))*xxh64Prime1 + xxh64Prime4
	}
	return h, p
}

func xxh64Round(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*xxh64Prime2, 31) * xxh64Prime1
}
