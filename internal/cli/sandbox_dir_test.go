package cli

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sandboxCommand is a sandbox that stays up, with temporary files in tmp.
func sandboxCommand(t *testing.T, tmp string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "snap-to-s3", append([]string{"sandbox"}, args...)...)
	cmd.Env = append(withoutAWS(os.Environ()), "TMPDIR="+tmp, "AWS_PROFILE=production")
	return cmd
}

// upSandbox starts one and returns when it is up, with what it printed.
func upSandbox(t *testing.T, tmp string) (*exec.Cmd, string) {
	t.Helper()
	cmd := sandboxCommand(t, tmp)
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout")) // a file: what was written is there at once
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stdout = stdout
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if lines := bufio.NewScanner(said); !lines.Scan() || !strings.HasPrefix(lines.Text(), "The sandbox is up") {
		t.Fatalf("it said %q", lines.Text())
	}
	text, err := os.ReadFile(stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	return cmd, string(text)
}

func sandboxDirs(t *testing.T, tmp string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(tmp, sandboxDir+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// A sandbox that was killed leaves its folder; the next one removes it, and no
// other's.
func TestDeadSandboxesAreRemoved(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	dead, _ := upSandbox(t, tmp)
	left := sandboxDirs(t, tmp)
	dead.Process.Kill()
	if err := dead.Wait(); err == nil || len(left) != 1 {
		t.Fatalf("folders %q of one sandbox, ended by %v", left, err)
	}
	live, _ := upSandbox(t, tmp)
	between := sandboxDirs(t, tmp)
	if len(between) != 1 || between[0] == left[0] {
		t.Errorf("folders %q, want that of the sandbox that lives and not %q", between, left)
	}
	// Neither the folder of one that is just being made, nor what only has the name.
	young, file := filepath.Join(tmp, sandboxDir+"young"), filepath.Join(tmp, sandboxDir+"file")
	if err := os.Mkdir(young, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, nil)
	elsewhere := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(elsewhere, sandboxLock), nil)
	link := filepath.Join(tmp, sandboxDir+"link")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	if out, err := sandboxCommand(t, tmp, "--", "true").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{between[0], young, file, link, filepath.Join(elsewhere, sandboxLock)} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if err := live.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := live.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(between[0]); err == nil {
		t.Errorf("%s stays after its sandbox", between[0])
	}
}

// The printed environment leads to the sandbox also from a shell that has led
// somewhere else.
func TestSandboxEnvironmentIsWhole(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh")
	}
	cmd, text := upSandbox(t, t.TempDir())
	shell := exec.CommandContext(t.Context(), "sh", "-ec", text+"env")
	shell.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, name := range append(awsSettings(), "AWS_CONFIG_FILE", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID") {
		shell.Env = append(shell.Env, name+"=of-production")
	}
	out, err := shell.CombinedOutput()
	if err != nil || strings.Contains(string(out), "of-production") {
		t.Errorf("after the exports (%v):\n%s", err, out)
	}
	if !strings.HasPrefix(text, "unset AWS_PROFILE ") {
		t.Errorf("it prints\n%s", text)
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if first, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(line, "export ") && strings.Contains(first+" ", " "+name+" ") {
			t.Errorf("%s is both set and unset", name)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
