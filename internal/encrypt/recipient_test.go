package encrypt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/hint"
)

func TestRecipientsThatWillNotDo(t *testing.T) {
	h := newHome(t)
	for _, user := range []string{"Good <good@example.org>", "twin one", "twin two", "renewed old", "renewed new"} {
		h.generate(t, user, "")
	}
	h.run(t, "--passphrase", "", "--quick-generate-key", "signonly", "ed25519", "sign", "never")
	for _, user := range []string{"expired", "lapsed", "disabled"} {
		h.generate(t, user, "")
	}
	past := []string{"--faked-system-time", "20240101T000000"}
	h.run(t, append(past, "--passphrase", "", "--quick-generate-key", "outdated", "ed25519", "default", "seconds=3600")...)
	h.run(t, append(past, "--passphrase", "", "--quick-generate-key", "stale", "ed25519", "sign", "never")...)
	h.run(t, append(past, "--passphrase", "", "--quick-add-key", h.fingerprint(t, "stale"), "cv25519", "encr", "seconds=3600")...)
	for _, user := range []string{"revoked", "renewed old"} {
		h.generate2(t, user)
		h.revoke(t, user)
	}
	h.edit(t, "disabled", "disable\nsave\n")
	other := newHome(t)
	other.generate(t, "stranger", "")
	file := filepath.Join(t.TempDir(), "stranger")
	if err := os.WriteFile(file, []byte(other.run(t, "--export", "stranger")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, "--import", file)
	strange := other.fingerprint(t, "stranger")

	for _, c := range []struct{ name, why, next string }{
		{"nobody", "no such public key", "--import"},
		{"0123456789ABCDEF0123456789ABCDEF01234567", "no such public key", "--import"},
		{"--version", "no such public key", "--import"},
		{"", "no name", "fingerprint"},
		{"a\nb", "no name", "fingerprint"},
		{"outdated", "expired", "--quick-set-expire"},
		{"stale", "it is expired", "extended"},
		{"revoked", "is revoked", "another key"},
		{"disabled", "is disabled", "enable"},
		{"signonly", "without an encryption subkey", "--quick-add-key"},
		{"stranger", "not trusted", "--quick-lsign-key " + strange},
		{strange, "not trusted", "--quick-lsign-key " + strange},
		{"twin", "ambiguous", "fingerprint"},
	} {
		_, err := h.gpg.Recipients(t.Context(), []string{"good@example.org", c.name})
		if !errors.Is(err, ErrRecipient) || !strings.Contains(err.Error(), c.why) || !strings.Contains(hint.Of(err), c.next) {
			t.Errorf("%q: error %v (hint %q), want %q and %q", c.name, err, hint.Of(err), c.why, c.next)
		}
	}
	// All that is wrong is told at once.
	_, err := h.gpg.Recipients(t.Context(), []string{"nobody", "signonly"})
	if err == nil || !strings.Contains(err.Error(), "nobody") || !strings.Contains(err.Error(), "signonly") ||
		!strings.Contains(hint.Of(err), "--import") || !strings.Contains(hint.Of(err), "--quick-add-key") {
		t.Errorf("error %v (hint %q)", err, hint.Of(err))
	}
	// A key that cannot be used leaves no doubt which is meant.
	if to := h.recipients(t, "renewed"); to[0].Fingerprint != h.fingerprint(t, "=renewed new") {
		t.Errorf("renewed: %+v", to)
	}
}

// generate2 makes a key unless it is there.
func (h *home) generate2(t *testing.T, user string) {
	t.Helper()
	name := "=" + user
	if keys, err := h.gpg.list(t.Context(), "--list-keys", &name); err != nil || len(keys) == 0 {
		h.generate(t, user, "")
	}
}

// revoke imports the certificate that gpg has put by for a key.
func (h *home) revoke(t *testing.T, user string) {
	t.Helper()
	path := filepath.Join(h.dir, "openpgp-revocs.d", h.fingerprint(t, "="+user)+".rev")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A colon keeps it from being used by mistake.
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "\n:-----BEGIN", "\n-----BEGIN", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, "--import", path)
}

func (h *home) edit(t *testing.T, name, commands string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(file, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, "--command-file", file, "--edit-key", name)
}

func TestRecipientsFindTheSubkeyThatGPGTakes(t *testing.T) {
	h := newHome(t)
	fingerprint := h.generate(t, "Ann Other <ann@example.org>", "")
	h.run(t, "--passphrase", "", "--quick-add-key", fingerprint, "rsa2048", "encr", "never")
	h.run(t, "--passphrase", "", "--quick-add-key", fingerprint, "ed25519", "sign", "never")
	keys, err := h.gpg.list(t.Context(), "--list-keys", &fingerprint)
	if err != nil || len(keys) != 1 || len(keys[0].subkeys) != 4 {
		t.Fatalf("%+v, %v", keys, err)
	}
	var subkeys []string
	for _, s := range keys[0].subkeys[1:3] {
		subkeys = append(subkeys, s.fingerprint)
	}
	for _, name := range []string{"ann@example.org", "Other", fingerprint, "0x" + fingerprint[24:], "=Ann Other <ann@example.org>", subkeys[0]} {
		got := h.recipients(t, name)
		if got[0].Name != name || got[0].Fingerprint != fingerprint || !slices.Contains(subkeys, got[0].Subkey) {
			t.Errorf("%q: %+v", name, got)
		}
	}
	for _, subkey := range subkeys {
		for _, name := range []string{subkey + "!", "0x" + keyID(subkey) + "!", strings.ToLower(subkey) + "!"} {
			want := []Recipient{{Name: name, Fingerprint: fingerprint, Subkey: subkey}}
			if diff := cmp.Diff(want, h.recipients(t, name)); diff != "" {
				t.Errorf("%q: -want +got\n%s", name, diff)
			}
		}
		message := h.encrypt(t, []byte("plain"), subkey+"!")
		var f framing
		if _, err := f.Write(message); err != nil || f.end() != nil || !slices.Equal(f.keyIDs, []string{keyID(subkey)}) {
			t.Errorf("encrypted to %v, %v; want %s", f.keyIDs, err, keyID(subkey))
		}
	}
	if _, err := h.gpg.Recipients(t.Context(), []string{"ann@example.org!"}); !errors.Is(err, ErrRecipient) {
		t.Errorf("an address with !: error %v", err)
	}
}

// What a user's gpg.conf asks for neither adds a reader nor changes the stream.
func TestConfigurationDoesNotChangeTheStream(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	h.generate(t, "spy", "")
	h.configure(t, "gpg.conf", "armor", "textmode", "verbose", "throw-keyids", "encrypt-to spy", "hidden-encrypt-to spy", "compress-level 9",
		"output "+filepath.Join(h.dir, "out"), "use-embedded-filename", "set-filename "+filepath.Join(h.dir, "name"),
		"max-output 10", "show-session-key", "log-file "+filepath.Join(h.dir, "log"), "group ann=spy", "comment hello", "for-your-eyes-only")
	plain := append(noise(100_000), "\r\n a\n b \r\n\x1a"...)
	message := h.encrypt(t, plain, "ann")
	var f framing
	if _, err := f.Write(message); err != nil || f.end() != nil || f.armored || len(f.keyIDs) != 1 {
		t.Fatalf("%+v, %v", f.keyIDs, err)
	}
	got, err := h.decrypt(t.Context(), message, nil)
	if err != nil || !slices.Equal(got, plain) {
		t.Errorf("%d bytes, %v; want the %d that were encrypted", len(got), err, len(plain))
	}
	for _, name := range []string{"out", "name", "log"} {
		if _, err := os.Stat(filepath.Join(h.dir, name)); err == nil {
			t.Errorf("gpg wrote to the file %q", name)
		}
	}
	h.configure(t, "gpg.conf", "recipient spy")
	if _, err := h.gpg.Recipients(t.Context(), []string{"ann"}); !errors.Is(err, ErrRecipient) || !strings.Contains(hint.Of(err), "gpg.conf") {
		t.Errorf("one more recipient: error %v (hint %q)", err, hint.Of(err))
	}
}

func TestRecipientsEnd(t *testing.T) {
	h := newHome(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := h.gpg.Recipients(ctx, []string{"ann"}); !errors.Is(err, stop) || errors.Is(err, ErrRecipient) {
		t.Errorf("error %v, want %v", err, stop)
	}
	noChildren(t)
}
