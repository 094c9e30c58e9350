package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
)

func migrateTrees(more ...string) []string {
	return append([]string{"migrate", "--bucket", testBucket}, more...)
}

// TestTreesOfEachDisk is what the program is for without --dd: whatever the
// layout, GNU tar makes the files of each partition again, and dd the rest.
func TestTreesOfEachDisk(t *testing.T) {
	treetest.Require(t, "sfdisk", "tar", "zstd", "lz4")
	for i, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range treetest.Disks() {
			if !yield(n) {
				return
			}
		}
	}) {
		if name == "lvm" {
			continue // TestADiskThatCannotBeReadAsFiles
		}
		codec, naming := []string{"zstd", "lz4"}[i%2], []string{"nvme", "xvd"}[i/2%2]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, plan := treetest.Disk(t, treetest.Disks()[name])
			w := newWorld(t, awssim.Config{Naming: naming})
			d := w.addDisk(image, plan, awssim.SnapshotSpec{Description: "a disk: " + name, Tags: tagged("Name", name)})
			d.codec = codec
			r := w.ok(migrateTrees("--all", "--compression", codec, "--output", "json")...)
			w.hasObjects(d)
			rec := d.isRestored(t, w.view)
			w.isMigrated(d.subject)
			w.freeHost()
			d.isTold(t, r.jsonLines(t), rec)
			w.sizesAreDus(d)
		})
	}
}

// isTold wants the lines of --output json to say what became of each part.
func (d treeDisk) isTold(t *testing.T, lines []jsonLine, rec layout.SnapshotRecord) {
	t.Helper()
	got := map[any]jsonLine{}
	var last jsonLine
	for _, l := range lines {
		switch l.kind() {
		case "partition":
			got[l["partition"]] = l
		case "snapshot":
			last = l
		}
	}
	want := map[any]jsonLine{}
	var keys []any
	var entries int64
	for _, p := range d.parts(t) {
		if p.stored() {
			keys = append(keys, d.partKey(p))
		}
		if p.part == layout.Head {
			continue
		}
		l := jsonLine{"v": 1.0, "type": "partition", "snapshot": d.ID, "partition": float64(p.Number), "content": p.Holds, "size": float64(p.Length)}
		if p.Holds == treetest.Noise || p.Holds == treetest.Zero {
			l["content"] = ""
		}
		switch p.fate {
		case "tar":
			l["plan"], l["entries"] = "files", float64(len(p.Want))
			entries += int64(len(p.Want))
			var files float64
			for _, r := range p.Want {
				if r.Type == treetest.File && r.Link == "" {
					files++
				}
			}
			l["files"], l["file_bytes"] = files, got[float64(p.Number)]["file_bytes"]
		case "img":
			l["plan"], l["why"] = "raw", got[float64(p.Number)]["why"]
		default:
			l["plan"], l["why"] = "skip", p.fate
		}
		want[float64(p.Number)] = l
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partition lines (-want +got):\n%s", diff)
	}
	told, _ := last["keys"].([]any)
	byText := func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	slices.SortFunc(told, byText)
	slices.SortFunc(keys, byText)
	if diff := cmp.Diff(keys, told); diff != "" {
		t.Errorf("keys of the snapshot line (-want +got):\n%s", diff)
	}
	if last["outcome"] != "migrated" || last["entries"] != float64(entries) ||
		last["plain_size"] != float64(rec.Totals.PlainSize) || last["stored_size"] != float64(rec.Totals.StoredSize) {
		t.Errorf("snapshot line %v, want %d entries and the totals %+v", last, entries, rec.Totals)
	}
}

// sizesAreDus wants the uncompressed size in an archive's metadata to be what the
// predecessor took: that of du --bytes.
func (w *world) sizesAreDus(d treeDisk) {
	w.t.Helper()
	for _, p := range d.parts(w.t) {
		if !p.stored() {
			continue
		}
		o, _ := w.sim.Object(testBucket, d.partKey(p))
		want := fmt.Sprint(p.Length)
		if p.fate == "tar" {
			at := treetest.Mounted(w.t, d.Image, p.Start, "ro")
			want, _, _ = strings.Cut(tool(w.t, "", "du", "--bytes", "--summarize", at), "\t")
			treetest.Unmount(w.t, at)
		}
		if got := o.Metadata["uncompressed-size"]; got != want {
			w.t.Errorf("partition %d: uncompressed-size is %s, want %s", p.Number, got, want)
		}
		if got := o.Metadata["snapshot-snapshotid"]; got != d.ID || layout.Description(o.Metadata) != d.Description {
			w.t.Errorf("partition %d: metadata %v", p.Number, o.Metadata)
		}
	}
}

// A partition that has neither files nor a size that could be stored unasked
// fails the snapshot while nothing is in the bucket yet; each way on leads on.
func TestADiskThatCannotBeReadAsFiles(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "pvcreate", "tar", "zstd")
	image, plan := treetest.Disk(t, treetest.Disks()["lvm"])
	w := newWorld(t, awssim.Config{})
	d := w.addDisk(image, plan, awssim.SnapshotSpec{})
	r := w.run(migrateTrees("--all")...)
	for _, way := range []string{"--raw-partition 2", "--skip-partition 2", "--dd"} {
		r.says(t, exitFailed, "partition 2 (LVM2_member, 1.2 GiB)", way)
	}
	r.oneLineEach(t)
	if len(w.objects()) > 0 || w.called("PutObject")+w.called("CreateMultipartUpload") > 0 {
		t.Errorf("there are objects: %v", w.objects())
	}
	if tags := w.sim.Tags(d.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
		t.Errorf("tags %v", tags)
	}
	w.freeHost()

	d.skip = []int{2}
	r = w.ok(migrateTrees("--all", "--skip-partition", "2", "--skip-partition", "9")...)
	if !strings.Contains(r.stderr, "this disk has no such partition") || !strings.Contains(r.stderr, "partition=9") {
		t.Error("no warning of a partition that is not there")
	}
	if !strings.Contains(r.stderr, "plan=skip") || !strings.Contains(r.stderr, `why="asked for"`) {
		t.Error("nothing says that a partition is skipped")
	}
	w.hasObjects(d)
	d.skip = []int{2, 9} // the choice as it was made
	d.isRestored(t, w.view)
	w.freeHost()

	w.again(d.subject)
	d.raw, d.skip = []int{2}, nil
	r = w.ok(migrateTrees("--all", "--raw-partition", "2")...)
	if !strings.Contains(r.stderr, ".1.tar.zstd is whole already: kept") {
		t.Error("the first partition was not kept")
	}
	w.hasObjects(d)
	d.isRestored(t, w.view)
	w.isMigrated(d.subject)
	w.freeHost()
}

// TestTreesInAStoreOfSomebodyElse migrates a disk of each kind of part into
// versitygw, an S3 server that shares no code with us.
func TestTreesInAStoreOfSomebodyElse(t *testing.T) {
	treetest.Require(t, "sfdisk", "tar", "zstd")
	w := newWorld(t, awssim.Config{})
	server := w.versitygw()
	folder := filepath.Join(server.Dir, testBucket)
	view := func(key string) ([]byte, bool) {
		data, err := os.ReadFile(filepath.Join(folder, key))
		return data, err == nil
	}
	for _, name := range []string{"ubuntu", "swap", "mbr"} {
		image, plan := treetest.Disk(t, treetest.Disks()[name])
		d := w.addDisk(image, plan, awssim.SnapshotSpec{Description: "Platte für " + name})
		flags := migrateTrees("--endpoint-url", server.Endpoint, d.ID)
		r := w.ok(flags...)
		d.isRestored(t, view)
		w.isMigrated(d.subject)
		for _, p := range d.parts(t) {
			if !p.stored() && !strings.Contains(r.stderr, fmt.Sprintf("partition=%d ", p.Number)) {
				t.Errorf("%s: nothing says that partition %d is skipped: %s", name, p.Number, p.fate)
			}
		}
		w.again(d.subject)
		if r := w.ok(flags...); !strings.Contains(r.stdout, "0 migrated, 1 kept") || w.called("CreateVolume") > 0 {
			t.Errorf("%s again: %s", name, r.stdout)
		}
	}
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects went to the wrong store", n)
	}
	w.freeHost()
}

// What runs on a machine while its snapshot is taken is not on disk yet: the
// tree is the one that the journal makes.
func TestTreesThatWereInUse(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
	w := newWorld(t, awssim.Config{})
	var all []treeDisk
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		image, want := treetest.Dirty(t, fs)
		all = append(all, w.addDisk(image, bareDisk(fs, want), awssim.SnapshotSpec{Description: "dirty " + fs}))
	}
	w.ok(migrateTrees("--all", "--jobs", "2")...)
	for _, d := range all {
		d.isRestored(t, w.view)
		w.isMigrated(d.subject)
	}
	w.hasObjects(all...)
	w.freeHost()
}

// Subvolumes of a btrfs are folders of the tree, and named.
func TestTreesWithSubvolumes(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "tar", "zstd", "mkfs.btrfs", "btrfs")
	image, at := treetest.Subvolumes(t)
	want := treetest.Read(t, at, treetest.ReadOptions{})
	treetest.Unmount(t, at)
	w := newWorld(t, awssim.Config{})
	d := w.addDisk(image, bareDisk("btrfs", want), awssim.SnapshotSpec{})
	r := w.ok(migrateTrees("--all")...)
	d.isRestored(t, w.view)
	subvolumes := map[string]bool{}
	entries, _ := w.view("manifests/" + d.partKey(d.parts(t)[0]) + ".entries")
	for _, row := range readRows(t, entries) {
		if row.Entry != nil && row.Entry.Subvolume {
			subvolumes[row.Entry.Path] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"@": true, "@home": true, "folder/inner": true, "snapshot": true}, subvolumes); diff != "" {
		t.Errorf("subvolumes in the entries (-want +got):\n%s", diff)
	}
	if !strings.Contains(r.stderr, "4 btrfs subvolume(s) are stored as folders: ./@, ./@home, ./folder/inner, ./snapshot") {
		t.Error("the subvolumes are not named")
	}
	w.freeHost()
}

// Without the rights to mount it says so before anything is touched.
func TestTreesWithoutRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(mib, awssim.SnapshotSpec{})
	cmd := w.command(migrateTrees("--all")...)
	asNobody(t, cmd)
	r := w.start(cmd).ends()
	r.says(t, exitFailed, "the files of a disk cannot be read", "--dd")
	r.says(t, exitFailed, "the files of a disk cannot be read", "root")
	r.oneLineEach(t)
	if tags := w.sim.Tags(s.ID); len(tags) != 1 || len(w.sim.Volumes())+len(w.objects()) > 0 {
		t.Errorf("tags %v, volumes %v, objects %v", tags, w.sim.Volumes(), w.objects())
	}
	for _, action := range touching() {
		if w.called(action) > 0 {
			t.Errorf("%s was called", action)
		}
	}
}

// asNobody has a command run without any rights. The program is copied to where
// everybody can read it.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	//nolint:usetesting // the parents of t.TempDir are closed to other users
	dir, err := os.MkdirTemp("", "snap-to-s3-trees-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "snap-to-s3")
	copyProgram(t, cmd.Path, copied)
	cmd.Path, cmd.Dir = copied, dir
	cmd.Env = append(cmd.Env, "HOME="+dir, "SNAP_TO_S3_STATE_DIR="+filepath.Join(dir, "state"))
	cmd.SysProcAttr = credentialOfNobody(t)
}
