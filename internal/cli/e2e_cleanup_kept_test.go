package cli

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/runstate"
)

// byHand runs a command that was printed, as a person does.
func (w *world) byHand(command string) {
	w.t.Helper()
	for _, name := range []string{"bash", "aws"} {
		if _, err := exec.LookPath(name); err != nil {
			w.t.Skipf("%s is not installed", name)
		}
	}
	cmd := exec.CommandContext(w.t.Context(), "bash", "-c", readmePrelude+"set +e\n"+command)
	cmd.Env = append(w.command().Env, "AWS_PAGER=", "AWS_DEFAULT_REGION=us-east-1")
	out, err := cmd.CombinedOutput()
	w.t.Logf("$ %s\n%s", command, out)
	if err != nil {
		w.t.Errorf("%s: %v", command, err)
	}
}

// commandOf is what a state file has for a volume.
func (w *world) commandOf(volume string) string {
	w.t.Helper()
	for _, e := range w.stateFile().Left {
		if e.Kind == runstate.KindVolume && e.Fields["volume"] == volume {
			return e.Hint()
		}
	}
	w.t.Fatalf("no state file names %s", volume)
	return ""
}

// standing are the ids of the volumes that are there.
func (w *world) standing() (ids []string) {
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// The printed command removes a volume that could be detached and not deleted.
func TestCommandOfADetachedVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	s := w.noisy(mib, awssim.SnapshotSpec{})
	w.sim.DenyActions([]string{"ec2:DeleteVolume"})
	r := w.run("migrate", "--dd", "--bucket", testBucket, s.ID)
	w.sim.DenyActions(nil)
	ids := w.standing()
	if len(ids) != 1 {
		t.Fatalf("volumes %q", ids)
	}
	command := w.commandOf(ids[0])
	if !strings.Contains(r.stdout+r.stderr, command) || strings.Contains(r.stdout+r.stderr, "detach-volume") {
		t.Errorf("it does not say %s, or more", command)
	}
	w.byHand(command)
	if left := w.standing(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// The one printed command of a kept volume unmounts, detaches and deletes it, what
// ever of that was done before.
func TestCommandOfAKeptVolume(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "detached"} {
		keepings(t, func(t *testing.T, k keeping) {
			if before != "" {
				k.w.unmountKept()
				k.w.byHand("aws ec2 detach-volume --region us-east-1 --volume-id " + k.volume +
					" && aws ec2 wait volume-available --region us-east-1 --volume-ids " + k.volume)
			}
			command := k.w.commandOf(k.volume)
			r := k.w.ok("cleanup")
			var said []string
			for line := range strings.Lines(r.stdout) {
				if _, text, ok := strings.Cut(line, "by hand: "); ok {
					said = append(said, strings.TrimSpace(text))
				}
			}
			switch {
			case len(said) != 1:
				t.Errorf("commands %q, want one", said)
			case before == "" && said[0] != command:
				t.Errorf("cleanup says %s, the state file %s", said[0], command)
			case before != "" && strings.Contains(said[0], "detach-volume"):
				t.Errorf("it is detached, and cleanup says %s", said[0])
			}
			umount, detach := strings.Index(command, "umount "), strings.Index(command, "detach-volume")
			if (umount >= 0) != k.trees || detach < umount {
				t.Errorf("command %s", command)
			}
			k.w.byHand(command)
			if left := k.w.standing(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			k.w.noMounts()
		})
	}
}

// A kept volume goes where it is named, with what is mounted of it, and not before.
func TestCleanupOfAKeptVolume(t *testing.T) {
	t.Parallel()
	keepings(t, func(t *testing.T, k keeping) {
		for _, args := range [][]string{{"--yes"}, {"--yes", k.ID}, {k.volume}} {
			r := k.w.ok(append([]string{"cleanup"}, args...)...)
			if would := strings.Contains(r.stdout, "would delete"); would != (args[0] == k.volume) {
				t.Errorf("%q: would delete: %t", args, would)
			}
			k.stays(t)
		}
		if k.trees {
			k.isMounted()
			shell := exec.Command("sleep", "600")
			shell.Dir = k.folder()
			if err := shell.Start(); err != nil {
				t.Skip(err)
			}
			r := k.w.run("cleanup", k.volume, "--yes")
			_ = shell.Process.Kill() // it is ours
			_ = shell.Wait()         // says that it was killed
			if r.code != exitFailed || !strings.Contains(r.stdout, "busy") {
				t.Errorf("in use: exit code %d", r.code)
			}
			k.isMounted()
			k.stays(t)
		}
		r := k.w.ok("cleanup", k.volume, "--yes")
		unmounted, deleted := strings.Index(r.stdout, "unmounted "), strings.Index(r.stdout, "deleted ")
		if deleted < 0 || (unmounted >= 0) != k.trees || unmounted > deleted || strings.Contains(r.stdout, "by hand") {
			t.Error("it does not say what it did, in its order")
		}
		if left := k.w.standing(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if _, err := os.Stat(k.folder()); !os.IsNotExist(err) {
			t.Errorf("the folder of the mount: %v", err)
		}
		k.w.freeHost()
	})
}

// One that another instance has is left to it, and that is a failure: it was named.
func TestCleanupOfAKeptVolumeElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	host, err := w.sim.AddHost(anotherHost)
	if err != nil {
		t.Fatal(err)
	}
	s := w.noisy(mib, awssim.SnapshotSpec{})
	w.extra = host.Env()
	w.ok("migrate", "--dd", "--bucket", testBucket, "--keep-temp-volumes", s.ID)
	w.extra = nil
	before := w.account()
	id := w.standing()[0]
	r := w.run("cleanup", id, "--yes")
	if after := w.account(); r.code != exitFailed || !strings.Contains(r.stdout, "it is attached to "+anotherHost) || after.Attached[id] != before.Attached[id] {
		t.Errorf("exit code %d, attached %v", r.code, after.Attached)
	}
}

// What is done is told in the order in which it happens, in both forms of the list.
func TestCleanupTellsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	l := w.leaves("vol-0a1b2c3d4e5f60711")
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{nil, []string{"would detach ", "would delete ", "would give back "}},
		{[]string{"--yes"}, []string{"detached ", "deleted ", "given back "}},
	} {
		r := w.ok(append([]string{"cleanup", l.ID, l.volume, "--bucket", testBucket}, c.args...)...)
		var at []int
		for _, word := range c.words {
			at = append(at, strings.Index(r.stdout, "  "+word))
		}
		if !slices.IsSorted(at) || at[0] < 0 {
			t.Errorf("%q at %d", c.words, at)
		}
	}
	const nobodys = "vol-01234567"
	for _, id := range []string{nobodys, "vol-0123456789abcdef0", "snap-01234567", runstate.NewRunID(), "2~" + strings.Repeat("x", 32)} {
		if r := w.ok("cleanup", id); !strings.Contains(r.stdout, id+": nothing of it is left behind, or it is in another region or account\n") {
			t.Errorf("%s, which names nothing, is not told of", id)
		}
	}
	_, sum := leftovers(t, w.ok("cleanup", nobodys, "--output", "json"))
	if ids, ok := sum["nothing"].([]any); !ok || len(ids) != 1 || ids[0] != nobodys {
		t.Errorf("summary %v", sum)
	}
}
