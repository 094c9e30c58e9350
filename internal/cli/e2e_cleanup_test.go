package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

// account is what can be left behind, as others see it.
type account struct {
	Snapshots, Volumes map[string]map[string]string // tags by id
	Attached           map[string]string            // by volume: the instance
	Uploads            []string
}

func (w *world) account(ids ...string) account {
	a := account{Snapshots: map[string]map[string]string{}, Volumes: map[string]map[string]string{}, Attached: map[string]string{}}
	for _, id := range ids {
		a.Snapshots[id] = w.sim.Tags(id)
	}
	for _, v := range w.sim.Volumes() {
		if v.State != "deleting" {
			a.Volumes[v.ID], a.Attached[v.ID] = v.Tags, v.Instance
		}
	}
	for _, u := range w.sim.Uploads(testBucket) {
		a.Uploads = append(a.Uploads, u.ID)
	}
	return a
}

// leavings is a run of some machine that was killed, and what it left.
type leavings struct {
	subject
	volume, upload string
}

// leaves kills a run while it copies. forget takes its state file away, as if it had
// been on another machine.
func (w *world) leaves(volume string, forget ...string) leavings {
	w.t.Helper()
	before := w.account()
	// So large that not all is read when the second part goes up.
	l := leavings{subject: w.noisy(40*mib, awssim.SnapshotSpec{VolumeID: volume})}
	w.killed(l.subject, "copying", awssim.Fault{Hang: true})
	after := w.account()
	for id := range after.Volumes {
		if _, old := before.Volumes[id]; !old {
			l.volume = id
		}
	}
	for _, id := range after.Uploads {
		if !slices.Contains(before.Uploads, id) {
			l.upload = id
		}
	}
	if l.volume == "" || l.upload == "" {
		w.t.Fatalf("it left %+v", after)
	}
	if len(forget) > 0 {
		if err := os.RemoveAll(w.stateDir()); err != nil {
			w.t.Fatal(err)
		}
		w.owned(l, forget[0])
	}
	return l
}

// owned gives volume and claim another host, or takes their owner away.
func (w *world) owned(l leavings, host string) {
	w.t.Helper()
	for _, id := range []string{l.ID, l.volume} {
		tags := maps.Clone(w.sim.Tags(id))
		_, rest, _ := strings.Cut(tags["snap-to-s3-owner"], "/")
		tags["snap-to-s3-owner"] = host + "/" + rest
		if host == "" {
			delete(tags, "snap-to-s3-owner")
		}
		if err := w.sim.SetTags(id, tags); err != nil {
			w.t.Fatal(err)
		}
	}
}

const anotherHost = "i-0fedcba9876543210"

// leftovers are the lines of one clean-up, by kind and id.
func leftovers(t *testing.T, r result) (map[string]jsonLine, jsonLine) {
	t.Helper()
	lines, doc := r.jsonLines(t), documentedJSON(t)
	found := map[string]jsonLine{}
	for _, l := range lines {
		kind := strings.Replace(l.kind(), "summary", "summary (cleanup)", 1)
		for name := range l {
			if !doc[kind][name] {
				t.Errorf("%s has %q, which is not documented", kind, name)
			}
		}
	}
	for _, l := range lines[:len(lines)-1] {
		if l["type"] != "leftover" {
			t.Errorf("line %v", l)
			continue
		}
		found[fmt.Sprint(l["kind"], " ", l["id"])] = l
	}
	sum := lines[len(lines)-1]
	if sum["type"] != "summary" {
		t.Fatalf("the last line is %v", sum)
	}
	return found, sum
}

// later lets the account's clock go on.
func (w *world) later(d time.Duration) {
	w.sim.SetClock(func() time.Time { return time.Now().Add(d) })
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	elsewhere := w.leaves("vol-0a1b2c3d4e5f60711", anotherHost)
	nobodys := w.leaves("vol-0a1b2c3d4e5f60712", "")
	alive := w.leaves("vol-0a1b2c3d4e5f60713", anotherHost)
	kept := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60714"})
	w.ok("migrate", "--dd", "--bucket", testBucket, "--keep-temp-volumes", kept.ID)
	here := w.leaves("vol-0a1b2c3d4e5f60715")
	ids := []string{elsewhere.ID, nobodys.ID, alive.ID, kept.ID, here.ID}
	w.later(26 * time.Hour)
	renewed := fmt.Sprintf("%s/b/alive/%d/migrate", anotherHost, time.Now().Add(26*time.Hour-5*time.Minute).Unix())
	for _, id := range []string{alive.ID, alive.volume} {
		tags := w.sim.Tags(id)
		tags["snap-to-s3-owner"] = renewed
		if err := w.sim.SetTags(id, tags); err != nil {
			t.Fatal(err)
		}
	}
	before := w.account(ids...)

	args := []string{"cleanup", "--bucket", testBucket, "--output", "json"}
	found, sum := leftovers(t, w.ok(args...))
	if diff := cmp.Diff(before, w.account(ids...)); diff != "" {
		t.Errorf("it was to change nothing (-before +after):\n%s", diff)
	}
	want := map[string]string{}
	add := func(l leavings, group, would string) {
		want["volume "+l.volume] = group + " " + would + "delete"
		want["claim "+l.ID] = group + " " + would + "give back"
	}
	add(here, "dead-run", "")
	add(elsewhere, "stale-owner", "")
	want["attachment "+here.volume] = "dead-run detach"
	want["upload "+here.upload] = "dead-run abort"
	want["upload "+elsewhere.upload] = "upload abort"
	want["volume "+nobodys.volume], want["claim "+nobodys.ID], want["upload "+nobodys.upload] = "no-owner ", "no-owner ", "no-owner "
	keptVolume := ""
	for id, tags := range before.Volumes {
		if tags["snap-to-s3"] == "kept" {
			want["volume "+id], keptVolume = "kept ", id
		}
	}
	got := map[string]string{}
	for key, l := range found {
		if key == "upload <nil>" { // of the entries, which was perhaps begun
			continue
		}
		would, _ := l["would"].(string)
		got[key] = fmt.Sprint(l["group"], " ", would)
		if l["fate"] != "found" || l["command"] == nil || l["what"] == "" {
			t.Errorf("%s: %v", key, l)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if sum["removed"] != 0.0 || sum["left"] != 0.0 || sum["found"] == 0.0 {
		t.Errorf("summary %v", sum)
	}

	// What is nobody's any more goes, and nothing else.
	found, sum = leftovers(t, w.ok(append(args, "--yes")...))
	for key, where := range want {
		fate := found[key]["fate"]
		if stays := strings.HasSuffix(where, " "); stays && fate != "found" || !stays && fate != "removed" {
			t.Errorf("%s (%s): %v", key, where, found[key])
		}
	}
	after := w.account(ids...)
	for _, l := range []leavings{here, elsewhere} {
		delete(before.Volumes, l.volume)
		delete(before.Attached, l.volume)
		before.Snapshots[l.ID] = map[string]string{"snap-to-s3": "migrate"}
		before.Uploads = slices.DeleteFunc(before.Uploads, func(id string) bool { return id == l.upload })
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after --yes (-want +got):\n%s", diff)
	}
	if sum["left"] != 0.0 {
		t.Errorf("summary %v", sum)
	}
	w.namesKept(keptVolume)

	// What is nobody's goes where it is named, the volume once it is detached.
	r := w.run("cleanup", "--yes", "--bucket", testBucket, nobodys.ID, nobodys.volume)
	if r.code != exitFailed || !strings.Contains(r.stdout, "it is attached") || w.sim.Tags(nobodys.ID)["snap-to-s3"] != "migrate" {
		t.Errorf("exit code %d, tags %v", r.code, w.sim.Tags(nobodys.ID))
	}
	if r := w.ok("cleanup", "--yes", "--bucket", testBucket); !strings.Contains(r.stdout, "aborted") {
		t.Error("the upload whose snapshot nobody has any more is not aborted")
	}
	// The live one and the kept one are as they were.
	last := w.account(ids...)
	if diff := cmp.Diff(before.Snapshots[alive.ID], last.Snapshots[alive.ID]); diff != "" {
		t.Errorf("a live claim changed: %s", diff)
	}
	if len(last.Volumes) != 3 || !slices.Equal(last.Uploads, []string{alive.upload}) {
		t.Errorf("at the end: %+v", last)
	}
}

// A right that is missing is named, and the rest is done.
func TestCleanupWithWhatRightsThereAre(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		denied string
		gone   func(account, leavings) bool // what can be done without
	}{
		{"s3:ListBucketMultipartUploads", func(a account, l leavings) bool { return len(a.Volumes) == 0 && len(a.Snapshots[l.ID]) == 1 }},
		{"s3:AbortMultipartUpload", func(a account, l leavings) bool { return len(a.Volumes) == 0 && len(a.Snapshots[l.ID]) == 1 }},
		{"ec2:DescribeVolumes", func(a account, l leavings) bool { return len(a.Uploads) == 0 && len(a.Snapshots[l.ID]) == 1 }},
		{"ec2:DeleteVolume", func(a account, l leavings) bool { return len(a.Uploads) == 0 && len(a.Snapshots[l.ID]) == 1 }},
		{"ec2:DescribeSnapshots", func(a account, _ leavings) bool { return len(a.Volumes) == 0 }},
		{"ec2:DeleteTags", func(a account, l leavings) bool {
			return len(a.Volumes) == 0 && a.Snapshots[l.ID]["snap-to-s3"] == "migrate"
		}},
	} {
		t.Run(c.denied, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			w.leftovers = true
			l := w.leaves("vol-0a1b2c3d4e5f60711", anotherHost)
			w.later(26 * time.Hour)
			w.sim.DenyActions([]string{c.denied})
			r := w.run("cleanup", "--yes", "--bucket", testBucket)
			if all := r.stdout + r.stderr; r.code != exitFailed || !strings.Contains(all, c.denied+" is needed") {
				t.Errorf("exit code %d, and no word of %s", r.code, c.denied)
			}
			if a := w.account(l.ID); !c.gone(a, l) {
				t.Errorf("the rest is not done: %+v", a)
			}
			r.oneLineEach(t)
			w.sim.DenyActions(nil)
			w.ok("cleanup", "--yes", "--bucket", testBucket)
			if a := w.account(l.ID); len(a.Volumes)+len(a.Uploads) > 0 || !maps.Equal(a.Snapshots[l.ID], l.Tags) {
				t.Errorf("with the right: %+v", a)
			}
		})
	}
}

// A volume that another instance has is shown, and left to it.
func TestCleanupLeavesWhatAnotherInstanceHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true
	host, err := w.sim.AddHost(anotherHost)
	if err != nil {
		t.Fatal(err)
	}
	l := leavings{subject: w.noisy(40*mib, awssim.SnapshotSpec{})}
	w.extra = host.Env()
	w.killed(l.subject, "copying", awssim.Fault{Hang: true})
	w.extra = nil
	w.later(2 * time.Hour)
	before := w.account()
	for range 2 { // the state file is another host's
		r := w.ok("cleanup", "--yes")
		if !strings.Contains(r.stdout, "it is attached to "+anotherHost) || !strings.Contains(r.stdout, "by hand: aws ec2 detach-volume") {
			t.Errorf("said:\n%s", r.stdout)
		}
	}
	if diff := cmp.Diff(before.Attached, w.account().Attached); diff != "" {
		t.Errorf("attachments (-before +after):\n%s", diff)
	}
	w.extra = host.Env()
	w.ok("cleanup", "--yes", "--bucket", testBucket)
	w.extra = nil
	w.nothingLeft()
}

// An upload for a snapshot that this account does not show may be another account's.
func TestCleanupOfABucketThatIsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	l := w.leaves("vol-0a1b2c3d4e5f60711", anotherHost)
	w.later(48 * time.Hour)
	w.ok("cleanup", "--yes") // without a bucket
	if err := w.sim.RemoveSnapshot(l.ID); err != nil {
		t.Fatal(err)
	}
	r := w.ok("cleanup", "--yes", "--bucket", testBucket)
	if !strings.Contains(r.stdout, "is not in this account and region") || len(w.account().Uploads) != 1 {
		t.Errorf("uploads %v", w.account().Uploads)
	}
	w.ok("cleanup", "--yes", "--bucket", testBucket, l.upload)
	w.stateless()
}

func TestCleanupFindsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(mib, awssim.SnapshotSpec{})
	for _, more := range [][]string{nil, {"--yes"}, {"--dry-run", "--bucket", testBucket}, {"--yes", "--bucket", testBucket, s.ID}} {
		r := w.ok(append([]string{"cleanup"}, more...)...)
		if !strings.Contains(r.stdout, "nothing was found") && !strings.Contains(r.stdout, "0 removed") {
			t.Errorf("%v: said %q", more, r.stdout)
		}
	}
	for _, c := range w.sim.Calls() {
		if slices.Contains(touching(), c.Action) {
			t.Errorf("it called %s", c)
		}
	}
}
