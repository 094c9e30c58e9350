package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	sys "golang.org/x/sys/unix"

	"snap-to-s3/internal/awssim"
)

// withoutLoops is the program on a machine where every loop device is taken at
// the moment one wants it: LOOP_CONFIGURE answers EBUSY.
func withoutLoops() {
	const argument = 24 // where struct seccomp_data has the lower half of the second argument, little endian
	filter := []sys.SockFilter{
		{Code: sys.BPF_LD | sys.BPF_W | sys.BPF_ABS},
		{Code: sys.BPF_JMP | sys.BPF_JEQ | sys.BPF_K, Jf: 3, K: sys.SYS_IOCTL},
		{Code: sys.BPF_LD | sys.BPF_W | sys.BPF_ABS, K: argument},
		{Code: sys.BPF_JMP | sys.BPF_JEQ | sys.BPF_K, Jf: 1, K: sys.LOOP_CONFIGURE},
		{Code: sys.BPF_RET | sys.BPF_K, K: sys.SECCOMP_RET_ERRNO | uint32(sys.EBUSY)},
		{Code: sys.BPF_RET | sys.BPF_K, K: sys.SECCOMP_RET_ALLOW},
	}
	program := sys.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := sys.Syscall(sys.SYS_SECCOMP, sys.SECCOMP_SET_MODE_FILTER, sys.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		fmt.Fprintln(os.Stderr, noFilters, errno)
		os.Exit(1)
	}
	path, err := exec.LookPath("snap-to-s3")
	if err == nil {
		err = syscall.Exec(path, append([]string{"snap-to-s3"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "without-loops:", err)
	os.Exit(1)
}

const noFilters = "no seccomp filters here:"

// isAsBefore wants a snapshot to wait as it did, and nothing to be left.
func (w *world) isAsBefore(id string) {
	w.t.Helper()
	if tags := w.sim.Tags(id); len(tags) != 1 || tags["snap-to-s3"] != "migrate" {
		w.t.Errorf("tags %v", tags)
	}
	w.stateless()
	w.noMounts()
	for _, o := range w.objects() {
		if strings.HasSuffix(o.Key, ".tar.zstd") {
			w.t.Errorf("there is an object %q", o.Key)
		}
	}
}

// Where no loop device is to be had the files of a disk cannot be read: it ends
// within its limit, and all is given back.
func TestEveryLoopDeviceIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	d := w.aSmallDisk(awssim.SnapshotSpec{})
	cmd := w.command(migrateTrees("--all")...)
	cmd.Path = filepath.Join(filepath.Dir(cmd.Path), "without-loops")
	cmd.Args[0] = "without-loops"
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(cmd.Path))
	r := w.start(cmd).ends()
	if strings.Contains(r.stderr, noFilters) {
		t.Skip(r.stderr)
	}
	r.says(t, exitFailed, "no loop device is to be had: device or resource busy", "losetup -l")
	r.oneLineEach(t)
	w.isAsBefore(d.ID)
	w.ok(migrateTrees("--all")...)
	d.isRestored(t, w.view)
	w.isMigrated(d.subject)
	w.freeHost()
}

// hiddenLoops runs its arguments where /dev has no loop-control.
const hiddenLoops = `set -e
mount -t tmpfs tmpfs "$1"
for n in null urandom; do touch "$1/$n"; mount --bind "/dev/$n" "$1/$n"; done
mount --rbind "$1" /dev
shift
exec "$@"`

// A container without loop devices is told so before anything is touched; images
// need none.
func TestNoLoopDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	d := w.aSmallDisk(awssim.SnapshotSpec{})
	dev := filepath.Join(w.dir, "dev")
	if err := os.Mkdir(dev, 0o700); err != nil {
		t.Fatal(err)
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare is not installed")
	}
	if out, err := exec.Command(unshare, "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("no private mounts here: %v: %s", err, out)
	}
	cmd := w.command(migrateTrees("--all")...)
	cmd.Args = append([]string{unshare, "-m", "--propagation", "private", "sh", "-c", hiddenLoops, "sh", dev, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = unshare
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	r := w.start(cmd).ends()
	r.says(t, exitFailed, "the files of a disk cannot be read: there are no loop devices here", "--dd")
	r.oneLineEach(t)
	w.isAsBefore(d.ID)
	for _, action := range touching() {
		if w.called(action) > 0 {
			t.Errorf("%s was called", action)
		}
	}
}

// The disk of the state file fills while a run is under way, at one point or
// another: what cannot be noted is not begun, and what was begun is given back.
func TestTheStateFilesDiskFills(t *testing.T) {
	for length := range 6 {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			tag := strings.Repeat("t", 1+19*length)
			var all []subject
			for i := range 4 {
				all = append(all, w.noisy(12*mib, awssim.SnapshotSpec{
					VolumeID: fmt.Sprintf("vol-0a1b2c3d4e5f6000%d", i), Tags: map[string]string{tag: "migrate"},
				}))
			}
			dir := smallDisk(t, filepath.Join(w.dir, "small"), "size=16k")
			writeFile(t, filepath.Join(dir, "filler"), make([]byte, 12<<10)) // one page is left
			w.extra = []string{"SNAP_TO_S3_STATE_DIR=" + dir}
			args := []string{"migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--tag", tag, "--all"}
			r := w.run(args...)
			r.says(t, exitFailed, "no space left on device", "")
			r.oneLineEach(t)
			for _, s := range all {
				if tags := w.sim.Tags(s.ID); len(tags) != 1 || tags[tag] != "migrated" && tags[tag] != "migrate" {
					t.Errorf("tags of %s: %v", s.ID, tags)
				}
			}
			for _, v := range w.sim.Volumes() {
				if v.State != "deleting" {
					t.Errorf("volume left: %+v", v)
				}
			}
			if left := w.sim.Uploads(testBucket); len(left) > 0 {
				t.Errorf("uploads left: %+v", left)
			}
			w.extra = nil
			w.ok(args...)
			for _, s := range all {
				if tags := w.sim.Tags(s.ID); len(tags) != 1 || tags[tag] != "migrated" {
					t.Errorf("tags of %s: %v", s.ID, tags)
				}
			}
			w.nothingLeft()
		})
	}
}

// /var/lib on a disk that is mounted read-only says what to set.
func TestStateOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(mib, awssim.SnapshotSpec{})
	lib := filepath.Join(w.dir, "lib")
	if err := os.Mkdir(lib, 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mount", "--bind", lib, lib)
	t.Cleanup(func() { tool(t, "", "umount", lib) })
	tool(t, "", "mount", "-o", "remount,ro,bind", lib)
	w.extra = []string{"SNAP_TO_S3_STATE_DIR=" + filepath.Join(lib, "snap-to-s3")}
	r := w.run("migrate", "--dd", "--bucket", testBucket, "--all")
	r.says(t, exitFailed, "create the state file of this run in "+lib+"/snap-to-s3", "set SNAP_TO_S3_STATE_DIR to another folder")
	r.oneLineEach(t)
	for _, action := range touching() {
		if w.called(action) > 0 {
			t.Errorf("%s was called", action)
		}
	}
	w.extra = nil
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	w.isMigrated(s)
}

// An instance that has all the volumes it can have, and one that has names for one
// more alone.
func TestVolumesThatHaveNoRoom(t *testing.T) {
	for name, c := range map[string]struct {
		limit int
		says  string
	}{
		"twenty of twenty attachments": {20, "the instance cannot have more volumes (AttachmentLimitExceeded"},
		"one name left for two":        {0, "has no free device name from /dev/sdf to /dev/sdz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{MaxAttachments: c.limit}})
			for i := range 20 {
				if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: "i-0123456789abcdef0", Device: "/dev/sd" + string(rune('f'+i))}); err != nil {
					t.Fatal(err)
				}
			}
			before := len(w.sim.Volumes())
			first, second := w.noisy(mib, awssim.SnapshotSpec{}), w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60719"})
			if c.limit == 0 { // both want a name before either has given his back
				var attached atomic.Int64
				w.sim.SetFault(func(call awssim.Call) awssim.Fault {
					if call.Action == "PutObject" && attached.Add(1) == 1 {
						return awssim.Fault{Delay: 1500 * time.Millisecond}
					}
					return awssim.Fault{}
				})
			}
			r := w.run("migrate", "--dd", "--bucket", testBucket, "--jobs", "2", "--keep-temp-volumes=false", first.ID, second.ID)
			if c.limit > 0 || r.code != exitDone {
				r.says(t, exitFailed, c.says, "fewer --jobs")
				r.oneLineEach(t)
			}
			for _, s := range []subject{first, second} {
				if tags := w.sim.Tags(s.ID); tags["snap-to-s3"] != "migrated" && (len(tags) != 1 || tags["snap-to-s3"] != "migrate") {
					t.Errorf("tags of %s: %v", s.ID, tags)
				}
			}
			w.sim.SetFault(nil)
			w.sim.SetEC2(awssim.EC2Config{})
			w.ok("migrate", "--dd", "--bucket", testBucket, first.ID, second.ID)
			w.isMigrated(first)
			w.isMigrated(second)
			var left []awssim.VolumeInfo
			for _, v := range w.sim.Volumes() {
				if v.State != "deleting" {
					left = append(left, v)
				}
			}
			if len(left) != before {
				t.Errorf("%d volumes are left, want the %d of others: %+v", len(left), before, left)
			}
		})
	}
}

// AWS's clock jumps while a run is under way, or is to this machine as if this
// machine's had. The run's own claims and times go by it.
func TestTheClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"ahead": 14 * time.Minute, "far ahead": 20 * time.Hour, "back": -14 * time.Minute, "far back": -20 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.noisy(12*mib, awssim.SnapshotSpec{})
			w.sim.SetFault(func(c awssim.Call) awssim.Fault {
				if c.Action == "AttachVolume" {
					w.sim.SetClock(func() time.Time { return time.Now().Add(jump) })
				}
				return awssim.Fault{}
			})
			r := w.run("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all")
			if r.code == exitDone {
				w.isMigrated(s)
				w.isArchived(s, s.key("zstd"))
				w.nothingLeft()
				return
			}
			// By AWS's time the claim was not renewed for longer than others respect it.
			if jump < time.Hour {
				t.Errorf("exit code %d", r.code)
			}
			if r.code != exitClaimed || !strings.Contains(r.stdout, "not renewed for 20h") {
				t.Errorf("exit code %d, want %d with its reason", r.code, exitClaimed)
			}
			w.isAsBefore(s.ID)
		})
	}
}

// A host that died with a claim is replaced by another one, which has neither its
// id nor its state files: once the claim has expired it does the job, whatever the
// dead one had stored of it, and leaves alone what it cannot prove to be dead.
func TestAReplacedHost(t *testing.T) {
	for _, stage := range []string{"claiming", "copying", "entries", "record", "commit"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			w.leftovers = true // the dead host's volume and upload
			s := w.noisy(24*mib, awssim.SnapshotSpec{})
			there := w.hold(stages()[stage], awssim.Fault{HangAfter: true}, nil)
			args := []string{"migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB"}
			p := w.start(w.command(append(args, "--all")...))
			w.reaches(there, p)
			p.sends(syscall.SIGKILL)
			p.ends()
			w.sim.SetFault(nil)
			host, err := w.sim.AddHost("i-0fedcba9876543210")
			if err != nil {
				t.Fatal(err)
			}
			w.extra = append(host.Env(), "SNAP_TO_S3_STATE_DIR="+filepath.Join(w.dir, "another state"))
			r := w.run(append(args, s.ID)...)
			r.says(t, exitClaimed, "claimed elsewhere", "60 minutes")
			w.sim.SetClock(func() time.Time { return time.Now().Add(61 * time.Minute) })
			before := len(w.sim.Volumes())
			r = w.ok(append(args, s.ID)...)
			if !strings.Contains(r.stderr, "taking over a claim that was not renewed") {
				t.Error("it does not say that it takes over")
			}
			w.isMigrated(s)
			w.isArchived(s, s.key("zstd"))
			for _, v := range w.sim.Volumes() {
				if strings.Contains(w.sim.Tags(v.ID)["snap-to-s3-owner"], "i-0fedcba9876543210") && v.State != "deleting" {
					t.Errorf("the new host's volume is left: %+v", v)
				}
			}
			if n := len(w.sim.Volumes()); n < before {
				t.Errorf("%d volumes of %d are left: those of the dead host are not the new one's", n, before)
			}
		})
	}
}
