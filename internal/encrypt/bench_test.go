package encrypt

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkBesidePipe compares Encrypt and Decrypt with gpg alone between two
// pipes, in turns, and reports the medians and the median of the pairs' ratios:
// over 1 is faster than gpg alone.
func BenchmarkBesidePipe(b *testing.B) {
	const size = 256 << 20 // 256 MiB
	h := newBenchHome(b)
	plain := filepath.Join(b.TempDir(), "plain")
	if err := os.WriteFile(plain, bytes.Repeat(noise(1<<20), size>>20), 0o600); err != nil {
		b.Fatal(err)
	}
	to, err := h.gpg.Recipients(b.Context(), []string{"ann"})
	if err != nil {
		b.Fatal(err)
	}
	message := plain + ".gpg"
	pipe(b, h, "<"+plain+" cat | gpg --batch --compress-level 0 -r ann --encrypt | cat >"+message)
	b.Run("encrypt", func(b *testing.B) {
		alone := "<" + plain + " cat | gpg --batch --compress-level 0 -r ann --encrypt | cat >/dev/null"
		compare(b, size, func() { encryptFile(b, h, plain, to) }, func() { pipe(b, h, alone) })
	})
	b.Run("decrypt", func(b *testing.B) {
		alone := "<" + message + " cat | gpg --batch --quiet --decrypt | cat >/dev/null"
		compare(b, size, func() { decryptFile(b, h, message) }, func() { pipe(b, h, alone) })
	})
}

func newBenchHome(b *testing.B) *home {
	if _, err := exec.LookPath("gpg"); err != nil {
		b.Skip("gpg is not installed")
	}
	dir, err := os.MkdirTemp("/tmp", "g") //nolint:usetesting // the path of a socket may have 107 bytes
	if err != nil {
		b.Fatal(err)
	}
	h := &home{dir: dir}
	b.Cleanup(func() {
		pipe(b, h, "gpgconf --kill all")
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	if h.gpg, err = Find(b.Context(), Options{Env: h.env()}); err != nil {
		b.Skip(err)
	}
	pipe(b, h, "gpg --batch --quiet --passphrase '' --quick-generate-key ann future-default default never")
	return h
}

func pipe(b *testing.B, h *home, script string) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = h.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", script, err, out)
	}
}

func compare(b *testing.B, size int64, ours, alone func()) {
	var our, its, ratios []float64
	timed := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	for b.Loop() {
		o, a := timed(ours), timed(alone)
		our, its, ratios = append(our, o), append(its, a), append(ratios, a/o)
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(float64(size)/1e6/median(our), "MB/s")
	b.ReportMetric(float64(size)/1e6/median(its), "gpg-MB/s")
	b.ReportMetric(median(ratios), "ratio")
}

func encryptFile(b *testing.B, h *home, path string, to []Recipient) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	e, err := h.gpg.Encrypt(b.Context(), io.Discard, to)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{e}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

func decryptFile(b *testing.B, h *home, path string) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	d, err := h.gpg.Decrypt(b.Context(), f, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{d}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
}
