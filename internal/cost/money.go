// Package cost says in dollars what a job will cost before it starts: from a
// dated table of list prices and from arithmetic that docs/cost-model.md shows.
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

// Money is an amount in nano-dollars (US): a billionth of a dollar, so that the
// price of one request is a whole number. Sums stop at the largest amount, and
// at the smallest.
type Money int64

// Dollar is one US dollar.
const Dollar Money = 1_000_000_000

const decimals = 9

// ParseMoney reads an amount such as "12.50" or "$0.023". It is exact: an
// amount that is no whole number of nano-dollars is an error.
func ParseMoney(text string) (Money, error) {
	whole, part, point := strings.Cut(strings.TrimPrefix(text, "$"), ".")
	if whole == "" || !digits(whole) || !digits(part) || point && part == "" || len(part) > decimals {
		return 0, fmt.Errorf("%q is not an amount in dollars, for example 12.50", text)
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

// String is for people: "$1,234.57"; under ten cents with four decimals, as
// "$0.0052"; what is less than those can show is "<$0.0001".
func (m Money) String() string {
	if m < 0 {
		return "-" + (-max(m, -math.MaxInt64)).String()
	}
	const cent, hundredth = Dollar / 100, Dollar / 10_000
	switch {
	case m == 0:
		return "$0.00"
	case m < hundredth:
		return "<$0.0001"
	case m < 10*cent-hundredth/2:
		n := (m + hundredth/2) / hundredth
		return fmt.Sprintf("$0.%04d", int64(n))
	}
	n := m / cent
	if m%cent >= cent/2 {
		n++
	}
	return fmt.Sprintf("$%s.%02d", thousands(int64(n/100)), int64(n%100))
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Decimal is the exact amount in dollars, without a sign for the currency:
// "0.0052".
func (m Money) Decimal() string {
	sign := ""
	n := uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%d.%09d", n/uint64(Dollar), n%uint64(Dollar))
	return sign + strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes the exact amount in dollars as a JSON number.
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
// nano-dollar: an estimate may be too high, never too low.
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
