package ec2_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// remains is a remover as a later run on this instance has it.
func (w *world) remains() *ec2.Remains {
	return ec2.NewRemains(ec2.VolumesConfig{
		Session: w.session, Instance: w.instance, DevRoot: w.devRoot, SysRoot: w.sysRoot, Timing: w.timing, Log: w.logger,
	})
}

// dies makes a volume and leaves it, as a run does that is killed.
func (w *world) dies() awssim.VolumeInfo {
	w.t.Helper()
	v := w.mustOpen()
	if c, ok := v.(interface{ Close() error }); ok {
		if err := c.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, i := range w.alive() {
		if i.ID == string(v.ID()) {
			return i
		}
	}
	w.t.Fatal("the volume is not there")
	return awssim.VolumeInfo{}
}

func (w *world) remove(v awssim.VolumeInfo, change ...func(*workflow.RemoveRequest)) error {
	r := workflow.RemoveRequest{ID: snapshot.VolumeID(v.ID), Tag: tag, Owner: w.owner.Identity, Step: func(string) {}}
	for _, f := range change {
		f(&r)
	}
	return w.remains().RemoveLeft(w.t.Context(), r)
}

func (w *world) retag(v awssim.VolumeInfo, key, value string) {
	w.t.Helper()
	tags := maps.Clone(w.sim.Tags(v.ID))
	if tags[key] = value; value == "" {
		delete(tags, key)
	}
	if err := w.sim.SetTags(v.ID, tags); err != nil {
		w.t.Fatal(err)
	}
}

// dropState ends the state file as if its run had been killed.
func (w *world) dropState() {
	w.t.Helper()
	if err := errors.Join(w.state.Close(), os.RemoveAll(w.stateDir)); err != nil {
		w.t.Fatal(err)
	}
}

func TestRemoveLeft(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    awssim.Config
		before func(*world, awssim.VolumeInfo)
		fault  func(awssim.Call) awssim.Fault
	}{
		"attached":       {},
		"attached, lags": {cfg: awssim.Config{EC2: awssim.EC2Config{Detaching: awssim.Lag{Reads: 3}, Deleting: awssim.Lag{Reads: 3}, Tags: awssim.Lag{Reads: 2}}}},
		"detached":       {before: func(w *world, v awssim.VolumeInfo) { w.detachByHand(v.ID) }},
		"without device": {before: func(w *world, v awssim.VolumeInfo) { _ = os.Remove(v.Node) }},
		"answers lost":   {fault: func(c awssim.Call) awssim.Fault { return lost(c, "DetachVolume", "DeleteVolume") }},
		"owner renewed": {before: func(w *world, v awssim.VolumeInfo) {
			o := w.owner
			o.Renewed = time.Now().Add(time.Hour)
			w.retag(v, tag+"-owner", o.String())
		}},
		"throttled twice": {fault: awssim.Times(2, awssim.Action("DescribeVolumes"), awssim.Fault{Throttle: true})},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.cfg)
			v := w.dies()
			if c.before != nil {
				c.before(w, v)
			}
			w.sim.SetFault(c.fault)
			if err := w.remove(v); err != nil {
				t.Error(err)
			}
			if left := w.alive(); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			if err := w.remove(v, func(r *workflow.RemoveRequest) { r.Settled = true }); err != nil {
				t.Errorf("again: %v", err)
			}
			w.dropState()
		})
	}
}

func lost(c awssim.Call, actions ...string) awssim.Fault {
	for _, a := range actions {
		if c.Action == a && c.N == 1 {
			return awssim.Fault{LoseAnswer: true}
		}
	}
	return awssim.Fault{}
}

// A volume that is stuck in attaching, as where EC2 has lost its way, leaves by
// force.
func TestRemoveLeftStuckInAttaching(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	w.timing.AttachWait, w.timing.DetachWait = time.Second, 100*time.Millisecond
	s := w.addSnapshot(awssim.SnapshotSpec{Fault: awssim.VolumeFault{Stuck: "attaching"}})
	w.sim.SetFault(func(c awssim.Call) awssim.Fault { // as if it had been killed
		if c.Action == "DetachVolume" {
			return awssim.Fault{Before: &awssim.Error{Status: http.StatusForbidden, Code: "UnauthorizedOperation"}}
		}
		return awssim.Fault{}
	})
	if _, err := w.open(t.Context(), func(r *workflow.VolumeRequest) { r.Snapshot = s }); err == nil {
		t.Fatal("no error")
	}
	w.sim.SetFault(nil)
	w.timing = quick()
	left := w.alive()
	if len(left) != 1 || left[0].Attachment != "attaching" {
		t.Fatalf("volumes %+v\n%s", left, w.log)
	}
	if err := w.remove(left[0]); err != nil || len(w.alive()) > 0 {
		t.Errorf("%v; left: %+v", err, w.alive())
	}
	w.dropState()
}

func TestRemoveLeftSpares(t *testing.T) {
	other := catalog.Owner{Identity: catalog.Identity{Host: "i-2", Boot: "b", Run: "r"}, Renewed: time.Now()}
	for name, c := range map[string]struct {
		before func(*world, awssim.VolumeInfo)
		change func(*workflow.RemoveRequest)
		want   error
		text   string
	}{
		"kept":         {before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag, "kept") }, want: workflow.ErrKept},
		"kept no more": {change: func(r *workflow.RemoveRequest) { r.Kept, r.Seen = true, "" }, want: workflow.ErrForeign},
		"kept, another's": {
			before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag, "kept") },
			change: func(r *workflow.RemoveRequest) { r.Kept, r.Seen = true, "i-1/b/r/1/-" }, want: workflow.ErrForeign,
		},
		"another's":        {before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag+"-owner", other.String()) }, want: workflow.ErrForeign},
		"no owner":         {before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag+"-owner", "") }, text: "nothing proves whose it is"},
		"renewed since":    {change: func(r *workflow.RemoveRequest) { r.Seen = "i-1/b/r/1/-" }, want: workflow.ErrForeign},
		"nobody's, owned":  {change: func(r *workflow.RemoveRequest) { r.Owner = catalog.Identity{} }, want: workflow.ErrForeign},
		"nobody's, in use": {before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag+"-owner", "") }, change: func(r *workflow.RemoveRequest) { r.Owner = catalog.Identity{} }, want: workflow.ErrInUse},
		"nobody's, of another kind": {
			before: func(w *world, v awssim.VolumeInfo) {
				w.detachByHand(v.ID)
				w.retag(v, tag+"-owner", "")
				w.retag(v, tag, "my own")
			},
			change: func(r *workflow.RemoveRequest) { r.Owner = catalog.Identity{} }, want: workflow.ErrForeign,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{})
			v := w.dies()
			if c.before != nil {
				c.before(w, v)
			}
			change := c.change
			if change == nil {
				change = func(*workflow.RemoveRequest) {}
			}
			w.sim.ResetCalls()
			err := w.remove(v, change)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v %q", err, c.want, c.text)
			}
			for _, call := range w.sim.Calls() {
				if call.Action != "DescribeVolumes" {
					t.Errorf("it called %s", call)
				}
			}
			w.sweep()
			w.dropState()
		})
	}
}

// Nobody's volume goes where it is free.
func TestRemoveLeftOfNobody(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	v := w.dies()
	w.detachByHand(v.ID)
	w.retag(v, tag+"-owner", "")
	if err := w.remove(v, func(r *workflow.RemoveRequest) { r.Owner = catalog.Identity{} }); err != nil || len(w.alive()) > 0 {
		t.Errorf("%v; left: %+v", err, w.alive())
	}
	w.dropState()
}

// A kept volume goes where a person names it, attached or not.
func TestRemoveLeftOfKept(t *testing.T) {
	for name, before := range map[string]func(*world, awssim.VolumeInfo){
		"attached": func(*world, awssim.VolumeInfo) {},
		"detached": func(w *world, v awssim.VolumeInfo) { w.detachByHand(v.ID) },
		"no owner": func(w *world, v awssim.VolumeInfo) { w.retag(v, tag+"-owner", "") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{})
			v := w.dies()
			w.retag(v, tag, "kept")
			before(w, v)
			seen := w.sim.Tags(v.ID)[tag+"-owner"]
			if err := w.remove(v, func(r *workflow.RemoveRequest) { r.Kept, r.Seen = true, seen }); err != nil || len(w.alive()) > 0 {
				t.Errorf("%v; left: %+v", err, w.alive())
			}
			w.dropState()
		})
	}
}

// A volume whose device is held, or below a loop device, or that another instance
// has, stays where it is.
func TestRemoveLeftInUse(t *testing.T) {
	needLoop(t)
	w := newWorld(t, awssim.Config{Loop: true})
	v := w.dies()
	held, err := os.OpenFile(v.Node, os.O_RDONLY|syscall.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.sim.ResetCalls()
	if err := w.remove(v); !errors.Is(err, workflow.ErrInUse) {
		t.Errorf("error %v", err)
	}
	for _, call := range w.sim.Calls() {
		if call.Action == "DetachVolume" {
			t.Errorf("it called %s", call)
		}
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	instance := w.instance
	w.instance.ID = "i-0fedcba9876543210"
	if err := w.remove(v); err == nil || !strings.Contains(err.Error(), "it is attached to "+instance.ID) {
		t.Errorf("from another instance: %v", err)
	}
	w.instance = instance
	if err := w.remove(v); err != nil {
		t.Error(err)
	}
	w.dropState()
}

func TestFindLeft(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	v := w.dies()
	w.newRunBeside("run-b")
	w.dies()
	remains := w.remains()
	find := func(q workflow.VolumeQuery) (ids []string) {
		t.Helper()
		q.Tag = tag
		found, err := remains.Find(t.Context(), q)
		if err != nil {
			t.Error(err)
		}
		for _, f := range found {
			if f.Snapshot != w.snapshot.ID || f.Here == "" || f.Value != "in-progress" || !strings.Contains(f.Command, "delete-volume --region us-east-1 --volume-id "+string(f.ID)) {
				t.Errorf("found %+v", f)
			}
			ids = append(ids, string(f.ID))
		}
		return ids
	}
	owner, err := catalog.ParseOwner(v.Tags[tag+"-owner"])
	if err != nil {
		t.Fatal(err)
	}
	prefix := owner.Identity
	prefix.Run = "run"
	for name, c := range map[string]struct {
		q    workflow.VolumeQuery
		want int
	}{
		"all":                       {workflow.VolumeQuery{}, 2},
		"one":                       {workflow.VolumeQuery{ID: snapshot.VolumeID(v.ID)}, 1},
		"none":                      {workflow.VolumeQuery{ID: "vol-00000000"}, 0},
		"of a run":                  {workflow.VolumeQuery{Owner: owner.Identity}, 1},
		"of a run with half a name": {workflow.VolumeQuery{Owner: prefix}, 0},
	} {
		if got := find(c.q); len(got) != c.want || c.want == 1 && got[0] != v.ID {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := remains.Check(t.Context()); err != nil {
		t.Error(err)
	}
	w.instance.ID = "i-00000000"
	if err := w.remains().Check(t.Context()); err == nil {
		t.Error("an instance that the account does not know is no error")
	}
	w.instance.ID = ""
	if err := w.remains().Check(t.Context()); err == nil {
		t.Error("no instance is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := remains.Find(ctx, workflow.VolumeQuery{Tag: tag}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.sweep()
	w.dropState()
}

// newRunBeside makes the next volumes another run's, whose state file is beside.
func (w *world) newRunBeside(run string) {
	w.t.Helper()
	if err := w.state.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.newRun(run)
}

func TestInWork(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	tags := map[string]map[string]string{
		"migrating": {tag: "migrating", tag + "-id": "1"}, "combined": {tag: "validating 1 i-1/b/r/1/-"},
		"owner beside": {tag: "migrated", tag + "-owner": "i-1/b/r/1/-"}, "migrate": {tag: "migrate"}, "like": {tag: "migrating2"}, "none": nil,
	}
	want := map[snapshot.ID]bool{}
	for name, tags := range tags {
		s := w.addSnapshot(awssim.SnapshotSpec{Tags: tags})
		if name == "migrating" || name == "combined" || name == "owner beside" {
			want[s.ID] = true
		}
	}
	got := map[snapshot.ID]bool{}
	for s, err := range ec2.NewCatalog(w.session).InWork(t.Context(), tag) {
		if err != nil {
			t.Fatal(err)
		}
		got[s.ID] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("in work: %v, want %v", got, want)
	}
	w.sim.SetPolicy([]string{})
	for _, err := range ec2.NewCatalog(w.session).InWork(t.Context(), tag) {
		if err == nil || !strings.Contains(err.Error(), "ec2:DescribeSnapshots is needed") {
			t.Errorf("error %v", err)
		}
	}
	w.dropState()
}
