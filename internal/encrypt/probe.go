package encrypt

import (
	"context"
	"crypto/aes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"snap-to-s3/internal/hint"
)

// Why a message cannot be decrypted. What wraps them has the next step as its hint.
var (
	// ErrNoKey is a message for none of the private keys at hand.
	ErrNoKey = errors.New("no private key for the encrypted message")
	// ErrLocked is a private key at hand whose passphrase or PIN the agent lacks.
	ErrLocked = errors.New("the private key is locked")
	// ErrWrongKey is a session key that belongs to another message.
	ErrWrongKey = errors.New("the session key does not open the encrypted message")
	// ErrDamaged is a message that is not whole and unchanged.
	ErrDamaged = errors.New("the encrypted message is damaged")
)

const (
	// maxHead is how much of a message a probe looks at.
	maxHead = 512 << 10 // 512 KiB

	noKeyHint = "import the private key, or have whoever holds it print the session key of this object " +
		"(head -c 524288 OBJECT | gpg --decrypt --show-session-key >/dev/null) and give it as --gpg-session-key 9:HEX"
)

// Probe tells from the first bytes of a message (512 KiB suffice) whether Decrypt
// can open it, with key or with a private key that the agent can use without
// asking. Its errors are ErrNoKey, with the IDs of the keys that can, ErrLocked,
// with the keygrip to preset, ErrWrongKey, and ErrDamaged for what is no
// encrypted message.
func (g *GPG) Probe(ctx context.Context, head []byte, key *SessionKey) error {
	head = head[:min(len(head), maxHead)]
	var in framing
	if len(head) == 0 {
		return fmt.Errorf("probe an encrypted message: %w: %w", ErrDamaged, in.end())
	}
	if _, err := in.Write(head); err != nil {
		return fmt.Errorf("probe an encrypted message: %w: %w", ErrDamaged, err)
	}
	if key != nil && in.fits(key) == fitsNot {
		return in.wrongKey()
	}
	_, p, err := g.output(ctx, key, head, 0, decryptOptions()...)
	switch {
	case p == nil || !p.gone() || ctx.Err() != nil:
		return fmt.Errorf("probe an encrypted message: %w", err)
	case key != nil && (in.fits(key) == fitsYes && p.status.began > 0 || p.status.readable()):
		return nil
	case key != nil && p.status.began > 0:
		return in.wrongKey()
	case key == nil && p.status.began > 0:
		return nil
	}
	err = p.refusal(key, &in, err)
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrNoKey) {
		err = g.nameLocked(ctx, p.status.encTo, err)
	}
	return fmt.Errorf("probe an encrypted message: %w", err)
}

// Choose returns which of the keys opens the message that begins with head, as
// Probe has it; nil without an error if none does, but a private key at hand. Else
// its error is Probe's, or ErrWrongKey if none of the keys fits.
func (g *GPG) Choose(ctx context.Context, head []byte, keys []*SessionKey) (*SessionKey, error) {
	var wrong error
	for _, key := range keys {
		err := g.Probe(ctx, head, key)
		if err == nil {
			return key, nil
		}
		if !errors.Is(err, ErrWrongKey) {
			return nil, err
		}
		wrong = err
	}
	err := g.Probe(ctx, head, nil)
	if len(keys) > 1 && wrong != nil {
		wrong = hint.Wrap(fmt.Errorf("none of the %d session keys fits: %w", len(keys), wrong), hint.Of(wrong))
	}
	switch {
	case wrong != nil && errors.Is(err, ErrNoKey):
		return nil, wrong
	case wrong != nil && errors.Is(err, ErrLocked): // whoever gave a key meant that
		return nil, hint.Replace(fmt.Errorf("%w; and without it: %w", wrong, err), hint.Of(wrong)+"; or, to go without: "+hint.Of(err))
	}
	return nil, err
}

// refusal says why gpg, which ended with err, did not decrypt. in is what it was
// given, or nil.
func (p *process) refusal(key *SessionKey, in *framing, err error) error {
	if err == nil {
		err = errors.New("it did not say that the message was whole")
	}
	s := p.status
	switch {
	case key != nil && in != nil && in.fits(key) == fitsNot:
		return in.wrongKey()
	case s.began == 0 && s.locked():
		return hint.Wrap(fmt.Errorf("%w: %w", ErrLocked, p.said(err)), lockedHint("KEYGRIP")+
			"; gpg --list-secret-keys --with-keygrip shows it")
	case s.began == 0 && len(s.refused) == 0 && len(s.encTo) > 0:
		return hint.Wrap(fmt.Errorf("%w: it is encrypted to %s", ErrNoKey, keyNames(s.encTo)), noKeyHint)
	case s.bad && key != nil:
		return fmt.Errorf("%w, or the session key belongs to another: %w", ErrDamaged, p.said(err))
	case s.bad && s.began > 0:
		return fmt.Errorf("%w: %w", ErrDamaged, p.said(err))
	}
	return p.said(err)
}

func lockedHint(keygrip string) string {
	return "gpg-preset-passphrase --preset " + keygrip + " (in /usr/lib/gnupg, /usr/lib/gnupg2 or /usr/libexec) gives the agent its passphrase; " +
		"gpg-agent.conf must have allow-preset-passphrase, then gpg-connect-agent reloadagent /bye"
}

// nameLocked adds to ErrLocked the keygrips of the private keys that a message is
// encrypted to. ErrNoKey becomes it if there are any: gpg does not say that a key
// is locked where gpg.conf has quiet. Of a message that hides its recipients it
// never says so: any key may be meant.
func (g *GPG) nameLocked(ctx context.Context, ids []string, err error) error {
	keys, listErr := g.list(ctx, "--list-secret-keys", nil)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	var grips, others []string
	for _, k := range keys {
		for _, s := range k.subkeys {
			switch {
			case !s.secret || s.grip == "" || !strings.Contains(s.can, "e"):
			case slices.Contains(ids, keyID(s.fingerprint)):
				grips = append(grips, s.grip)
			default:
				others = append(others, s.grip)
			}
		}
	}
	switch {
	case len(grips) > 0:
		return hint.Wrap(fmt.Errorf("%w, and nobody is asked for its passphrase (keygrip %s)", ErrLocked, strings.Join(grips, ", ")), lockedHint(grips[0]))
	case len(others) > 0 && slices.Contains(ids, hiddenKey):
		return hint.Wrap(fmt.Errorf("%w: it does not name the keys that it is encrypted to; one at hand may be locked (keygrip %s)", ErrNoKey, strings.Join(others, ", ")),
			noKeyHint+"; for a locked key, "+lockedHint(others[0]))
	}
	return err
}

// readable says whether what was decrypted is a plaintext rather than noise: its
// format is one of b, t, u, l and m.
func (s *status) readable() bool {
	return s.whole() || s.plain == 1 && slices.Contains([]string{"62", "74", "75", "6C", "6D"}, s.mode)
}

// wrongKey is the error for a session key that is another message's.
func (f *framing) wrongKey() error {
	err := ErrWrongKey
	if !f.armored {
		err = fmt.Errorf("%w, which is encrypted to %s", err, keyNames(f.keyIDs))
	}
	return hint.Wrap(err, noKeyHint)
}

// keyNames lists key IDs for a person.
func keyNames(ids []string) string {
	if len(ids) == 0 {
		return "no public key"
	}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		if id == hiddenKey {
			id = "a key that it does not name"
		}
		if !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	const most = 8
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// fit is whether a session key opens a message: it cannot always be told.
type fit int

const (
	fitsMaybe fit = iota
	fitsNot
	fitsYes
)

// fits tries an AES key on the first bytes of the encrypted data, where two bytes
// are there twice (RFC 4880 section 5.13): one wrong key in 65,536 passes. gpg
// does not look at them when it is given a session key.
func (f *framing) fits(key *SessionKey) fit {
	const version, random = 1, aes.BlockSize
	algorithm, secret := key.parts()
	if f.tag != tagProtected || len(f.body) < version+random+2 || f.body[0] != 1 || algorithm < 7 || algorithm > 9 {
		return fitsMaybe
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return fitsMaybe
	}
	data := f.body[version:]
	var first, second [aes.BlockSize]byte // of the cipher feedback's key stream
	block.Encrypt(first[:], make([]byte, aes.BlockSize))
	block.Encrypt(second[:], data[:random])
	for i := range 2 {
		at := random - 2 + i
		if data[at]^first[at] != data[random+i]^second[i] {
			return fitsNot
		}
	}
	return fitsYes
}
