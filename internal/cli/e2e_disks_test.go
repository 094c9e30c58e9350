package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
)

// testDisk is a kind of disk that people have.
type testDisk struct {
	name  string
	write func(t *testing.T, path string)
	// mixed disks are tried as lz4 over nvme and zstd over xvd, the others the
	// other way round: so each disk meets each codec and each naming.
	mixed bool
}

func testDisks() []testDisk {
	disks := []testDisk{
		{"ext4", func(t *testing.T, path string) { blank(t, path, 24<<20); mkfs(t, path, 0, "") }, true},
		{"gpt", func(t *testing.T, path string) {
			blank(t, path, 40<<20)
			tool(t, "label: gpt\nstart=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649\nstart=8192, type=linux\n", "sfdisk", "-q", path)
			mkfs(t, path, 8192*512, "35M")
		}, false},
		{"mbr", func(t *testing.T, path string) {
			blank(t, path, 32<<20)
			tool(t, "label: dos\nstart=2048, type=83, bootable\n", "sfdisk", "-q", path)
			mkfs(t, path, 2048*512, "30M")
		}, true},
		{"random", func(t *testing.T, path string) { noise(t, path, 10<<20+3*512) }, true},
		{"zeros", func(t *testing.T, path string) { blank(t, path, 48<<20) }, false},
		{"text", func(t *testing.T, path string) {
			writeFile(t, path, []byte(strings.Repeat("May the source be with you. ", (6<<20+1024)/28+1))[:6<<20+1024])
		}, false},
		{"sparse", func(t *testing.T, path string) {
			blank(t, path, 400<<20)
			for _, at := range []int64{0, 5 << 20, 100<<20 - 7, 200<<20 + 4096, 400<<20 - 512} {
				patch(t, path, at, []byte("an island"))
			}
		}, true},
		// Over 2 GiB, where 32 bits end.
		{"large", func(t *testing.T, path string) {
			blank(t, path, 3<<30)
			for _, at := range []int64{1<<30 - 7, 2<<30 - 4, 3<<30 - 512} {
				patch(t, path, at, []byte("an island"))
			}
		}, false},
	}
	// Around a sector, a block and a frame.
	for i, size := range []int64{512, 512<<10 - 512, 512 << 10, 512<<10 + 512, 4<<20 - 512, 4 << 20, 4<<20 + 512} {
		disks = append(disks, testDisk{
			fmt.Sprint(size), func(t *testing.T, path string) { noise(t, path, size) }, i%2 == 0,
		})
	}
	return disks
}

// TestDisks is what the program is for: whatever the disk holds, the programs
// that everybody has make it again from what is in the bucket.
func TestDisks(t *testing.T) {
	disks := testDisks()
	dir := t.TempDir()
	for _, d := range disks {
		d.write(t, filepath.Join(dir, d.name))
	}
	for _, codecName := range []string{"lz4", "zstd"} {
		for _, naming := range []string{"nvme", "xvd"} {
			t.Run(codecName+" "+naming, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, awssim.Config{Naming: naming})
				var all []subject
				for _, d := range disks {
					if d.mixed == ((codecName == "lz4") == (naming == "nvme")) {
						all = append(all, w.add(awssim.SnapshotSpec{
							Image: filepath.Join(dir, d.name), Description: "a disk of " + d.name, Tags: tagged("Name", d.name),
						}))
					}
				}
				w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--compression", codecName, "--jobs", "2")
				for _, s := range all {
					w.isArchived(s, s.key(codecName))
					w.isMigrated(s)
				}
				if n := len(w.objects()); n != 4*len(all) {
					t.Errorf("%d objects for %d snapshots, want 4 each", n, len(all))
				}
				w.nothingLeft()
			})
		}
	}
}

// isMigrated wants the snapshot's tags as they were, but for ours.
func (w *world) isMigrated(s subject) {
	w.t.Helper()
	w.isTagged(s, "migrated")
}

// isTagged is isMigrated for any value of our tag.
func (w *world) isTagged(s subject, value string) {
	w.t.Helper()
	got := w.sim.Tags(s.ID)
	if got["snap-to-s3"] != value {
		w.t.Errorf("%s is tagged %v", s.ID, got)
	}
	want := len(s.Tags)
	if _, there := s.Tags["snap-to-s3"]; !there {
		want++
	}
	for k, v := range s.Tags {
		if k != "snap-to-s3" && got[k] != v {
			w.t.Errorf("%s: tag %q is %q, was %q", s.ID, k, got[k], v)
		}
	}
	if len(got) != want {
		w.t.Errorf("%s has %d tags, want %d: %v", s.ID, len(got), want, got)
	}
}

// nothingLeft looks for what the run may have left on this machine and, before
// the sandbox does so at its end, in the account.
func (w *world) nothingLeft() {
	w.t.Helper()
	if files, err := os.ReadDir(w.stateDir()); err != nil || len(files) > 0 {
		w.t.Errorf("the folder of state files holds %v, %v", files, err)
	}
	if left := w.sim.Volumes(); slices.ContainsFunc(left, func(v awssim.VolumeInfo) bool { return v.State != "deleting" }) {
		w.t.Errorf("volumes left: %+v", left)
	}
	for _, u := range w.sim.Uploads(testBucket) {
		if !w.nameless || u.Parts > 0 {
			w.t.Errorf("upload left: %+v", u)
		}
	}
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, file := range backing {
		// A loop device of another test can go at any time.
		if name, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(name), w.dir) {
			w.t.Errorf("left: %s is over %s", file, name)
		}
	}
}

func blank(t *testing.T, path string, size int64) {
	t.Helper()
	writeFile(t, path, nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// noise writes bytes that nothing can compress, others for each size.
func noise(t *testing.T, path string, size int64) {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.NewChaCha8([32]byte{byte(size >> 9), byte(size >> 17), 7}).Read(data); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, data)
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func patch(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// mkfs puts an ext4 with some files into an image, at an offset.
func mkfs(t *testing.T, path string, offset int64, size string) {
	t.Helper()
	files := t.TempDir()
	noise(t, filepath.Join(files, "noise"), 1<<20)
	writeFile(t, filepath.Join(files, "text"), []byte(strings.Repeat("a line of text\n", 50_000)))
	args := []string{"-q", "-F", "-E", fmt.Sprintf("offset=%d", offset), "-d", files, path}
	if size != "" {
		args = append(args, size)
	}
	tool(t, "", "mkfs.ext4", args...)
}

// tool runs a program of the system; a test that needs a missing one is skipped.
func tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
