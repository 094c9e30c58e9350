package cost

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMoney(t *testing.T) {
	tests := []struct {
		text string
		want Money
	}{
		{"0", 0},
		{"12.50", 12_500_000_000},
		{"$0.023", 23_000_000},
		{"0.00000065", 650},
		{"0.000000001", 1},
		{"9223372036.854775807", math.MaxInt64},
	}
	for _, tt := range tests {
		got, err := ParseMoney(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseMoney(%q) = %d, %v, want %d", tt.text, int64(got), err, int64(tt.want))
		}
	}
	for _, text := range []string{"", "$", "-1", "1,5", "1.", ".5", "1e3", "0.0000000001", "9223372036.854775808", "1 ", "+1", "0x10"} {
		if got, err := ParseMoney(text); err == nil {
			t.Errorf("ParseMoney(%q) = %d, want an error", text, int64(got))
		}
	}
}

func TestMoneyText(t *testing.T) {
	tests := []struct {
		m             Money
		text, decimal string
	}{
		{0, "$0.00", "0"},
		{1, "<$0.0001", "0.000000001"},
		{99_999, "<$0.0001", "0.000099999"},
		{100_000, "$0.0001", "0.0001"},
		{5_230_000, "$0.0052", "0.00523"},
		{99_949_999, "$0.0999", "0.099949999"},
		{99_950_000, "$0.10", "0.09995"},
		{455_111_112, "$0.46", "0.455111112"},
		{6_291_456_000, "$6.29", "6.291456"},
		{1234 * Dollar, "$1,234.00", "1234"},
		{1_234_567_890_000_000, "$1,234,567.89", "1234567.89"},
		{-Dollar, "-$1.00", "-1"},
		{math.MaxInt64, "$9,223,372,036.85", "9223372036.854775807"},
		{math.MinInt64, "-$9,223,372,036.85", "-9223372036.854775808"},
	}
	for _, tt := range tests {
		if got := tt.m.String(); got != tt.text {
			t.Errorf("String of %d: %q, want %q", int64(tt.m), got, tt.text)
		}
		got, err := json.Marshal(tt.m)
		if err != nil || string(got) != tt.decimal {
			t.Errorf("JSON of %d: %s, %v, want %s", int64(tt.m), got, err, tt.decimal)
		}
	}
}

func TestPlusStops(t *testing.T) {
	if got := Money(math.MaxInt64 - 1).Plus(5); got != math.MaxInt64 {
		t.Errorf("sum beyond the largest amount: %d, want %d", int64(got), int64(math.MaxInt64))
	}
}

// Both ways to divide come to the same.
func TestShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64))
		m, f, per := Money(some.Draw(t, "amount")), some.Draw(t, "factor"), max(1, some.Draw(t, "per"))
		if got, want := m.share(big.NewInt(per), f), m.share(big.NewInt(per), f, 1); got != want {
			t.Fatalf("%d × %d / %d = %d, want %d", m, f, per, got, want)
		}
	})
}

func FuzzMoney(f *testing.F) {
	f.Add("12.50", int64(1))
	f.Add("$0.000000001", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text string, n int64) {
		if m, err := ParseMoney(text); err == nil && m < 0 {
			t.Errorf("ParseMoney(%q) = %d", text, int64(m))
		}
		if n < 0 {
			n = -(n + 1)
		}
		got, err := ParseMoney(Money(n).Decimal())
		if err != nil || got != Money(n) {
			t.Errorf("%d as %q comes back as %d, %v", n, Money(n).Decimal(), int64(got), err)
		}
	})
}
