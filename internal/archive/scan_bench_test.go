package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem"
)

// repeated reads the same bytes many times, and then the end of a tar.
type repeated struct {
	b     []byte
	at    int
	times int
}

func (r *repeated) Read(p []byte) (int, error) {
	switch {
	case r.at == len(r.b) && r.times > 0:
		r.at, r.times = 0, r.times-1
	case r.at == len(r.b):
		return 0, io.EOF
	}
	n := copy(p, r.b[r.at:])
	r.at += n
	return n, nil
}

func cpuSeconds(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}

func BenchmarkScanTree(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, files int
	}{{"1KiB", 1 << 10, 1000}, {"64MiB", 64 << 20, 1}} {
		b.Run(c.name, func(b *testing.B) {
			var h headers
			var plain []byte
			for i := range c.files {
				e := &filesystem.Entry{Path: fmt.Sprintf("usr/share/doc/some/file-%d", i), Type: filesystem.Regular, Mode: 0o644, Sec: 1_700_000_000, Nsec: 123456789, Size: int64(c.size)}
				head, err := h.entry(e, "", pieces{bytes: e.Size})
				if err != nil {
					b.Fatal(err)
				}
				plain = append(append(plain, head...), bytes.Repeat([]byte{byte(i + 1)}, c.size)...)
			}
			// Many entries a run, so that its beginning does not count.
			times := max(1, 256<<20/len(plain))
			b.SetBytes(int64(len(plain) * times))
			before, entries := cpuSeconds(b), int64(0)
			for b.Loop() {
				r := io.MultiReader(&repeated{b: plain, times: times - 1}, bytes.NewReader(make([]byte, 2*tarBlock)))
				res, err := ScanTree(b.Context(), r, ScanOptions{}, func(*TreeRow) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				entries += res.Entries
			}
			cpu := cpuSeconds(b) - before
			b.ReportMetric(float64(entries)/cpu, "entries/cpu-s")
			b.ReportMetric(float64(len(plain)*times*b.N)/cpu/1e9, "GB/cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkScanImage(b *testing.B) {
	plain := bytes.Repeat([]byte("some block that is not zero "), 256<<20/28)
	b.SetBytes(int64(len(plain)))
	before := cpuSeconds(b)
	for b.Loop() {
		if _, err := ScanImage(context.Background(), bytes.NewReader(plain), ImageScanOptions{}, func(int64, [][32]byte, []bool) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(plain)*b.N)/(cpuSeconds(b)-before)/1e9, "GB/cpu-s")
}
