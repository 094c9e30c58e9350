package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/runstate"
)

// process is snap-to-s3 while it runs.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

func (w *world) start(cmd *exec.Cmd) *process {
	w.t.Helper()
	p := &process{t: w.t, cmd: cmd}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// ends waits for the process, kills it if it hangs, and returns what it left.
func (p *process) ends() result {
	p.t.Helper()
	timer := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	err := p.cmd.Wait()
	if !timer.Stop() {
		p.t.Errorf("it hung\n%s%s", p.out.String(), p.err.String())
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatal(err)
	}
	r := result{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()}
	noSecrets(p.t, p.cmd, r.stdout+r.stderr)
	p.t.Logf("%s%s(%v)", r.stdout, r.stderr, p.cmd.ProcessState)
	return r
}

func (p *process) sends(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// hold makes the first call that matches wait as f says, and tells when it is
// there. Other calls get the faults of after, once it is.
func (w *world) hold(match func(awssim.Call) bool, f awssim.Fault, after func(awssim.Call) awssim.Fault) (there chan struct{}) {
	there = make(chan struct{})
	var once sync.Once
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if !match(c) {
			select {
			case <-there:
				if after != nil {
					return after(c)
				}
			default:
			}
			return awssim.Fault{}
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			return awssim.Fault{}
		}
		close(there)
		return f
	})
	return there
}

func (w *world) reaches(there chan struct{}, p *process) {
	w.t.Helper()
	select {
	case <-there:
	case <-time.After(30 * time.Second):
		p.sends(syscall.SIGKILL)
		p.ends()
		w.t.Fatal("the call was not made")
	}
}

// stages are the calls at which a run is held.
func stages() map[string]func(awssim.Call) bool {
	tags := func(value string) func(awssim.Call) bool {
		return func(c awssim.Call) bool {
			return c.Action == "CreateTags" && strings.HasPrefix(c.Target, "snap-") && strings.Contains(c.Summary, "snap-to-s3="+value)
		}
	}
	claimed := false
	return map[string]func(awssim.Call) bool{
		"looking for the bucket": awssim.Action("GetObject"),
		"listing":                awssim.Action("DescribeSnapshots"),
		"claiming":               tags("migrating"),
		"reading the claim back": func(c awssim.Call) bool {
			claimed = claimed || c.Action == "CreateTags"
			return claimed && c.Action == "DescribeSnapshots"
		},
		"creating":   awssim.Action("CreateVolume"),
		"waiting":    func(c awssim.Call) bool { return c.Action == "DescribeVolumes" && strings.HasPrefix(c.Target, "vol-") },
		"attaching":  awssim.Action("AttachVolume"),
		"beginning":  awssim.Action("CreateMultipartUpload"),
		"copying":    func(c awssim.Call) bool { return c.Action == "UploadPart" && c.Part == 2 },
		"detaching":  awssim.Action("DetachVolume"),
		"deleting":   awssim.Action("DeleteVolume"),
		"committing": awssim.Action("CompleteMultipartUpload"),
		"entries":    func(c awssim.Call) bool { return c.Action == "PutObject" && strings.HasSuffix(c.Key, ".entries") },
		"record":     func(c awssim.Call) bool { return c.Action == "PutObject" && strings.HasSuffix(c.Key, ".img.zstd.json") },
		"commit": func(c awssim.Call) bool {
			return c.Action == "PutObject" && strings.HasSuffix(c.Key, ".image.zstd.json")
		},
		"tagging":   tags("migrated"),
		"untagging": awssim.Action("DeleteTags"),
	}
}

// A run that is interrupted at any stage, its call carried out or not, gives
// everything back or has finished.
func TestInterruptedAtEachStage(t *testing.T) {
	for stage := range stages() {
		for how, f := range map[string]awssim.Fault{"hangs": {Hang: true}, "was carried out and hangs": {HangAfter: true}} {
			signal := syscall.SIGINT
			if f.HangAfter {
				signal = syscall.SIGTERM
			}
			t.Run(stage+" "+how, func(t *testing.T) {
				t.Parallel()
				interruptAt(t, stages()[stage], f, signal)
			})
		}
	}
}

func interruptAt(t *testing.T, match func(awssim.Call) bool, f awssim.Fault, signal syscall.Signal) {
	w := newWorld(t, awssim.Config{})
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	there := w.hold(match, f, nil)
	p := w.start(w.command("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all"))
	w.reaches(there, p)
	began := time.Now()
	p.sends(signal)
	r := p.ends()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if r.code != exitInterrupted || !strings.Contains(r.stderr, "interrupted by "+signalName(signal)) {
		t.Errorf("exit code %d, want %d with the signal named", r.code, exitInterrupted)
	}
	r.oneLineEach(t)
	tags := w.sim.Tags(s.ID)
	_, record := w.sim.Object(testBucket, "manifests/"+s.key("zstd")+".json")
	switch {
	case tags["snap-to-s3"] == "migrated":
		w.isMigrated(s)
		w.isArchived(s, s.key("zstd"))
		w.nothingLeft()
		return
	case len(tags) != 1 || tags["snap-to-s3"] != "migrate":
		t.Errorf("tags %v", tags)
	case len(w.objects()) > 0 && !record && !strings.Contains(r.stdout, "stands without its record"):
		t.Errorf("objects stay and are not named: %+v", w.objects())
	}
	if left := w.sim.Uploads(testBucket); f.HangAfter && len(left) == 1 && left[0].Parts == 0 {
		// Its id was in the answer that never came. Without parts it costs nothing.
		w.leftovers = true
	} else {
		w.stateless()
	}
	w.sim.SetFault(nil)
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	w.isMigrated(s)
	w.isArchived(s, s.key("zstd"))
}

// stateless is nothingLeft also where no state file was ever made.
func (w *world) stateless() {
	w.t.Helper()
	if err := os.MkdirAll(w.stateDir(), 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.nothingLeft()
}

// A second signal ends the process at once, whatever the clean-up waits for.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	detaching := make(chan struct{})
	var once sync.Once
	there := w.hold(stages()["copying"], awssim.Fault{Hang: true}, func(c awssim.Call) awssim.Fault {
		if c.Action == "DetachVolume" {
			once.Do(func() { close(detaching) })
			return awssim.Fault{Hang: true}
		}
		return awssim.Fault{}
	})
	p := w.start(w.command("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", s.ID))
	w.reaches(there, p)
	p.sends(syscall.SIGINT)
	w.reaches(detaching, p)
	began := time.Now()
	p.sends(syscall.SIGINT)
	p.ends()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if n := strings.Count(p.err.String(), interruptedText+"\n"); n != 1 {
		t.Errorf("it said %d times that it gives back", n)
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
	w.sim.SetFault(nil)
	for _, kind := range []string{"volume", "attachment", "claim"} {
		if left := w.stateFile().Left; !slices.ContainsFunc(left, func(e runstate.Entry) bool { return e.Kind == kind }) {
			t.Errorf("the state file does not name the %s: %+v", kind, left)
		}
	}
}

// Under nohup a hangup is nothing.
func TestHangupUnderNohup(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nohup"); err != nil {
		t.Skip("nohup is not installed")
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	there := w.hold(stages()["copying"], awssim.Fault{Delay: time.Second}, nil)
	cmd := w.command("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all")
	nohup := exec.Command("nohup", append([]string{cmd.Path}, cmd.Args[1:]...)...)
	nohup.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	p := w.start(nohup)
	w.reaches(there, p)
	p.sends(syscall.SIGHUP)
	if r := p.ends(); r.code != exitDone {
		t.Errorf("exit code %d", r.code)
	}
	w.isMigrated(s)
	w.isArchived(s, s.key("zstd"))
	w.nothingLeft()
}

// A killed run can do nothing any more: its state file names what it had, and
// the next run takes it away and does the work.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	there := w.hold(stages()["copying"], awssim.Fault{Hang: true}, nil)
	p := w.start(w.command("migrate", "--dd", "--bucket", testBucket, "--part-size", "5MiB", "--all"))
	w.reaches(there, p)
	p.sends(syscall.SIGKILL)
	p.ends()
	w.sim.SetFault(nil)

	volumes, uploads := w.sim.Volumes(), w.sim.Uploads(testBucket)
	if len(volumes) != 1 || len(uploads) != 1 {
		t.Fatalf("volumes %+v, uploads %+v; want one of each", volumes, uploads)
	}
	fields := map[string]string{}
	for _, e := range w.stateFile().Left {
		fields[e.Kind] += fmt.Sprint(e.Fields)
	}
	for kind, want := range map[string]string{"volume": volumes[0].ID, "attachment": volumes[0].ID, "upload": uploads[0].ID, "claim": s.ID} {
		if !strings.Contains(fields[kind], want) {
			t.Errorf("the state file names %s %s, want %s in it", kind, fields[kind], want)
		}
	}
	// This machine knows that the owner is dead.
	r := w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
	for kind, want := range map[string]string{"volume": volumes[0].ID, "attachment": volumes[0].ID, "upload": uploads[0].ID, "claim": s.ID} {
		if !regexp.MustCompile(`took away what an earlier run left .*kind=` + kind + ` what="[^"]*` + regexp.QuoteMeta(want)).MatchString(r.stderr) {
			t.Errorf("the next run has no word of %s %s", kind, want)
		}
	}
	w.isMigrated(s)
	w.isArchived(s, s.key("zstd"))
	w.nothingLeft()
}
