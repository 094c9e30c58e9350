package encrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/hint"
)

// home is a GnuPG home of a test's own.
type home struct {
	dir string
	gpg *GPG
}

// newHome makes one in a short path, as the agent's sockets are in it.
func newHome(t *testing.T) *home {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	dir, err := os.MkdirTemp("/tmp", "g") //nolint:usetesting // the path of a socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	h := &home{dir: dir}
	t.Cleanup(func() {
		kill := exec.Command("gpgconf", "--kill", "all")
		kill.Env = h.env()
		if out, err := kill.CombinedOutput(); err != nil {
			t.Errorf("gpgconf --kill all: %v: %s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h.gpg, err = Find(t.Context(), Options{Env: h.env()})
	if errors.Is(err, ErrNoGPG) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *home) env() []string { return append(os.Environ(), "GNUPGHOME="+h.dir) }

// run runs gpg and returns its output.
func (h *home) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(h.gpg.path, append([]string{"--batch", "--quiet", "--no-tty"}, args...)...)
	cmd.Env = h.env()
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		t.Fatalf("gpg %q: %v: %s", args, err, &messages)
	}
	return out.String()
}

// generate makes a key with an encryption subkey and returns its fingerprint.
func (h *home) generate(t *testing.T, user, passphrase string) string {
	t.Helper()
	h.run(t, "--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-generate-key", user, "future-default", "default", "never")
	return h.fingerprint(t, "="+user)
}

func (h *home) fingerprint(t *testing.T, name string) string {
	t.Helper()
	keys, err := h.gpg.list(t.Context(), "--list-keys", &name)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%q: %d keys, %v", name, len(keys), err)
	}
	return keys[0].fingerprint()
}

func (h *home) recipients(t *testing.T, names ...string) []Recipient {
	t.Helper()
	to, err := h.gpg.Recipients(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// encrypt returns plain encrypted to names.
func (h *home) encrypt(t *testing.T, plain []byte, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	e, err := h.gpg.Encrypt(t.Context(), &out, h.recipients(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decrypt reads a message to its end.
func (h *home) decrypt(ctx context.Context, message []byte, key *SessionKey) ([]byte, error) {
	r, err := h.gpg.Decrypt(ctx, bytes.NewReader(message), key)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	return plain, errors.Join(err, r.Close())
}

// configure adds lines to one of GnuPG's files.
func (h *home) configure(t *testing.T, file string, lines ...string) {
	t.Helper()
	text := strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(h.dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that do not compress and are the same each time.
func noise(n int) []byte {
	p := make([]byte, n)
	x := uint32(2463534242)
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x >> 8)
	}
	return p
}

// children are the processes that this one has started and that are still there.
func children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("this kernel does not list children in /proc")
	}
	var pids []string
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err == nil { // the thread may be gone
			pids = append(pids, strings.Fields(string(text))...)
		}
	}
	return pids
}

func noChildren(t *testing.T) {
	t.Helper()
	if left := children(t); len(left) > 0 {
		t.Errorf("processes left behind: %v", left)
	}
}

// program writes a shell script that can stand in for gpg.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	missing := func(name string) (string, error) { return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound) }
	if _, err := Find(t.Context(), Options{LookPath: missing}); !errors.Is(err, ErrNoGPG) || !strings.Contains(hint.Of(err), "gnupg2") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without gpg: %v (hint %q)", err, hint.Of(err))
	}
	for version, want := range map[string]string{
		"gpg (GnuPG) 2.2.40":                "2.2.40",
		"gpg (GnuPG/MacGPG2) 2.4.5-unknown": "2.4.5-unknown",
		"gpg (GnuPG) 3.0":                   "3.0",
		"gpg (GnuPG) 2.1.11":                "",
		"gpg (GnuPG) 1.4.23":                "",
		"gpg (GnuPG) two":                   "",
		"gpg (Sequoia)":                     "",
		"":                                  "",
	} {
		path := program(t, `[ "$1" = --dump-options ] || echo '`+version+`'`)
		g, err := Find(t.Context(), Options{LookPath: func(string) (string, error) { return path, nil }})
		if want == "" {
			if !errors.Is(err, ErrNoGPG) || hint.Of(err) == "" {
				t.Errorf("%q: error %v (hint %q)", version, err, hint.Of(err))
			}
			continue
		}
		if err != nil || g.Version() != want {
			t.Errorf("%q: %v, %v; want %s", version, g, err, want)
		}
	}
}

// A gpg2 that is too old does not hide a gpg that is not.
func TestFindTriesBoth(t *testing.T) {
	old := program(t, "echo 'gpg (GnuPG) 2.0.22'")
	good := program(t, `[ "$1" = --dump-options ] || echo 'gpg (GnuPG) 2.2.40'`)
	look := func(name string) (string, error) { return map[string]string{"gpg2": old, "gpg": good}[name], nil }
	g, err := Find(t.Context(), Options{LookPath: look})
	if err != nil || g.name != "gpg" {
		t.Fatalf("%+v, %v; want gpg", g, err)
	}
	// And one that cannot take a session key by descriptor is given none.
	key, err := ParseSessionKey("9:" + strings.Repeat("5A", 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decrypt(t.Context(), strings.NewReader(""), key); err == nil || !strings.Contains(err.Error(), "session key") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := Find(ctx, Options{LookPath: look}); !errors.Is(err, stop) {
		t.Errorf("ended: error %v, want %v", err, stop)
	}
}
