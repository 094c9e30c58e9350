// Package cost says what a job will cost before it starts, and what snapshots
// cost: from a dated table of list prices, from bills, and from arithmetic that
// docs/cost-model.md shows.
// It asks nobody, and guesses nothing: what it has no price for is named.
package cost

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Money is an amount in billionths of a dollar, or of the unit of another Currency,
// so that the price of one request is a whole number. Which currency that is, the
// amount does not tell. Sums stop at the largest amount, and at the smallest.
type Money int64

// Dollar is one dollar, or one of another currency.
const Dollar Money = 1_000_000_000

const decimals = 9

// ParseMoney reads an amount such as "12.50" or "$0.023". It is exact: an
// amount that is no whole number of billionths is an error.
func ParseMoney(text string) (Money, error) {
	whole, part, point := strings.Cut(strings.TrimPrefix(text, "$"), ".")
	if whole == "" || !digits(whole) || !digits(part) || point && part == "" || len(part) > decimals {
		return 0, fmt.Errorf("%q is not an amount, for example 12.50", text)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", decimals-len(part)), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is more than can be counted", text)
	}
	if err != nil {
		return 0, fmt.Errorf("read amount %q: %w", text, err)
	}
	return Money(n), nil
}

func digits(text string) bool {
	return strings.Trim(text, "0123456789") == ""
}

// String is an amount in dollars for people: see Currency.Format.
func (m Money) String() string { return USD.Format(m) }

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Decimal is the exact amount without a sign for the currency: "0.0052".
func (m Money) Decimal() string {
	sign := ""
	n := uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%d.%09d", n/uint64(Dollar), n%uint64(Dollar))
	return sign + strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes the exact amount as a JSON number.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.Decimal()), nil }

// Plus is the sum of both.
func (m Money) Plus(n Money) Money {
	sum := m + n
	switch {
	case n > 0 && sum < m:
		return math.MaxInt64
	case n < 0 && sum > m:
		return math.MinInt64
	}
	return sum
}

// share is m times the product of the factors, divided by per, rounded up to a
// billionth: an estimate may be too high, never too low.
func (m Money) share(per *big.Int, factors ...int64) Money {
	if len(factors) == 1 && m >= 0 && factors[0] >= 0 && per.IsInt64() {
		// Most amounts are of one factor, and an analysis has millions of them.
		high, low := bits.Mul64(uint64(m), uint64(factors[0]))
		low, carry := bits.Add64(low, per.Uint64()-1, 0)
		if high += carry; high >= per.Uint64() {
			return math.MaxInt64
		}
		q, _ := bits.Div64(high, low, per.Uint64())
		return Money(min(q, math.MaxInt64))
	}
	n := big.NewInt(int64(m))
	for _, f := range factors {
		n.Mul(n, big.NewInt(f))
	}
	n.Add(n, new(big.Int).Sub(per, big.NewInt(1)))
	n.Quo(n, per)
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return Money(n.Int64())
}
