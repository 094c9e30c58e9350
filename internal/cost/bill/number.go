package bill

import (
	"errors"
	"math"
	"math/bits"
	"time"
)

const (
	secondsPerDay = 24 * 60 * 60
	// Amounts and costs are counted in trillionths: a block of 512 KiB in a month
	// of 31 days is 0.0000157510 GiB-months, and AWS writes ten decimals of its
	// cost. Nine would lose cents over millions of lines.
	perUnit      = 1_000_000_000_000
	unitDecimals = 12
	rateDecimals = 9 // cost.Money
)

var (
	errNoNumber = errors.New("is not a number")
	errTooLarge = errors.New("is more than can be counted")
)

// parseNumber reads a decimal number, with an exponent or without, as a whole
// number of units of 10^-decimals; what is finer is rounded, half away from zero.
func parseNumber(text []byte, decimals int) (int64, error) {
	i, negative := 0, false
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		negative = text[0] == '-'
		i++
	}
	var n uint64
	digits, shift, point := 0, decimals, false
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
			switch {
			case n < math.MaxUint64/10: // 19 digits fit, and some more
				n = n*10 + uint64(c-'0')
				if point {
					shift--
				}
			case !point:
				shift++
			}
			continue
		case c == '.' && !point:
			point = true
			continue
		}
		break
	}
	if digits == 0 {
		return 0, errNoNumber
	}
	if i < len(text) {
		e, ok := exponent(text[i:])
		if !ok {
			return 0, errNoNumber
		}
		shift += e
	}
	n, ok := scale(n, shift)
	if !ok || n > math.MaxInt64 {
		return 0, errTooLarge
	}
	if negative {
		return -int64(n), nil
	}
	return int64(n), nil
}

// exponent reads "e-05" and "E7".
func exponent(text []byte) (int, bool) {
	if text[0] != 'e' && text[0] != 'E' || len(text) < 2 || len(text) > 5 {
		return 0, false
	}
	text = text[1:]
	negative := text[0] == '-'
	if text[0] == '-' || text[0] == '+' {
		text = text[1:]
	}
	if len(text) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// scale is n × 10^shift, rounded.
func scale(n uint64, shift int) (uint64, bool) {
	for ; shift > 0 && n != 0; shift-- {
		hi, lo := bits.Mul64(n, 10)
		if hi != 0 {
			return 0, false
		}
		n = lo
	}
	if shift < -19 {
		return 0, true
	}
	for ; shift < -1; shift++ {
		n /= 10 // what is cut off here cannot turn a last digit below 5 into one that rounds up
	}
	if shift == -1 {
		n = n/10 + (n%10)/5
	}
	return n, true
}

// plus adds, and says whether the sum can be counted.
func plus(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// parseTime reads "2024-09-30", "2024-09-30T23:00:00Z" and what is between: with
// a blank for the T, with fractions of a second, without a zone. Bills are in UTC.
// The result is in seconds since 1970.
func parseTime(text []byte) (int64, bool) {
	day, ok := parseDay(text)
	if !ok {
		return 0, false
	}
	at := int64(day) * secondsPerDay
	text = text[10:]
	if len(text) == 0 {
		return at, true
	}
	if len(text) < 6 || text[0] != 'T' && text[0] != ' ' || text[3] != ':' {
		return 0, false
	}
	hour, ok1 := two(text[1:])
	minute, ok2 := two(text[4:])
	if !ok1 || !ok2 || hour > 24 || minute > 59 {
		return 0, false
	}
	at += int64(hour)*3600 + int64(minute)*60
	text = text[6:]
	if len(text) >= 3 && text[0] == ':' {
		second, ok := two(text[1:])
		if !ok || second > 60 {
			return 0, false
		}
		at += int64(second)
		text = text[3:]
	}
	if len(text) > 1 && text[0] == '.' {
		text = text[1:]
		for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
			text = text[1:]
		}
	}
	switch string(text) {
	case "", "Z", "+00:00", "+0000", " UTC":
		return at, true
	}
	return 0, false
}

// parseDay reads the day that text begins with, in days since 1970.
func parseDay(text []byte) (int32, bool) {
	if len(text) < 10 || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	century, ok1 := two(text)
	year, ok2 := two(text[2:])
	month, ok3 := two(text[5:])
	day, ok4 := two(text[8:])
	year += 100 * century
	if !ok1 || !ok2 || !ok3 || !ok4 || year < 2006 || month < 1 || month > 12 || day < 1 || day > 31 { // EC2 began in 2006
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return int32(t.Unix() / secondsPerDay), t.Day() == day
}

func two(text []byte) (int, bool) {
	a, b := text[0]-'0', text[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

// date is the time a day since 1970 begins at, in UTC.
func date(day int32) time.Time { return time.Unix(int64(day)*secondsPerDay, 0).UTC() }

// monthDays is how many days the month of a day has.
func monthDays(day int32) int64 {
	t := date(day)
	return int64(time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day())
}

// monthOf is the month of a day since 1970, counted since the year 0.
func monthOf(day int32) int {
	t := date(day)
	return 12*t.Year() + int(t.Month()) - 1
}

// firstOf is the first day of a month, since 1970.
func firstOf(month int) int32 {
	return int32(time.Date(0, time.Month(month+1), 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}

// rateOf is what a GiB-month costs by what an amount costs, as cost.Money: of the
// rates that come to this amount and cost, to the ten decimals that AWS rounds
// both to, the one with the fewest decimals. 0 where the two tell of none.
func rateOf(cost, amount int64) int64 {
	const off = perUnit / 1e10 / 2
	if cost <= off || amount <= off {
		return 0
	}
	for scale, rest := uint64(1), uint64(1e9); rest > 0; scale, rest = scale*10, rest/10 {
		n, ok := quotient(uint64(cost-off), scale, uint64(amount+off), uint64(amount+off)-1)
		if !ok || n > math.MaxInt64/rest {
			return 0 // no price
		}
		leastHi, leastLo := bits.Mul64(n, uint64(amount-off))
		mostHi, mostLo := bits.Mul64(uint64(cost+off), scale)
		if leastHi < mostHi || leastHi == mostHi && leastLo <= mostLo {
			return int64(n * rest)
		}
	}
	n, ok := quotient(uint64(cost), 1e9, uint64(amount), uint64(amount/2))
	if !ok || n > math.MaxInt64 {
		return 0
	}
	return int64(n)
}

// quotient is (a × b + more) / per, and whether it can be counted.
func quotient(a, b, per, more uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, more, 0)
	if hi += carry; hi >= per {
		return 0, false
	}
	n, _ := bits.Div64(hi, lo, per)
	return n, true
}

const (
	blockSize = 512 << 10 // what EBS bills in: a snapshot's block
	// maxVolume is the largest volume, of gp3 and io2
	// (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html).
	maxVolume = 64 << 40
)

// stored is how many bytes an amount of GiB-months stands for that was billed
// for span days of the month that day is in. Whole says that it is a whole number of
// blocks, but for what ten decimals of the amount cannot say.
func stored(amount int64, day int32, span int64) (bytes int64, whole bool) {
	if amount <= 0 {
		return 0, true
	}
	days := uint64(monthDays(day))
	per := perUnit * uint64(span)
	hi, lo := bits.Mul64(uint64(amount), days*(1<<30/blockSize))
	blocks, rest := bits.Div64(hi, lo, per)
	const near = 50 // a fiftieth of a block
	switch {
	case rest <= per/near:
		return int64(blocks) * blockSize, true
	case rest >= per-per/near:
		return int64(blocks+1) * blockSize, true
	}
	hi, lo = bits.Mul64(uint64(amount), days<<30)
	n, _ := bits.Div64(hi, lo, per)
	return int64(n), false
}
