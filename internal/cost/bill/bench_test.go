package bill_test

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
)

// BenchmarkMake writes the bill that BenchmarkRead reads: BENCH_BILL names the
// file, and by its end the form; BENCH_LINES is how many lines it has, a
// twentieth of them of snapshots.
func BenchmarkMake(b *testing.B) {
	path := os.Getenv("BENCH_BILL")
	lines, err := strconv.Atoi(os.Getenv("BENCH_LINES"))
	if path == "" || err != nil {
		b.Skip("BENCH_BILL and BENCH_LINES say what to write: see scripts/bench-bill.sh")
	}
	a := billtest.New(1, day(2024, 9, 1), 1)
	form := billtest.LegacyCSV
	if strings.HasSuffix(path, ".parquet") {
		form = billtest.CUR2Parquet
	}
	for b.Loop() {
		if err := a.WriteFile(path, form, a.Many(lines/600, lines)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	path := os.Getenv("BENCH_BILL")
	if path == "" {
		b.Skip("BENCH_BILL names a bill: see scripts/bench-bill.sh")
	}
	for b.Loop() {
		in := open(b, path)
		u, err := bill.Read(b.Context(), []bill.Input{in}, bill.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(u.Sources[0].Rows), "rows")
		b.ReportMetric(float64(len(u.Snapshots)), "snapshots")
		total := 0.0
		for _, s := range u.Snapshots {
			total += float64(s.Cost)
		}
		b.ReportMetric(total/1e9, "dollars")
		b.SetBytes(in.Size)
	}
	b.ReportMetric(peakMiB(b), "peak-MiB")
}

// peakMiB is the most memory this process ever had.
func peakMiB(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}

// BenchmarkEncodingCSV splits the same bill by encoding/csv, and does nothing
// else with it: why there is a scanner of our own.
func BenchmarkEncodingCSV(b *testing.B) {
	path := os.Getenv("BENCH_BILL")
	if !strings.HasSuffix(path, ".gz") {
		b.Skip("BENCH_BILL names a bill: see scripts/bench-bill.sh")
	}
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		r := csv.NewReader(z)
		r.ReuseRecord = true
		for err == nil {
			_, err = r.Read()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkMillionSnapshots reads a line of each of a million snapshots.
func BenchmarkMillionSnapshots(b *testing.B) { benchmarkSnapshots(b, "2024-09") }

// BenchmarkMillionSnapshotsTwice reads them in two months, a file each, of which is
// remembered what each has.
func BenchmarkMillionSnapshotsTwice(b *testing.B) { benchmarkSnapshots(b, "2024-09", "2024-10") }

func benchmarkSnapshots(b *testing.B, months ...string) {
	const snapshots = 1_000_000
	for b.Loop() {
		var inputs []bill.Input
		for _, month := range months {
			r, w := io.Pipe()
			go func() {
				out := bufio.NewWriter(w)
				fmt.Fprintln(out, header)
				line := strings.ReplaceAll(good, "2024-09", month)
				for i := range snapshots {
					fmt.Fprintln(out, strings.Replace(line, id, fmt.Sprintf("snap-0%016x", i), 1))
				}
				w.CloseWithError(out.Flush())
			}()
			inputs = append(inputs, bill.Stream(month+".csv", r))
		}
		u, err := bill.Read(b.Context(), inputs, bill.Options{})
		if err != nil || len(u.Snapshots) != snapshots {
			b.Fatalf("%d snapshots: %v", len(u.Snapshots), err)
		}
	}
	b.ReportMetric(peakMiB(b), "peak-MiB")
}
