package bill_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"snap-to-s3/internal/cost"
)

// priced is a line of an amount, its rate and its cost.
func priced(amount, rate, paid string) string {
	return strings.Replace(good, "0.1,USD,0.05,0.005", amount+",USD,"+rate+","+paid, 1)
}

// Without a rate, cost by amount is the rate.
func TestRateOfCost(t *testing.T) {
	t.Parallel()
	const noRate = "lineItem/UnblendedRate,"
	for name, c := range map[string]struct{ amount, cost, rate, want string }{
		"empty":             {"3.2258064516", "0.1290322581", "", "0.04"},
		"one block":         {"0.0000157510", "0.0000007876", "", "0.05"},
		"yuan":              {"3.2258064516", "1.1258064516", "", "0.349"},
		"free":              {"3.2258064516", "0", "", "0"},
		"free, by its rate": {"3.2258064516", "0.0000000000", "0.0000000000", "0"},
		"said to be 0":      {"3.2258064516", "0.1290322581", "0", "0.04"},
		"said":              {"3.2258064516", "0.1290322581", "0.05", "0.05"},
		"taken back":        {"-3.2258064516", "-0.1290322581", "", "0"},
		"given back":        {"3.2258064516", "-0.1290322581", "", "0"},
		"not stored":        {"0", "0.1290322581", "", "0"},
		"no price":          {"0.0000000001", "9000000", "", "0"},
		"fine":              {"1", "0.1234567891", "", "0.123456789"},
	} {
		line := priced(c.amount, c.rate, c.cost)
		if got := read(t, text(header, line)).Snapshots[0].Rate.Decimal(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if c.rate != "" {
			continue
		}
		line = strings.Replace(line, "USD,,", "USD,", 1)
		if got := read(t, text(strings.Replace(header, noRate, "", 1), line)).Snapshots[0].Rate.Decimal(); got != c.want {
			t.Errorf("%s, no column: %s, want %s", name, got, c.want)
		}
	}
}

// Any rate of up to five decimals is found again, for any number of blocks and days.
func TestRateIsFoundAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rate := cost.Money(rapid.Int64Range(100, 100_000).Draw(rt, "rate")) * 10_000
		blocks := rapid.Int64Range(64, 64<<11).Draw(rt, "blocks")
		amount := big.NewRat(blocks, 2048*30)
		paid := new(big.Rat).Mul(amount, big.NewRat(int64(rate), int64(cost.Dollar)))
		line := priced(amount.FloatString(10), "", paid.FloatString(10))
		if got := read(t, text(header, line)).Snapshots[0].Rate; got != rate {
			rt.Errorf("%d blocks: %s, want %s", blocks, got.Decimal(), rate.Decimal())
		}
	})
}

// A day's free lines do not hide what others of it cost.
func TestRateOfFreeLines(t *testing.T) {
	t.Parallel()
	free, paid := priced("0.1", "", "0"), priced("0.1", "", "0.005")
	for i, lines := range [][]string{{free, paid}, {paid, free}} {
		u := read(t, text(append([]string{header}, lines...)...))
		if got := u.Snapshots[0].Rate.Decimal(); got != "0.05" || strings.Contains(fmt.Sprint(u.Notes), "billed nothing") {
			t.Errorf("%d: %s, %q", i, got, u.Notes)
		}
	}
}
