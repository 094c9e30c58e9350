package s3

import (
	"os/exec"
	"strings"
	"testing"

	"snap-to-s3/internal/objstore"
)

// The shell itself says whether a quoted word comes out as it went in.
func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "plain-1.2", "it's", "a b", "$(reboot)", "`x`", "\\", "\n", "é☃", "-n", "~", "#", "*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) {
			t.Skip("no argument of a program can hold a NUL")
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s.' "+quote(word)).Output()
		if err != nil || string(out) != word+"." {
			t.Errorf("%q quoted as %s came out as %q, %v", word, quote(word), out, err)
		}
	})
}

func TestTagging(t *testing.T) {
	t.Parallel()
	got := tagging([]objstore.Tag{{Key: "Name", Value: "a b+c"}, {Key: "ä&=", Value: ""}})
	if want := "Name=a%20b%2Bc&%C3%A4%26%3D="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
