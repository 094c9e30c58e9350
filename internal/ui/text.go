// Package ui turns what the tool knows into what a person reads: sizes and
// durations, log lines, progress. It decides how something looks, never what is
// said or when; it does not exit, prompt, or read flags.
package ui

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Visible returns s with every control character, invisible character and
// invalid byte written as an escape, so that it is one line and cannot drive a
// terminal. Names and descriptions of snapshots hold whatever their owners typed.
func Visible(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

func clean(s string) bool {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !strconv.IsPrint(r) {
			return false
		}
		i += n
	}
	return true
}

// Bytes writes a size in binary units with one decimal: "1.5 GiB". Below 1 KiB
// it is exact.
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-max(n, -1<<63+1))
	}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	units := [...]string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, unit := float64(n)/1024, 0
	// 1023.95 and more would be rounded to 1024.0 of the smaller unit.
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[unit]
}

// ParseBytes reads a whole number of bytes with an optional unit: K, M, G and T
// or KiB, MiB, GiB and TiB are powers of 1,024; kB, MB, GB and TB powers of 1,000.
func ParseBytes(s string) (int64, error) {
	digits := len(s)
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = i
	}
	unit, known := byteUnit(strings.TrimSpace(s[digits:]))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if digits == 0 || !known {
		return 0, fmt.Errorf("%q is not a size, such as 8MiB", s)
	}
	if err != nil || n > (1<<63-1)/unit {
		return 0, fmt.Errorf("%q is larger than any size", s)
	}
	return n * unit, nil
}

func byteUnit(name string) (int64, bool) {
	switch strings.ToLower(name) {
	case "", "b":
		return 1, true
	case "k", "kib":
		return 1 << 10, true
	case "m", "mib":
		return 1 << 20, true
	case "g", "gib":
		return 1 << 30, true
	case "t", "tib":
		return 1 << 40, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "tb":
		return 1e12, true
	}
	return 0, false
}

// Duration writes a duration in the two units that matter: "3.2s", "4m05s",
// "2h10m", "3d04h".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-max(d, -1<<63+1))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	day := 24 * time.Hour
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}
