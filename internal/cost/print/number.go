package print

import (
	"math"
	"strconv"
)

const gib = 1 << 30

// GB is a size with one decimal, as "448.7": in GiB, which AWS bills and calls GB.
func GB(bytes int64) string { return strconv.FormatFloat(float64(bytes)/gib, 'f', 1, 64) }

// Percent is what part is of whole with two significant digits, as "52%", "7.9%"
// or "0.069%"; whole percents from 10 on. Of nothing it is "".
func Percent(part, whole float64) string {
	if whole == 0 {
		return ""
	}
	return significant(100*part/whole, 2) + "%"
}

// significant has as many digits as asked for, and never fewer than those before
// the point. Zeros at its end stay: they are digits.
func significant(v float64, digits int) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	decimals := func(v float64) int { return max(0, digits-1-int(math.Floor(math.Log10(math.Abs(v))))) }
	n := decimals(v)
	if rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', n, 64), 64); err == nil && rounded != 0 {
		n = decimals(rounded) // 9.96 is 10, not 10.0
	}
	return strconv.FormatFloat(v, 'f', n, 64)
}
