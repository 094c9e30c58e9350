package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// brokenDisk is a filesystem in which some files cannot be read any more: of the
// first ones the inode, of the others what tells where their data is.
func brokenDisk(t *testing.T, inodes, maps int, format ...string) (image string, broken []string) {
	t.Helper()
	treetest.Require(t, "mkfs.ext4", "debugfs", "dumpe2fs")
	image = treetest.Image(t, "ext4", 16*mib, append([]string{"-O", "metadata_csum"}, format...)...)
	at := treetest.Mounted(t, image, 0)
	for i := range inodes + maps + 3 {
		name := "file " + strconv.Itoa(i)
		if i < inodes+maps {
			broken = append(broken, name)
		}
		f, err := os.Create(filepath.Join(at, name))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 20 { // more pieces than an inode has room for
			if _, err := f.WriteAt([]byte(strings.Repeat("x", 4096)), int64(n)*12288); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	treetest.Unmount(t, at)
	for i, name := range broken {
		offset := placeOfInode(t, image, name) + 16 // in the middle of its times
		if i >= inodes {
			offset = placeOfMap(t, image, name) + 24
		}
		patch(t, image, offset, []byte("\xde\xad\xbe\xef"))
	}
	return image, broken
}

// debugfs asks the program of that name about a file of an image.
func debugfs(t *testing.T, image, request, pattern string) []int64 {
	t.Helper()
	text := tool(t, "", "debugfs", "-R", request, image)
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("debugfs %s says %q", request, text)
	}
	var numbers []int64
	for _, f := range found[1:] {
		n, err := strconv.ParseInt(f, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func placeOfInode(t *testing.T, image, name string) int64 {
	t.Helper()
	at := debugfs(t, image, `imap "/`+name+`"`, `located at block (\d+), offset (0x[0-9a-f]+)`)
	return at[0]*4096 + at[1]
}

func placeOfMap(t *testing.T, image, name string) int64 {
	t.Helper()
	return debugfs(t, image, `stat "/`+name+`"`, `\(ETB0\):(\d+)`)[0] * 4096
}

// A file that cannot be read is named, and there is no archive without it.
func TestTreesWithFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inodes, maps int
		format       []string
	}{
		"one that cannot be looked at":     {inodes: 1},
		"one that cannot be read":          {maps: 1},
		"several of both":                  {inodes: 3, maps: 2},
		"several that cannot be read":      {maps: 4},
		"on a disk that wants a crash":     {inodes: 1, maps: 1, format: []string{"-e", "panic"}},
		"on a disk that wants a crash too": {maps: 2, format: []string{"-e", "panic"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, broken := brokenDisk(t, c.inodes, c.maps, c.format...)
			if len(c.format) > 0 && !strings.Contains(tool(t, "", "dumpe2fs", "-h", image), "Errors behavior:          Panic") {
				t.Fatal("the disk is not set to errors=panic")
			}
			w := newWorld(t, awssim.Config{})
			d := w.addDisk(image, bareDisk("ext4", nil), awssim.SnapshotSpec{})
			r := w.run(migrateTrees("--all")...)
			if c.inodes > 0 { // these are found before anything is read
				broken = broken[:c.inodes]
			}
			for _, file := range broken {
				r.says(t, exitFailed, "./"+file+": ", "--dd")
			}
			if len(broken) > 1 {
				r.says(t, exitFailed, strconv.Itoa(len(broken))+" entries cannot be read", "--dd")
			}
			if strings.Contains(r.stdout, "./file 9") {
				t.Error("a file is named that can be read")
			}
			r.oneLineEach(t)
			w.untouched(d)
		})
	}
}

// A folder that cannot be listed is no empty folder, and what the device does not
// give is no file of zeros.
func TestTreesWithHolesInTheDisk(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "mkfs.ext4", "debugfs")
	image := treetest.Image(t, "ext4", 16*mib, "-O", "metadata_csum")
	at := treetest.Mounted(t, image, 0)
	writeFile(t, filepath.Join(at, "small"), []byte("small\n"))
	if err := os.Mkdir(filepath.Join(at, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(at, "folder", "lost"), []byte("lost\n"))
	noise(t, filepath.Join(at, "large"), 4*mib)
	treetest.Unmount(t, at)
	firstBlock := func(name string) int64 {
		return debugfs(t, image, "stat /"+name, `(?:EXTENTS|BLOCKS):\s*\(0(?:-\d+)?\):(\d+)`)[0] * 4096
	}
	t.Run("in a file", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, awssim.Config{})
		d := w.addDisk(image, bareDisk("ext4", nil), awssim.SnapshotSpec{})
		from := firstBlock("large") + mib
		w.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if isMountMark(c) {
				// A loop device answers reads beyond its file's end with EIO.
				if err := os.Truncate(w.sim.Volumes()[0].Image, from); err != nil {
					t.Error(err)
				}
			}
			return awssim.Fault{}
		})
		r := w.run(migrateTrees("--all")...)
		r.says(t, exitFailed, "./large: ", "--dd")
		r.says(t, exitFailed, "input/output error", "--dd")
		r.oneLineEach(t)
		w.untouched(d)
	})
	t.Run("in a folder", func(t *testing.T) {
		t.Parallel()
		broken := filepath.Join(t.TempDir(), "broken")
		treetest.SparseCopy(t, image, broken, 0)
		patch(t, broken, firstBlock("folder")+4096-4, []byte("\xde\xad\xbe\xef")) // its checksum
		w := newWorld(t, awssim.Config{})
		d := w.addDisk(broken, bareDisk("ext4", nil), awssim.SnapshotSpec{})
		r := w.run(migrateTrees("--all")...)
		r.says(t, exitFailed, "./folder: ", "--dd")
		r.oneLineEach(t)
		w.untouched(d)
	})
}

// untouched wants the snapshot to wait as before, and nothing to be anywhere.
func (w *world) untouched(d treeDisk) {
	w.t.Helper()
	if tags := w.sim.Tags(d.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
		w.t.Errorf("tags %v", tags)
	}
	for _, o := range w.objects() {
		w.t.Errorf("there is an object %q", o.Key)
	}
	w.freeHost()
}

// Where one partition cannot be read, what was stored before of the disk is
// whole, and a run that leaves the partition out goes on from there.
func TestTreesAfterAPartitionThatCannotBeRead(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4", "mkfs.ext2")
	broken, names := brokenDisk(t, 0, 1)
	image, plan := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 16 * mib, Holds: "ext2"}, {Number: 2, Length: 16 * mib, Holds: treetest.Zero},
	}})
	treetest.SparseCopy(t, broken, image, plan.Partitions[1].Start)
	plan.Partitions[1].Holds = "ext4"
	w := newWorld(t, awssim.Config{})
	d := w.addDisk(image, plan, awssim.SnapshotSpec{})
	r := w.run(migrateTrees("--all")...)
	r.says(t, exitFailed, "./"+names[0]+": ", "--skip-partition 2")
	if tags := w.sim.Tags(d.ID); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
		t.Errorf("tags %v", tags)
	}
	w.freeHost()
	d.raw = []int{2}
	w.ok(migrateTrees("--all", "--raw-partition", "2")...)
	w.hasObjects(d)
	d.isRestored(t, w.view)
	w.isMigrated(d.subject)
	w.freeHost()
}

// onDevice calls take once the device of the volume is there, and give when the
// volume is to be detached. Take is called before the program can open it.
func (w *world) onDevice(take func(device string) error, give func() error) {
	var mu sync.Mutex
	taken, given := false, false
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		mu.Lock()
		defer mu.Unlock()
		volumes := w.sim.Volumes()
		switch {
		case c.Action == "DescribeVolumes" && !taken && len(volumes) == 1 && volumes[0].Loop != "":
			taken = true
			if err := take(volumes[0].Loop); err != nil {
				w.t.Errorf("take %s: %v", volumes[0].Loop, err)
			}
		case c.Action == "DetachVolume" && taken && !given:
			given = true
			if err := give(); err != nil {
				w.t.Errorf("give the device back: %v", err)
			}
		}
		return awssim.Fault{}
	})
	w.t.Cleanup(func() {
		w.sim.SetFault(nil)
		mu.Lock()
		defer mu.Unlock()
		if !taken {
			w.t.Error("the device was never taken")
		} else if !given {
			w.t.Error("the device was never given back")
			if err := give(); err != nil {
				w.t.Error(err)
			}
		}
	})
}

// Somebody else has the device before us: it is left to them.
func TestTreesOnADeviceThatIsTaken(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "mkfs.ext4")
	image := treetest.Image(t, "ext4", 16*mib)
	t.Run("by a program", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, awssim.Config{})
		d := w.addDisk(image, bareDisk("ext4", nil), awssim.SnapshotSpec{})
		var fd int
		w.onDevice(func(device string) (err error) {
			fd, err = syscall.Open(device, syscall.O_RDONLY|syscall.O_EXCL|syscall.O_CLOEXEC, 0)
			return err
		}, func() error { return syscall.Close(fd) })
		r := w.run(migrateTrees("--all")...)
		r.says(t, exitFailed, "device or resource busy", "")
		w.untouched(d)
	})
	t.Run("by a mount", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, awssim.Config{})
		d := w.addDisk(image, bareDisk("ext4", nil), awssim.SnapshotSpec{})
		at := t.TempDir()
		w.onDevice(func(device string) error { return syscall.Mount(device, at, "ext4", syscall.MS_RDONLY, "") },
			func() error { return syscall.Unmount(at, syscall.MNT_DETACH) })
		r := w.run(migrateTrees("--all")...)
		r.says(t, exitFailed, at, "")
		w.untouched(d)
	})
}

// While a tree is read nobody else can mount the device, in no namespace.
func TestTreesAreMountedByNobodyElse(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "mkfs.ext4", "unshare", "mount", "tar", "zstd")
	image := treetest.Image(t, "ext4", 16*mib)
	at := treetest.Mounted(t, image, 0)
	want := treetest.Read(t, at, treetest.ReadOptions{})
	treetest.Unmount(t, at)
	w := newWorld(t, awssim.Config{})
	d := w.addDisk(image, bareDisk("ext4", want), awssim.SnapshotSpec{})
	stored := make(chan struct{})
	var once sync.Once
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action == "PutObject" {
			once.Do(func() {
				defer close(stored)
				device := w.sim.Volumes()[0].Loop
				if n := len(treetest.Loops(t, device)); n != 1 {
					t.Errorf("%d loop devices are over %s while it is mounted, want one", n, device)
				}
				w.isRefused(device, at)
			})
		}
		return awssim.Fault{}
	})
	w.ok(migrateTrees("--all")...)
	<-stored
	d.isRestored(t, w.view)
	w.freeHost()
}

// isRefused wants the kernel to mount the device nowhere.
func (w *world) isRefused(device, at string) {
	for _, flags := range []uintptr{0, syscall.MS_RDONLY} {
		err := syscall.Mount(device, at, "ext4", flags, "")
		if !errors.Is(err, syscall.EBUSY) {
			w.t.Errorf("mount %s: %v, want EBUSY", device, err)
		}
		if err == nil {
			_ = syscall.Unmount(at, syscall.MNT_DETACH)
		}
	}
	out, err := exec.Command("unshare", "--mount", "mount", "-t", "ext4", device, at).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mounted") && !strings.Contains(string(out), "busy") {
		w.t.Errorf("mount %s in another namespace: %v: %s", device, err, out)
	}
}
