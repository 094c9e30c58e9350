package cost

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// Currency is what amounts of a report are in: an ISO 4217 code. The zero value
// is USD. Nothing is converted.
type Currency string

// The currencies that AWS has list prices in.
const (
	USD Currency = "USD"
	CNY Currency = "CNY"
)

// RegionCurrency is what AWS prices a region in: the partition aws-cn in CNY
// (https://www.amazonaws.cn/en/ec2/pricing/), all others in USD.
func RegionCurrency(region string) Currency {
	if strings.HasPrefix(region, "cn-") {
		return CNY
	}
	return USD
}

// String is the code.
func (c Currency) String() string { return string(cmp.Or(c, USD)) }

// Sign goes before an amount: "$", "CN¥", since ¥ alone is also the yen's, and of
// others the code and a space, as "INR ".
func (c Currency) Sign() string {
	switch c {
	case "", USD:
		return "$"
	case CNY:
		return "CN¥"
	}
	return c.String() + " "
}

// Format is an amount for people: "$1,234.57", "CN¥1,234.57", "INR 1,234.57"; under
// ten hundredths with four decimals, as "$0.0052"; what is less than those can
// show is "<$0.0001".
func (c Currency) Format(m Money) string {
	if m < 0 {
		return "-" + c.Format(-max(m, -math.MaxInt64))
	}
	const cent, hundredth = Dollar / 100, Dollar / 10_000
	switch {
	case m == 0:
		return c.Sign() + "0.00"
	case m < hundredth:
		return "<" + c.Sign() + "0.0001"
	case m < 10*cent-hundredth/2:
		n := (m + hundredth/2) / hundredth
		return fmt.Sprintf("%s0.%04d", c.Sign(), int64(n))
	}
	n := m / cent
	if m%cent >= cent/2 {
		n++
	}
	return fmt.Sprintf("%s%s.%02d", c.Sign(), thousands(int64(n/100)), int64(n%100))
}

// only is the table without prices in other currencies: they are as if not known.
func (t *Table) only(c Currency) *Table {
	prices := make(map[item]price, len(t.prices))
	for i, p := range t.prices {
		if RegionCurrency(i.region) == cmp.Or(c, USD) {
			prices[i] = p
		}
	}
	return &Table{prices}
}
