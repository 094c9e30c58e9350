package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/filesystem"
)

// demoTime is what the README's reader waits at most, once it is built.
const demoTime = 30 * time.Second

// TestDemo runs the README's first command as it stands there, and the program
// as a user without rights. Both are timed, and therefore not parallel.
func TestDemo(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go program")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	// Built before it is timed; go run then finds it in the build cache.
	program := filepath.Join(t.TempDir(), "snap-to-s3")
	build := exec.Command("go", "build", "-o", program, "./cmd/snap-to-s3")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("from the checkout", func(t *testing.T) {
		argv := strings.Fields(readmeDemo)
		runDemoProgram(t, func(cmd *exec.Cmd) {
			cmd.Dir = root
			cmd.Env = withoutAWS(os.Environ())
		}, argv[0], argv[1:]...)
	})
	t.Run("as an ordinary user", func(t *testing.T) { demoAsNobody(t, program) })
}

func demoAsNobody(t *testing.T, program string) {
	if os.Geteuid() != 0 {
		runDemoProgram(t, func(*exec.Cmd) {}, program, "demo")
		return
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("no user nobody: %v", err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its parents are closed to other users.
	dir, err := os.MkdirTemp("", "snap-to-s3-demo-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "snap-to-s3")
	copyProgram(t, program, copied)
	runDemoProgram(t, func(cmd *exec.Cmd) {
		cmd.Dir = dir
		cmd.Env = append(withoutAWS(os.Environ()), "HOME="+home, "TMPDIR="+home, "XDG_STATE_HOME=")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}, copied, "demo")
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("left in his home: %v, %v", left, err)
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}

// runDemoProgram wants the demo to end well and in time, to show what it does
// and to prove both archives. On a machine that is busy with other tests it may
// try thrice to be in time.
func runDemoProgram(t *testing.T, set func(*exec.Cmd), name string, args ...string) {
	t.Helper()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*demoTime)
		cmd := exec.CommandContext(ctx, name, args...)
		set(cmd)
		started := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(started)
		cancel()
		t.Logf("%s\n(%s)", out, took)
		if err != nil {
			t.Fatal(err)
		}
		checkDemo(t, string(out), cmd.SysProcAttr == nil && filesystem.Usable() == nil)
		if took <= demoTime {
			return
		}
	}
	t.Errorf("it never ended within %s", demoTime)
}

func checkDemo(t *testing.T, text string, files bool) {
	t.Helper()
	command, archives := "$ snap-to-s3 migrate --dd --all --bucket demo\n", []string{".img.zstd"}
	if files {
		command, archives = "$ snap-to-s3 migrate --all --bucket demo\n", []string{".0.img.zstd", ".1.tar.zstd"}
	}
	for _, want := range append(archives, command, ".img.lz4", "$ snap-to-s3 --migrate --dd --snapshots snap-",
		"snap-to-s3=migrated", "manifests/vol-") {
		if !strings.Contains(text, want) {
			t.Errorf("it does not show %q", want)
		}
	}
	if files {
		_, after, ok := strings.Cut(text, ".1.tar.zstd' | tar -tv\n")
		if !ok || !strings.HasPrefix(after, "drwxr-xr-x 0/0 ") || !strings.Contains(after, " ./srv/notes/2016.log\n") {
			t.Errorf("tar does not list the files")
		}
	}
	for _, codecName := range []string{"zstd", "lz4"} {
		proof := fmt.Sprintf("$ %s -dc 'demo/", codecName)
		if _, err := exec.LookPath(codecName); err != nil {
			proof = codecName + " is not installed here: our own decoder reads"
		}
		_, after, ok := strings.Cut(text, proof)
		lines := strings.SplitN(after, "\n", 3)
		if !ok || len(lines) < 3 || !strings.HasPrefix(lines[1], "equal") {
			t.Errorf("%s: no proof that the archive is the disk", codecName)
		}
	}
	if last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]; !strings.HasPrefix(last, "# Left behind: no volume") {
		t.Errorf("the last line is %q", last)
	}
}
