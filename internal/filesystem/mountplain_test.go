package filesystem

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

// plainRequest asks for a plain mount of an ext4 and has a state file.
func plainRequest(t *testing.T) (r MountRequest, state string) {
	t.Helper()
	r = requestOf(t, imageWithFile(t, "ext4"), "ext4")
	state = t.TempDir()
	var err error
	if r.State, err = runstate.Create(state, runstate.Header{Run: runstate.NewRunID()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.State.Close() })
	r.Plain, r.Folder = true, filepath.Join(t.TempDir(), "mnt", "snap-1")
	// Last of the cleanups that unmount, also where a test fails.
	t.Cleanup(func() { _ = unix.Unmount(r.Folder, unix.MNT_DETACH) })
	return r, state
}

func isThere(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestPlainMounts(t *testing.T) {
	for _, typ := range treetest.Filesystems() {
		t.Run(typ, func(t *testing.T) {
			r, state := plainRequest(t)
			image := imageWithFile(t, typ)
			r.Device, r.Type, r.Size = image, typ, requestOf(t, image, typ).Size
			m := openMount(t, r)
			if m.Detached() {
				t.Error("it is detached")
			}
			hasFile(t, m)
			if !isThere(t, filepath.Join(r.Folder, "file")) {
				t.Error("nothing at the folder")
			}
			var st unix.Statfs_t
			const want = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
			if err := unix.Statfs(r.Folder, &st); err != nil || st.Flags&want != want {
				t.Errorf("flags %#x, %v", st.Flags, err)
			}
			left := leftBy(t, state)
			if len(left) != 1 || left[0].Kind != runstate.KindMount || left[0].Hint() != "umount "+r.Folder {
				t.Errorf("noted: %+v", left)
			}
			closeMount(t, m)
			if left := leftBy(t, state); len(left) != 0 {
				t.Errorf("still noted: %+v", left)
			}
			if isThere(t, r.Folder) {
				t.Error("the folder is still there")
			}
			nothingOver(t, image)
		})
	}
}

// A folder that was there stays.
func TestPlainMountAtAFolderThatIsThere(t *testing.T) {
	r, _ := plainRequest(t)
	if err := os.MkdirAll(r.Folder, 0o750); err != nil {
		t.Fatal(err)
	}
	closeMount(t, openMount(t, r))
	if !isThere(t, r.Folder) {
		t.Error("the folder is gone")
	}
	closeMount(t, openMount(t, r)) // nothing hinders the next
}

func TestPlainMountShowsTheRecoveredTree(t *testing.T) {
	r, _ := plainRequest(t)
	image, want := treetest.Dirty(t, "ext4")
	r.Device, r.Size = image, requestOf(t, image, "ext4").Size
	m := openMount(t, r)
	for _, d := range treetest.Diff(want, treetest.Read(t, r.Folder, treetest.ReadOptions{}), treetest.DiffOptions{}) {
		t.Error(d)
	}
	closeMount(t, m)
}

func TestKeptMounts(t *testing.T) {
	treetest.RequirePrograms(t, "umount")
	r, state := plainRequest(t)
	r.Keep = true
	m := openMount(t, r)
	closeMount(t, m)
	if !isThere(t, filepath.Join(r.Folder, "file")) {
		t.Error("it is not mounted any more")
	}
	left := leftBy(t, state)
	if len(left) != 1 || left[0].Reason == "" || left[0].Hint() != "umount "+r.Folder {
		t.Fatalf("noted: %+v", left)
	}
	shell(t, left[0].Hint())
	nothingOver(t, r.Device)
}

func TestRefusedFolders(t *testing.T) {
	r, state := plainRequest(t)
	base := t.TempDir()
	held := openMount(t, r)
	for name, c := range map[string]struct {
		make func(path string) error
		text string
	}{
		"not empty": {func(p string) error { return os.MkdirAll(filepath.Join(p, "x"), 0o700) }, "not empty"},
		"a file":    {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "not a directory"},
		"a symlink": {func(p string) error { return os.Symlink(base, p) }, "not a directory"},
		"nowhere":   {func(p string) error { return os.Symlink("none", p) }, ""},
		"locked": {func(p string) error {
			if err := os.Mkdir(p, 0o700); err != nil {
				return err
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			t.Cleanup(func() { f.Close() })
			return unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}, "another run"},
	} {
		other := r
		other.Folder = filepath.Join(base, name)
		if err := c.make(other.Folder); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), other)
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), other.Folder) || !strings.Contains(hint.Of(err), "--mount-point") {
			t.Errorf("%s: %v (hint %q), want %q", name, err, hint.Of(err), c.text)
		}
		if !isThere(t, other.Folder) {
			t.Errorf("%s: the folder is gone", name)
		}
	}
	if _, err := Open(t.Context(), r); err == nil || !strings.Contains(err.Error(), "mounted there already") {
		t.Errorf("a mount point: %v", err)
	}
	hasFile(t, held)
	closeMount(t, held)
	if left := leftBy(t, state); len(left) != 0 {
		t.Errorf("noted: %+v", left)
	}
	nothingOver(t, r.Device)
}

// Two of one folder at once: one gets it.
func TestOneFolderForTwo(t *testing.T) {
	r, _ := plainRequest(t)
	second := filepath.Join(t.TempDir(), "copy")
	treetest.SparseCopy(t, r.Device, second, 0)
	other := r
	other.Device = second
	for range 10 {
		type answer struct {
			m   *Mount
			err error
		}
		answers := make(chan answer, 2)
		for _, r := range []MountRequest{r, other} {
			go func() {
				m, err := Open(t.Context(), r)
				answers <- answer{m, err}
			}()
		}
		a, b := <-answers, <-answers
		if a.err == nil && b.err == nil {
			t.Error("both are mounted at one folder")
		}
		for _, a := range []answer{a, b} {
			if a.m != nil {
				hasFile(t, a.m)
				closeMount(t, a.m)
			}
		}
	}
}

func TestPlainMountInUse(t *testing.T) {
	treetest.RequirePrograms(t, "umount")
	r, state := plainRequest(t)
	m := openMount(t, r)
	f, err := os.Open(filepath.Join(r.Folder, "file"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := m.Close(ctx); err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	f.Close()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if left := leftBy(t, state); len(left) == 1 && left[0].Reason != "" {
			break
		}
	}
	left := leftBy(t, state)
	if len(left) != 1 || !strings.Contains(left[0].Reason, "busy") || left[0].Command != "umount "+r.Folder {
		t.Fatalf("noted: %+v", left)
	}
	shell(t, left[0].Hint())
	nothingOver(t, r.Device)
}

// What somebody mounts over ours stays.
func TestCloseUnmountsNothingElse(t *testing.T) {
	r, state := plainRequest(t)
	m := openMount(t, r)
	if err := unix.Mount("none", r.Folder, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no tmpfs here: ", err)
	}
	err := m.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "something else") || len(leftBy(t, state)) != 1 {
		t.Errorf("%v, noted: %+v", err, leftBy(t, state))
	}
	for range 2 { // theirs, and ours
		if err := unix.Unmount(r.Folder, 0); err != nil {
			t.Error(err)
		}
	}
	nothingOver(t, r.Device)
}

func TestSomebodyElseUnmounts(t *testing.T) {
	r, state := plainRequest(t)
	m := openMount(t, r)
	if err := unix.Unmount(r.Folder, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	closeMount(t, m)
	if left := leftBy(t, state); len(left) != 0 || isThere(t, r.Folder) {
		t.Errorf("noted: %+v", left)
	}
}

// Kernels before 5.2 and 5.8, and containers.
func TestFallbacks(t *testing.T) {
	noLoop := ioctlCall(unix.LOOP_CONFIGURE, unix.ENOTTY)
	fsopen := func(errno syscall.Errno) call { return call{unix.SYS_FSOPEN, false, 0, errno} }
	for name, c := range map[string]struct {
		refused  []call
		detached bool
	}{
		"before 5.8":  {[]call{noLoop}, true},
		"before 5.2":  {[]call{noLoop, fsopen(unix.ENOSYS)}, false},
		"a container": {[]call{fsopen(unix.EPERM)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := plainRequest(t)
			r.Plain, r.State = false, nil
			state := t.TempDir()
			c2 := startChild(t, job{Request: r, State: state, Refused: c.refused, Do: "hold"})
			line := c2.says("open")
			if !strings.HasPrefix(line, "open "+map[bool]string{true: "true", false: "false"}[c.detached]) {
				t.Fatalf("the child says %q", line)
			}
			if left := leftBy(t, state); len(left) != map[bool]int{true: 0, false: 1}[c.detached] {
				t.Errorf("noted: %+v", left)
			}
			if isThere(t, filepath.Join(r.Folder, "file")) == c.detached {
				t.Error("mounted at the folder, or not, unlike what it says")
			}
			c2.stdin.Close()
			if c2.says("closed") == "" {
				t.Error("not closed")
			}
			if left := leftBy(t, state); len(left) != 0 || isThere(t, r.Folder) {
				t.Errorf("noted: %+v", left)
			}
			nothingOver(t, r.Device)
		})
	}
}

// Killed, a plain mount stays, and the state file has the command.
func TestKilledPlainMount(t *testing.T) {
	treetest.RequirePrograms(t, "umount")
	for name, refused := range map[string][]call{
		"mounted": nil,
		"before":  {{unix.SYS_MOUNT, false, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := plainRequest(t)
			r.State = nil
			state := t.TempDir()
			c := startChild(t, job{Request: r, State: state, Refused: refused, Do: "hold"})
			mounted := c.says("open") != ""
			c.kill()
			if mounted != (refused == nil) || isThere(t, filepath.Join(r.Folder, "file")) != mounted {
				t.Errorf("mounted: %t", mounted)
			}
			left := leftBy(t, state)
			if len(left) != 1 || left[0].Kind != runstate.KindMount || left[0].Fields["folder"] != r.Folder {
				t.Fatalf("noted: %+v", left)
			}
			if mounted {
				shell(t, left[0].Hint())
			}
			nothingOver(t, r.Device)
		})
	}
}

func TestWhereNothingCanBeMounted(t *testing.T) {
	r, _ := plainRequest(t)
	r.Plain, r.State = false, nil
	state := t.TempDir()
	c := startChild(t, job{Request: r, State: state, Do: "hold", Refused: []call{
		{unix.SYS_FSOPEN, false, 0, unix.EPERM}, {unix.SYS_MOUNT, false, 0, unix.EPERM},
	}})
	for c.out.Scan() {
		if line := c.out.Text(); strings.HasPrefix(line, "error") {
			if !strings.Contains(line, "not permitted") || !strings.Contains(line, "--dd") {
				t.Errorf("the child says %s", line)
			}
		} else if strings.HasPrefix(line, "open") {
			t.Error("it is mounted")
		}
	}
	if left := leftBy(t, state); len(left) != 0 || isThere(t, r.Folder) {
		t.Errorf("noted: %+v", left)
	}
	nothingOver(t, r.Device)
}

// The answer is the same with fsopen and without.
func TestSupported(t *testing.T) {
	if err := Supported("ext4"); err != nil {
		t.Skip("this kernel has no ext4, or this is not root: ", err)
	}
	for _, typ := range []string{"", "swap", "proc", "ntfs", "LVM2_member", "ext4\x00", "../ext4"} {
		if err := Supported(typ); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v", typ, err)
		}
	}
	c := startChild(t, job{Do: "ask", Refused: []call{{unix.SYS_FSOPEN, false, 0, unix.ENOSYS}}})
	for _, typ := range known {
		want := "supported " + typ + " true"
		if err := Supported(typ); err != nil {
			want = "supported " + typ + " false"
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v", typ, err)
			}
		}
		if line := c.says("supported"); line != want {
			t.Errorf("without fsopen: %q, want %q", line, want)
		}
	}
}
