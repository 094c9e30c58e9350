package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/catalog"
)

const (
	otherHost    = "i-0fedcba9876543210"
	strangerHost = "i-0aaaaaaaaaaaaaaaa" // nothing of ours runs there
)

// crowd is an account that many processes on two machines work in at once.
type crowd struct {
	*world

	host      *awssim.Host // besides the world's own
	snapshots []subject
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t, awssim.Config{})}
	c.extra = []string{settleEnv + "=1500ms"}
	var err error
	if c.host, err = c.sim.AddHost(otherHost); err != nil {
		t.Fatal(err)
	}
	if err := c.sim.AddInstance(strangerHost, "us-east-1a"); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.snapshots = append(c.snapshots, c.noisy(mib, awssim.SnapshotSpec{Tags: tagged("Name", fmt.Sprint("disk ", i))}))
	}
	return c
}

// here starts a run on the first machine, there on the second.
func (c *crowd) here(args ...string) *process { return c.start(c.command(c.migrate(args)...)) }

func (c *crowd) there(args ...string) *process {
	cmd := c.command(c.migrate(args)...)
	cmd.Env = append(cmd.Env, c.host.Env()...)
	cmd.Env = append(cmd.Env, "SNAP_TO_S3_STATE_DIR="+c.otherState())
	return c.start(cmd)
}

func (c *crowd) otherState() string { return filepath.Join(c.dir, "state-there") }

func (c *crowd) migrate(more []string) []string {
	return append([]string{"migrate", "--dd", "--bucket", testBucket, "--jobs", "4"}, more...)
}

// predecessor starts a stand-in for the tool that ours takes the place of.
func (c *crowd) predecessor() *process {
	cmd := c.command()
	cmd.Path = filepath.Join(filepath.Dir(cmd.Path), "predecessor")
	cmd.Args = []string{"predecessor"}
	return c.start(cmd)
}

// stoppedAt starts a run that gets a signal as it makes a certain call, and
// returns the snapshot that it holds then. f is what becomes of the call.
func (c *crowd) stoppedAt(match func(awssim.Call) bool, s syscall.Signal, f awssim.Fault) (*process, subject) {
	c.t.Helper()
	begun, there := make(chan struct{}), make(chan struct{})
	var p *process
	var once sync.Once
	c.sim.SetFault(func(call awssim.Call) awssim.Fault {
		if !match(call) {
			return awssim.Fault{}
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			return awssim.Fault{}
		}
		<-begun
		if err := p.cmd.Process.Signal(s); err != nil {
			c.t.Error(err)
		}
		close(there)
		return f
	})
	held := c.held()
	p = c.here("--all", "--jobs", "1")
	close(begun)
	c.reaches(there, p)
	for _, one := range c.snapshots {
		if id, is := c.held()[one.ID]; is && id != held[one.ID] {
			return p, one
		}
	}
	c.t.Fatalf("the run holds no snapshot: %v", c.held())
	return nil, subject{}
}

// held are the snapshots that somebody works on, with their claims.
func (c *crowd) held() map[string]string {
	held := map[string]string{}
	for _, s := range c.snapshots {
		if tags := c.sim.Tags(s.ID); tags["snap-to-s3"] == catalog.Migrating {
			held[s.ID] = tags["snap-to-s3-id"]
		}
	}
	return held
}

// bystanders are things of others: they must be as they were in the end.
func (c *crowd) bystanders() []string {
	c.t.Helper()
	s := c.snapshots[0].ID
	owner := catalog.Owner{Identity: catalog.Identity{Host: strangerHost, Boot: "boot", Run: "20260101-000000-aaaaaaaa"}, Renewed: time.Now(), Before: "migrate", HadBefore: true}
	var ids []string
	for _, spec := range []awssim.VolumeSpec{
		{SnapshotID: s, Tags: map[string]string{"Name": "a user's"}},
		{SnapshotID: s, Tags: map[string]string{"snap-to-s3": "kept"}},
		{SnapshotID: s, Tags: map[string]string{"snap-to-s3": "in-progress"}, Instance: strangerHost, Device: "/dev/sdf"},
		{SnapshotID: s, Tags: map[string]string{"snap-to-s3": "in-progress", "snap-to-s3-owner": owner.String()}},
	} {
		id, err := c.sim.AddVolume(spec)
		if err != nil {
			c.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (c *crowd) volumes(ids []string) (all []awssim.VolumeInfo) {
	for _, v := range c.sim.Volumes() {
		if slices.Contains(ids, v.ID) {
			all = append(all, v)
		}
	}
	return all
}

// migratedOnce wants each snapshot to have one whole set of objects, by this tool
// or by its predecessor, and each object to have been written once.
func (c *crowd) migratedOnce() {
	c.t.Helper()
	written := map[string]int{}
	for _, call := range c.sim.Calls() {
		if (call.Action == "PutObject" || call.Action == "CompleteMultipartUpload") && call.Status == 200 {
			written[call.Key]++
		}
	}
	byPredecessor, want := 0, map[string]int{}
	for _, s := range c.snapshots {
		c.isMigrated(s)
		old := s.prefix() + ".tar.lz4"
		if _, there := c.sim.Object(testBucket, old); there {
			byPredecessor++
			want[old] = 1
			continue
		}
		c.isArchived(s, s.key("zstd"))
		for _, key := range append(objectsOf(s.key("zstd")), "manifests/"+s.prefix()+".image.zstd.json") {
			want[key] = 1
		}
	}
	if diff := cmp.Diff(want, written); diff != "" {
		c.t.Errorf("how often each object was written (-want +got):\n%s", diff)
	}
	c.t.Logf("%d by the predecessor, %d by this tool", byPredecessor, len(c.snapshots)-byPredecessor)
}

// Processes on two machines, one of them killed, two stopped for longer than
// their claims hold, share the work with their predecessor: each snapshot is
// migrated once, and nobody's things are touched.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 40)
	c.leftovers = true // the bystanders
	strangers := c.bystanders()
	before := c.volumes(strangers)

	killed, _ := c.stoppedAt(awssim.Action("AttachVolume"), syscall.SIGKILL, awssim.Fault{})
	killed.killed()
	attaching, first := c.stoppedAt(awssim.Action("AttachVolume"), syscall.SIGSTOP, awssim.Fault{})
	defer attaching.gone()
	committing, second := c.stoppedAt(func(call awssim.Call) bool {
		return call.Action == "PutObject" && strings.HasPrefix(call.Key, "vol-")
	}, syscall.SIGSTOP, awssim.Fault{CutBefore: true})
	defer committing.gone()
	c.sim.SetFault(nil)
	if first.ID == second.ID {
		t.Fatalf("both hold %s", first.ID)
	}

	for _, p := range []*process{c.here("--all"), c.there("--all"), c.predecessor()} {
		if r := p.ends(); r.code != exitDone {
			t.Errorf("exit code %d", r.code)
		}
	}
	for id := range c.held() {
		if id != first.ID && id != second.ID {
			t.Errorf("%s is held by nobody who was stopped", id)
		}
	}
	// Their claims are alive, and so nobody takes them.
	if r := c.there(first.ID, second.ID).ends(); r.code != exitClaimed {
		t.Errorf("exit code %d, want %d", r.code, exitClaimed)
	}
	c.sim.SetClock(func() time.Time { return time.Now().Add(catalog.Live + time.Minute) })
	if r := c.there(first.ID, second.ID).ends(); r.code != exitDone {
		t.Errorf("exit code %d, want the dead claims to be taken over", r.code)
	}
	done := c.state()
	for _, p := range []*process{attaching, committing} {
		p.sends(syscall.SIGCONT)
		r := p.ends()
		if r.code != exitClaimed {
			t.Errorf("a run that slept past its claim ended with %d, want %d", r.code, exitClaimed)
		}
		r.oneLineEach(t)
	}
	if diff := cmp.Diff(done, c.state()); diff != "" {
		t.Errorf("runs that slept past their claims wrote (-before +after):\n%s", diff)
	}
	c.migratedOnce()
	c.onlyStrangersLeft(strangers)
	if diff := cmp.Diff(before, c.volumes(strangers)); diff != "" {
		t.Errorf("volumes of others (-before +after):\n%s", diff)
	}
}

// gone makes sure that a process is not there any more: a stopped one would stay.
func (p *process) gone() { _ = p.cmd.Process.Kill() } // it may have ended

// onlyStrangersLeft is nothingLeft, but for the volumes of others.
func (c *crowd) onlyStrangersLeft(strangers []string) {
	c.t.Helper()
	for _, v := range c.sim.Volumes() {
		if v.State != "deleting" && !slices.Contains(strangers, v.ID) {
			c.t.Errorf("volume left: %+v", v)
		}
	}
	if left := c.sim.Uploads(testBucket); len(left) > 0 {
		c.t.Errorf("uploads left: %+v", left)
	}
	for _, dir := range []string{c.stateDir(), c.otherState()} {
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			c.t.Errorf("state files left in %s: %v, %v", dir, files, err)
		}
	}
}
