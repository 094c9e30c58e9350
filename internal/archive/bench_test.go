package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/layout"
)

// benchImage names the image that the benchmarks read; scripts/bench-image.sh
// sets it. Without it they take the go program.
const benchImage = "BENCH_IMAGE"

// writeWithEntries is an archive as it is really made, entries included, to
// writers that discard.
func writeWithEntries(ctx context.Context, src block.Source, o archive.ImageOptions) (archive.ImageResult, error) {
	entries := layout.NewEntriesWriter(io.Discard, layout.EntriesHeader{
		Kind: layout.Image, Archive: "vol-1/2026-01-01T00:00:00+00:00 snap-1.img", Snapshot: "snap-1", Run: "r",
		PlainSize: src.Size(), Codec: o.Codec.Name(),
	})
	res, err := archive.WriteImage(ctx, src, io.Discard, entries, o)
	if err != nil {
		return res, err
	}
	return res, entries.Close()
}

func BenchmarkImage(b *testing.B) {
	path := os.Getenv(benchImage)
	if path == "" {
		path = "/proc/self/exe"
	}
	for _, x := range []struct {
		name  string
		level int
	}{{"lz4", 1}, {"lz4", 3}, {"lz4", 9}, {"zstd", 1}, {"zstd", 3}, {"zstd", 9}, {"zstd", 19}} {
		b.Run(fmt.Sprintf("%s-%d", x.name, x.level), func(b *testing.B) {
			file, err := block.OpenFile(path)
			if err != nil {
				b.Skipf("nothing to read: %v", err)
			}
			defer file.Close()
			b.SetBytes(file.Size())
			var res archive.ImageResult
			for b.Loop() {
				if res, err = writeWithEntries(b.Context(), file, archive.ImageOptions{Codec: mustCodec(x.name, x.level)}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(res.Plain)/float64(res.Stored), "ratio")
			b.ReportMetric(peakMiB(b), "peak-MiB")
		})
	}
}

// BenchmarkLatency is a source with 15 ms a read, by the real clock; the metric
// is how many times faster that is than one read at a time.
func BenchmarkLatency(b *testing.B) {
	v := zeros(1 << 30)
	v.before = slowRead
	for b.Loop() {
		start := time.Now()
		if _, err := writeWithEntries(b.Context(), v, archive.ImageOptions{Codec: mustCodec("zstd", 1)}); err != nil {
			b.Fatal(err)
		}
		alone := time.Duration(v.size/block.Size) * 15 * time.Millisecond
		b.ReportMetric(float64(alone)/float64(time.Since(start)), "times")
	}
}

// peakMiB is the most memory that this process has had: run one benchmark a
// process to tell them apart.
func peakMiB(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib float64
	if _, err := fmt.Sscanf(strings.TrimSpace(string(after)), "%f kB", &kib); err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
