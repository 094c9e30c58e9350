package codec

import (
	"encoding/binary"
	"math/bits"
)

// Constants of XXH32 (xxHash specification 0.1.1).
const (
	xxh32Prime1 uint32 = 0x9E3779B1
	xxh32Prime2 uint32 = 0x85EBCA77
	xxh32Prime3 uint32 = 0xC2B2AE3D
	xxh32Prime4 uint32 = 0x27D4EB2F
	xxh32Prime5 uint32 = 0x165667B1
)

// xxh32 is the checksum of lz4 frames: XXH32 with seed 0.
func xxh32(p []byte) uint32 {
	n := uint32(len(p))
	h := xxh32Prime5
	if len(p) >= 16 {
		h, p = xxh32Stripes(p)
	}
	h += n
	for ; len(p) >= 4; p = p[4:] {
		h += binary.LittleEndian.Uint32(p) * xxh32Prime3
		h = bits.RotateLeft32(h, 17) * xxh32Prime4
	}
	for _, b := range p {
		h += uint32(b) * xxh32Prime5
		h = bits.RotateLeft32(h, 11) * xxh32Prime1
	}
	h = (h ^ h>>15) * xxh32Prime2
	h = (h ^ h>>13) * xxh32Prime3
	return h ^ h>>16
}

// xxh32Stripes takes in all whole stripes of 16 bytes and returns the rest.
func xxh32Stripes(p []byte) (uint32, []byte) {
	a, b, c, d := xxh32Prime1, xxh32Prime2, uint32(0), uint32(0)
	a += xxh32Prime2
	d -= xxh32Prime1
	for len(p) >= 16 {
		s := p[:16:len(p)]
		a = xxh32Round(a, binary.LittleEndian.Uint32(s))
		b = xxh32Round(b, binary.LittleEndian.Uint32(s[4:]))
		c = xxh32Round(c, binary.LittleEndian.Uint32(s[8:]))
		d = xxh32Round(d, binary.LittleEndian.Uint32(s[12:]))
		p = p[16:]
	}
	return bits.RotateLeft32(a, 1) + bits.RotateLeft32(b, 7) + bits.RotateLeft32(c, 12) + bits.RotateLeft32(d, 18), p
}

func xxh32Round(acc, lane uint32) uint32 {
	return bits.RotateLeft32(acc+lane*xxh32Prime2, 13) * xxh32Prime1
}
