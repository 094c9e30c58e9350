package ui

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"MySQL Slave DB":         "MySQL Slave DB",
		"größe 日本":               "größe 日本",
		"a\nb\tc\r":              `a\nb\tc\r`,
		"\x1b[2J\x07":            `\x1b[2J\a`,
		"bad \xff byte":          `bad \xff byte`,
		"\u202egnp.exe":          `\u202egnp.exe`,
		"replacement \ufffd is":  "replacement \ufffd is",
		"nul \x00 and c1 \u009b": `nul \x00 and c1 \u009b`,
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\n\xff\u200b")
	f.Fuzz(func(t *testing.T, s string) {
		got := Visible(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("Visible(%q) = %q: not plain text", s, got)
		}
		if again := Visible(got); again != got {
			t.Errorf("Visible(%q) = %q, then %q", s, got, again)
		}
	})
}

func TestBytes(t *testing.T) {
	for in, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB",
		8 << 20: "8 MiB", 1<<20 - 1: "1 MiB", 100 << 30: "100 GiB", 3 << 39: "1.5 TiB",
		1<<63 - 1: "8 EiB", -2048: "-2 KiB", -1 << 63: "-8 EiB",
	} {
		if got := Bytes(in); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "8388608": 8 << 20, "8MiB": 8 << 20, "8 MiB": 8 << 20, "8MiB ": 8 << 20, "8m": 8 << 20, "8MB": 8e6,
		"5GiB": 5 << 30, "1k": 1024, "1kB": 1000, "3TiB": 3 << 40, "7b": 7, "2tb": 2e12, "1GB": 1e9,
	} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "+1", "1.5GiB", "8 parsecs", "9223372036854775808", "9000000TiB", "0x10"} {
		if got, err := ParseBytes(in); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", in, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	f.Add("8MiB")
	f.Add("99999999999999999999T")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseBytes(s); err == nil && n < 0 {
			t.Errorf("ParseBytes(%q) = %d: below zero", s, n)
		}
	})
}

func TestDuration(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0ms", 250 * time.Millisecond: "250ms", 3200 * time.Millisecond: "3.2s",
		9990 * time.Millisecond: "9.9s", 42 * time.Second: "42s", 245 * time.Second: "4m05s",
		2*time.Hour + 10*time.Minute: "2h10m", 76 * time.Hour: "3d04h", -time.Minute: "-1m00s",
	} {
		if got := Duration(in); got != want {
			t.Errorf("Duration(%v) = %q, want %q", in, got, want)
		}
	}
}
