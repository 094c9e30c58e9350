package encrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/hint"
)

// showSessionKey takes a message's session key from its first 512 KiB, and
// returns all that gpg prints with it.
func (h *home) showSessionKey(t *testing.T, message []byte) string {
	t.Helper()
	cmd := exec.Command("gpg", "--batch", "--decrypt", "--show-session-key")
	cmd.Env, cmd.Stdin = h.env(), bytes.NewReader(message[:min(len(message), maxHead)])
	var messages bytes.Buffer
	cmd.Stderr = &messages
	err := cmd.Run() // fails for what is cut, after it has told
	line := regexp.MustCompile(`(?m)^gpg: session key: .*$`).FindString(messages.String())
	if line == "" {
		t.Fatalf("gpg shows no session key: %v: %s", err, &messages)
	}
	return line
}

func (h *home) sessionKey(t *testing.T, message []byte) *SessionKey {
	t.Helper()
	keys, err := ReadSessionKeys(strings.NewReader(h.showSessionKey(t, message)))
	if err != nil || len(keys) != 1 {
		t.Fatal(len(keys), err)
	}
	return keys[0]
}

func (h *home) armor(t *testing.T, message []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(h.run(t, "--output", "-", "--enarmor", file), "ARMORED FILE", "MESSAGE")
}

// The README's way: the session key comes from where the private key is.
func TestSessionKeyWithoutThePrivateKey(t *testing.T) {
	h, offsite := newHome(t), newHome(t)
	offsite.generate(t, "ann", "")
	offsite.generate(t, "bob", "")
	plain := noise(2 << 20)
	message, other, small := offsite.encrypt(t, plain, "ann"), offsite.encrypt(t, plain, "bob"), offsite.encrypt(t, []byte("x"), "bob")
	key, otherKey := offsite.sessionKey(t, message), offsite.sessionKey(t, other)

	got, err := h.decrypt(t.Context(), message, key)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := h.gpg.Probe(t.Context(), message[:maxHead], key); err != nil {
		t.Error(err)
	}
	if _, err := h.decrypt(t.Context(), other, key); !errors.Is(err, ErrWrongKey) && !errors.Is(err, ErrDamaged) {
		t.Errorf("the wrong session key: error %v", err)
	}
	id := keyID(offsite.recipients(t, "ann")[0].Subkey)
	for name, c := range map[string]struct {
		key  *SessionKey
		want error
	}{"the wrong one": {otherKey, ErrWrongKey}, "none": {nil, ErrNoKey}} {
		err := h.gpg.Probe(t.Context(), message[:maxHead], c.key)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), id) || !strings.Contains(hint.Of(err), "--gpg-session-key") {
			t.Errorf("%s: error %v (hint %q), want %v and %s", name, err, hint.Of(err), c.want, id)
		}
	}
	if _, err := h.decrypt(t.Context(), message, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("error %v, want %v", err, ErrNoKey)
	}
	for name, c := range map[string]struct {
		h       *home
		message []byte
		keys    []*SessionKey
		want    *SessionKey
		err     error
	}{
		"the second":            {h, other, []*SessionKey{key, otherKey}, otherKey, nil},
		"the first":             {h, message, []*SessionKey{key, otherKey}, key, nil},
		"a short message":       {h, small, []*SessionKey{key, offsite.sessionKey(t, small)}, nil, nil},
		"none fits":             {h, small, []*SessionKey{key, otherKey}, nil, ErrWrongKey},
		"there is none":         {h, other, nil, nil, ErrNoKey},
		"a private key":         {offsite, other, nil, nil, nil},
		"a private key instead": {offsite, other, []*SessionKey{key}, nil, nil},
		"not a message":         {h, []byte("\xcbhello"), []*SessionKey{key}, nil, ErrDamaged},
		"nothing":               {h, nil, nil, nil, ErrDamaged},
	} {
		got, err := c.h.gpg.Choose(t.Context(), c.message[:min(len(c.message), maxHead)], c.keys)
		if !errors.Is(err, c.err) || c.want != nil && got != c.want || (name == "a short message") != (got != nil && c.want == nil) {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, err, c.want, c.err)
		}
	}
	noChildren(t)
}

// A locked key is told at once and nobody is asked; preset, it opens.
func TestLockedKey(t *testing.T) {
	h := newHome(t)
	asked := filepath.Join(t.TempDir(), "asked")
	pinentry := program(t, "touch "+asked+"\nexit 1")
	h.configure(t, "gpg-agent.conf", "allow-preset-passphrase", "s2k-count 65536", "pinentry-program "+pinentry)
	const passphrase = "correct horse battery"
	h.generate(t, "ann", passphrase)
	h.generate(t, "bob", "")
	plain := noise(1 << 20)
	message := h.encrypt(t, plain, "ann")
	both := h.encrypt(t, plain, "ann", "bob")
	hidden := h.withConf(t, "throw-keyids", func() []byte { return h.encrypt(t, plain, "ann") })
	h.reload(t)

	start := time.Now()
	err := h.gpg.Probe(t.Context(), message[:maxHead], nil)
	match := regexp.MustCompile(`--preset ([0-9A-F]{40}) .*allow-preset-passphrase`).FindStringSubmatch(hint.Of(err))
	if !errors.Is(err, ErrLocked) || match == nil || !strings.Contains(err.Error(), match[1]) {
		t.Fatalf("error %v (hint %q)", err, hint.Of(err))
	}
	grip := match[1]
	if _, err := h.decrypt(t.Context(), message, nil); !errors.Is(err, ErrLocked) || !strings.Contains(hint.Of(err), "--preset") {
		t.Errorf("error %v (hint %q)", err, hint.Of(err))
	}
	// Of a message that hides its recipients gpg does not say what is locked.
	if err := h.gpg.Probe(t.Context(), hidden[:maxHead], nil); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), grip) || !strings.Contains(hint.Of(err), "--preset ") {
		t.Errorf("hidden: error %v (hint %q)", err, hint.Of(err))
	}
	if took := time.Since(start); took > soon {
		t.Errorf("took %s", took)
	}
	// A session key that was given is what was meant: that it does not fit comes first.
	wrong, err := ParseSessionKey("9:" + strings.Repeat("AB", 32))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.gpg.Choose(t.Context(), message[:maxHead], []*SessionKey{wrong})
	if !errors.Is(err, ErrWrongKey) || !errors.Is(err, ErrLocked) || !strings.HasPrefix(err.Error(), ErrWrongKey.Error()) || !strings.Contains(hint.Of(err), "; or, to go without: gpg-preset-passphrase ") {
		t.Errorf("a wrong session key: error %v (hint %q)", err, hint.Of(err))
	}
	h.configure(t, "gpg.conf", "quiet")
	if err := h.gpg.Probe(t.Context(), message[:maxHead], nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), grip) {
		t.Errorf("with quiet in gpg.conf: error %v", err)
	}
	h.configure(t, "gpg.conf", "")
	// One key that opens is enough.
	if _, err := h.decrypt(t.Context(), both, nil); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		passphrase string
		want       error
	}{{"wrong", ErrLocked}, {passphrase, nil}} {
		h.preset(t, grip, c.passphrase)
		if err := h.gpg.Probe(t.Context(), message[:maxHead], nil); !errors.Is(err, c.want) {
			t.Errorf("preset to %q: error %v, want %v", c.passphrase, err, c.want)
		}
	}
	for name, m := range map[string][]byte{"named": message, "hidden": hidden} {
		if got, err := h.decrypt(t.Context(), m, nil); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("preset, %s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := os.Stat(asked); err == nil {
		t.Error("the pinentry was started")
	}
}

func (h *home) withConf(t *testing.T, line string, f func() []byte) []byte {
	t.Helper()
	h.configure(t, "gpg.conf", line)
	defer h.configure(t, "gpg.conf", "")
	return f()
}

func (h *home) reload(t *testing.T) {
	t.Helper()
	cmd := exec.Command("gpg-connect-agent", "reloadagent", "/bye")
	cmd.Env = h.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (h *home) preset(t *testing.T, grip, passphrase string) {
	t.Helper()
	for _, dir := range []string{"/usr/lib/gnupg", "/usr/lib/gnupg2", "/usr/libexec"} {
		cmd := exec.Command(filepath.Join(dir, "gpg-preset-passphrase"), "--preset", grip)
		cmd.Env, cmd.Stdin = h.env(), strings.NewReader(passphrase+"\n")
		if out, err := cmd.CombinedOutput(); err == nil {
			return
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Skip("gpg-preset-passphrase is not installed")
}

// A session key that does not fit is found out by two bytes of the message.
func TestSessionKeyFits(t *testing.T) {
	key, err := ParseSessionKey("9:" + strings.Repeat("0123456789ABCDEF", 4))
	if err != nil {
		t.Fatal(err)
	}
	_, secret := key.parts()
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	prefix := []byte("sixteen bytes, 1616")[:18]
	copy(prefix[16:], prefix[14:16])
	body := make([]byte, 1+18)
	body[0] = 1
	cipher.NewCFBEncrypter(block, make([]byte, 16)).XORKeyStream(body[1:], prefix) //nolint:staticcheck // OpenPGP has it
	f := framing{tag: tagProtected, body: body}
	if got := f.fits(key); got != fitsYes {
		t.Errorf("the key: %v", got)
	}
	for i := 1; i < len(body); i++ {
		f.body = flipped(body, i, 1)
		if got := f.fits(key); got != fitsNot {
			t.Errorf("byte %d changed: %v", i, got)
		}
	}
	for _, f := range []framing{{}, {tag: tagAEAD, body: body}, {tag: tagProtected, body: body[:18]}, {tag: tagProtected, body: flipped(body, 0, 3)}} {
		if got := f.fits(key); got != fitsMaybe {
			t.Errorf("%+v: %v", f, got)
		}
	}
}
