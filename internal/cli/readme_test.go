package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/filesystem"
)

const (
	readmeSnapshot = "snap-0123456789abcdef0"
	readmeDemo     = "go run ./cmd/snap-to-s3 demo" // TestDemo runs it
)

// readmeBlocks are the ```console blocks of README.md, each a list of the lines
// that a person types.
func readmeBlocks(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]string
	for _, m := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		var lines []string
		for line := range strings.Lines(m[1]) {
			typed, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
			if !ok {
				t.Errorf("README.md: %q in a console block is not a line that is typed", line)
			}
			lines = append(lines, typed)
		}
		blocks = append(blocks, lines)
	}
	if len(blocks) < 4 {
		t.Fatalf("README.md has %d console blocks", len(blocks))
	}
	return blocks
}

// readmePrelude makes the README's commands reach the sandbox, and nothing else.
const readmePrelude = `set -e -o pipefail
sudo() { "$@"; }
aws() {
	case $1 in
	s3|s3api) command aws --endpoint-url "$AWS_ENDPOINT_URL_S3" "$@" ;;
	ec2) command aws --endpoint-url "$AWS_ENDPOINT_URL_EC2" "$@" ;;
	*) echo "the README test knows no aws $1" >&2; return 1 ;;
	esac
}
`

// TestReadme types what README.md says, line by line, each block on an account
// of its own, and so each line that would find its work done already.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "aws", "zstd"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	seen := map[string]int{}
	for _, lines := range readmeBlocks(t) {
		t.Run(lines[0], func(t *testing.T) {
			if needsRoot(lines[0]) && filesystem.Usable() != nil {
				t.Skipf("%s: only root may mount", lines[0])
			}
			w := newReadmeWorld(t, lines)
			for _, line := range lines {
				if needsRoot(line) && filesystem.Usable() != nil {
					t.Skipf("%s: only root may mount", line)
				}
				if done := w.sim.Tags(readmeSnapshot)["snap-to-s3"]; done == "migrated" && strings.Contains(line, "migrate ") || done == "validated" {
					w.nothingLeft()
					w = newReadmeWorld(t, []string{line})
				}
				if proves(line) && len(w.objects()) == 0 {
					w.ok("migrate", "--all", "--bucket", testBucket)
				}
				seen[w.types(line)]++
			}
			w.nothingLeft()
		})
	}
	// The test itself must not run dry when the README is written anew.
	for kind, least := range map[string]int{"make": 2, "demo": 1, "migrate": 6, "validate": 3, "verify": 3, "gpg": 1, "analyze": 4, "dry run": 1, "restore": 2, "aws": 1, "other": 2} {
		if seen[kind] < least {
			t.Errorf("%d lines of kind %q in README.md, want %d at least", seen[kind], kind, least)
		}
	}
}

// readmeWorld is what the README takes for granted: a tagged snapshot, a
// bucket, and where a disk is brought back, its key and an empty device.
type readmeWorld struct {
	*world
	s              subject
	device, folder string
}

// tar is the key of the archive of the demo disk's partition.
func (s subject) tar(codecName string) string {
	return strings.Replace(s.key(codecName), ".img.", ".1.tar.", 1)
}

// proves tells whether a line looks at archives that are there already.
func proves(line string) bool {
	return strings.Contains(line, "snap-to-s3 validate ") || strings.Contains(line, "--validate --bucket") || strings.Contains(line, "verify ")
}

// needsRoot tells whether a line mounts: only root may.
func needsRoot(line string) bool {
	return strings.Contains(line, "$TAR") || proves(line) ||
		strings.Contains(line, "migrate ") && !strings.Contains(line, "--dd") && !strings.Contains(line, "--help")
}

func newReadmeWorld(t *testing.T, lines []string) *readmeWorld {
	w := &readmeWorld{world: newWorld(t, awssim.Config{})}
	tags := tagged("Name", "web-1")
	if strings.Contains(lines[0], "create-tags") {
		delete(tags, "snap-to-s3")
	}
	image := filepath.Join(w.dir, "disk.img")
	if err := writeDemoImage(image); err != nil {
		t.Fatal(err)
	}
	w.s = w.add(awssim.SnapshotSpec{Image: image, ID: readmeSnapshot, Tags: tags, Description: "nightly of web-1"})
	w.device, w.folder = filepath.Join(w.dir, "device"), filepath.Join(w.dir, "folder")
	if err := os.Mkdir(w.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.stateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	w.extra = []string{
		"AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=false", "AWS_DEFAULT_REGION=us-east-1",
		"KEY=" + w.s.key("zstd"), "DEVICE=" + w.device, "TAR=" + w.s.tar("zstd"), "FOLDER=" + w.folder,
	}
	switch all := strings.Join(lines, "\n"); {
	case strings.Contains(all, "analyze"):
		w.bill(billtest.New(1, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1), billtest.LegacyCSV, billtest.Daily, "costreport-1.csv.gz")
	case strings.Contains(all, "--gpg-recipient"):
		keys := newKeyring(t)
		keys.makes("backups@example.com", "")
		w.extra = append(w.extra, keys.env())
	case strings.Contains(all, "$KEY"):
		w.ok("migrate", "--dd", "--all", "--bucket", testBucket)
	case strings.Contains(all, "$TAR"):
		w.ok("migrate", "--all", "--bucket", testBucket)
	}
	return w
}

// types runs one line, looks at what came of it and says of which kind it was.
func (w *readmeWorld) types(line string) string {
	w.t.Helper()
	if target, ok := strings.CutPrefix(line, "make "); ok {
		w.hasTarget(target)
		return "make"
	}
	if line == readmeDemo {
		return "demo"
	}
	tag := w.sim.Tags(readmeSnapshot)["snap-to-s3"]
	w.shell(strings.Replace(line, "./bin/snap-to-s3", "snap-to-s3", 1))
	now := w.sim.Tags(readmeSnapshot)["snap-to-s3"]
	switch {
	case strings.Contains(line, "--dry-run"):
		if tag != "migrate" || now != tag || len(w.objects()) > 0 {
			w.t.Errorf("%s: tag %q became %q, %d objects", line, tag, now, len(w.objects()))
		}
		return "dry run"
	case strings.Contains(line, "create-tags"):
		if now != "migrate" {
			w.t.Errorf("%s: the tag is %q", line, now)
		}
		return "aws"
	case strings.Contains(line, "dd bs="):
		w.isRestored()
		return "restore"
	case strings.Contains(line, "tar -x"):
		if host, err := os.ReadFile(filepath.Join(w.folder, "etc", "hostname")); err != nil || string(host) != "demo.example.com\n" {
			w.t.Errorf("%s: etc/hostname is %q, %v", line, host, err)
		}
		return "restore"
	case strings.Contains(line, "--gpg-recipient"):
		if _, there := w.sim.Object(testBucket, w.s.tar("zstd")+".gpg"); !there || now != "migrated" {
			w.t.Errorf("%s: the tag is %q, the encrypted archive is there: %t", line, now, there)
		}
		return "gpg"
	case strings.Contains(line, "verify "):
		return "verify"
	case strings.Contains(line, "analyze"):
		return "analyze"
	case strings.Contains(line, "validate "):
		if now != "validated" {
			w.t.Errorf("%s: the tag is %q", line, now)
		}
		return "validate"
	case strings.Contains(line, "migrate ") && !strings.Contains(line, "--help"):
		codecName := "zstd"
		if strings.Contains(line, "lz4") || strings.Contains(line, "--migrate") {
			codecName = "lz4"
		}
		if now != "migrated" {
			w.t.Errorf("%s: the tag is %q", line, now)
		}
		w.s.Tags = tagged("Name", "web-1")
		if strings.Contains(line, "--dd") {
			w.isArchived(w.s, w.s.key(codecName))
			return "migrate"
		}
		for _, key := range []string{w.s.tar(codecName), strings.Replace(w.s.key(codecName), ".img.", ".0.img.", 1)} {
			if _, there := w.sim.Object(testBucket, key); !there {
				w.t.Errorf("%s: no object %s", line, key)
			}
		}
		return "migrate"
	}
	return "other"
}

func (w *readmeWorld) shell(line string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", readmePrelude+line)
	cmd.Env, cmd.Dir = w.command().Env, w.dir
	out, err := cmd.CombinedOutput()
	w.t.Logf("$ %s\n%s", line, out)
	if err != nil {
		w.t.Errorf("%s: %v", line, err)
	}
}

func (w *readmeWorld) isRestored() {
	w.t.Helper()
	got, err := os.ReadFile(w.device)
	if err != nil {
		w.t.Fatal(err)
	}
	want, err := os.ReadFile(w.s.Image)
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		w.t.Errorf("the device holds %d bytes that are not the disk's %d", len(got), len(want))
	}
}

// hasTarget: a test cannot run all tests; that the target is there, and that CI
// runs it, must do.
func (w *readmeWorld) hasTarget(name string) {
	w.t.Helper()
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		w.t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `:.*\n\t`).Match(makefile) {
		w.t.Errorf("the Makefile has no target %q with a command", name)
	}
}
