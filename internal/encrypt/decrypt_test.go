package encrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDecryptRefusesWhatIsNotWhole(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	plain := noise(300_000)
	message := h.encrypt(t, plain, "ann")
	key := h.sessionKey(t, message)
	literal := []byte("\xcb\x09b\x00\x00\x00\x00\x00abc") // a plaintext packet
	armored := []byte(h.armor(t, message))
	for name, c := range map[string]struct {
		message []byte
		want    error
	}{
		"whole":               {message, nil},
		"armored":             {armored, nil},
		"empty":               {nil, ErrDamaged},
		"one byte short":      {message[:len(message)-1], ErrDamaged},
		"half":                {message[:len(message)/2], ErrDamaged},
		"only its keys":       {message[:60], ErrDamaged},
		"its first byte":      {message[:1], ErrDamaged},
		"armored, half":       {armored[:len(armored)/2], ErrDamaged},
		"a line behind":       {append(slices.Clone(message), "hello\n"...), ErrDamaged},
		"a zero behind":       {append(slices.Clone(message), 0), ErrDamaged},
		"a marker behind":     {append(slices.Clone(message), "\xca\x03PGP"...), ErrDamaged},
		"a plaintext behind":  {append(slices.Clone(message), literal...), ErrDamaged},
		"itself behind":       {slices.Concat(message, message), ErrDamaged},
		"1 MiB behind":        {slices.Concat(message, noise(1<<20)), ErrDamaged},
		"a plaintext before":  {slices.Concat(literal, message), ErrDamaged},
		"a plaintext":         {literal, ErrDamaged},
		"text":                {[]byte("hello, this is text\n"), nil},
		"noise":               {noise(100_000), nil},
		"without its end":     {slices.Concat(message[:len(message)-22], message[len(message)-20:]), ErrDamaged},
		"a piece taken out":   {slices.Concat(message[:100_000], message[100_000+8194:]), ErrDamaged},
		"a part's length off": {flipped(message, 120, 0x01), nil},
	} {
		for _, k := range []*SessionKey{nil, key} {
			got, err := h.decrypt(t.Context(), c.message, k)
			good := strings.HasPrefix(name, "whole") || name == "armored"
			switch {
			case good && (err != nil || !bytes.Equal(got, plain)):
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			case !good && (err == nil || c.want != nil && !errors.Is(err, c.want)):
				t.Errorf("%s: error %v, want %v", name, err, c.want)
			}
			secretFree(t, name, err, key)
		}
	}
	noChildren(t)
}

func flipped(message []byte, at int, bit byte) []byte {
	changed := slices.Clone(message)
	changed[at] ^= bit
	return changed
}

func TestDecryptFindsEveryFlippedBit(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	plain := noise(40_000)
	message := h.encrypt(t, plain, "ann")
	at := []int{len(message) - 1, len(message) - 20, len(message) - 22, len(message) / 2}
	for i := 0; i < 150; i += 5 {
		at = append(at, i)
	}
	for i := 150; i < len(message); i += len(message) / 30 {
		at = append(at, i)
	}
	key := h.sessionKey(t, message)
	for _, i := range at {
		bit := byte(1) << (i % 8)
		changed := flipped(message, i, bit)
		if got, err := h.decrypt(t.Context(), changed, nil); err == nil {
			t.Errorf("byte %d, bit %#x: no error, %d bytes", i, bit, len(got))
		}
		// The session key makes up for what is wrong with the recipient's packet:
		// then the plain bytes must be the right ones.
		if got, err := h.decrypt(t.Context(), changed, key); err == nil && (i > 100 || !bytes.Equal(got, plain)) {
			t.Errorf("byte %d, bit %#x, with the session key: no error, %d bytes", i, bit, len(got))
		}
	}
	noChildren(t)
}

// Of an AEAD message that does not authenticate gpg 2.2 says DECRYPTION_OKAY and
// GOODMDC all the same: its exit is what tells.
func TestDecryptDoesNotTrustGoodWordsAlone(t *testing.T) {
	h := newHome(t)
	key, err := ParseSessionKey("9:" + strings.Repeat("5A01", 16))
	if err != nil {
		t.Fatal(err)
	}
	const recipient = "\xc1\x0d\x03\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x00\x08\xff"
	message := append([]byte(recipient+"\xd4\xff\x00\x00\x08\x04\x01\x09\x02\x04"), noise(2048)...)
	for _, n := range []int{0, 1, 16, 1000} {
		cut := message[:len(message)-n]
		got, err := h.decrypt(t.Context(), cut, key)
		if err == nil || len(got) > 0 {
			t.Errorf("%d bytes short: %d bytes, %v", n, len(got), err)
		}
		secretFree(t, "AEAD", err, key)
		if err := h.gpg.Probe(t.Context(), cut, key); !errors.Is(err, ErrWrongKey) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes short: Probe's error %v", n, err)
		}
	}
}

// broken gives some bytes and then an error.
func broken(p []byte, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(p), errReader{err})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestDecryptEndsEarly(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	message := h.encrypt(t, noise(8<<20), "ann")
	reset, stop := errors.New("connection reset"), errors.New("stop")
	first := make([]byte, 1000)
	for name, c := range map[string]struct {
		r    io.Reader
		end  func(d io.ReadCloser, cancel context.CancelCauseFunc)
		want error
		text string
	}{
		"the reader fails":             {broken(message[:1<<20], reset), nil, reset, ""},
		"it fails after the whole":     {broken(message, reset), nil, reset, ""},
		"the context ends":             {bytes.NewReader(message), func(_ io.ReadCloser, cancel context.CancelCauseFunc) { cancel(stop) }, stop, ""},
		"it ends while waiting":        {io.MultiReader(bytes.NewReader(message[:1<<20]), slow{}), func(_ io.ReadCloser, cancel context.CancelCauseFunc) { cancel(stop) }, stop, ""},
		"gpg is killed":                {bytes.NewReader(message), func(io.ReadCloser, context.CancelCauseFunc) { killChild(t) }, nil, "signal: killed"},
		"it is closed":                 {bytes.NewReader(message), func(d io.ReadCloser, _ context.CancelCauseFunc) { closeBoth(t, d) }, os.ErrClosed, ""},
		"it is closed, with more come": {io.MultiReader(bytes.NewReader(message[:1<<20]), slow{}), func(d io.ReadCloser, _ context.CancelCauseFunc) { closeBoth(t, d) }, os.ErrClosed, ""},
	} {
		start := time.Now()
		ctx, cancel := context.WithCancelCause(t.Context())
		d, err := h.gpg.Decrypt(ctx, c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.end != nil {
			if _, err := io.ReadFull(d, first); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			c.end(d, cancel)
		}
		_, err = io.Copy(io.Discard, d)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %v %s", name, err, c.want, c.text)
		}
		if _, again := d.Read(first); again != err {
			t.Errorf("%s: then error %v, want %v again", name, again, err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s: took %s", name, took)
		}
		cancel(nil)
		noChildren(t)
	}
}

// slow has nothing for a while, and then a little.
type slow struct{}

func (slow) Read(p []byte) (int, error) { time.Sleep(300 * time.Millisecond); return 1, nil }

func closeBoth(t *testing.T, d io.Closer) {
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
}

// A Read that waits is ended by a Close beside it.
func TestDecryptIsClosedFromBeside(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	message := h.encrypt(t, noise(1<<20), "ann")
	d, err := h.gpg.Decrypt(t.Context(), io.MultiReader(bytes.NewReader(message[:1<<19]), slow{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { closeBoth(t, d) })
	if n, err := io.Copy(io.Discard, d); !errors.Is(err, os.ErrClosed) && !errors.Is(err, ErrDamaged) {
		t.Errorf("%d bytes, %v", n, err)
	}
	closeBoth(t, d)
	noChildren(t)
}

// No gpg that ran has a session key in its arguments, nor has an error one.
func TestNoSecretIsShown(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	h.generate(t, "bob", "")
	h.configure(t, "gpg.conf", "show-session-key", "verbose", "debug packet,cipher,ipc")
	message, other := h.encrypt(t, noise(4<<20), "ann"), h.encrypt(t, noise(4<<20), "bob")
	key := h.sessionKey(t, message)
	d, err := h.gpg.Decrypt(t.Context(), bytes.NewReader(message), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(d, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	pids := children(t)
	if len(pids) != 1 {
		t.Fatalf("processes %v, want one gpg", pids)
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile("/proc/" + pids[0] + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 {
			t.Errorf("%s of gpg is empty", file)
		}
		secretFree(t, file, errors.New(string(text)), key)
	}
	closeBoth(t, d)
	for name, message := range map[string][]byte{
		"cut": message[:3<<20], "flipped": flipped(message, 2<<20, 1), "another's": other, "trailing": append(slices.Clone(message), 'x'),
	} {
		_, err := h.decrypt(t.Context(), message, key)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		secretFree(t, name, err, key)
		_, err = h.gpg.Choose(t.Context(), message, []*SessionKey{key})
		secretFree(t, name, err, key)
	}
}

// secretFree looks for a session key in an error.
func secretFree(t *testing.T, name string, err error, key *SessionKey) {
	t.Helper()
	_, digits, _ := strings.Cut(*key.secret, ":")
	if text := strings.ToUpper(fmt.Sprintf("%+v %#v", err, err)); strings.Contains(text, digits[:16]) || strings.Contains(text, digits[len(digits)-16:]) {
		t.Errorf("%s: the error tells the session key", name)
	}
}
