package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/cost/bill/billtest"
)

// TestReadmeSample holds what README.md shows of analyze to what it prints: the
// first volume, and the last lines.
func TestReadmeSample(t *testing.T) {
	t.Parallel()
	a := oneVolume(100, 4)
	for i := range a.Volumes[0].Snapshots {
		s := &a.Volumes[0].Snapshots[i]
		s.Created = time.Date(2026, time.Month(5+i), 1, 3, 0, 0, 0, time.UTC)
		s.Written = nil
		for b := range []int{0, 9000, 21000, 5000}[i] {
			s.Written = append(s.Written, i*1000+b)
		}
	}
	w := newBilled(t, a)
	file := w.bill(a, billtest.LegacyCSV, billtest.Daily, "costreport-1.csv.gz")
	printed := w.ok("analyze", file, "--storage-class", "GLACIER_IR", "--storage-class", "DEEP_ARCHIVE").stdout
	volume, _, _ := strings.Cut(printed, "\n\n")
	lines := strings.SplitAfter(strings.TrimSuffix(printed, "\n"), "\n")
	want := volume + "\n…\n" + strings.Join(lines[len(lines)-3:], "") + "\n"

	path := filepath.Join("..", "..", "README.md")
	text := read(t, path)
	const begin, end = "--storage-class DEEP_ARCHIVE --html report.html\n```\n\n```text\n", "```\n"
	before, rest, ok := strings.Cut(text, begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("README.md has no sample of analyze")
	}
	if *updateDocs {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("README.md does not show what analyze prints; make docs writes it (-want +got):\n%s", diff)
	}
}
