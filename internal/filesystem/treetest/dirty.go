//go:build linux

package treetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Dirty makes an image as a snapshot of a running machine is: the last changes
// are in its journal alone. want is the tree that the kernel recovers; a reader
// that leaves the journal out sees another one, and mostly without an error.
// It knows "ext3", "ext4", "xfs" and "btrfs".
func Dirty(t testing.TB, fs string) (image string, want []Record) {
	t.Helper()
	Require(t, "mkfs."+fs)
	image = Image(t, fs, 320<<20)
	var options []string
	if fs == "btrfs" {
		options = append(options, "commit=3600") // nothing is written but by fsync
	}
	at := Mounted(t, image, 0, options...)
	d := dirtier{t, at}
	d.before()
	d.after()
	unlinked := d.orphan()
	if fs != "btrfs" { // it cannot be stopped, but tears no copy before its commit
		d.stop()
	}
	copied := image + ".copy"
	SparseCopy(t, image, copied, 0) // an unmount would write what is still in memory
	closeFD(unlinked)
	Unmount(t, at)
	if !NeedsRecovery(t, copied) {
		t.Fatalf("%s: nothing is left to recover", fs)
	}

	recovered := copied + ".recovered"
	SparseCopy(t, copied, recovered, 0)
	root := Mounted(t, recovered, 0)
	want = Read(t, root, ReadOptions{})
	d.check(want)
	Unmount(t, root)
	return copied, want
}

type dirtier struct {
	t  testing.TB
	at string
}

func (d dirtier) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("make a dirty filesystem: %v", err)
	}
}

func (d dirtier) path(i int, kind string) string {
	return filepath.Join(d.at, "files", fmt.Sprintf("%s %03d", kind, i))
}

// before makes what is on disk, and not in the journal.
func (d dirtier) before() {
	d.must(os.Mkdir(filepath.Join(d.at, "files"), 0o755))
	for i := range 60 {
		d.must(os.WriteFile(d.path(i, "old"), noise(3000+i, uint64(i)), 0o644))
	}
	fd, err := unix.Open(d.at, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.must(err)
	defer closeFD(fd)
	d.must(unix.Syncfs(fd))
}

// after changes it, and syncs file by file: that writes the journal and leaves
// the places on disk for later.
func (d dirtier) after() {
	for i := range 60 {
		switch i % 6 {
		case 0:
			d.must(os.WriteFile(d.path(i, "new"), noise(5000+i, uint64(i)), 0o600))
		case 1:
			d.must(os.Rename(d.path(i, "old"), d.path(i, "renamed")))
		case 2:
			d.must(os.Remove(d.path(i, "old")))
		case 3:
			f, err := os.OpenFile(d.path(i, "old"), os.O_WRONLY|os.O_APPEND, 0)
			d.must(err)
			_, err = f.Write(noise(2000, 1))
			d.must(err)
			d.must(f.Sync())
			d.must(f.Close())
		case 4:
			d.must(os.Truncate(d.path(i, "old"), 100))
			d.must(unix.Lsetxattr(d.path(i, "old"), "user.late", []byte("late"), 0))
		case 5:
			d.must(os.Link(d.path(i, "old"), d.path(i, "linked")))
		}
	}
	d.must(os.MkdirAll(filepath.Join(d.at, "new", "folder"), 0o755))
	d.must(os.WriteFile(filepath.Join(d.at, "new", "folder", "file"), []byte("new\n"), 0o644))
	for i := range 60 {
		for _, kind := range [...]string{"old", "new", "renamed"} {
			d.sync(d.path(i, kind))
		}
	}
	d.sync(filepath.Join(d.at, "new", "folder", "file"))
	for _, folder := range [...]string{"new/folder", "new", "files", "."} {
		d.sync(filepath.Join(d.at, folder))
	}
}

// orphan leaves a file that has no name any more but is still open: recovery
// takes it away.
func (d dirtier) orphan() int {
	p := filepath.Join(d.at, "orphan")
	fd, err := unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	d.must(err)
	_, err = unix.Write(fd, noise(100000, 3))
	d.must(err)
	d.must(unix.Fsync(fd))
	d.must(unix.Unlink(p))
	d.sync(d.at)
	return fd
}

func (d dirtier) sync(p string) {
	d.t.Helper()
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return
	}
	d.must(err)
	defer closeFD(fd)
	d.must(unix.Fsync(fd))
}

// stop has the filesystem write nothing more, as if the power had failed after
// the last write of its journal (FS_IOC_SHUTDOWN, in linux/fs.h of 6.x; ext4 and
// xfs have had the same number under their own names).
func (d dirtier) stop() {
	const shutdown = 0x8004587d // _IOR('X', 125, __u32)
	const flushLog = 1          // the journal, nothing else
	fd, err := unix.Open(d.at, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.must(err)
	defer closeFD(fd)
	d.must(unix.IoctlSetPointerInt(fd, shutdown, flushLog))
}

// check holds a recovered tree against what was done.
func (d dirtier) check(records []Record) {
	d.t.Helper()
	there := map[string]Record{}
	for _, r := range records {
		there[r.Path] = r
	}
	for i := range 60 {
		name := func(kind string) Record { return there[fmt.Sprintf("files/%s %03d", kind, i)] }
		old := name("old")
		var ok bool
		switch i % 6 {
		case 0:
			ok = name("new").Size == int64(5000+i)
		case 1:
			ok = old.Type == "" && name("renamed").Size == int64(3000+i)
		case 2:
			ok = old.Type == ""
		case 3:
			ok = old.Size == int64(5000+i)
		case 4:
			ok = old.Size == 100 && old.Xattrs["user.late"] == "late"
		case 5:
			ok = old.Nlink == 2 && name("linked").Nlink == 2
		}
		if !ok {
			d.t.Fatalf("recovered, but file %d is not as it was synced", i)
		}
	}
	if there["new/folder/file"].Size != 4 || there["orphan"].Type != "" {
		d.t.Fatal("recovered, but the new folder is not, or the orphan is back")
	}
}
