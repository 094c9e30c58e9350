package hint

import (
	"os/exec"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"":                             "''",
		"vol-0a1b":                     "vol-0a1b",
		"Key=snap-to-s3,Value=migrate": "Key=snap-to-s3,Value=migrate",
		"https://s3.example.com:9000/": "https://s3.example.com:9000/",
		"vol/2026 snap":                "'vol/2026 snap'",
		"it's":                         `'it'\''s'`,
		"$(reboot)":                    "'$(reboot)'",
		"~root":                        "'~root'",
		"a*":                           "'a*'",
		"größe":                        "'größe'",
		"two\nlines":                   "'two\nlines'",
	} {
		if got := Quote(word); got != want {
			t.Errorf("Quote(%q) = %s, want %s", word, got, want)
		}
	}
}

// A shell gives back what was quoted.
func FuzzQuote(f *testing.F) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		f.Skip("no sh")
	}
	for _, word := range []string{"", "a b", "it's", `\`, "$HOME", "`id`", "!!", "a\nb", "-n"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) {
			t.Skip("no argument can hold a NUL")
		}
		out, err := exec.Command(sh, "-c", "printf %s "+Quote("="+word)).Output()
		if err != nil || string(out) != "="+word {
			t.Errorf("the shell made %q of %q: %v", out, word, err)
		}
	})
}
