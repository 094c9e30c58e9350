package encrypt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// soon is what a test allows for what should be at once.
const soon = 8 * time.Second

func TestEachRecipientCanDecrypt(t *testing.T) {
	ann, bob := newHome(t), newHome(t)
	ann.generate(t, "ann", "")
	bob.generate(t, "bob", "")
	file := filepath.Join(t.TempDir(), "bob")
	if err := os.WriteFile(file, []byte(bob.run(t, "--export", "bob")), 0o600); err != nil {
		t.Fatal(err)
	}
	ann.run(t, "--import", file)
	ann.run(t, "--quick-lsign-key", bob.fingerprint(t, "bob"))
	plain := noise(3 << 20)
	// The same key under two names is in it once.
	message := ann.encrypt(t, plain, "ann", "bob", "=bob")
	for name, h := range map[string]*home{"ann": ann, "bob": bob} {
		got, err := h.decrypt(t.Context(), message, nil)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		// And so can gpg alone.
		cmd := exec.Command("gpg", "--batch", "--decrypt")
		cmd.Env, cmd.Stdin = h.env(), bytes.NewReader(message)
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s with gpg: %d bytes, %v", name, len(got), err)
		}
	}
	if extra := len(message) - len(plain); extra > len(plain)/1000 {
		t.Errorf("%d bytes more than the plain", extra)
	}
	if zeros := ann.encrypt(t, make([]byte, 1<<20), "ann"); len(zeros) < 1<<20 {
		t.Errorf("compressed: %d bytes of 1 MiB", len(zeros))
	}
	noChildren(t)
}

func TestRoundTrip(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	to := h.recipients(t, "ann")
	data := noise(3 << 20)
	rapid.Check(t, func(t *rapid.T) {
		plain := data[:rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(0, len(data))).Draw(t, "size")]
		var out bytes.Buffer
		e, err := h.gpg.Encrypt(t.Context(), &out, to)
		if err != nil {
			t.Fatal(err)
		}
		for rest := plain; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if wrote, err := e.Write(rest[:n]); wrote != n || err != nil {
				t.Fatal(wrote, err)
			}
			rest = rest[n:]
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.Close(), e.Abort()); err != nil {
			t.Fatal("after Close:", err)
		}
		got, err := h.decrypt(t.Context(), out.Bytes(), nil)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(plain), err)
		}
	})
}

func TestEncryptRefuses(t *testing.T) {
	h := newHome(t)
	for _, to := range [][]Recipient{nil, {{Name: "ann"}}, {{Name: "ann", Subkey: "--recipient"}}} {
		if e, err := h.gpg.Encrypt(t.Context(), io.Discard, to); err == nil {
			t.Errorf("%+v: %v", to, e.Abort())
		}
	}
	// A key that has gone since it was looked up.
	e, err := h.gpg.Encrypt(t.Context(), io.Discard, []Recipient{{Subkey: strings.Repeat("AB", 20)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err == nil || !strings.Contains(err.Error(), "No public key") {
		t.Errorf("error %v, want gpg's", err)
	}
	noChildren(t)
}

// tooSmall takes some bytes and then fails.
type tooSmall struct {
	bytes.Buffer
	err error
}

func (w *tooSmall) Write(p []byte) (int, error) {
	if w.Len()+len(p) > 3<<20 {
		return 0, w.err
	}
	return w.Buffer.Write(p)
}

// However an encryption ends early, it leaves an error, no process, and nothing
// that could be taken for a whole message.
func TestEncryptionThatEndsEarly(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	to := h.recipients(t, "ann")
	full, stop := errors.New("disk full"), errors.New("stop")
	data := noise(1 << 20)
	cases := map[string]struct {
		end  func(t *testing.T, e *Encryptor, cancel context.CancelCauseFunc)
		want error
		text string
	}{
		"gpg is killed":     {func(t *testing.T, _ *Encryptor, _ context.CancelCauseFunc) { killChild(t) }, nil, "signal: killed"},
		"the context ends":  {func(_ *testing.T, _ *Encryptor, cancel context.CancelCauseFunc) { cancel(stop) }, stop, ""},
		"the writer fails":  {nil, full, ""},
		"it is given up":    {func(t *testing.T, e *Encryptor, _ context.CancelCauseFunc) { abort(t, e) }, errAborted, ""},
		"given up meantime": {func(t *testing.T, e *Encryptor, _ context.CancelCauseFunc) { go abort(t, e) }, errAborted, ""},
	}
	for name, c := range cases {
		for _, write := range []int{0, 1000, 1 << 20} {
			if (name == "the writer fails" || name == "given up meantime") && write == 0 {
				continue
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &tooSmall{err: full}
			e, err := h.gpg.Encrypt(ctx, out, to)
			if err != nil {
				t.Fatal(err)
			}
			if c.end == nil {
				write = 1 << 20
			}
			start := time.Now()
			_, err = e.Write(data[:write])
			if err == nil && c.end != nil {
				c.end(t, e, cancel)
			}
			for range 64 {
				if _, writeErr := e.Write(data[:write]); writeErr != nil && err == nil {
					err = writeErr
				}
			}
			if write == 1<<20 && (err == nil || c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("%s: Write's error %v, want %v", name, err, c.want)
			}
			err = e.Close()
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s after %d bytes: Close's error %v, want %v %s", name, write, err, c.want, c.text)
			}
			abort(t, e)
			if took := time.Since(start); took > soon {
				t.Errorf("%s: took %s", name, took)
			}
			noChildren(t)
			if plain, err := h.decrypt(t.Context(), out.Bytes(), nil); err == nil {
				t.Errorf("%s: left a whole message of %d bytes", name, len(plain))
			}
			cancel(nil)
		}
	}
}

func abort(t *testing.T, e *Encryptor) {
	if err := e.Abort(); err != nil {
		t.Error(err)
	}
}

// killChild kills the gpg that runs.
func killChild(t *testing.T) {
	t.Helper()
	for _, text := range children(t) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}

// gate lets nothing through until it is opened.
type gate struct{ open chan struct{} }

func (g gate) Write(p []byte) (int, error) { <-g.open; return len(p), nil }

// Memory is bounded when what gpg writes is stored slowly, and ctx ends a Write
// that waits for it.
func TestEncryptWaitsForItsWriter(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := gate{make(chan struct{})}
	e, err := h.gpg.Encrypt(ctx, g, h.recipients(t, "ann"))
	if err != nil {
		t.Fatal(err)
	}
	wrote, data := make(chan int), noise(1<<20)
	go func() {
		n := 0
		for {
			m, err := e.Write(data)
			if n += m; err != nil || n > 64<<20 {
				break
			}
		}
		wrote <- n
	}()
	stop := errors.New("stop")
	time.AfterFunc(300*time.Millisecond, func() { cancel(stop); close(g.open) })
	if n := <-wrote; n > 16<<20 {
		t.Errorf("%d bytes were taken that nobody stored", n)
	}
	if err := e.Close(); !errors.Is(err, stop) {
		t.Errorf("error %v, want %v", err, stop)
	}
	noChildren(t)
}

// A gpg that adds readers of its own is found out before anything is stored.
func TestEncryptFindsOtherReaders(t *testing.T) {
	h := newHome(t)
	h.generate(t, "ann", "")
	h.generate(t, "spy", "")
	to := h.recipients(t, "ann")
	h.configure(t, "gpg.conf", "hidden-recipient spy")
	var out bytes.Buffer
	e, err := h.gpg.Encrypt(t.Context(), &out, to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Write(noise(1 << 20))
	if err = errors.Join(err, e.Close()); err == nil || !strings.Contains(err.Error(), "2 keys instead of the 1") || out.Len() > 0 {
		t.Errorf("error %v, %d bytes stored", err, out.Len())
	}
}

// Killed without warning, this process leaves no gpg behind.
func TestKilledParentLeavesNoGPG(t *testing.T) {
	const variable = "SNAP_TO_S3_TEST_ENCRYPT_HOME"
	if dir := os.Getenv(variable); dir != "" {
		encryptUntilKilled(t, dir)
		return
	}
	h := newHome(t)
	h.generate(t, "ann", "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestKilledParentLeavesNoGPG$")
	cmd.Env = append(os.Environ(), variable+"="+h.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids string
	buf := make([]byte, 1000)
	for !strings.Contains(pids, "\n") {
		n, err := out.Read(buf)
		pids += string(buf[:n])
		if err != nil {
			t.Fatalf("the child said %q: %v", pids, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range strings.Fields(pids) {
		until := time.Now().Add(soon)
		for running(pid) && time.Now().Before(until) {
			time.Sleep(10 * time.Millisecond)
		}
		if running(pid) {
			t.Errorf("gpg %s is still there", pid)
		}
	}
}

func encryptUntilKilled(t *testing.T, dir string) {
	h := &home{dir: dir}
	var err error
	if h.gpg, err = Find(t.Context(), Options{Env: h.env()}); err != nil {
		t.Fatal(err)
	}
	message := h.encrypt(t, noise(4<<20), "ann")
	e, err := h.gpg.Encrypt(t.Context(), io.Discard, h.recipients(t, "ann"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(noise(1 << 20)); err != nil {
		t.Fatal(err)
	}
	// Of two decryptions one waits for its reader, the other for its input.
	for _, r := range []io.Reader{bytes.NewReader(message), io.MultiReader(bytes.NewReader(message[:1<<20]), waiting{})} {
		d, err := h.gpg.Decrypt(t.Context(), r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(d, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stdout.WriteString(strings.Join(children(t), " ") + "\n"); err != nil {
		t.Fatal(err)
	}
	select {}
}

// waiting is a reader that has nothing yet.
type waiting struct{}

func (waiting) Read([]byte) (int, error) { select {} }

// running says whether a process is there and no zombie.
func running(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}
