package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

// sealing are the arguments of a migration whose upload can be held at a part.
func sealing(more ...string) []string {
	return append([]string{"migrate", "--dd", "--all", "--bucket", testBucket, "--part-size", "5MiB", "--gpg-recipient", "ann"}, more...)
}

// notStored wants a run to have failed with nothing left: no object, no upload, no
// volume, no gpg, and the tag as it was.
func (w sealedWorld) notStored(s subject, r result, code int) {
	w.t.Helper()
	if r.code != code {
		w.t.Errorf("exit code %d, want %d", r.code, code)
	}
	r.oneLineEach(w.t)
	if len(w.objects()) > 0 {
		w.t.Errorf("there are objects: %v", w.state())
	}
	w.waits(s, "migrate")
}

// children are the gpg that a process has started.
func (w sealedWorld) children(p *process) (pids []int) {
	w.t.Helper()
	for _, text := range w.keyring.running() {
		stat, err := os.ReadFile("/proc/" + text + "/stat")
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err := strconv.Atoi(text)
		if err != nil {
			w.t.Fatal(err)
		}
		if fields[1] == strconv.Itoa(p.cmd.Process.Pid) && fields[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// A gpg that is killed while it encrypts leaves nothing in the bucket.
func TestGPGKilledWhileMigrating(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	w.keyring.makes("ann", "")
	s := w.noisy(64*mib, awssim.SnapshotSpec{})
	there := w.hold(stages()["copying"], awssim.Fault{Delay: 500 * time.Millisecond}, nil)
	p := w.start(w.command(sealing()...))
	w.reaches(there, p)
	pids := w.children(p)
	if len(pids) == 0 {
		t.Error("no gpg is a child of the program")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	r := p.ends()
	if !strings.Contains(r.stdout, "encrypt") || !strings.Contains(r.stdout, "killed") {
		t.Error("it does not say what happened")
	}
	w.notStored(s, r, exitFailed)
	w.sim.SetFault(nil)
	w.ok(sealing()...)
	w.isMigrated(s)
}

// A gpg that fails half-way, or ends as if all were well before it is.
func TestGPGFailsWhileMigrating(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	w.keyring.makes("ann", "")
	s := w.noisy(16*mib, awssim.SnapshotSpec{})
	real := tool(t, "", "sh", "-c", "command -v gpg")
	for name, script := range map[string]string{
		"fails":           `head -c 3000000 | %s "$@" | head -c 2000000; echo "gpg: out of core" >&2; exit 2`,
		"ends early":      `head -c 3000000 | %s "$@"`,
		"is cut":          `%s "$@" | head -c 3000000`,
		"writes nonsense": `%.0scat`,
		"writes nothing":  `%.0scat >/dev/null`,
	} {
		folder := t.TempDir()
		// The checks before, and what the program asks of gpg, are the real one's.
		text := "#!/bin/bash\ncase \" $* \" in *' --encrypt '*) [[ -p /dev/stdin && $(readlink /proc/self/fd/1) == pipe:* ]] ;; *) false ;; esac\n" +
			"if [[ $? != 0 || ! -e " + folder + "/migrating ]]; then exec " + strings.TrimSpace(real) + " \"$@\"; fi\n" +
			fmt.Sprintf(script, strings.TrimSpace(real)) + "\n"
		for _, program := range []string{"gpg", "gpg2"} {
			writeFile(t, filepath.Join(folder, program), []byte(text))
			if err := os.Chmod(filepath.Join(folder, program), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		w.extra = []string{w.keyring.env(), "PATH=" + folder + ":" + os.Getenv("PATH")}
		// From the volume on, gpg is the broken one.
		w.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if c.Action == "CreateVolume" {
				writeFile(t, filepath.Join(folder, "migrating"), nil)
			}
			return awssim.Fault{}
		})
		w.sim.ResetCalls()
		r := w.run(sealing()...)
		if w.called("CreateVolume") != 1 || !strings.Contains(r.stdout, "gpg") {
			t.Errorf("%s: it did not come to the encryption, or does not say what happened", name)
		}
		w.notStored(s, r, exitFailed)
	}
}

// Interrupted while it encrypts, nothing is left; interrupted while it decrypts,
// the tag is as before.
func TestGPGInterrupted(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	home := newKeyring(t)
	home.makes("ann", "")
	home.gives("ann", w.keyring, true)
	s := w.noisy(64*mib, awssim.SnapshotSpec{})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		there := w.hold(stages()["copying"], awssim.Fault{Hang: true}, nil)
		p := w.start(w.command(sealing()...))
		w.reaches(there, p)
		if len(w.children(p)) != 2 {
			t.Errorf("children %v, want a gpg for the archive and one for its entries", w.children(p))
		}
		p.sends(signal)
		w.notStored(s, p.ends(), exitInterrupted)
		w.sim.SetFault(nil)
	}
	w.ok(sealing()...)
	keys := s.sealedKeys("img", "zstd")
	key := home.sessionKey(w.object(keys[3]))

	for _, verb := range []string{"validate", "verify"} {
		opened := 0 // the first to look for the key, the second to read it
		there := w.hold(func(c awssim.Call) bool {
			if c.Action == "GetObject" && c.Key == keys[3] {
				opened++
			}
			return opened == 2
		}, awssim.Fault{HangBody: 20 << 20}, nil)
		p := w.start(w.command(verb, "--bucket", testBucket, "--all", "--gpg-session-key", key))
		w.reaches(there, p)
		w.comesToDecrypt(p, key)
		p.sends(syscall.SIGINT)
		r := p.ends()
		if r.code != exitInterrupted {
			t.Errorf("%s: exit code %d, want %d", verb, r.code, exitInterrupted)
		}
		w.silent(r, key)
		w.sim.SetFault(nil)
		w.waits(s, "migrated")
	}
	w.ok("validate", "--bucket", testBucket, "--all", "--gpg-session-key", key)
	w.isValidated(s)
}

// comesToDecrypt waits for gpg to run, and looks at what the system shows of it.
func (w sealedWorld) comesToDecrypt(p *process, key string) {
	w.t.Helper()
	_, digits, _ := strings.Cut(key, ":")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		for _, pid := range w.children(p) {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && strings.Contains(string(line), digits) {
				w.t.Error("gpg was given the session key as an argument")
			}
			if err == nil && strings.Contains(string(line), "--decrypt") {
				return
			}
		}
		<-tick.C
	}
	w.t.Error("no gpg decrypts")
}

// When the program is killed gpg ends by itself, and the next run takes away what
// was left.
func TestGPGWhenTheProgramIsKilled(t *testing.T) {
	t.Parallel()
	w := newSealedWorld(t)
	_, subkey := w.keyring.makes("ann", "")
	s := w.noisy(24*mib, awssim.SnapshotSpec{})
	there := w.hold(stages()["copying"], awssim.Fault{Hang: true}, nil)
	p := w.start(w.command(sealing()...))
	w.reaches(there, p)
	if len(w.children(p)) == 0 {
		t.Error("no gpg is a child of the program")
	}
	p.sends(syscall.SIGKILL)
	p.killed()
	w.keyring.idle()
	w.sim.SetFault(nil)
	if len(w.objects()) > 0 || len(w.sim.Volumes()) != 1 {
		t.Errorf("objects %v, volumes %v", w.state(), w.sim.Volumes())
	}
	w.ok(sealing("--validate")...)
	w.isSealed(s, s.sealedKeys("img", "zstd"), subkey)
	w.isValidated(s)
}
