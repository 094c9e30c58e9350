package awssim

import "hash/crc32"

// crcJoiner computes the CRC of a concatenation from the CRCs of its pieces:
// appending n zero bytes is a linear map over GF(2), so its matrix is found by
// squaring that of one bit (the method of zlib's crc32_combine).
type crcJoiner struct {
	bits   int
	poly   uint64 // reflected
	length int64  // that matrix is for
	matrix []uint64
}

func newCRCJoiner(a checksumAlgorithm) *crcJoiner {
	switch a {
	case algCRC32:
		return &crcJoiner{bits: 32, poly: crc32.IEEE, length: -1}
	case algCRC32C:
		return &crcJoiner{bits: 32, poly: crc32.Castagnoli, length: -1}
	default:
		return &crcJoiner{bits: 64, poly: nvmePolynomial, length: -1}
	}
}

// join is the CRC of a, then b, where b has length bytes.
func (j *crcJoiner) join(a, b uint64, length int64) uint64 {
	if length != j.length { // most parts are of one size
		j.matrix, j.length = j.zeros(length), length
	}
	return apply(j.matrix, a) ^ b
}

// zeros is the matrix of appending n zero bytes.
func (j *crcJoiner) zeros(n int64) []uint64 {
	power := make([]uint64, j.bits) // one zero bit
	power[0] = j.poly
	for i := 1; i < j.bits; i++ {
		power[i] = 1 << (i - 1)
	}
	for range 3 {
		power = multiply(power, power) // a byte
	}
	result := make([]uint64, j.bits)
	for i := range result {
		result[i] = 1 << i
	}
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			result = multiply(power, result)
		}
		power = multiply(power, power)
	}
	return result
}

func apply(matrix []uint64, v uint64) uint64 {
	var sum uint64
	for i := 0; v != 0; i++ {
		if v&1 == 1 {
			sum ^= matrix[i]
		}
		v >>= 1
	}
	return sum
}

func multiply(a, b []uint64) []uint64 {
	product := make([]uint64, len(b))
	for i, column := range b {
		product[i] = apply(a, column)
	}
	return product
}
