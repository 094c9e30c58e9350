package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/workflow"
)

// failure is one way in which no volume comes about.
type failure struct {
	name   string
	config awssim.EC2Config
	spec   awssim.SnapshotSpec
	timing func(*world)
	err    []string // parts of the error
	hint   string   // part of the hint
}

func failures() []failure {
	const key = "arn:aws:kms:us-east-1:111122223333:key/key-1"
	return []failure{
		{
			name:   "KMS key denied, the volume fails",
			config: awssim.EC2Config{DeniedKeys: map[string]awssim.VolumeFate{"key-1": awssim.VolumeFails}},
			spec:   awssim.SnapshotSpec{Encrypted: true, KMSKeyID: "key-1"},
			err:    []string{"create volume vol-", "went into state error", key}, hint: key,
		},
		{
			name:   "KMS key denied, the volume vanishes",
			config: awssim.EC2Config{DeniedKeys: map[string]awssim.VolumeFate{"key-1": awssim.VolumeVanishes}},
			spec:   awssim.SnapshotSpec{Encrypted: true, KMSKeyID: "key-1"},
			err:    []string{"vanished", key}, hint: key,
		},
		{
			name: "a plain volume fails",
			spec: awssim.SnapshotSpec{Fault: awssim.VolumeFault{Fate: awssim.VolumeFails}},
			err:  []string{"went into state error"}, hint: "default KMS key",
		},
		{
			name:   "volume quota",
			config: awssim.EC2Config{MaxVolumes: 1},
			err:    []string{"create a gp3 volume of 1 GiB", "VolumeLimitExceeded", "us-east-1"}, hint: "Service Quotas",
		},
		{
			name:   "attachment limit",
			config: awssim.EC2Config{MaxAttachments: 1},
			err:    []string{"attach volume vol-", "AttachmentLimitExceeded"}, hint: "--jobs",
		},
		{
			name:   "stuck in attaching",
			spec:   awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "attaching"}},
			timing: func(w *world) { w.timing.AttachWait = 200 * time.Millisecond },
			err:    []string{"is still attaching at /dev/sd", "after 200ms"}, hint: "try again",
		},
		{
			name:   "no device",
			spec:   awssim.SnapshotSpec{Fault: awssim.VolumeFault{NoDevice: true}},
			timing: func(w *world) { w.timing.DeviceWait = 200 * time.Millisecond },
			err:    []string{"no device for volume vol-", "attached at /dev/sd", "within 200ms"}, hint: "SNAP_TO_S3_DEV_ROOT",
		},
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{EC2: f.config})
			w.snapshot = w.addSnapshot(f.spec)
			if f.timing != nil {
				f.timing(w)
			}
			// One volume that is not ours uses the quotas up.
			preset, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: w.instance.ID, Device: "/dev/sdz"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.open(t.Context())
			w.checkError(err, f.err, f.hint)
			if got := w.alive(); len(got) != 1 || got[0].ID != preset {
				t.Errorf("volumes %+v, want %s alone", got, preset)
			}
			w.stateClosesEmpty()
		})
	}
}

func (w *world) checkError(err error, parts []string, next string) {
	w.t.Helper()
	if err == nil {
		w.t.Fatalf("no error, want %q", parts)
	}
	if strings.ContainsAny(err.Error(), "\n") {
		w.t.Errorf("the error has several lines: %v", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			w.t.Errorf("error %q does not say %q", err, part)
		}
	}
	if next != "" && !strings.Contains(hint.Of(err), next) {
		w.t.Errorf("hint %q does not say %q (error %q)", hint.Of(err), next, err)
	}
}

func TestQuotaErrorNamesTheType(t *testing.T) {
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{MaxVolumes: 1}})
	if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1}); err != nil {
		t.Fatal(err)
	}
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{SizeGiB: 8})
	_, err := w.open(t.Context(), func(r *workflow.VolumeRequest) { r.Type = "io1" })
	w.checkError(err, []string{"create an io1 volume of 8 GiB"}, "")
	w.sweep()
}

// EC2 does not delete a volume in creating: it is named, and noted.
func TestStuckInCreatingIsNamed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "creating"}})
	w.timing.VolumeWait, w.timing.DetachWait = 200*time.Millisecond, 200*time.Millisecond
	_, err := w.open(t.Context())
	w.checkError(err, []string{"is still creating after 200ms", "remove volume vol-"}, "AWS Health")
	w.leftIsNamed(err)
}

// A volume whose creation ends while it is being taken back is deleted.
func TestSlowCreationIsAwaitedToBeDeleted(t *testing.T) {
	w := newWorld(t, awssim.Config{EC2: awssim.EC2Config{Creating: awssim.Lag{For: 400 * time.Millisecond}}})
	w.timing.VolumeWait = 100 * time.Millisecond
	_, err := w.open(t.Context())
	w.checkError(err, []string{"is still creating after 100ms"}, "")
	w.nothingLeft()
}

func TestStuckInDetachingIsNamed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "detaching"}})
	w.timing.DetachWait = 200 * time.Millisecond
	v := w.mustOpen()
	err := v.Release(t.Context())
	w.checkError(err, []string{"remove volume " + string(v.ID()), "still detaching after 200ms"}, "lsof")
	w.leftIsNamed(err)
}

// Whoever waits less long than the removal needs is told the same.
func TestEndOfTimeWhileRemovingIsNamed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "detaching"}})
	w.timing.DetachWait = time.Hour
	v := w.mustOpen()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 200*time.Millisecond)
	defer cancel()
	err := v.Release(ctx)
	w.checkError(err, []string{"remove volume " + string(v.ID()), "it is still detaching after ", "the time for it was over"}, "lsof")
	if strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %q speaks of deadlines", err)
	}
	w.leftIsNamed(err)
}

// An interrupt of the removal is told as such.
func TestInterruptWhileRemovingIsNamed(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.snapshot = w.addSnapshot(awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "detaching"}})
	w.timing.DetachWait = time.Hour
	v := w.mustOpen()
	stop := errors.New("stopped by a test")
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	time.AfterFunc(200*time.Millisecond, func() { cancel(stop) })
	err := v.Release(ctx)
	w.checkError(err, []string{"remove volume " + string(v.ID()), "it is still detaching after ", "stopped by a test"}, "lsof")
	if !errors.Is(err, stop) {
		t.Errorf("error %v is not the one it was stopped with", err)
	}
	w.leftIsNamed(err)
}

// A call that does not return while the time is running out changes nothing.
func TestEndOfTimeInACallIsNamed(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep %t", keep), func(t *testing.T) {
			w := newWorld(t, awssim.Config{})
			v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Keep = keep })
			w.sim.SetFault(func(awssim.Call) awssim.Fault { return awssim.Fault{Hang: true} })
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 200*time.Millisecond)
			defer cancel()
			err := v.Release(ctx)
			w.checkError(err, []string{"volume " + string(v.ID()), "the time for it was over"}, "")
			if strings.Contains(err.Error(), "deadline") {
				t.Errorf("error %q speaks of deadlines", err)
			}
			w.leftIsNamed(err)
		})
	}
}

// A device that another holds cannot be detached until it lets go.
func TestHeldDeviceIsDetachedWhenItIsLetGo(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	v := w.mustOpen()
	held, err := os.Open(w.alive()[0].Node)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- v.Release(context.WithoutCancel(t.Context())) }()
	for w.alive()[0].Attachment != "detaching" {
		time.Sleep(time.Millisecond)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("release: %v", err)
	}
	w.nothingLeft()
}

func TestHeldDeviceIsNotOpened(t *testing.T) {
	needLoop(t)
	w := newWorld(t, awssim.Config{Loop: true})
	var holder *os.File
	_, err := w.open(t.Context(), func(r *workflow.VolumeRequest) {
		r.Step = func(step string) {
			var err error
			switch {
			case strings.HasPrefix(step, "waiting for the device"):
				holder, err = os.OpenFile(w.alive()[0].Node, os.O_RDONLY|os.O_EXCL, 0)
			case strings.HasPrefix(step, "detaching") && holder != nil:
				err = holder.Close()
				holder = nil
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	w.checkError(err, []string{"open the device of volume vol-", "busy"}, "")
	w.nothingLeft()
}

// Processes that choose the same name do not hinder each other.
func TestNamesRace(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	// Of the names, only four are free: most tries collide.
	for _, l := range "fghijklmnopqrstuv" {
		if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: w.instance.ID, Device: "/dev/sd" + string(l)}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.alive())
	const processes = 4
	var wg sync.WaitGroup
	var volumes [processes]workflow.Volume
	for i := range processes {
		r := w.request()
		r.Snapshot = w.addSnapshot(awssim.SnapshotSpec{})
		opener := w.opener() // its own: as another process, it knows nothing of the others
		wg.Go(func() {
			v, err := opener.Open(t.Context(), func(error) {}, r)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			volumes[i] = v
		})
	}
	wg.Wait()
	for _, v := range volumes {
		if v == nil {
			continue
		}
		w.checkDisk(v)
		if err := v.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	if got := len(w.alive()); got != before {
		t.Errorf("%d volumes, want the %d from before", got, before)
	}
	w.stateClosesEmpty()
}

// Jobs of one process share its letters before EC2 shows them.
func TestJobsUseDifferentNames(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	for _, l := range "fghijklmnopqrstu" {
		if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: w.instance.ID, Device: "/dev/sd" + string(l)}); err != nil {
			t.Fatal(err)
		}
	}
	opener := w.opener()
	var wg sync.WaitGroup
	for range 5 {
		r := w.request()
		r.Snapshot = w.addSnapshot(awssim.SnapshotSpec{})
		wg.Go(func() {
			v, err := opener.Open(t.Context(), func(error) {}, r)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := v.Release(t.Context()); err != nil {
				t.Errorf("release: %v", err)
			}
		})
	}
	wg.Wait()
	for _, c := range w.sim.Calls() {
		if c.Action == "AttachVolume" && c.Code != "" {
			t.Errorf("a name was used twice: %s", c)
		}
	}
	w.stateClosesEmpty()
}

func TestNoFreeName(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	for _, l := range "fghijklmnopqrstuvwxyz" {
		if _, err := w.sim.AddVolume(awssim.VolumeSpec{SizeGiB: 1, Instance: w.instance.ID, Device: "/dev/xvd" + string(l)}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.alive())
	_, err := w.open(t.Context())
	w.checkError(err, []string{"no free device name"}, "--jobs")
	if got := len(w.alive()); got != before {
		t.Errorf("%d volumes, want the %d from before", got, before)
	}
	w.stateClosesEmpty()
}

func TestNameTakenAllTheTime(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action != "AttachVolume" {
			return awssim.Fault{}
		}
		return awssim.Fault{Before: &awssim.Error{
			Status: 400, Code: "InvalidParameterValue",
			Message: "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use",
		}}
	})
	_, err := w.open(t.Context())
	w.checkError(err, []string{"tried 10 times", "already in use"}, "")
	if n := w.count("AttachVolume"); n != 10 {
		t.Errorf("%d calls, want 10", n)
	}
	w.nothingLeft()
}

func TestOwnerIsRenewedAndItsLossEndsTheRun(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.protocol.Renew = 5 * time.Millisecond
	w.owner.Renewed = time.Now().Add(-10 * time.Minute)
	lost := make(chan error, 1)
	v, err := w.opener().Open(t.Context(), func(err error) { lost <- err }, w.request())
	if err != nil {
		t.Fatal(err)
	}
	id := string(v.ID())
	ownerOf := func() catalog.Owner {
		o, err := catalog.ParseOwner(w.sim.Tags(id)[tag+"-owner"])
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for deadline := time.Now().Add(5 * time.Second); time.Since(ownerOf().Renewed) > time.Minute; {
		if time.Now().After(deadline) {
			t.Fatalf("the owner tag is not renewed: %v", ownerOf())
		}
	}
	other := catalog.Owner{Identity: catalog.Identity{Host: "i-0other", Boot: "b", Run: "run-z"}, Renewed: time.Now()}
	tags := map[string]string{tag: "in-progress", tag + "-owner": other.String()}
	// A renewal under way may still overwrite what the other run writes, which
	// then writes again.
	write := func() {
		if err := w.sim.SetTags(id, tags); err != nil {
			t.Fatal(err)
		}
	}
	again, deadline := time.NewTicker(20*time.Millisecond), time.After(5*time.Second)
	defer again.Stop()
	for told := false; !told; {
		write()
		select {
		case err := <-lost:
			if told = true; !errors.Is(err, catalog.ErrLost) {
				t.Errorf("cancelled with %v, want ErrLost", err)
			}
		case <-again.C:
		case <-deadline:
			t.Fatal("the loss was not told")
		}
	}
	write()
	// It is the other run's now: nothing of it is touched.
	err = v.Release(t.Context())
	w.checkError(err, []string{"volume " + id + ": it belongs to another run now", "run-z"}, "")
	got := w.alive()
	if len(got) != 1 || got[0].Attachment != "attached" || got[0].Tags[tag+"-owner"] != other.String() {
		t.Errorf("volumes %+v, want it as the other run had it", got)
	}
	w.stateClosesEmpty()
	w.sweep()
}
