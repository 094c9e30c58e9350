package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// world is a sandbox account of one test, and this program run against it as a
// process of its own.
type world struct {
	t     *testing.T
	sim   *awssim.Server
	dir   string
	extra []string // environment, after the sandbox's
	// leftovers are what Close may report without failing the test.
	leftovers bool
	// nameless uploads may stay: their ids were in answers that never came. They have
	// no parts, and so cost nothing.
	nameless bool
}

const testBucket = "backups.example.com"

// newWorld starts an account with one bucket. As root volumes are loop devices.
func newWorld(t *testing.T, cfg awssim.Config) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	cfg.Dir = filepath.Join(w.dir, "aws")
	cfg.Loop = os.Geteuid() == 0
	sim, err := awssim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.sim = sim
	sim.AddBucket(awssim.Bucket{Name: testBucket})
	t.Cleanup(func() {
		if err := sim.Invariants(); err != nil {
			t.Errorf("the account was mistreated: %v", err)
		}
		if err := sim.Close(); err != nil && !w.leftovers {
			t.Errorf("after the test: %v", err)
		}
	})
	return w
}

func (w *world) snapshot(spec awssim.SnapshotSpec) string {
	w.t.Helper()
	id, err := w.sim.AddSnapshot(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// tagged is the tags of a snapshot that waits to be migrated.
func tagged(more ...string) map[string]string {
	tags := map[string]string{"snap-to-s3": "migrate"}
	for i := 0; i+1 < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

// result is what a run left on the terminal.
type result struct {
	code           int
	stdout, stderr string
}

func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command("snap-to-s3", args...)
	cmd.Env = append(withoutAWS(os.Environ()), w.sim.Env()...)
	cmd.Env = append(cmd.Env,
		"HOME="+w.dir, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"SNAP_TO_S3_STATE_DIR="+w.stateDir())
	cmd.Env = append(cmd.Env, w.extra...)
	return cmd
}

func (w *world) stateDir() string { return filepath.Join(w.dir, "state") }

// run runs snap-to-s3. A run that does not end within two minutes fails the
// test: nothing may hang.
func (w *world) run(args ...string) result {
	w.t.Helper()
	var out, err bytes.Buffer
	cmd := w.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Start(); e != nil {
		w.t.Fatal(e)
	}
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	waitErr := cmd.Wait()
	if !timer.Stop() {
		w.t.Fatalf("snap-to-s3 %s hung\n%s%s", strings.Join(args, " "), out.String(), err.String())
	}
	if _, ok := errors.AsType[*exec.ExitError](waitErr); waitErr != nil && !ok {
		w.t.Fatal(waitErr)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), err.String()}
	noSecrets(w.t, cmd, r.stdout+r.stderr)
	w.t.Logf("$ snap-to-s3 %s\n%s%s(exit %d)", strings.Join(args, " "), r.stdout, r.stderr, r.code)
	return r
}

// noSecrets wants no credential of the command in what it printed.
func noSecrets(t *testing.T, cmd *exec.Cmd, text string) {
	t.Helper()
	for _, kv := range cmd.Env {
		name, value, _ := strings.Cut(kv, "=")
		if (name == "AWS_SECRET_ACCESS_KEY" || name == "AWS_SESSION_TOKEN") && value != "" && strings.Contains(text, value) {
			t.Errorf("the output has %s in it", name)
		}
	}
}

// ok runs snap-to-s3 and wants exit code 0.
func (w *world) ok(args ...string) result {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("exit code %d, want 0", r.code)
	}
	return r
}

// archive is the key of the one archive of a snapshot.
func (w *world) archive(id string) string {
	w.t.Helper()
	var found []string
	for _, o := range w.objects() {
		if strings.HasPrefix(o.Key, "vol-") && strings.Contains(o.Key, id) {
			found = append(found, o.Key)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("archives of %s: %q, want one", id, found)
	}
	return found[0]
}

func (w *world) objects() []awssim.Object { return w.sim.Objects(testBucket) }

// isDisk fails the test unless the program of the archive's codec turns the
// object into the image, byte for byte.
func (w *world) isDisk(key, image string) {
	w.t.Helper()
	o, ok := w.sim.Object(testBucket, key)
	if !ok {
		w.t.Fatalf("no object %q", key)
	}
	stored := o.Open()
	defer stored.Close()
	decodesTo(w.t, strings.TrimPrefix(filepath.Ext(key), "."), stored, image)
}

func decodesTo(t *testing.T, program string, stored io.Reader, image string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	decode := exec.Command(program, "-dc")
	decode.Stdin = stored
	plain, err := decode.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	decode.Stderr = &complaint
	if err := decode.Start(); err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	at, same := compare(t, plain, disk)
	if err := decode.Wait(); err != nil {
		t.Fatalf("%s -d: %v: %s", program, err, complaint.String())
	}
	if !same {
		t.Fatalf("%s -d gives another disk: first difference near byte %d", program, at)
	}
}

func compare(t *testing.T, a, b io.Reader) (at int64, same bool) {
	t.Helper()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(a, p)
		m, errB := io.ReadFull(b, q)
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			// Drain, so that the decoder ends by itself.
			if _, err := io.Copy(io.Discard, a); err != nil {
				t.Fatal(err)
			}
			return at, false
		}
		at += int64(n)
		if errA != nil || errB != nil {
			return at, true
		}
	}
}
