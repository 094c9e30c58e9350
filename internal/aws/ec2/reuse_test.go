package ec2_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws/ec2"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/workflow"
)

// keeps has a run keep a volume and end. The next run is there then.
func (w *world) keeps(mounted string) awssim.VolumeInfo {
	w.t.Helper()
	v := w.mustOpen(func(r *workflow.VolumeRequest) { r.Keep = true })
	if mounted != "" {
		if err := v.MarkMounted(w.t.Context(), mounted); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := v.Release(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.stateKeeps(string(v.ID()))
	w.newRun("run-b")
	w.sim.ResetCalls()
	return w.alive()[0]
}

func reuse(r *workflow.VolumeRequest) { r.Reuse = true }

func TestReuse(t *testing.T) {
	lags := awssim.EC2Config{Tags: awssim.Lag{Reads: 2}, Attaching: awssim.Lag{Reads: 3}, Detaching: awssim.Lag{Reads: 3}}
	for name, c := range map[string]struct {
		cfg    awssim.EC2Config
		free   bool
		raw    []int
		faults func(awssim.Call) awssim.Fault
	}{
		"attached":          {},
		"available":         {free: true},
		"attached, lags":    {cfg: lags},
		"available, lags":   {cfg: lags, free: true},
		"other raw parts":   {raw: []int{3, -1}},
		"answer lost":       {faults: awssim.Times(1, awssim.Action("CreateTags"), awssim.Fault{LoseAnswer: true})},
		"throttled":         {faults: awssim.Times(2, awssim.Action("CreateTags"), awssim.Fault{Throttle: true})},
		"no second look":    {faults: awssim.Times(2, awssim.Action("DescribeVolumes"), awssim.Fault{CutBefore: true})},
		"attached at twice": {free: true, faults: awssim.Times(1, awssim.Action("AttachVolume"), awssim.Fault{LoseAnswer: true})},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{EC2: c.cfg})
			had := w.keeps("1,2")
			if c.free {
				w.detachByHand(had.ID)
			}
			for len(w.describe(had.ID).Tags) != 4 || w.sim.Tags(had.ID)[tag] != "kept" || tagOf(w, had.ID) != "kept" { // until all can see it
				continue
			}
			w.sim.SetFault(c.faults)
			v := w.mustOpen(reuse, func(r *workflow.VolumeRequest) { r.Raw = c.raw })
			if string(v.ID()) != had.ID || !v.Reused() || w.count("CreateVolume") > 0 {
				t.Fatalf("opened %s, reused %t; want %s again: %s", v.ID(), v.Reused(), had.ID, w.log)
			}
			tags := w.sim.Tags(had.ID)
			if tags[tag] != "in-progress" || tags[tag+"-owner"] != w.owner.String() {
				t.Errorf("tags %v", tags)
			}
			if err := v.MarkMounted(t.Context(), "2,3"); err != nil || w.sim.Tags(had.ID)[tag+"-mounted"] != "1,2,3" {
				t.Errorf("mounted: %v, %v", w.sim.Tags(had.ID), err)
			}
			w.mustRelease(v)
		})
	}
}

// tagOf is what a reader sees of the tag.
func tagOf(w *world, id string) string {
	for _, t := range w.describe(id).Tags {
		if awssdk.ToString(t.Key) == tag {
			return awssdk.ToString(t.Value)
		}
	}
	return ""
}

// What is kept again serves again; a failed check of it is no reason to delete it.
func TestReusedIsKeptAgain(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	had := w.keeps("")
	v := w.mustOpen(reuse)
	v.Keep()
	if err := v.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.stateKeeps(had.ID)
	if tags := w.sim.Tags(had.ID); tags[tag] != "kept" || tags[tag+"-owner"] != w.owner.String() {
		t.Errorf("tags %v", tags)
	}
	w.newRun("run-c")
	again := w.mustOpen(reuse)
	if string(again.ID()) != had.ID {
		t.Errorf("opened %s, want %s", again.ID(), had.ID)
	}
	w.mustRelease(again)
}

// A volume that does not serve stays as it is, one line says why, and another is made.
func TestKeptVolumesThatDoNotServe(t *testing.T) {
	owner := func(w *world, change func(*catalog.Owner)) string {
		o, err := catalog.ParseOwner(w.alive()[0].Tags[tag+"-owner"])
		if err != nil {
			w.t.Fatal(err)
		}
		change(&o)
		return o.String()
	}
	for name, c := range map[string]struct {
		mounted string
		raw     []int
		before  func(*world, awssim.VolumeInfo)
		reason  string
	}{
		"a mounted one for the whole disk":   {mounted: "2", raw: []int{0}, reason: "partition 2 of it was mounted"},
		"a mounted one for that partition":   {mounted: "1,3", raw: []int{3}, reason: "partition 3 of it was mounted"},
		"mounted as one, for a part":         {mounted: "0", raw: []int{2}, reason: "the whole disk of it was mounted"},
		"mounted in a way that is not known": {mounted: "x", raw: []int{2}, reason: `\"x\" of it was mounted`},
		"of another host": {before: func(w *world, v awssim.VolumeInfo) {
			w.retag(v, tag+"-owner", owner(w, func(o *catalog.Owner) { o.Host = "i-2" }))
		}, reason: "no state file of this host is of run run-a"},
		"of a run without a file": {before: func(w *world, v awssim.VolumeInfo) {
			w.retag(v, tag+"-owner", owner(w, func(o *catalog.Owner) { o.Run = "gone" }))
		}, reason: "no state file of this host is of run gone"},
		"of this run": {before: func(w *world, v awssim.VolumeInfo) {
			w.retag(v, tag+"-owner", owner(w, func(o *catalog.Owner) { o.Run = "run-b" }))
		}, reason: "its run is alive"},
		"without an owner":                    {before: func(w *world, v awssim.VolumeInfo) { w.retag(v, tag+"-owner", "") }, reason: "its owner tag cannot be read"},
		"that the file does not tell of":      {before: func(w *world, _ awssim.VolumeInfo) { w.strike() }, reason: "does not tell that it kept it"},
		"of a run that is being swept":        {before: func(w *world, _ awssim.VolumeInfo) { w.take() }, reason: "its run is alive"},
		"of a file that cannot be read whole": {before: func(w *world, _ awssim.VolumeInfo) { w.damage() }, reason: "is damaged"},
		"attached elsewhere": {before: func(w *world, v awssim.VolumeInfo) {
			w.detachByHand(v.ID)
			w.attachElsewhere(v.ID)
		}, reason: "it is attached to i-0fedcba9876543210"},
		"without a device": {before: func(w *world, v awssim.VolumeInfo) {
			if err := os.Remove(v.Node); err != nil {
				w.t.Fatal(err)
			}
		}, reason: "has no device on this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{})
			had := w.keeps(c.mounted)
			if c.before != nil {
				c.before(w, had)
			}
			before := w.alive()
			v := w.mustOpen(reuse, func(r *workflow.VolumeRequest) { r.Raw = c.raw })
			if string(v.ID()) == had.ID || v.Reused() {
				t.Error("the kept volume serves")
			}
			if !w.logged("level=INFO", "a kept volume is not read", had.ID, c.reason) {
				t.Errorf("no line says why: %s", w.log)
			}
			if err := v.Release(t.Context()); err != nil {
				t.Error(err)
			}
			if left := w.state.Left(); len(left) > 0 {
				t.Errorf("the state file keeps %+v", left)
			}
			if diff := cmp.Diff(before, w.alive()); diff != "" {
				t.Errorf("the kept volume was changed (-before +after):\n%s", diff)
			}
			w.sweep()
			w.dropState()
		})
	}
}

func (w *world) keptFile() string { return filepath.Join(w.stateDir, "run-a.json") }

func (w *world) take() *runstate.File {
	w.t.Helper()
	f, err := runstate.Take(w.keptFile())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() })
	return f
}

// strike leaves something else in the file of the run that kept the volume.
func (w *world) strike() {
	w.t.Helper()
	f := w.take()
	for _, i := range f.Open() {
		if err := i.Done(); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := f.Intend(runstate.KindLoop, nil); err != nil {
		w.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) damage() {
	w.t.Helper()
	f, err := os.OpenFile(w.keptFile(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := f.WriteString("{\n"); err != nil {
		w.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) attachElsewhere(id string) {
	w.t.Helper()
	const other = "i-0fedcba9876543210"
	if err := w.sim.AddInstance(other, w.instance.Zone); err != nil {
		w.t.Fatal(err)
	}
	_, err := awsec2.NewFromConfig(w.session.Config).AttachVolume(w.t.Context(), &awsec2.AttachVolumeInput{
		VolumeId: &id, InstanceId: awssdk.String(other), Device: awssdk.String("/dev/sdf"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.describe(id)
}

// A volume that goes between two looks is let go.
func TestKeptVolumeThatVanishes(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	had := w.keeps("")
	w.detachByHand(had.ID)
	var once sync.Once
	w.sim.ResetCalls()
	v := w.mustOpen(reuse, func(r *workflow.VolumeRequest) {
		r.Step = func(step string) {
			if strings.HasPrefix(step, "taking over") {
				once.Do(w.sweep)
			}
		}
	})
	if string(v.ID()) == had.ID || !w.logged("a kept volume is not read", had.ID, "it is deleting now") {
		t.Errorf("opened %s: %s", v.ID(), w.log)
	}
	if err := v.Release(t.Context()); err != nil {
		t.Error(err)
	}
	w.sweepRuns()
	w.nothingLeft()
}

// sweepRuns is what the next run does first.
func (w *world) sweepRuns() {
	w.t.Helper()
	s := &workflow.Sweeper{
		Dir: w.stateDir, Host: w.instance.ID, Boot: "boot-1", Region: "us-east-1", Volumes: w.remains(),
		Protocol: &catalog.Protocol{Catalog: ec2.NewCatalog(w.session), Now: w.session.Now, Region: "us-east-1", Log: w.logger},
		Settle:   w.timing.Settle, Limit: 10 * time.Second, Log: w.logger,
	}
	err := s.Sweep(w.t.Context(), nil, func(s workflow.Swept) {
		if s.Fate == workflow.Left {
			w.t.Errorf("run %s has left its %s %v: %v", s.Run.Run, s.Entry.Kind, s.Entry.Fields, s.Err)
		}
	})
	if err != nil {
		w.t.Error(err)
	}
}

// TestReuseFaults: whatever call fails for good, in whatever way, the kept volume
// serves and is deleted, or is as it was, or is named with the command that removes it.
func TestReuseFaults(t *testing.T) {
	for _, free := range []bool{false, true} {
		for _, action := range []string{"CreateTags", "AttachVolume", "DescribeInstanceAttribute", "DescribeVolumes", "DetachVolume"} {
			for _, from := range []int{1, 2, 3} {
				// One that is attached needs few calls, and only one is made at several stages.
				few := action == "CreateTags" || action == "DescribeVolumes"
				if action != "DescribeVolumes" && from > 1 || !free && !few {
					continue
				}
				for _, kind := range kinds() {
					t.Run(fmt.Sprintf("%s from %d %s, available %t", action, from, kind.name, free), func(t *testing.T) {
						w := newImpatientWorld(t, awssim.Config{}, 250*time.Millisecond)
						had := w.keeps("")
						if free {
							w.detachByHand(had.ID)
						}
						w.timing.AttachWait, w.timing.DetachWait, w.timing.Call = 600*time.Millisecond, 600*time.Millisecond, 300*time.Millisecond
						before := w.sim.Tags(had.ID)
						w.sim.ResetCalls()
						w.sim.SetFault(func(c awssim.Call) awssim.Fault {
							if c.Action == action && c.N >= from {
								return kind.fault
							}
							return awssim.Fault{}
						})
						err := w.life(t.Context(), reuse)
						w.sim.SetFault(nil)
						for _, v := range w.alive() {
							asBefore := v.ID == had.ID && maps.Equal(w.sim.Tags(v.ID), before)
							named := err != nil && strings.Contains(err.Error(), "aws ec2 delete-volume --region us-east-1 --volume-id "+v.ID)
							if !asBefore && !named {
								t.Errorf("volume %s is %s with %v, and the error does not name it: %v", v.ID, v.State, v.Tags, err)
							}
							if named && len(w.state.Left()) == 0 {
								t.Error("the state file does not name it")
							}
						}
						w.afterwards(had.ID)
					})
				}
			}
		}
	}
}

// afterwards ends the run, sweeps, and wants the kept volume to be gone, or to serve
// another run. Nothing is left in the end.
func (w *world) afterwards(id string) {
	w.t.Helper()
	if err := w.state.Close(); err != nil {
		w.t.Error(err)
	}
	w.timing = quick()
	w.newRun("run-c")
	w.sweepRuns()
	left := w.alive()
	if len(left) > 1 || len(left) == 1 && (left[0].ID != id || left[0].Tags[tag] != "kept") {
		w.t.Errorf("after a sweep: %+v", left)
	}
	v := w.mustOpen(reuse)
	if len(left) > 0 && string(v.ID()) != id {
		w.t.Errorf("opened %s, want the kept %s to serve: %s", v.ID(), id, w.log)
	}
	w.mustRelease(v)
}

// killer ends the goroutine that makes the nth call, before it or after it.
type killer struct {
	awssdk.HTTPClient
	n     int
	after bool
}

func (k *killer) Do(r *http.Request) (*http.Response, error) {
	if k.n--; k.n == 0 && !k.after {
		runtime.Goexit()
	}
	answer, err := k.HTTPClient.Do(r)
	if k.n == 0 {
		if err == nil {
			_ = answer.Body.Close()
		}
		runtime.Goexit()
	}
	return answer, err
}

// TestReuseKilled: whoever dies at a call leaves a volume that the next run sweeps or
// uses.
func TestReuseKilled(t *testing.T) {
	for _, free := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("available %t, after the effect %t", free, after), func(t *testing.T) {
				for n, done := 1, false; !done; n++ {
					t.Run(fmt.Sprint(n), func(t *testing.T) { done = testReuseKilled(t, free, after, n) })
				}
			})
		}
	}
}

// testReuseKilled tells whether fewer than n calls were made.
func testReuseKilled(t *testing.T, free, after bool, n int) (opened bool) {
	t.Helper()
	w := newSerialWorld(t, awssim.Config{}, 10*time.Second)
	had := w.keeps("")
	if free {
		w.detachByHand(had.ID)
	}
	client := w.session.Config.HTTPClient
	w.session.Config.HTTPClient = &killer{client, n, after}
	opener, r := w.opener(), w.request()
	r.Reuse = true
	dead := make(chan struct{})
	go func() {
		defer close(dead)
		_, err := opener.Open(t.Context(), func(error) {}, r)
		if opened = err == nil; err != nil {
			t.Error(err)
		}
	}()
	<-dead
	letGo(t, had.Node)
	w.session.Config.HTTPClient = client
	w.afterwards(had.ID)
	return opened
}

// letGo waits until the collector has closed what a dead goroutine had open, as the
// kernel does for a dead process.
func letGo(t *testing.T, node string) {
	t.Helper()
	want, err := filepath.EvalSymlinks(node)
	if err != nil {
		want = node // it is detached
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		runtime.GC()
		held := false
		files, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			at, err := os.Readlink(f)
			held = held || err == nil && (at == want || at == node || strings.Contains(at, "/volumes/") && strings.HasPrefix(at, filepath.Dir(filepath.Dir(want))))
		}
		if !held {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still open", node)
		}
		runtime.Gosched()
	}
}
