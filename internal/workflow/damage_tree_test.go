package workflow_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
)

func folderTimes(t *testing.T, root string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			times[path] = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// setTime sets the mtime of whatever stands there, also of a symlink.
func setTime(t *testing.T, path string, when time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(when.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

// tamper changes one tree; what it was made of stands in tamperedTree.
type tamper struct {
	t  *testing.T
	at string // the folder "d" of the tree
}

func (x tamper) path(name string) string { return filepath.Join(x.at, name) }

func (x tamper) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// keeping changes a file and puts its mtime back.
func (x tamper) keeping(name string, f func(path string) error) {
	x.t.Helper()
	info, err := os.Lstat(x.path(name))
	x.must(err)
	x.must(f(x.path(name)))
	setTime(x.t, x.path(name), info.ModTime())
}

func (x tamper) writeAt(name string, p []byte, off int64) {
	x.t.Helper()
	x.keeping(name, func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		return f.Close()
	})
}

// punch makes a hole of a file's bytes.
func (x tamper) punch(name string, off, n int64) {
	x.t.Helper()
	x.keeping(name, func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n); err != nil {
			return err
		}
		return f.Close()
	})
}

// anew replaces an entry by another of the same mode, owner and mtime.
func (x tamper) anew(name string, make func(path string) error) {
	x.t.Helper()
	x.keeping(name, func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return make(path)
	})
}

var longAgo = time.Date(2020, 2, 3, 4, 5, 6, 123456789, time.UTC)

const plainText = "what stands in a plain file\n"

// tamperedTree is what the changes are made to.
func tamperedTree(t *testing.T, root string) {
	t.Helper()
	x := tamper{t, filepath.Join(root, "d")}
	x.must(os.Mkdir(x.at, 0o755))
	x.must(os.Mkdir(x.path("empty"), 0o750))
	x.must(os.Mkdir(x.path("folder"), 0o755))
	for _, name := range []string{"acl", "capability", "content", "equal-1", "equal-2", "gone", "linked-1", "mode", "owner", "size", "time", "xattr", "folder/inner"} {
		x.must(os.WriteFile(x.path(name), []byte(plainText), 0o644))
	}
	x.must(os.Link(x.path("linked-1"), x.path("linked-2")))
	x.must(os.Symlink("content", x.path("symlink")))
	x.must(unix.Mknod(x.path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))))
	x.must(unix.Mkfifo(x.path("fifo"), 0o600))
	x.must(unix.Setxattr(x.path("xattr"), "user.name", []byte("value"), 0))
	x.must(os.WriteFile(x.path("sparse"), []byte(plainText), 0o600))
	x.must(os.Truncate(x.path("sparse"), 1<<20))
	x.must(os.WriteFile(x.path("zeros"), make([]byte, 256<<10), 0o600))
	for _, name := range []string{
		"acl", "capability", "content", "device", "equal-1", "equal-2", "fifo", "gone", "linked-1", "mode", "owner", "size", "sparse", "symlink",
		"time", "xattr", "zeros", "folder/inner", "folder", "empty", ".",
	} {
		setTime(t, x.path(name), longAgo)
	}
}

func file(kind, path string) damage { return damage{Kind: kind, Path: path, Part: partOfTree} }

// treeDamages are ways in which a tree can differ, and what says so: what is
// missing from the one side was added to the other.
func treeDamages() map[string]struct {
	change func(x tamper)
	want   []damage
} {
	of := func(all ...damage) []damage { return all }
	return map[string]struct {
		change func(x tamper)
		want   []damage
	}{
		"missing":        {func(x tamper) { x.must(os.Remove(x.path("gone"))) }, of(file("added", "d/gone"))},
		"added":          {func(x tamper) { x.must(os.WriteFile(x.path("more"), nil, 0o600)) }, of(file("missing", "d/more"))},
		"empty folder":   {func(x tamper) { x.must(os.Remove(x.path("empty"))) }, of(file("added", "d/empty"))},
		"folder":         {func(x tamper) { x.must(os.RemoveAll(x.path("folder"))) }, of(file("added", "d/folder"), file("added", "d/folder/inner"))},
		"content":        {func(x tamper) { x.writeAt("content", []byte("W"), 0) }, of(file("content", "d/content"))},
		"last byte":      {func(x tamper) { x.writeAt("content", []byte(" "), int64(len(plainText)-1)) }, of(file("content", "d/content"))},
		"size":           {func(x tamper) { x.writeAt("size", []byte("\n"), int64(len(plainText))) }, of(file("content", "d/size"), file("size", "d/size"))},
		"mode":           {func(x tamper) { x.must(os.Chmod(x.path("mode"), 0o600)) }, of(file("mode", "d/mode"))},
		"setuid":         {func(x tamper) { x.must(unix.Chmod(x.path("mode"), 0o4644)) }, of(file("mode", "d/mode"))},
		"mode of folder": {func(x tamper) { x.must(os.Chmod(x.path("folder"), 0o700)) }, of(file("mode", "d/folder"))},
		"user":           {func(x tamper) { x.must(os.Lchown(x.path("owner"), 1000, 0)) }, of(file("owner", "d/owner"))},
		"group":          {func(x tamper) { x.must(os.Lchown(x.path("owner"), 0, 70000)) }, of(file("owner", "d/owner"))},
		"owner of link":  {func(x tamper) { x.must(os.Lchown(x.path("symlink"), 7, 7)) }, of(file("owner", "d/symlink"))},
		"mtime":          {func(x tamper) { setTime(x.t, x.path("time"), longAgo.Add(1)) }, of(file("mtime", "d/time"))},
		"mtime of link":  {func(x tamper) { setTime(x.t, x.path("symlink"), longAgo.Add(time.Hour)) }, of(file("mtime", "d/symlink"))},
		"target": {func(x tamper) {
			x.anew("symlink", func(p string) error { return os.Symlink("contenu", p) })
		}, of(file("target", "d/symlink"))},
		"xattr's value": {func(x tamper) { x.must(unix.Setxattr(x.path("xattr"), "user.name", []byte("valuf"), 0)) }, of(file("xattrs", "d/xattr"))},
		"xattr's name": {func(x tamper) {
			x.must(unix.Removexattr(x.path("xattr"), "user.name"))
			x.must(unix.Setxattr(x.path("xattr"), "user.nbme", []byte("value"), 0))
		}, of(file("xattrs", "d/xattr"))},
		"xattr more": {func(x tamper) { x.must(unix.Setxattr(x.path("folder"), "user.more", nil, 0)) }, of(file("xattrs", "d/folder"))},
		"acl": {func(x tamper) {
			out, err := exec.Command("setfacl", "-m", "u:1234:r", x.path("acl")).CombinedOutput()
			if err != nil {
				x.t.Fatalf("setfacl: %v: %s", err, out)
			}
		}, of(file("xattrs", "d/acl"))},
		"default acl": {func(x tamper) {
			out, err := exec.Command("setfacl", "-d", "-m", "u:1234:r", x.path("folder")).CombinedOutput()
			if err != nil {
				x.t.Fatalf("setfacl: %v: %s", err, out)
			}
		}, of(file("xattrs", "d/folder"))},
		"capability": {func(x tamper) {
			// CAP_NET_RAW, effective: VFS_CAP_REVISION_2 of linux/capability.h.
			x.must(unix.Setxattr(x.path("capability"), "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
		}, of(file("xattrs", "d/capability"))},
		"link broken": {func(x tamper) {
			x.anew("linked-2", func(p string) error { return os.WriteFile(p, []byte(plainText), 0o644) })
		}, of(file("hard link", "d/linked-2"))},
		"linked": {func(x tamper) {
			x.anew("equal-2", func(p string) error { return os.Link(x.path("equal-1"), p) })
		}, of(file("hard link", "d/equal-2"))},
		"linked to another": {func(x tamper) {
			x.anew("linked-2", func(p string) error { return os.Link(x.path("equal-1"), p) })
		}, of(file("hard link", "d/linked-2"))},
		"hole filled":  {func(x tamper) { x.writeAt("sparse", make([]byte, 64<<10), 512<<10) }, of(file("holes", "d/sparse"))},
		"hole punched": {func(x tamper) { x.punch("zeros", 64<<10, 64<<10) }, of(file("holes", "d/zeros"))},
		"data punched": {func(x tamper) { x.punch("sparse", 0, 4096) }, of(file("content", "d/sparse"), file("holes", "d/sparse"))},
		"in a hole":    {func(x tamper) { x.writeAt("sparse", []byte{1}, 700<<10) }, of(file("content", "d/sparse"), file("holes", "d/sparse"))},
		"device": {func(x tamper) {
			x.anew("device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(5, 2))) })
		}, of(file("device", "d/device"))},
		"device's type": {func(x tamper) {
			x.anew("device", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o600, int(unix.Mkdev(5, 1))) })
		}, of(file("type", "d/device"))},
		"fifo is a file": {func(x tamper) {
			x.anew("fifo", func(p string) error { return os.WriteFile(p, nil, 0o600) })
		}, of(file("type", "d/fifo"))},
		"renamed": {func(x tamper) { x.must(os.Rename(x.path("gone"), x.path("gonf"))) }, of(file("added", "d/gone"), file("missing", "d/gonf"))},
		"root":    {func(x tamper) { x.must(os.Chmod(filepath.Dir(x.at), 0o711)) }, of(file("mode", ""))},
	}
}

// swapped is the same with the sides exchanged.
func swapped(all []damage) []damage {
	var other []damage
	for _, d := range all {
		switch d.Kind {
		case "missing":
			d.Kind = "added"
		case "added":
			d.Kind = "missing"
		}
		other = append(other, d)
	}
	return other
}

const damagedPart, blankPart = layout.Part(2), layout.Part(3)

// damageDisk has a tree, a partition of noise, and one that was never written.
func damageDisk(t *testing.T) (image string, plan treetest.Plan) {
	t.Helper()
	treetest.Require(t, "sfdisk", "mkfs.ext4", "setfacl")
	const mib = 1 << 20
	image, plan = treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 16 * mib, Holds: "ext4"},
		{Number: 2, Length: mib, Holds: treetest.Noise},
		{Number: 3, Length: 2 * mib, Holds: treetest.Zero},
	}})
	image = changed(t, image, plan.Partitions[0].Start, func(at string) { tamperedTree(t, at) })
	return image, plan
}

// Whatever is changed in a tree, on the snapshot's side or on the archive's, is
// found, and nothing else is.
func TestValidateFindsEachDamageOfATree(t *testing.T) {
	image, plan := damageDisk(t)
	whole := worldOf(t, image).migrated(withTrees)
	whole.same(withTrees)
	for name, c := range treeDamages() {
		other := changed(t, image, plan.Partitions[0].Start, func(at string) { c.change(tamper{t, filepath.Join(at, "d")}) })
		t.Run(name+", of the snapshot", func(t *testing.T) {
			whole.t, whole.image = t, other
			whole.differs(c.want, withTrees)
			noLoops(t, other)
		})
		t.Run(name+", of the archive", func(t *testing.T) {
			w := worldOf(t, other).migrated(withTrees)
			w.image = image
			w.differs(swapped(c.want), withTrees)
			noLoops(t, image)
		})
	}
	whole.t, whole.image = t, image
	whole.same(withTrees)
}
