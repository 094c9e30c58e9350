package encrypt

import (
	"context"
	"fmt"
	"strings"
)

// maxListing bounds what is read of a list of keys.
const maxListing = 16 << 20 // 16 MiB

// publicKey is a key of the keyring with its subkeys, itself the first.
type publicKey struct {
	user    string // the first user ID, for a person
	subkeys []subkey
}

// subkey is a line of a key's listing.
type subkey struct {
	fingerprint string // upper-case hex
	grip        string // the agent's name of the private key
	validity    string // one letter
	can         string // letters; upper case is what the key as a whole can do
	secret      bool   // the private key is here, or on a card that was seen here
}

func (k publicKey) fingerprint() string { return k.subkeys[0].fingerprint }

// encrypts says whether the subkey is for encryption and its own state allows it.
func (s subkey) encrypts() bool {
	return strings.Contains(s.can, "e") && !strings.ContainsAny(s.validity, "reid")
}

// unusable says what is wrong with the key whoever trusts it, or "".
func (k publicKey) unusable() string {
	if strings.Contains(k.subkeys[0].can, "D") {
		return "disabled"
	}
	if state := stateOf(k.subkeys[0].validity); state != "" {
		return state
	}
	state := "without an encryption subkey"
	for _, s := range k.subkeys {
		if s.encrypts() {
			return ""
		}
		if own := stateOf(s.validity); own != "" && strings.Contains(s.can, "e") {
			state = "without a usable encryption subkey: it is " + own
		}
	}
	return state
}

func stateOf(validity string) string {
	switch validity {
	case "r":
		return "revoked"
	case "e":
		return "expired"
	case "d":
		return "disabled"
	case "i", "n":
		return "invalid or never to be trusted"
	}
	return ""
}

// list returns the keys that name stands for, or all of them if it is nil. A name that
// stands for none is no error.
func (g *GPG) list(ctx context.Context, what string, name *string) ([]publicKey, error) {
	args := []string{"--with-colons", "--with-fingerprint", "--with-fingerprint", "--with-keygrip", "--fixed-list-mode", what}
	if name != nil {
		args = append(args, "--", *name)
	}
	out, p, err := g.output(ctx, nil, nil, maxListing, args...)
	switch {
	case p == nil || !p.gone() || ctx.Err() != nil:
		return nil, fmt.Errorf("list keys: %w", err)
	case len(out) == maxListing:
		return nil, fmt.Errorf("list keys: more than %d bytes", maxListing)
	}
	keys := parseListing(out)
	if err != nil && (name == nil || len(keys) > 0 || !strings.Contains(p.stderr.String(), "No public key")) {
		return nil, fmt.Errorf("list keys: %w", p.said(err))
	}
	return keys, nil
}

// parseListing reads what gpg --with-colons prints: doc/DETAILS of GnuPG.
func parseListing(text string) []publicKey {
	const validity, users, can, serial = 1, 9, 11, 14
	var keys []publicKey
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		f = append(f, make([]string, serial+1)...) // so that each may be looked at
		primary := f[0] == "pub" || f[0] == "sec"
		if primary {
			keys = append(keys, publicKey{})
		}
		if len(keys) == 0 {
			continue
		}
		key := &keys[len(keys)-1]
		if primary || f[0] == "sub" || f[0] == "ssb" {
			key.subkeys = append(key.subkeys, subkey{validity: f[validity], can: f[can], secret: f[serial] != "" && f[serial] != "#"})
		}
		last := &key.subkeys[len(key.subkeys)-1]
		switch f[0] {
		case "fpr":
			last.fingerprint = strings.ToUpper(f[users])
		case "grp":
			last.grip = f[users]
		case "uid":
			if key.user == "" {
				key.user = strings.Map(printable, strings.ToValidUTF8(f[users], "?"))
			}
		}
	}
	return keys
}

// isFingerprint says whether text is one as gpg prints it, of version 4 or 5.
func isFingerprint(text string) bool {
	return (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789ABCDEF") == ""
}

// keyID is the ID of a fingerprint's key: its end, in version 4, or its start
// (RFC 9580 section 5.5.4).
func keyID(fingerprint string) string {
	switch len(fingerprint) {
	case 40:
		return fingerprint[24:]
	case 64:
		return fingerprint[:16]
	}
	return ""
}
