package block

import "bytes"

// AllZero tells whether all of p is zero. It compares p with itself one word further
// on: that runs at the speed of memory, and ends at the first difference.
func AllZero(p []byte) bool {
	const word = 8
	if len(p) <= word {
		return len(bytes.Trim(p, "\x00")) == 0
	}
	return AllZero(p[:word]) && bytes.Equal(p[word:], p[:len(p)-word])
}
