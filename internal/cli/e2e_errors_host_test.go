package cli

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

func snapshotFailures() []failure {
	named := func(id string) []string {
		return []string{"migrate", "--dd", "--bucket", testBucket, "--snapshots", id}
	}
	full := map[string]string{}
	for i := range 50 {
		full["tag-"+strings.Repeat("x", i)] = "v"
	}
	return []failure{
		{
			name: "snapshot unknown", whole: named("snap-0123456789abcdef9"), never: touching(),
			says: []string{"snapshot snap-0123456789abcdef9 does not exist in us-east-1, or is not owned by this account"}, hint: "check the id",
		},
		{
			name: "snapshot malformed", whole: named("snap-0123456789ABCDEFG"), code: exitUsage, never: touching(),
			says: []string{`"snap-0123456789ABCDEFG" is not a snapshot id`}, hint: "--help",
		},
		{
			name: "snapshot pending", spec: awssim.SnapshotSpec{State: "pending"}, never: touching(),
			says: []string{"is not completed yet"}, hint: "aws ec2 wait snapshot-completed",
		},
		{
			name: "snapshot in error", spec: awssim.SnapshotSpec{State: "error", StateMessage: "the key is gone"}, never: touching(),
			says: []string{`is in state "error": the key is gone`}, hint: "only completed snapshots",
		},
		{
			name: "snapshot archived", spec: awssim.SnapshotSpec{Archived: true}, never: touching(),
			says: []string{"is in the archive tier"}, hint: "aws ec2 restore-snapshot-tier --snapshot-id snap-",
		},
		{
			name: "snapshot of another account", spec: awssim.SnapshotSpec{OwnerID: "999988887777"}, never: touching(),
			says: []string{"is not owned by this account"}, hint: "must be copied first",
		},
		{
			name: "no room for the tag", spec: awssim.SnapshotSpec{Tags: full}, never: touching(),
			says: []string{"it has 50 tags, the most there can be"}, hint: "aws ec2 delete-tags --resources snap-",
		},
		{
			name: "claimed elsewhere", code: exitClaimed, never: touching(),
			spec: awssim.SnapshotSpec{Tags: otherRuns(time.Now())},
			says: []string{"owner i-0fedcba9876543210, run other", "1 of 1 snapshot is claimed elsewhere"}, hint: "60 minutes",
		},
	}
}

// otherRuns are the tags of a claim that another run has renewed then.
func otherRuns(renewed time.Time) map[string]string {
	return map[string]string{
		"snap-to-s3": "migrating", "snap-to-s3-id": "4711",
		"snap-to-s3-owner": "i-0fedcba9876543210/boot/other/" + unix(renewed) + "/migrate",
	}
}

func hostFailures() []failure {
	folder := func(path func(*world) string) func(*world, *subject) {
		return func(w *world, _ *subject) { w.extra = []string{"SNAP_TO_S3_STATE_DIR=" + path(w)} }
	}
	return []failure{
		{
			name: "no folder for the state file", setUp: folder(func(w *world) string {
				file := filepath.Join(w.dir, "file")
				writeFile(w.t, file, nil)
				return filepath.Join(file, "state")
			}),
			says: []string{"create the state file of this run in ", "not a directory"}, hint: "SNAP_TO_S3_STATE_DIR", never: touching(),
		},
		{
			name: "the state file's folder cannot be written", setUp: folder(func(w *world) string {
				dir := smallDisk(w.t, filepath.Join(w.dir, "readonly"), "ro,size=64k")
				return filepath.Join(dir, "state")
			}),
			says: []string{"create the state file of this run in ", "read-only file system"}, hint: "SNAP_TO_S3_STATE_DIR", never: touching(),
		},
		{
			name: "the state file's disk is full", setUp: folder(func(w *world) string {
				dir := smallDisk(w.t, filepath.Join(w.dir, "full"), "size=64k")
				writeFile(w.t, filepath.Join(dir, "filler"), make([]byte, 64<<10))
				return dir
			}),
			says: []string{"create the state file of this run in ", "no space left on device"}, hint: "see that there is room", never: touching(),
		},
		{
			name: "kept volumes cannot be mounted there", root: "filesystems are mounted",
			setUp: func(w *world, _ *subject) { smallDisk(w.t, filepath.Join(w.dir, "readonly"), "ro,size=64k") },
			whole: []string{"migrate", "--bucket", testBucket, "--all", "--keep-temp-volumes", "--mount-point", "$DIR/readonly/deeper/mounts"},
			says:  []string{"no folders to mount at can be made in ", "read-only file system"}, hint: "--mount-point FOLDER", never: touching(),
		},
		{
			name: "no room for parts", size: 70 * mib,
			args: []string{"--part-size", "65MiB", "--spool", "$DIR/spool"},
			setUp: func(w *world, _ *subject) {
				smallDisk(w.t, filepath.Join(w.dir, "spool"), "size=1m")
			},
			says: []string{"warning: the --spool folder may have too little room for parts", "spool a part to ", "no space left on device"}, hint: "the --spool folder needs room",
		},
	}
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
