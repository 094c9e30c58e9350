package archive_test

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/filesystem"
)

// manyFiles is the n-th of a tree of files of four in a folder, in order; of each
// folder's files the last is a hard link to the first.
func manyFiles(n int, sum *[32]byte) *archive.TreeRow {
	const inFolder = 5
	r := &archive.TreeRow{At: int64(n) * 1024}
	folder := fmt.Sprintf("usr/share/some/longer/folder/%08d", n/inFolder)
	r.Path, r.Type, r.Mode, r.Sec, r.Nsec, r.Device, r.Inode, r.Links = folder, filesystem.Folder, 0o755, 1763870706, uint32(n), 2049, uint64(n), 1
	switch n % inFolder {
	case 0:
	case inFolder - 1:
		r.Path, r.Type, r.Link, r.Links = folder+"/z", filesystem.Regular, folder+"/file-1.txt", 2
	default:
		r.Path, r.Type, r.Size, r.Sum = fmt.Sprintf("%s/file-%d.txt", folder, n%inFolder), filesystem.Regular, int64(n), sum
	}
	return r
}

func manyRows(n int) iter.Seq2[*archive.TreeRow, error] {
	sum := sumOf("content")
	return func(yield func(*archive.TreeRow, error) bool) {
		for i := range n {
			if !yield(manyFiles(i, sum), nil) {
				return
			}
		}
	}
}

// cpuTime is what this process has used, of all cores.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkDiffTrees(b *testing.B) {
	rows := make([]*archive.TreeRow, 200000)
	for i := range rows {
		rows[i] = manyFiles(i, sumOf("content"))
	}
	other := make([]*archive.TreeRow, len(rows))
	for i, r := range rows {
		copied := *r
		other[i] = &copied
	}
	b.ResetTimer()
	start := cpuTime(b)
	for b.Loop() {
		n, err := archive.DiffTrees(b.Context(), yields(nil, rows...), yields(nil, other...), archive.DiffOptions{}, func(d archive.Difference) error {
			return errors.New("they differ")
		})
		if err != nil || n != int64(len(rows)) {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(len(rows)*b.N)/(cpuTime(b)-start).Seconds(), "rows/cpu-s")
}

func BenchmarkPipe(b *testing.B) {
	const n = 200000
	r := row("a")
	start := cpuTime(b)
	for b.Loop() {
		p := archive.NewPipe[*archive.TreeRow](1024)
		go func() {
			for range n {
				if p.Put(b.Context(), r) != nil {
					break
				}
			}
			p.Close(nil)
		}()
		for range p.All(b.Context()) {
		}
	}
	b.ReportMetric(float64(n*b.N)/(cpuTime(b)-start).Seconds(), "rows/cpu-s")
}

// shuffle is a row's place in another order of n rows.
func shuffle(i, n int) int {
	const prime = 1_000_000_007 // more than n, so that no place comes twice
	return int(uint64(i) * prime % uint64(n))
}

// BenchmarkTable is Add and Sorted of rows in no order; that includes making
// them.
func BenchmarkTable(b *testing.B) {
	const n = 1_000_000
	start := cpuTime(b)
	for b.Loop() {
		sortMany(b, n, func(r *archive.TreeRow, _ int) *archive.TreeRow { return r })
	}
	b.ReportMetric(float64(n*b.N)/(cpuTime(b)-start).Seconds(), "rows/cpu-s")
	b.ReportMetric(peakOf(b), "peak-MiB")
}

// sortMany sorts n rows, changed, and compares them with those in order.
func sortMany(t testing.TB, n int, change func(*archive.TreeRow, int) *archive.TreeRow) (differ int) {
	t.Helper()
	table := archive.NewTable(archive.TableOptions{Folder: t.TempDir()})
	defer table.Close()
	sum := sumOf("content")
	for i := range n {
		k := shuffle(i, n)
		if err := table.Add(change(manyFiles(k, sum), k)); err != nil {
			t.Fatal(err)
		}
	}
	both, err := archive.DiffTrees(t.Context(), manyRows(n), table.Sorted(t.Context()), archive.DiffOptions{}, func(archive.Difference) error {
		differ++
		return nil
	})
	if err != nil || both != int64(n) {
		t.Fatalf("%d of %d compared, error %v", both, n, err)
	}
	return differ
}

// peakOf is the most memory that this process has had, in MiB; 0: unknown.
func peakOf(t testing.TB) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kib float64
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// The environment of the process that TestTableOfManyFiles measures: how many
// rows it sorts.
const tableRows = "SNAP_TO_S3_TABLE_ROWS"

// Many files, ten million where it is soaked, in under 500 MB, Go's runtime and
// the tests with it: of a process that does nothing else.
func TestTableOfManyFiles(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(tableRows)); err == nil {
		sortManyAndMeasure(t, n)
		return
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	n := 200_000
	if os.Getenv("SNAP_TO_S3_SOAK") != "" {
		n = 10_000_000
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "-test.run=^TestTableOfManyFiles$", "-test.v")
	c.Env = append(os.Environ(), tableRows+"="+strconv.Itoa(n))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// sortManyAndMeasure finds a hundred damages among n rows, whose links it also
// turns around.
func sortManyAndMeasure(t *testing.T, n int) {
	damaged := map[int]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for len(damaged) < 100 {
		if k := random.IntN(n); k%5 != 1 && k%5 != 4 { // names of one file
			damaged[k] = true
		}
	}
	start, wall := cpuTime(t), time.Now()
	sum := sumOf("content")
	differ := sortMany(t, n, func(r *archive.TreeRow, k int) *archive.TreeRow {
		switch path := r.Path; {
		case damaged[k]:
			r.Mode ^= 1
		case k%5 == 1: // the link, to what is now the file
			r = manyFiles(k+3, sum)
			r.Path, r.Link = path, r.Path
		case k%5 == 4:
			r = manyFiles(k-3, sum)
			r.Path = path
		}
		return r
	})
	took := cpuTime(t) - start
	if differ != len(damaged) {
		t.Errorf("%d differences, want %d", differ, len(damaged))
	}
	peak := peakOf(t)
	t.Logf("%d rows: %.1f s, %.1f CPU s, %.0f rows a CPU second; peak %.0f MiB", n, time.Since(wall).Seconds(), took.Seconds(), float64(n)/took.Seconds(), peak)
	if peak == 0 {
		t.Skip("no /proc to measure by")
	}
	if peak > 500e6/(1<<20) {
		t.Errorf("peak of memory is %.0f MiB", peak)
	}
}
