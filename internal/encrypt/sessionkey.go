package encrypt

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"snap-to-s3/internal/hint"
)

const (
	redacted = "REDACTED"

	// keyForm is how a session key is written.
	keyForm = "a session key is written as 9:HEX, as gpg --show-session-key prints it"

	maxKeyFile = 1 << 20 // 1 MiB, some 14,000 keys
)

// SessionKey is the key of one message: "9:HEX", the number of a cipher and the
// key itself. Whatever prints it prints REDACTED.
type SessionKey struct {
	// Behind a pointer, since fmt prints the fields of a field without asking.
	secret *string
}

// String returns REDACTED.
func (SessionKey) String() string { return redacted }

// GoString returns REDACTED.
func (SessionKey) GoString() string { return redacted }

// Format prints REDACTED, whatever the verb.
func (SessionKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (SessionKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns "REDACTED".
func (SessionKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns REDACTED.
func (SessionKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// keyLength returns the key's length in bytes for a symmetric algorithm, or 0:
// RFC 4880 section 9.2, and RFC 5581 section 3 for Camellia.
func keyLength(algorithm int) int {
	return [...]int{
		1: 16, 2: 24, 3: 16, 4: 16, // IDEA, 3DES, CAST5, Blowfish
		7: 16, 8: 24, 9: 32, 10: 32, // AES-128, -192, -256, Twofish
		11: 16, 12: 24, 13: 32, // Camellia-128, -192, -256
	}[algorithm]
}

// ParseSessionKey reads "9:HEX". Its errors never repeat the text.
func ParseSessionKey(text string) (*SessionKey, error) {
	number, digits, ok := strings.Cut(strings.TrimSpace(text), ":")
	if !ok {
		return nil, hint.Wrap(errors.New("session key without a colon"), keyForm)
	}
	algorithm, err := strconv.Atoi(number)
	if err != nil || algorithm < 0 || algorithm > 13 || keyLength(algorithm) == 0 {
		return nil, hint.Wrap(errors.New("session key of an unknown algorithm: the number before the colon is none of 1-4 and 7-13"), keyForm)
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		// The error of hex names a character of the key.
		return nil, hint.Wrap(errors.New("session key with something else than hexadecimal digits in pairs behind its colon"), keyForm)
	}
	if want := keyLength(algorithm); len(key) != want {
		return nil, hint.Wrap(fmt.Errorf("session key of %d hexadecimal digits; algorithm %d takes %d", len(digits), algorithm, 2*want), keyForm)
	}
	secret := fmt.Sprintf("%d:%X", algorithm, key)
	return &SessionKey{&secret}, nil
}

// parts returns the algorithm's number and the key.
func (k *SessionKey) parts() (algorithm int, key []byte) {
	number, digits, _ := strings.Cut(*k.secret, ":")
	algorithm, err := strconv.Atoi(number)
	key, hexErr := hex.DecodeString(digits)
	if err != nil || hexErr != nil {
		panic("encrypt: a session key that was not parsed")
	}
	return algorithm, key
}

// ReadSessionKeys reads a file of at most 1 MiB with a session key a line, bare
// or as gpg prints it (gpg: session key: '9:HEX'). Blank lines, and lines that
// begin with #, are skipped. Its errors give the number of the line, never its text.
func ReadSessionKeys(r io.Reader) ([]*SessionKey, error) {
	limited := &io.LimitedReader{R: r, N: maxKeyFile + 1}
	lines := bufio.NewScanner(limited)
	var keys []*SessionKey
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if _, after, ok := strings.Cut(line, "session key: "); ok {
			line = strings.Trim(after, "'`\"")
		}
		key, err := ParseSessionKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if limited.N == 0 {
		return nil, hint.Wrap(fmt.Errorf("session keys: more than %d bytes", maxKeyFile), keyForm)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("session keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, hint.Wrap(errors.New("no session key in it"), keyForm)
	}
	return keys, nil
}
