package workflow_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/workflow"
)

// unheld tells whether a tar of the predecessor cannot hold such a difference.
func unheld(d damage) bool { return d.Kind == "xattrs" || d.Kind == "holes" }

// What a tar of the predecessor can hold is compared, on either side; what it
// cannot is no difference, and the result says that it was not proven.
func TestPredecessorFindsEachDamageOfATree(t *testing.T) {
	image, plan := damageDisk(t)
	old := oldArchives(t, image, nil)
	if len(old) != 1 {
		t.Fatalf("%d archives", len(old))
	}
	all := treeDamages()
	more := all["mtime"]
	more.change = func(x tamper) { setTime(x.t, x.path("time"), longAgo.Add(time.Second)) }
	all["mtime by a second"] = more
	less := all["mtime"]
	less.want = nil
	all["mtime"] = less // by a nanosecond
	for name, c := range all {
		var want []damage
		for _, d := range c.want {
			if !unheld(d) {
				want = append(want, d)
			}
		}
		other := changed(t, image, plan.Partitions[0].Start, func(at string) { c.change(tamper{t, filepath.Join(at, "d")}) })
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for side, w := range map[string]*world{"snapshot": worldOf(t, other), "archive": oldWorld(t, image)} {
				expected, archives := want, old
				if side == "archive" {
					expected, archives = swapped(want), oldArchives(t, other, nil)
				}
				w.putOld(archives...)
				r := w.oldRun(w.store)
				if diff := gocmp.Diff(expected, damages(r.report.differences)); diff != "" {
					t.Errorf("on the side of the %s (-want +got):\n%s", side, diff)
				}
				if len(want) > 0 {
					if !errors.Is(r.err, workflow.ErrDifferent) || r.sum.Validated != 0 {
						t.Errorf("%v, %+v", r.err, r.sum)
					}
					continue
				}
				r.proven()
				if got := strings.Join(r.report.finished[0].Unproven, "; "); !strings.Contains(got, "fractions of a second, extended attributes, ACLs, capabilities, holes, and which devices") {
					t.Errorf("not proven: %q", got)
				}
			}
		})
	}
}

// fileDisk is a filesystem without a partition table.
func fileDisk(t *testing.T, fs string, size int64, fill func(root string)) string {
	t.Helper()
	image := treetest.Image(t, fs, size)
	at := treetest.Mounted(t, image, 0)
	fill(at)
	treetest.Unmount(t, at)
	noLoops(t, image)
	return image
}

// Whatever a filesystem holds, GNU tar's way of storing it is read as it is: long
// names and targets, large ids, early and late times, devices, hard links, and
// sockets, which it leaves out.
func TestPredecessorsTarOfAWholeTree(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			t.Parallel()
			treetest.Require(t, "mkfs."+fs)
			// Its holes are GiBs of zeros in such a tar: see the test of large holes.
			image := fileDisk(t, fs, 400<<20, func(root string) {
				treetest.Make(t, root, treetest.Options{Filesystem: fs, Without: []string{"sparse"}})
			})
			old := oldArchives(t, image, nil)
			if len(old) != 1 || !strings.HasSuffix(old[0].key, " - nightly.tar.lz4") {
				t.Fatalf("%d archives", len(old))
			}
			w := worldOf(t, image)
			w.putOld(old...)
			r := w.oldRun(w.store)
			r.proven()
			if r.report.finished[0].Entries < 2500 {
				t.Errorf("%+v", r.report.finished[0])
			}
		})
	}
}

// tar walks folders as the filesystem lists them, so that any name of a file may
// come first: the one that holds its content.
func TestPredecessorsHardLinksInAnyOrder(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "mkfs.ext4", "tar")
	image := fileDisk(t, "ext4", 32<<20, func(root string) {
		at := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
		for i := range 40 {
			for _, dir := range [...]string{"a", "m", "z"} {
				if err := os.MkdirAll(at(fmt.Sprint(dir, i)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			name := at(fmt.Sprint("m", i), "file")
			if err := os.WriteFile(name, fmt.Appendf(nil, "file %d\n", i), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, other := range []string{at(fmt.Sprint("a", i), "first"), at(fmt.Sprint("z", i), "last"), at(fmt.Sprint("z", i), "more")} {
				if err := os.Link(name, other); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	old := oldArchives(t, image, nil)
	// So that the test is one: not all of tar's first names are the first in order.
	list := exec.CommandContext(t.Context(), "sh", "-c", "lz4 -d | tar -tv")
	list.Stdin = strings.NewReader(string(old[0].body))
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	for line := range strings.Lines(string(out)) {
		if name, _, link := strings.Cut(line, " link to "); link && strings.Contains(name, " ./a") {
			late++
		}
	}
	if late == 0 {
		t.Fatalf("tar met the names in order:\n%s", out)
	}
	w := worldOf(t, image)
	w.putOld(old...)
	w.oldRun(w.store).proven()
}

// A file with more than 1 GiB of holes is stored whole by such a tar, and its
// content is proven all the same; so is a difference in it found.
func TestPredecessorsLargeHoles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads 2 GiB of zeros")
	}
	treetest.Require(t, "mkfs.ext4", "tar")
	const size = 1<<30 + 64<<20 + 5
	write := func(path string, off int64) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("data"), off)
		if err := errors.Join(err, f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
		setTime(t, path, longAgo)
	}
	image := fileDisk(t, "ext4", 32<<20, func(root string) {
		for _, off := range []int64{0, 512 << 20, size - 4} {
			write(root+"/sparse", off)
		}
	})
	old := oldArchives(t, image, nil)
	w := worldOf(t, image)
	w.putOld(old...)
	w.oldRun(w.store).proven()

	other := worldOf(t, changed(t, image, 0, func(at string) { write(at+"/sparse", 700<<20) }))
	other.putOld(old...)
	r := other.oldRun(other.store)
	if diff := gocmp.Diff([]damage{{Kind: "content", Path: "sparse"}}, damages(r.report.differences)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

// The predecessor mounted as mount(8) does: of a btrfs whose default is not the top it
// archived the default subvolume, and that is what its archive is compared with. Ours
// hold the top.
func TestPredecessorsDefaultSubvolume(t *testing.T) {
	t.Parallel()
	image, at := treetest.Subvolumes(t)
	if out, err := exec.CommandContext(t.Context(), "btrfs", "subvolume", "set-default", filepath.Join(at, "@")).CombinedOutput(); err != nil {
		t.Fatalf("btrfs subvolume set-default: %v: %s", err, out)
	}
	treetest.Unmount(t, at)
	noLoops(t, image)
	old := oldArchives(t, image, nil)
	w := worldOf(t, image)
	w.putOld(old...)
	r := w.oldRun(w.store)
	r.proven()
	if got := r.report.finished[0].Entries; got != 4 { // the root, file, linked and later
		t.Errorf("%d entries", got)
	}

	other := worldOf(t, changed(t, image, 0, func(at string) { // is mounted by default, too
		path := filepath.Join(at, "later")
		info, err := os.Stat(path)
		if err == nil {
			err = os.WriteFile(path, []byte("since the SNAPSHOT\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		setTime(t, path, info.ModTime())
	}))
	other.putOld(old...)
	r = other.oldRun(other.store)
	if diff := gocmp.Diff([]string{"later: content"}, r.kinds()); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}

	ours := worldOf(t, image).migrated(withTrees)
	if r := ours.same(withTrees); r.report.finished[0].Entries != 14 {
		t.Errorf("ours: %+v", r.report.finished[0])
	}
}

// What such a tar held of a snapshot of a running system: mount points that are
// empty, sockets that are left out, and what GNU tar's format says in its own way.
func TestPredecessorsRunningSystem(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "mkfs.ext4", "tar")
	image := fileDisk(t, "ext4", 32<<20, func(root string) {
		for _, dir := range [...]string{"proc", "sys", "dev", "run", "mnt"} {
			if err := os.Mkdir(root+"/"+dir, 0o555); err != nil {
				t.Fatal(err)
			}
		}
		// By the folder's descriptor: a socket's address is at most 107 bytes.
		dir, err := os.Open(root + "/run")
		if err != nil {
			t.Fatal(err)
		}
		socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/socket", dir.Fd()), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		socket.SetUnlinkOnClose(false)
		long := root + "/run/" + strings.Repeat("long", 50)
		if err := errors.Join(
			socket.Close(), dir.Close(),
			os.WriteFile(long, []byte("a long name\n"), 0o640),
			os.Lchown(long, 1<<21, 1<<31),
			os.Symlink(strings.Repeat("target/", 40), root+"/run/symlink"),
			unix.Mknod(root+"/dev/loop", unix.S_IFBLK|0o660, int(unix.Mkdev(7, 300))),
			unix.Mkfifo(root+"/dev/initctl", 0o600),
			os.Chtimes(long, longAgo, time.Unix(-86400, 0)),
		); err != nil {
			t.Fatal(err)
		}
	})
	old := oldArchives(t, image, nil)
	w := worldOf(t, image)
	w.putOld(old...)
	r := w.oldRun(&unlisted{Memory: w.store})
	r.proven()
	told := verifyThese(t, w.store, workflow.VerifySubject{Keys: []string{old[0].key}})
	if told.err != nil || told.verified[0].Entries != r.report.finished[0].Entries {
		t.Errorf("%v, validated %d entries", told, r.report.finished[0].Entries)
	}
}

// The script's own promises: a failure leaves nothing behind, a folder does as a
// disk does, and nothing is written over.
func TestMakePredecessorArchives(t *testing.T) {
	image := oldDisk(t)
	script := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{"../../scripts/make-predecessor-archives.sh"}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "GNUPGHOME="+t.TempDir(), "TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if left, errLeft := filepath.Glob(strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=") + "/*"); errLeft != nil || len(left) > 0 {
			t.Errorf("%q leaves %q", args, left)
		}
		noLoops(t, image)
		return string(out), err
	}
	out := t.TempDir()
	for name, args := range map[string][]string{
		"unknown recipient": {"--gpg-recipient", "nobody@example.com", image, out},
		"no such partition": {"--only", "7", image, out},
		"no files":          {"/dev/null", out},
		"no source":         {"/nonexistent", out},
		"a bad zone":        {"--zone", "CET", image, out},
		"no value":          {image, out, "--zone"},
		"a bad level":       {"--compression-level", "x", image, out},
		"no option":         {"--what", "x", image, out},
	} {
		text, err := script(args...)
		if left, errLeft := os.ReadDir(out); err == nil || errLeft != nil || len(left) > 0 {
			t.Errorf("%s: %v, leaves %v: %s", name, err, left, text)
		}
	}
	if text, err := script("--help"); err != nil || !strings.HasPrefix(text, "Usage: ") {
		t.Errorf("%v: %s", err, text)
	}
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/file", []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := script("--partition", "p3", "--description", `a "b" \c`, folder, out); err != nil ||
		text != `vol-0123456789abcdef0/2017-01-01T00:00:00+00:00 snap-0123456789abcdef0 - a "b" \c.p3.tar.lz4`+"\n" {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := script(folder, out); err == nil {
		t.Error("it was written over")
	}
}
