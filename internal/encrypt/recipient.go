package encrypt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

// ErrRecipient is a recipient that cannot be encrypted to.
var ErrRecipient = errors.New("unusable recipient")

// Recipient is a public key that can be encrypted to.
type Recipient struct {
	Name        string // as it was given
	Fingerprint string // of the primary key: upper-case hex
	Subkey      string // fingerprint of the key that gpg encrypts to
}

// Recipients checks that each of names is exactly one key of the keyring that gpg
// trusts and can encrypt to, and finds which of its subkeys gpg takes; a name that
// ends in ! means the very subkey. Names are what gpg takes: a fingerprint, an
// address, part of a user ID. They are not looked for in the network, and a key
// that is expired, revoked or disabled does not make a name ambiguous. The error
// is ErrRecipient for each that will not do, joined, with what to do as its hint.
func (g *GPG) Recipients(ctx context.Context, names []string) ([]Recipient, error) {
	var found []Recipient
	var wrong []error
	var next []string
	for _, name := range names {
		r, err := g.recipient(ctx, name)
		refused, bad := errors.AsType[*refusedError](err)
		switch {
		case bad:
			wrong, next = append(wrong, err), append(next, refused.next)
		case err != nil:
			return nil, fmt.Errorf("check recipient %q: %w", name, err)
		}
		found = append(found, r)
	}
	if len(wrong) > 0 {
		return nil, hint.Wrap(errors.Join(wrong...), strings.Join(next, "\n"))
	}
	return found, nil
}

// recipient checks one name.
func (g *GPG) recipient(ctx context.Context, name string) (Recipient, error) {
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\n\x00") {
		return Recipient{}, refuse(name, "it is no name of a key", "name a key by its fingerprint")
	}
	keys, err := g.list(ctx, "--list-keys", &name)
	if err != nil {
		return Recipient{}, err
	}
	key, err := g.only(name, keys)
	if err != nil {
		return Recipient{}, err
	}
	spec := key.fingerprint()
	if exact, ok := strings.CutSuffix(name, "!"); ok {
		s, ok := key.named(exact)
		if !ok {
			return Recipient{}, refuse(name, "it is no subkey's fingerprint or key ID", "gpg --list-keys --with-subkey-fingerprint shows them")
		}
		spec = s.fingerprint + "!"
	}
	return g.try(ctx, name, key, spec)
}

// only picks the one key that a name stands for.
func (g *GPG) only(name string, keys []publicKey) (publicKey, error) {
	var usable []publicKey
	for _, k := range keys {
		if k.unusable() == "" {
			usable = append(usable, k)
		}
	}
	switch {
	case len(usable) == 1:
		return usable[0], nil
	case len(usable) > 1:
		return publicKey{}, refuse(name, "it is ambiguous: "+keyList(usable), "name one of them by its fingerprint")
	case len(keys) == 0:
		return publicKey{}, refuse(name, "there is no such public key in the keyring",
			g.name+" --import FILE, or --recv-keys FINGERPRINT, adds it; "+g.name+" --list-keys shows what is there")
	case len(keys) > 1:
		return publicKey{}, refuse(name, "none of its keys can be used: "+keyList(keys), "name another key, or import it again if it was renewed")
	}
	state, fingerprint := keys[0].unusable(), keys[0].fingerprint()
	return publicKey{}, refuse(name, "the key "+fingerprint+" is "+state, g.cure(state, fingerprint))
}

// cure is what to do about a key that is in a bad state.
func (g *GPG) cure(state, fingerprint string) string {
	switch {
	case strings.HasSuffix(state, "expired"):
		return "import it again if its owner has extended it (" + g.name + " --quick-set-expire " + fingerprint + " 2y '*' does, for a key of yours), or name another key"
	case strings.HasSuffix(state, "revoked"):
		return "name another key: its owner has withdrawn this one"
	case strings.HasSuffix(state, "disabled"):
		return g.name + " --edit-key " + fingerprint + ", then enable and save; or name another key"
	case strings.HasPrefix(state, "without"):
		return g.name + " --quick-add-key " + fingerprint + " cv25519 encr adds one to a key of yours; or name another key"
	}
	return g.name + " --edit-key " + fingerprint + " shows why; or name another key"
}

// try has gpg encrypt nothing to the key: that is what tells whether it would,
// and to which subkey.
func (g *GPG) try(ctx context.Context, name string, key publicKey, spec string) (Recipient, error) {
	args := append(encryptOptions(), "--no-throw-keyids", "--recipient", spec, "--encrypt")
	const most = 1 << 16 // 64 KiB: a packet a recipient, and one of nothing
	out, p, err := g.output(ctx, nil, nil, most, args...)
	if p == nil || !p.gone() || ctx.Err() != nil {
		return Recipient{}, err
	}
	if len(p.status.invalid) > 0 {
		return Recipient{}, g.refused(name, key, p.status.invalid[0], p.stderr.String())
	}
	if err != nil {
		return Recipient{}, p.said(err)
	}
	var message framing
	if _, err := message.Write([]byte(out)); err != nil {
		return Recipient{}, fmt.Errorf("what gpg wrote: %w", err)
	}
	if len(message.keyIDs) == 1 {
		if s, ok := key.named(message.keyIDs[0]); ok {
			return Recipient{Name: name, Fingerprint: key.fingerprint(), Subkey: s.fingerprint}, nil
		}
	}
	return Recipient{}, refuse(name, fmt.Sprintf("gpg encrypts to other keys than %s alone: %s", key.fingerprint(), keyNames(message.keyIDs)),
		"see whether gpg.conf has recipient, hidden-recipient or armor, and whether the key asks for additional keys (ADSK)")
}

// refused gives gpg's reason for an INV_RECP.
func (g *GPG) refused(name string, key publicKey, reason, said string) error {
	fingerprint := key.fingerprint()
	states := map[string]string{"3": "without an encryption subkey", "4": "revoked", "5": "expired", "13": "disabled"}
	switch {
	case reason == "10":
		return refuse(name, "the key "+fingerprint+" ("+key.user+") is not trusted",
			"compare the fingerprint with its owner's, then "+g.name+" --quick-lsign-key "+fingerprint+" (or --edit-key, trust)")
	case states[reason] != "":
		return refuse(name, "the key "+fingerprint+" is "+states[reason], g.cure(states[reason], fingerprint))
	}
	return refuse(name, "gpg does not encrypt to the key "+fingerprint+": "+said, g.cure("", fingerprint))
}

// named finds a subkey by its fingerprint or key ID, as 0x… too.
func (k publicKey) named(text string) (subkey, bool) {
	text = strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	text = strings.TrimPrefix(text, "0X")
	i := slices.IndexFunc(k.subkeys, func(s subkey) bool {
		return text == s.fingerprint || text == keyID(s.fingerprint) || len(text) == 8 && strings.HasSuffix(keyID(s.fingerprint), text)
	})
	if i < 0 {
		return subkey{}, false
	}
	return k.subkeys[i], true
}

// refusedError is a recipient that will not do, with what to do about it.
type refusedError struct{ name, why, next string }

func (e *refusedError) Error() string { return fmt.Sprintf("%v %q: %s", ErrRecipient, e.name, e.why) }

// Unwrap returns ErrRecipient.
func (e *refusedError) Unwrap() error { return ErrRecipient }

func refuse(name, why, next string) error { return &refusedError{name, why, next} }

// keyList names keys for a person.
func keyList(keys []publicKey) string {
	var names []string
	for _, k := range keys {
		name := k.fingerprint() + " (" + k.user
		if state := k.unusable(); state != "" {
			name += ", " + state
		}
		names = append(names, name+")")
	}
	const most = 5
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
