package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/layout"
)

// updateTraces writes testdata/*.trace instead of comparing.
var updateTraces = flag.Bool("update", false, "write testdata/*.trace from what was called")

const compatKey = "aaaabbbb-cccc-dddd-eeee-ffff00001111"

// TestTheOldCommandLines runs what the predecessor's README has for --dd, and
// each of its options that concern an image, as they stand there. ID1 and ID2
// are two snapshots of three, all tagged.
func TestTheOldCommandLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line  string
		codec string
		want  []int // which of the three are migrated; -1: any one
		check func(t *testing.T, w *world, rec layout.ArchiveRecord, o awssim.Object)
	}{
		{line: "--migrate --dd --all --bucket BUCKET", want: []int{0, 1, 2}},
		{line: "--migrate --all --dd --bucket=BUCKET", want: []int{0, 1, 2}},
		{line: "--dd --bucket BUCKET --all --migrate", want: []int{0, 1, 2}},
		{line: "--migrate --one --dd --bucket BUCKET", want: []int{-1}},
		{line: "--migrate --dd --bucket BUCKET --snapshots ID2", want: []int{1}},
		{line: "--migrate --dd --bucket BUCKET --snapshots ID1 ID2", want: []int{0, 1}},
		{line: "--migrate --dd --snapshots ID1 --bucket BUCKET --snapshots ID2", want: []int{0, 1}},
		{line: "--migrate --snapshots ID1 ID2 --dd --bucket BUCKET", want: []int{0, 1}},
		{line: "--migrate --dd --all --bucket BUCKET --upload-streams 4", want: []int{0, 1, 2}},
		{line: "--migrate --dd --snapshots ID1 --bucket BUCKET --compression zstd", codec: "zstd", want: []int{0}},
		{
			line: "--migrate --dd --snapshots ID1 --bucket BUCKET --compression zstd --compression-level 9", codec: "zstd", want: []int{0},
			check: func(t *testing.T, _ *world, rec layout.ArchiveRecord, _ awssim.Object) { wantSame(t, rec.Level, 9) },
		},
		{
			line: "--migrate --dd --snapshots ID1 --bucket BUCKET --compression-level 9", want: []int{0},
			check: func(t *testing.T, _ *world, rec layout.ArchiveRecord, _ awssim.Object) { wantSame(t, rec.Level, 9) },
		},
		{
			line: "--migrate --dd --sse --snapshots ID1 --bucket BUCKET", want: []int{0},
			check: func(t *testing.T, w *world, _ layout.ArchiveRecord, o awssim.Object) {
				wantSame(t, o.Encryption, "AES256")
				wantSame(t, w.asked("server-side-encryption=AES256") > 0, true)
			},
		},
		{
			line: "--migrate --dd --sse aws:kms --sse-kms-key-id " + compatKey + " --snapshots ID1 --bucket BUCKET", want: []int{0},
			check: func(t *testing.T, _ *world, _ layout.ArchiveRecord, o awssim.Object) {
				wantSame(t, o.KMSKey, "arn:aws:kms:us-east-1:111122223333:key/"+compatKey)
			},
		},
		{
			line: "--migrate --dd --snapshots ID1 --bucket BUCKET --volume-type standard", want: []int{0},
			check: func(t *testing.T, w *world, rec layout.ArchiveRecord, _ awssim.Object) {
				wantSame(t, w.asked("CreateVolume "+string(rec.Snapshot)+" standard"), 1)
			},
		},
		{
			line: "--migrate --dd --snapshots ID1 --bucket BUCKET --volume-type gp2 --mount-point /mnt/nowhere", want: []int{0},
			check: func(t *testing.T, w *world, rec layout.ArchiveRecord, _ awssim.Object) {
				wantSame(t, w.asked("CreateVolume "+string(rec.Snapshot)+" gp2"), 1)
			},
		},
		{
			line: "--migrate --dd --snapshots ID1 --keep-temp-volumes --bucket BUCKET", want: []int{0},
			check: func(t *testing.T, w *world, _ layout.ArchiveRecord, _ awssim.Object) {
				wantSame(t, len(w.sim.Volumes()), 1)
				w.leftovers = true
			},
		},
	} {
		w := newWorld(t, awssim.Config{})
		w.sim.AddKMSKey(awssim.KMSKey{ID: compatKey})
		var all []subject
		for range 3 {
			all = append(all, w.noisy(64<<10, awssim.SnapshotSpec{}))
		}
		line := strings.NewReplacer("BUCKET", testBucket, "ID1", all[0].ID, "ID2", all[1].ID).Replace(c.line)
		w.ok(strings.Fields(line)...)
		if c.codec == "" {
			c.codec = "lz4"
		}
		var done []int
		for i, s := range all {
			if w.sim.Tags(s.ID)["snap-to-s3"] == "migrate" {
				continue
			}
			done = append(done, i)
			w.isMigrated(s)
			rec := w.isArchived(s, s.key(c.codec))
			if o, _ := w.sim.Object(testBucket, s.key(c.codec)); c.check != nil {
				c.check(t, w, rec, o)
			}
		}
		if slices.Equal(c.want, []int{-1}) && len(done) == 1 {
			done = c.want
		}
		if diff := cmp.Diff(c.want, done); diff != "" {
			t.Errorf("%s: migrated (-want +got):\n%s", c.line, diff)
		}
		if !w.leftovers {
			w.nothingLeft()
		}
	}
}

func wantSame[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// asked counts calls whose line in the trace holds the text.
func (w *world) asked(text string) (n int) {
	for _, c := range w.sim.Calls() {
		if strings.Contains(c.String(), text) {
			n++
		}
	}
	return n
}

// TestAnotherTag: everything that is driven by the tag is by its given name.
func TestAnotherTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(64<<10, awssim.SnapshotSpec{Tags: map[string]string{"to-glacier": "migrate", "snap-to-s3": "mine"}})
	w.ok("--migrate", "--dd", "--all", "--tag", "to-glacier", "--bucket", testBucket)
	w.isArchived(s, s.key("lz4"))
	want := map[string]string{"to-glacier": "migrated", "snap-to-s3": "mine"}
	if diff := cmp.Diff(want, w.sim.Tags(s.ID)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	o, _ := w.sim.Object(testBucket, s.key("lz4"))
	if diff := cmp.Diff([]awssim.ObjectTag{{Key: "snap-to-s3", Value: "mine"}}, o.Tags); diff != "" {
		t.Errorf("object tags (-want +got):\n%s", diff)
	}
	if w.asked(" snap-to-s3=") > 0 {
		t.Errorf("a tag of the default name was written or asked for")
	}
	w.nothingLeft()
}

// TestTraceOfTheOldStyle holds the calls of one migration to a golden file: the
// tags move as the predecessor's do, and are completed as ours are: the new
// value first, then id and owner by key and value.
func TestTraceOfTheOldStyle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(64<<10, awssim.SnapshotSpec{
		ID: "snap-0123456789abcdef0", Description: "nightly of web-1", Tags: tagged("Name", "web-1"),
		Start: time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	w.ok("--migrate", "--dd", "--all", "--bucket", testBucket)
	w.isArchived(s, s.key("lz4"))
	got := w.trace()
	golden := filepath.Join("testdata", "migrate-old-style.trace")
	if *updateTraces {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("calls (-want +got); go test ./internal/cli -run %s -update writes %s:\n%s", t.Name(), golden, diff)
	}
}

// trace is the calls of EC2 and S3 so far, without what differs from run to run.
// A call that only repeats the one before it, as waiting does, stands once.
func (w *world) trace() string {
	hide := []struct {
		what *regexp.Regexp
		by   string
	}{
		{regexp.MustCompile(`i-[0-9a-f]+/[^/ ]+/[^/ ]+/\d+/`), "HOST/BOOT/RUN/TIME/"},
		{regexp.MustCompile(`-id=\d+`), "-id=NUMBER"},
		{regexp.MustCompile(`/dev/sd[f-z]`), "/dev/sdX"},
		{regexp.MustCompile(`if-match="?[0-9a-f]+(-\d+)?"?`), "if-match=ETAG"},
	}
	var lines []string
	for _, c := range w.sim.Calls() {
		if c.Service == "imds" {
			continue
		}
		line := c.String()
		for _, h := range hide {
			line = h.what.ReplaceAllString(line, h.by)
		}
		if len(lines) == 0 || lines[len(lines)-1] != line {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// policyActions are the actions that a policy in docs allows.
func policyActions(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct {
			Effect string
			Action any
		}
	}
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, s := range policy.Statement {
		switch a := s.Action.(type) {
		case string:
			actions = append(actions, a)
		case []any:
			for _, one := range a {
				actions = append(actions, one.(string))
			}
		}
		if s.Effect != "Allow" {
			t.Errorf("%s: a statement that is %q", name, s.Effect)
		}
	}
	return actions
}

// TestPolicies runs all kinds of migration under exactly the rights of the
// predecessor's policy, where S3 does not tell missing from forbidden, and of
// ours, where nothing at all may be refused.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for file, ours := range map[string]bool{"iam-policy-predecessor.json": false, "iam-policy.json": true} {
		w := newWorld(t, awssim.Config{})
		w.sim.SetPolicy(policyActions(t, file))
		s := w.noisy(6<<20, awssim.SnapshotSpec{Tags: tagged("Name", "web")})
		for _, line := range []string{
			"--migrate --dd --all",
			"migrate --dd --all --part-size 5MiB --storage-class GLACIER_IR",
			"migrate --dd --all", // kept
			"migrate --dd --all --overwrite --sse aws:kms",
			"migrate --dd --all --dry-run",
			"--migrate --dd --snapshots " + s.ID,
		} {
			w.again(s)
			w.ok(append(strings.Fields(line), "--bucket", testBucket)...)
			forbidden := 0
			for _, c := range w.sim.Calls() {
				if c.Status != 403 {
					continue
				}
				forbidden++
				if ours || !slices.Contains([]string{"HeadObject", "GetObject"}, c.Action) {
					t.Errorf("%s: %s: refused: %s", file, line, c)
				}
			}
			if !ours && forbidden == 0 {
				t.Errorf("%s: %s: a missing object was not forbidden: the policy is not in force", file, line)
			}
			if !strings.Contains(line, "dry-run") {
				w.isMigrated(s)
			}
		}
		w.isArchived(s, s.key("lz4"))
		w.isArchived(s, s.key("zstd"))
		w.nothingLeft()
		w.again(s)
		w.ok("migrate", "--dd", "--all", "--overwrite", "--keep-temp-volumes", "--bucket", testBucket)
		if w.leftovers = true; len(w.sim.Volumes()) != 1 {
			t.Errorf("--keep-temp-volumes left %+v", w.sim.Volumes())
		}
	}
}
