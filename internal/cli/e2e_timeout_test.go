package cli

import (
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// When the time is up everything is given back as after an interrupt, and it says
// how far it was; the next run does the rest.
func TestTimeout(t *testing.T) {
	for stage, says := range map[string]string{
		"looking for the bucket": "nothing was begun (while: ask for the region of bucket " + testBucket,
		"listing":                "nothing was begun (while: list snapshots",
		"claiming":               "0 of 1 snapshot done",
		"creating":               ", while creating volume",
		"waiting":                ", while waiting for volume vol-",
		"attaching":              ", while attaching volume vol-",
		"copying":                ", while copying, ",
		"committing":             ", while committing, ",
		"record":                 ", while committing, ",
	} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.noisy(24*mib, awssim.SnapshotSpec{})
			args := []string{"migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all"}
			r := w.timesOut(stages()[stage], args...)
			r.says(t, exitFailed, "snap-to-s3: the time of --timeout 5s is up: ", "run the same command again")
			r.says(t, exitFailed, says, "a longer --timeout")
			r.oneLineEach(t)
			if tags := w.sim.Tags(s.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
				t.Errorf("tags %v", tags)
			}
			w.stateless()
			w.sim.SetFault(nil)
			w.ok(append(args, "--timeout", "2d")...)
			w.isMigrated(s)
			w.isArchived(s, s.key("zstd"))
			w.nothingLeft()
		})
	}
}

// timesOut runs a command whose time is up while certain calls are not answered.
func (w *world) timesOut(match func(awssim.Call) bool, args ...string) result {
	w.t.Helper()
	const limit = 5 * time.Second
	began := time.Now()
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		return awssim.Fault{Hang: match(c) && time.Since(began) < limit}
	})
	r := w.start(w.command(append(args, "--timeout", limit.String())...)).ends()
	if took := time.Since(began); took > limit+30*time.Second {
		w.t.Errorf("it took %v", took)
	}
	return r
}

// What is done by then stays done, and is counted; so it is with trees.
func TestTimeoutOfSeveral(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	first := w.aSmallDisk(awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60001"})
	second := w.aSmallDisk(awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60002"})
	r := w.timesOut(func(c awssim.Call) bool {
		return c.Action == "PutObject" && strings.Contains(c.Key, second.ID) && strings.HasSuffix(c.Key, ".tar.zstd")
	}, migrateTrees(first.ID, second.ID)...)
	r.says(t, exitFailed, "the time of --timeout 5s is up: 1 of 2 snapshots done, ", "run the same command again")
	r.oneLineEach(t)
	w.isMigrated(first.subject)
	if tags := w.sim.Tags(second.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
		t.Errorf("tags %v", tags)
	}
	w.freeHost()
	w.sim.SetFault(nil)
	w.ok(migrateTrees("--all")...)
	w.hasObjects(first, second)
	second.isRestored(t, w.view)
	w.isMigrated(second.subject)
	w.freeHost()
}

// Each repetition is in the log, with what failed and how long it waited, and the
// last line counts them; looks at a volume's state are none.
func TestRepetitionsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{Creating: awssim.Lag{Reads: 6}}})
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch {
		case c.Action == "UploadPart" && c.N%3 != 0, c.Action == "DescribeVolumes" && c.N == 2:
			return awssim.Fault{Throttle: true}
		}
		return awssim.Fault{}
	})
	r := w.ok("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all", "--verbose")
	failed := 0
	for _, c := range w.sim.Calls() {
		if c.Fault == "throttle" {
			failed++
		}
	}
	if n := strings.Count(r.stderr, "debug: aws call is made again "); n != failed || failed < 8 {
		t.Errorf("%d repetitions are told, %d calls were throttled", n, failed)
	}
	for _, want := range []string{
		"debug: aws call is made again service=S3 operation=UploadPart attempt=2 max=8 delay=",
		"debug: aws call is made again service=S3 operation=UploadPart attempt=3 max=8 delay=",
		`after="SlowDown: Please reduce your request rate. (HTTP 503`,
		"service=EC2 operation=DescribeVolumes attempt=2",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	var counted int
	if _, after, ok := strings.Cut(r.stdout, "retries: "); ok {
		counted = int(number(t, strings.TrimSpace(after)))
	}
	if counted != failed {
		t.Errorf("the last line counts %d retries, want %d", counted, failed)
	}
	w.isMigrated(s)
	w.nothingLeft()
}
