package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost"
)

func TestMemoryOfParts(t *testing.T) {
	for name, c := range map[string]struct {
		o         MigrateOptions
		snapshots int64
		largest   int64
		want      int64
	}{
		"defaults, small":              {MigrateOptions{Jobs: 1, UploadStreams: 1}, 1, 1 << 40 / 1000, 16 << 20},
		"no more jobs than snapshots":  {MigrateOptions{Jobs: 8, UploadStreams: 3}, 2, 8 << 30, 2 * 4 * 8 << 20},
		"one":                          {MigrateOptions{One: true, Jobs: 8, UploadStreams: 3}, 5, 8 << 30, 4 * 8 << 20},
		"parts grow with the snapshot": {MigrateOptions{Jobs: 4, UploadStreams: 4}, 9, 16 << 40, 4 * 5 * 1865 << 20},
		"a part size that was given":   {MigrateOptions{Jobs: 2, UploadStreams: 1, PartSize: 1 << 30}, 9, 1 << 40, 4 << 30},
		"no more than the archive":     {MigrateOptions{Jobs: 2, UploadStreams: 4, PartSize: 1 << 30}, 2, 1 << 20, 2 << 20},
		"small parts beside a folder":  {MigrateOptions{Jobs: 2, UploadStreams: 1, PartSize: 64 << 20, Spool: "/"}, 9, 1 << 30, 256 << 20},
	} {
		got, err := memoryOf(c.o, cost.Estimate{Snapshots: c.snapshots, LargestArchive: c.largest})
		if err != nil || got.Total != c.want || got.Spool != 0 {
			t.Errorf("%s: %d bytes (%s), want %d; %v", name, got.Total, got, c.want, err)
		}
	}
	spooled := MigrateOptions{Jobs: 2, UploadStreams: 1, PartSize: 65 << 20, Spool: "/"}
	for largest, want := range map[int64]string{
		1 << 30: "room for parts in the --spool folder: at most 260 MiB (2 jobs × (1 + 1) parts of 65 MiB)",
		5 << 20: "room for parts in the --spool folder: at most 10 MiB (2 jobs × an archive of at most 5 MiB)",
	} {
		got, err := memoryOf(spooled, cost.Estimate{Snapshots: 9, LargestArchive: largest})
		if err != nil || got.String() != want || got.Total != 0 {
			t.Errorf("spooled: %s, with %d bytes in memory; want %s and none; %v", got, got.Total, want, err)
		}
	}
	if _, err := memoryOf(MigrateOptions{Jobs: 1, PartSize: 5 << 20}, cost.Estimate{LargestArchive: 1 << 40}); err == nil {
		t.Error("more parts than there can be are no error")
	}
}

func TestMemAvailable(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal:  100 kB\nMemAvailable:    1024 kB\nx": 1 << 20, "MemAvailable: many kB\n": 0, "MemTotal: 1 kB\n": 0, "": 0,
	} {
		path := filepath.Join(t.TempDir(), "meminfo")
		writeFile(t, path, []byte(text))
		if got, err := memAvailable(path); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := memAvailable(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no file is no error")
	}
	if _, err := os.Stat(memInfo); err == nil {
		if got, err := memAvailable(memInfo); got <= 0 || err != nil {
			t.Errorf("this machine: %d, %v", got, err)
		}
	}
}

// A run that asks for more memory than there is says so before it starts, and a
// dry run says how much it is, and how many requests and hours.
func TestMemoryIsToldBeforehand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.noisy(20<<20, awssim.SnapshotSpec{})
	meminfo := filepath.Join(w.dir, "meminfo")
	writeFile(t, meminfo, []byte("MemAvailable: 20480 kB\n"))
	w.extra = []string{"TEST_MEMINFO=" + meminfo}
	args := []string{"migrate", "--dd", "--bucket", testBucket, "--all", "--jobs", "4"}
	const warning = "warning: parts can take more than half of the free memory"

	r := w.ok(append(args, "--dry-run")...)
	for _, want := range []string{"memory for parts: at most 16 MiB (1 job × (1 + 1) parts of 8 MiB)", " requests to S3 (", "volumes for 0.02 hours", warning} {
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("the dry run does not say %q", want)
		}
	}
	last := w.ok(append(args, "--dry-run", "--output", "json")...).jsonLines(t)[1]
	amounts, _ := last["cost"].(map[string]any)
	if last["part_memory"] != float64(16<<20) || amounts["volume_hours"] != 1./60 || amounts["parts"].(float64) < 3 || amounts["request_count"].(float64) < 20 {
		t.Errorf("the dry run's JSON ends with %v", last)
	}
	if r := w.ok(append(args, "--dry-run", "--spool", t.TempDir(), "--part-size", "65MiB")...); strings.Contains(r.stderr, warning) {
		t.Error("it warns though parts wait on a disk")
	}
	if r := w.ok(args...); strings.Count(r.stderr, warning) != 1 || !strings.Contains(r.stderr, "--spool FOLDER") {
		t.Error("the run does not warn")
	}
}
