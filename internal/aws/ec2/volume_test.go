package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

func TestVolume(t *testing.T) {
	for name, cfg := range map[string]awssim.Config{
		"nvme":      {Naming: "nvme"},
		"xvd":       {Naming: "xvd"},
		"nvme loop": {Naming: "nvme", Loop: true},
		"xvd loop":  {Naming: "xvd", Loop: true},
		"late": {EC2: awssim.EC2Config{
			Creating: awssim.Lag{Reads: 3}, Attaching: awssim.Lag{Reads: 3}, Detaching: awssim.Lag{Reads: 3}, Deleting: awssim.Lag{Reads: 3},
			NewVolume: awssim.Lag{Reads: 3}, Tags: awssim.Lag{Reads: 3}, DeviceDelay: 30 * time.Millisecond,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if cfg.Loop {
				needLoop(t)
			}
			w := newWorld(t, cfg)
			var steps []string
			v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Step = func(s string) { steps = append(steps, s) } })
			made := w.alive()
			if len(made) != 1 || snapshot.VolumeID(made[0].ID) != v.ID() {
				t.Fatalf("volumes %v, want %s alone", made, v.ID())
			}
			got := made[0]
			wantTags := map[string]string{"Name": "Temp for snap-to-s3", tag: "in-progress", tag + "-owner": w.owner.String()}
			if diff := cmp.Diff(wantTags, got.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if got.Type != "gp3" || got.Zone != w.instance.Zone || got.Token == "" || !regexp.MustCompile(`^/dev/sd[f-p]$`).MatchString(got.Device) {
				t.Errorf("volume %+v: want gp3 in %s, with a token, at /dev/sd[f-p]", got, w.instance.Zone)
			}
			w.checkRead(v)
			w.mustRelease(v)
			if err := v.Release(t.Context()); err == nil {
				t.Error("a second Release has no error")
			}
			if len(steps) == 0 || steps[0] != "looking for earlier volumes" || !strings.HasPrefix(steps[len(steps)-1], "deleting volume vol-") {
				t.Errorf("steps %q", steps)
			}
		})
	}
}

// checkRead proves the contract of block.Source at the edges.
func (w *world) checkRead(v workflow.Volume) {
	w.t.Helper()
	p := make([]byte, 1000)
	if n, err := v.ReadAt(w.t.Context(), p, v.Size()-1000); n != len(p) || err != nil || string(p) != string(w.disk[len(w.disk)-1000:]) {
		w.t.Errorf("read of the last bytes: %d, %v", n, err)
	}
	var extents []block.Extent
	for e, err := range v.Extents(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		extents = append(extents, e)
	}
	if diff := cmp.Diff([]block.Extent{{Off: 0, Len: v.Size()}}, extents); diff != "" {
		w.t.Errorf("extents (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancelCause(w.t.Context())
	cancel(errors.New("enough"))
	if _, err := v.ReadAt(ctx, p, 0); err == nil {
		w.t.Error("a read after its context ended has no error")
	}
}

func needLoop(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices here: ", err)
	}
}

func TestReadErrorNamesVolumeAndOffset(t *testing.T) {
	needLoop(t)
	w := newWorld(t, awssim.Config{Loop: true})
	w.sim.SetVolumeFault(string(w.snapshot.ID), awssim.VolumeFault{ReadErrorAt: 1 << 20})
	v, err := w.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 512<<10)
	if _, err := v.ReadAt(t.Context(), p, 0); err != nil {
		t.Errorf("read of what can be read: %v", err)
	}
	_, err = v.ReadAt(t.Context(), p, 1<<20)
	if err == nil || !strings.Contains(err.Error(), string(v.ID())) || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("error %v, want one that names %s and 1048576", err, v.ID())
	}
	w.mustRelease(v)
}

func TestVolumeTypes(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	for _, typ := range []string{"gp2", "gp3", "standard", "io1", "io2", "st1"} {
		w.snapshot = w.addSnapshot(awssim.SnapshotSpec{SizeGiB: 125})
		v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Type = typ })
		if got := w.alive()[0].Type; got != typ {
			t.Errorf("volume type %s, want %s", got, typ)
		}
		if err := v.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	w.nothingLeft()
}

func TestVolumeTypeOutOfRangeMakesNoCall(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.sim.ResetCalls()
	_, err := w.open(t.Context(), func(r *workflow.VolumeRequest) { r.Type = "st1" })
	if err == nil || !strings.Contains(err.Error(), "125 to 16384 GiB") || !strings.Contains(hint.Of(err), "gp3") {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("calls %v, want none", calls)
	}
	w.nothingLeft()
}

// People keep a volume in order to mount it, which writes to it.
func TestKeptVolumeIsNotRead(t *testing.T) {
	for _, attached := range []bool{true, false} {
		t.Run(fmt.Sprintf("still attached %t", attached), func(t *testing.T) { testKeptVolumeIsNotRead(t, attached) })
	}
}

func testKeptVolumeIsNotRead(t *testing.T, attached bool) {
	t.Helper()
	w := newWorld(t, awssim.Config{})
	v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Keep = true })
	id := string(v.ID())
	if err := v.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := w.alive()
	if len(left) != 1 || left[0].Attachment != "attached" || left[0].Tags[tag] != "kept" {
		t.Fatalf("after keeping: %+v", left)
	}
	w.stateKeeps(id)
	remove := "aws ec2 delete-volume --region us-east-1 --volume-id " + id
	if log := w.log.String(); !strings.Contains(log, "kept volume") || !strings.Contains(log, remove) {
		t.Errorf("the log does not say how to delete the kept volume: %s", log)
	}
	write(t, left[0].Node, []byte("written by whoever kept it"))
	if !attached {
		w.detachByHand(id)
	}
	before := w.alive()

	w.newRun("run-b")
	second := w.mustOpen() // which looks at each byte
	if string(second.ID()) == id {
		t.Errorf("the kept volume %s was opened", id)
	}
	if err := second.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	if left := w.state.Left(); len(left) > 0 {
		t.Errorf("the state file keeps %+v", left)
	}
	if diff := cmp.Diff(before, w.alive()); diff != "" {
		t.Errorf("the kept volume was changed (-before +after):\n%s", diff)
	}
	if attached {
		remove = "aws ec2 detach-volume --region us-east-1 --volume-id " + id + "; aws ec2 wait volume-available --region us-east-1 --volume-ids " + id + " && " + remove
	}
	if !w.logged("level=INFO", "a kept volume is not read", id, `remove_with="`+remove+`"`) {
		t.Errorf("no line says why %s is not read and how to delete it: %s", id, w.log)
	}
	w.sweep()
	w.dropState()
}

// stateKeeps ends the run, and wants its state file to name the volume alone, as
// kept, with the command that removes it.
func (w *world) stateKeeps(id string) {
	w.t.Helper()
	left := w.state.Left()
	if len(left) != 1 || left[0].Kind != runstate.KindVolume || left[0].Fields["volume"] != id || left[0].Fields["kept"] == "" ||
		!strings.Contains(left[0].Command, "detach-volume") || !strings.Contains(left[0].Command, "delete-volume --region us-east-1 --volume-id "+id) {
		w.t.Errorf("the state file keeps %+v, want the kept volume %s", left, id)
	}
	if err := w.state.Close(); err != nil {
		w.t.Error(err)
	}
}

// write overwrites the start of a device.
func write(t *testing.T, path string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// logged tells whether one line of the log has all parts.
func (w *world) logged(parts ...string) bool {
	for line := range strings.Lines(w.log.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}

func TestVolumesThatAreNotUsed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	dead := catalog.Owner{Identity: catalog.Identity{Host: "i-0dead", Boot: "b", Run: "dead"}, Renewed: time.Now().Add(-3 * time.Hour)}.String()
	old := time.Now().Add(-2 * time.Hour)
	specs := map[string]awssim.VolumeSpec{
		"no owner tag":    {Tags: map[string]string{tag: "in-progress", "Name": "Temp for snap-to-s3"}},
		"did not keep it": {Tags: map[string]string{tag: "in-progress", tag + "-owner": dead}},
		"cannot be read":  {Tags: map[string]string{tag: "in-progress", tag + "-owner": "gibberish"}},
	}
	ids := map[string]string{}
	for reason, spec := range specs {
		spec.SnapshotID, spec.Created = string(w.snapshot.ID), old
		id, err := w.sim.AddVolume(spec)
		if err != nil {
			t.Fatal(err)
		}
		ids[reason] = id
	}
	// Neither of these is looked at: another zone, no tag of ours.
	for _, spec := range []awssim.VolumeSpec{
		{Zone: "us-east-1b", Tags: map[string]string{tag: "kept", tag + "-owner": dead}},
		{Tags: map[string]string{"other": "kept", tag + "-owner": dead}},
	} {
		spec.SnapshotID = string(w.snapshot.ID)
		if _, err := w.sim.AddVolume(spec); err != nil {
			t.Fatal(err)
		}
	}
	before := w.alive()
	v := w.mustOpen()
	if err := v.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.stateClosesEmpty()
	if diff := cmp.Diff(before, w.alive()); diff != "" {
		t.Errorf("other volumes were changed (-before +after):\n%s", diff)
	}
	for reason, id := range ids {
		if !w.logged("level=WARN", id, reason) {
			t.Errorf("no warning names volume %s (%s)", id, reason)
		}
	}
}

// What cannot be noted is not made.
func TestWithoutStateFileNothingIsMade(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	if err := w.state.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := w.open(t.Context())
	w.checkError(err, []string{"note the creation of a volume from " + string(w.snapshot.ID)}, "")
	if n := w.count("CreateVolume"); n != 0 {
		t.Errorf("%d calls of CreateVolume, want none", n)
	}
}
