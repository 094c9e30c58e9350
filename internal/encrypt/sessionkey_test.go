package encrypt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"snap-to-s3/internal/hint"
)

func TestParseSessionKey(t *testing.T) {
	const good = "9:D41D8DB13C9CA64F9E24C697973599B6B1E71BEFE8C7BAB41AC8FD97C4F14143"
	for text, ok := range map[string]bool{
		good:                               true,
		" " + good + "\n":                  true,
		strings.ToLower(good):              true,
		"7:" + strings.Repeat("AB", 16):    true,
		"2:" + strings.Repeat("AB", 24):    true,
		"13:" + strings.Repeat("AB", 32):   true,
		"":                                 false,
		good[2:]:                           false,
		"9:":                               false,
		good[:len(good)-1]:                 false,
		good[:len(good)-2]:                 false,
		good + "00":                        false,
		"9:" + strings.Repeat("XY", 32):    false,
		"0:" + strings.Repeat("AB", 16):    false,
		"5:" + strings.Repeat("AB", 16):    false,
		"14:" + strings.Repeat("AB", 32):   false,
		"-9:" + strings.Repeat("AB", 32):   false,
		"999999999999999999999999:AB":      false,
		"7:" + strings.Repeat("AB", 32):    false,
		"gpg: session key: '" + good + "'": false,
	} {
		key, err := ParseSessionKey(text)
		if (err == nil) != ok {
			t.Errorf("%q: error %v", text, err)
		}
		if err != nil && (hint.Of(err) == "" || strings.Contains(err.Error(), "AB") || strings.Contains(err.Error(), "XY") || strings.Contains(err.Error(), "D41D")) {
			t.Errorf("%q: error %v (hint %q)", text, err, hint.Of(err))
		}
		if err == nil && *key.secret != strings.ToUpper(strings.TrimSpace(text)) {
			t.Errorf("%q became %q", text, *key.secret)
		}
	}
}

func TestReadSessionKeys(t *testing.T) {
	const a, b = "9:D41D8DB13C9CA64F9E24C697973599B6B1E71BEFE8C7BAB41AC8FD97C4F14143", "7:0123456789ABCDEF0123456789ABCDEF"
	keys, err := ReadSessionKeys(strings.NewReader("# two keys\n\n" + a + "\r\n\tgpg: session key: '" + b + "'\n" + "gpg: session key: `" + a + "'"))
	if err != nil || len(keys) != 3 || *keys[0].secret != a || *keys[1].secret != b || *keys[2].secret != a {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for name, text := range map[string]string{
		"empty": "", "comments": "# none\n", "a bad line": a + "\n" + a[:20], "endless": strings.Repeat("#\n", 1<<20), "a long line": strings.Repeat("9", 1<<17),
		"too long": strings.Repeat(a+"\n", 1<<20/len(a)),
	} {
		if keys, err := ReadSessionKeys(strings.NewReader(text)); err == nil || strings.Contains(err.Error(), a[2:10]) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
	if _, err := ReadSessionKeys(strings.NewReader(a + "\n\n9:AB\n")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error %v, want the line", err)
	}
}

func TestSessionKeyIsNotPrinted(t *testing.T) {
	key, err := ParseSessionKey("9:" + strings.Repeat("5a", 32))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	holder := struct {
		key  *SessionKey
		Open SessionKey
		any  any
	}{key, *key, *key}
	for _, v := range []any{key, *key, holder, &holder, []*SessionKey{key}, map[string]SessionKey{"k": *key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		log.Info("key", "key", v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	if text := strings.ToLower(out.String()); strings.Contains(text, "5a5a5a") || strings.Contains(text, "90, 90") || strings.Contains(text, "3561") {
		t.Errorf("printed: %s", text)
	}
	if !strings.Contains(out.String(), redacted) {
		t.Errorf("not marked: %s", out.String())
	}
}

func FuzzReadSessionKeys(f *testing.F) {
	f.Add("# a\n9:" + strings.Repeat("AB", 32))
	f.Add("gpg: session key: '7:0123456789ABCDEF0123456789ABCDEF'")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ReadSessionKeys(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, k := range keys {
			if again, err := ParseSessionKey(*k.secret); err != nil || *again.secret != *k.secret {
				t.Errorf("a key that does not parse again: %v", err)
			}
		}
	})
}
