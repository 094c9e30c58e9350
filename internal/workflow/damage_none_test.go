package workflow_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/workflow"
)

// proven archives a snapshot and validates it, in one run and in two, and verifies
// what it has stored: there is nothing to be found.
func proven(t *testing.T, image string, change ...func(*workflow.Migrator)) {
	t.Helper()
	w := worldOf(t, image)
	change = append([]func(*workflow.Migrator){withTrees}, change...)
	r := w.quickRun(append(change, andValidate)...).do(t.Context(), named(first))
	if r.err != nil || r.sum.Validated != 1 || len(r.report.differences) > 0 || len(r.report.lefts()) > 0 {
		t.Errorf("in one run: %v, %+v, %v, left %v: %v", r.err, r.sum, errs(r), r.report.lefts(), r.report.differences)
	}
	w.tagged(catalog.Validated)
	w.same(change...)
	w.empty()
	for name, depth := range map[string]func(*workflow.Verifier){"whole": func(*workflow.Verifier) {}, "sample": sampled(0.3), "quick": quick} {
		if v := verifyAll(t, w.store, depth); v.err != nil || v.sum.Failed+v.sum.Different > 0 || len(v.differences) > 0 {
			t.Errorf("verify, %s: %v", name, v)
		}
	}
	noLoops(t, image)
}

// Every case of a tree, on every filesystem.
func TestNoFalseAlarmOfTrees(t *testing.T) {
	t.Parallel()
	for _, fs := range treetest.Filesystems() {
		t.Run(fs, func(t *testing.T) {
			image := treetest.Image(t, fs, 400<<20)
			at := treetest.Mounted(t, image, 0)
			treetest.Make(t, at, treetest.Options{Filesystem: fs, Huge: true, Many: 300})
			treetest.Unmount(t, at)
			proven(t, image)
		})
	}
}

// Mounts as they stand in the table, for kernels that know no others.
func TestNoFalseAlarmOfPlainMounts(t *testing.T) {
	image, _ := damageDisk(t)
	proven(t, image, func(m *workflow.Migrator) { m.Mounts = workflow.Mounts{Folder: t.TempDir(), Plain: true} })
}

// A disk of a machine that was running: what the journal holds counts.
func TestNoFalseAlarmOfDirtyJournals(t *testing.T) {
	t.Parallel()
	for _, fs := range []string{"ext3", "ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			image, _ := treetest.Dirty(t, fs)
			proven(t, image)
			if fs == "ext4" {
				w := worldOf(t, image).migrated(withTrees)
				w.same(withTrees)
			}
		})
	}
}

func TestNoFalseAlarmOfSubvolumes(t *testing.T) {
	t.Parallel()
	image, at := treetest.Subvolumes(t)
	treetest.Unmount(t, at)
	proven(t, image)
}

// Every layout of a disk.
func TestNoFalseAlarmOfDisks(t *testing.T) {
	t.Parallel()
	disks := treetest.Disks()
	const mib = 1 << 20
	disks["empty gpt"] = treetest.Plan{Table: "gpt"}
	disks["swap alone"] = treetest.Plan{Partitions: []treetest.Partition{{Length: 8 * mib, Holds: treetest.Swap}}}
	disks["noise alone"] = treetest.Plan{Partitions: []treetest.Partition{{Length: 3 * mib, Holds: treetest.Noise}}}
	disks["nothing"] = treetest.Plan{Partitions: []treetest.Partition{{Length: 8 * mib, Holds: treetest.Zero}}}
	disks["raw alone"] = treetest.Plan{Table: "dos", Partitions: []treetest.Partition{{Number: 1, Length: 3 * mib, Holds: treetest.Noise, Type: "83"}}}
	for name, plan := range disks {
		t.Run(name, func(t *testing.T) {
			image, _ := treetest.Disk(t, plan)
			var choice []func(*workflow.Migrator)
			if name == "lvm" { // too large to be stored raw without being asked for
				choice = append(choice, func(m *workflow.Migrator) { m.Choice.Skip = []int{2} })
			}
			proven(t, image, choice...)
			if name == "mbr" || name == "gpt 4Kn" {
				proven(t, image, func(m *workflow.Migrator) { m.Choice.Raw = []int{1} })
			}
		})
	}
}

// Names of any bytes, hard links between folders, and files that are nearly all
// hole.
func TestNoFalseAlarmOfOddFiles(t *testing.T) {
	t.Parallel()
	image := treetest.Image(t, "ext4", 64<<20)
	at := treetest.Mounted(t, image, 0)
	x := tamper{t, at}
	for _, dir := range []string{"a", "a/\xff\xfe", "z", "a b\n"} {
		x.must(os.Mkdir(x.path(dir), 0o755))
	}
	x.must(os.WriteFile(x.path("a/\xff\xfe/\x80"), []byte("x"), 0o600))
	x.must(os.Link(x.path("a/\xff\xfe/\x80"), x.path("z/\x81")))
	x.must(os.Link(x.path("z/\x81"), x.path("0")))
	x.must(os.Symlink("\xff", x.path("z/link\xff")))
	x.must(os.Link(x.path("z/link\xff"), x.path("a/link")))
	for name, f := range map[string]struct {
		size int64
		data []int64
	}{
		"all hole": {3 << 30, nil}, "just few": {1<<30 + 4096, []int64{0}}, "just many": {1<<30 + 8192, []int64{0}},
		"begins": {5 << 30, []int64{0, 4096, 8192}}, "ends": {5<<30 + 1, []int64{5 << 30}}, "many runs": {2 << 40, []int64{1 << 20, 7 << 30, 1 << 40}},
	} {
		x.must(os.WriteFile(x.path(name), nil, 0o600))
		x.must(os.Truncate(x.path(name), f.size))
		for _, off := range f.data {
			x.writeAt(name, bytes.Repeat([]byte{byte(off>>12) | 1}, int(min(4096, f.size-off))), off)
		}
	}
	x.must(unix.Mknod(x.path("a/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	x.must(os.Link(x.path("a/null"), x.path("z/null")))
	treetest.Unmount(t, at)
	proven(t, image)
}

// A volume that is kept stays mounted when a validation has ended.
func TestNoFalseAlarmWithVolumesThatAreKept(t *testing.T) {
	image, _ := damageDisk(t)
	folder := t.TempDir()
	kept := func(m *workflow.Migrator) { m.KeepVolumes, m.Mounts.Folder = true, folder }
	for name, together := range map[string]bool{"in one run": true, "in two": false} {
		w := worldOf(t, image)
		r := w.quickRun(withTrees, kept, func(m *workflow.Migrator) { m.AndValidate = together }).do(t.Context(), named(first))
		if !together {
			unmountAll(t, folder)
			r = w.quickRun(withTrees, kept).validate(t.Context(), named(first))
		}
		if r.err != nil || r.sum.Validated != 1 || len(r.report.differences) > 0 {
			t.Errorf("%s: %v, %+v, %v: %v", name, r.err, r.sum, errs(r), r.report.differences)
		}
		if n := unmountAll(t, folder); n != 1 {
			t.Errorf("%s: %d filesystems are mounted, want one", name, n)
		}
	}
}

// unmountAll takes away the mounts below a folder, and says how many there were.
func unmountAll(t *testing.T, folder string) (n int) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 5 || filepath.Dir(f[4]) != folder {
			continue
		}
		n++
		if err := unix.Unmount(f[4], 0); err != nil {
			t.Error(err)
		}
		if err := os.Remove(f[4]); err != nil {
			t.Error(err)
		}
	}
	return n
}
