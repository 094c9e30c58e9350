package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

// fakeVolumes is a workflow.VolumeRemover in memory.
type fakeVolumes struct {
	mu      sync.Mutex
	there   map[snapshot.VolumeID]workflow.LeftVolume
	fail    map[snapshot.VolumeID]error
	account error
	removed []snapshot.VolumeID
	hidden  int // how many more looks do not show a volume yet
}

func (f *fakeVolumes) Check(context.Context) error { return f.account }

func (f *fakeVolumes) Find(_ context.Context, q workflow.VolumeQuery) (found []workflow.LeftVolume, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hidden--; f.hidden >= 0 {
		return nil, nil
	}
	for _, id := range slices.Sorted(maps.Keys(f.there)) {
		v := f.there[id]
		o, _ := catalog.ParseOwner(v.Owner)
		if (q.ID == "" || q.ID == id) && (q.Owner == (catalog.Identity{}) || o.Identity == q.Owner) {
			found = append(found, v)
		}
	}
	return found, nil
}

func (f *fakeVolumes) RemoveLeft(_ context.Context, r workflow.RemoveRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.there[r.ID]
	o, _ := catalog.ParseOwner(v.Owner)
	switch {
	case f.fail[r.ID] != nil:
		return f.fail[r.ID]
	case !ok:
		return nil
	case r.Kept && (v.Value != workflow.VolumeKept || v.Owner != r.Seen):
		return workflow.ErrForeign
	case r.Kept:
	case v.Value == workflow.VolumeKept:
		return workflow.ErrKept
	case o.Identity != r.Owner, r.Seen != "" && r.Seen != v.Owner:
		return workflow.ErrForeign
	}
	delete(f.there, r.ID)
	f.removed = append(f.removed, r.ID)
	return nil
}

// remains is a host with a dead run, an account and a bucket.
type remains struct {
	t       *testing.T
	dir     string
	dead    catalog.Identity
	cat     *catalogtest.Memory
	store   *objstore.Memory
	volumes *fakeVolumes
	told    []workflow.Swept
}

const (
	sweptKey  = "vol-00000001/2026-01-02T03:04:05+00:00 snap-00000001.img.lz4"
	sweptTime = "1999-12-31T23:59:59Z" // a second before a bubble's time begins
)

func newRemains(t *testing.T) *remains {
	t.Helper()
	r := &remains{t: t, dir: t.TempDir(), dead: catalog.Identity{Host: "i-1", Boot: "boot", Run: runstate.NewRunID()}}
	r.volumes = &fakeVolumes{there: map[snapshot.VolumeID]workflow.LeftVolume{}, fail: map[snapshot.VolumeID]error{}}
	r.store = objstore.NewMemory(objstore.MemoryOptions{})
	r.cat = catalogtest.New(snapshot.Snapshot{ID: first, Tags: map[string]string{
		tag: "migrating", tag + "-id": "7", tag + "-owner": r.owner(r.dead),
	}})
	return r
}

func (r *remains) owner(who catalog.Identity) string {
	return catalog.Owner{Identity: who, Renewed: time.Now(), Before: "migrate", HadBefore: true}.String()
}

func (r *remains) volume(id snapshot.VolumeID, who catalog.Identity, value string) {
	r.volumes.there[id] = workflow.LeftVolume{ID: id, Snapshot: first, Value: value, Owner: r.owner(who)}
}

// upload begins one and returns its id.
func (r *remains) upload(key string) string {
	r.t.Helper()
	before := r.ids(key)
	w, err := r.store.Create(r.t.Context(), key, objstore.CreateOptions{PartSize: 5 << 20, Streams: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 11<<20)); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	for _, id := range r.ids(key) {
		if !slices.Contains(before, id) {
			return id
		}
	}
	r.t.Fatal("no upload was begun")
	return ""
}

func (r *remains) ids(key string) (ids []string) {
	for u, err := range r.store.Unfinished(r.t.Context(), key) {
		if err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	return ids
}

// left writes the state file of the dead run: kinds with fields.
func (r *remains) left(things ...[]string) string {
	r.t.Helper()
	f, err := runstate.Create(r.dir, runstate.Header{Run: r.dead.Run, Host: r.dead.Host, Boot: r.dead.Boot, Started: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, thing := range things {
		fields := map[string]string{"snapshot": string(first), "tag": tag, "region": "us-east-1"}
		for _, kv := range thing[1:] {
			k, v, _ := strings.Cut(kv, "=")
			fields[k] = v
		}
		if _, err := f.Intend(thing[0], fields); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		r.t.Fatal(err)
	}
	return f.Path()
}

func (r *remains) sweeper() *workflow.Sweeper {
	return &workflow.Sweeper{
		Dir: r.dir, Host: "i-1", Boot: "boot", Region: "us-east-1",
		Protocol: &catalog.Protocol{Catalog: r.cat}, Volumes: r.volumes,
		Uploads: func(b, endpoint string) (objstore.Uploads, error) {
			if b != bucket || endpoint != "" {
				return nil, fmt.Errorf("no store at %q has %s", endpoint, b)
			}
			return r.store, nil
		},
		Settle: 15 * time.Second, Limit: time.Minute, Log: slog.New(slog.DiscardHandler),
	}
}

// sweep sweeps, and returns the fate of each thing, by what it is.
func (r *remains) sweep() map[string]string {
	r.t.Helper()
	fates := map[string]string{}
	if err := r.sweeper().Sweep(r.t.Context(), nil, func(s workflow.Swept) {
		r.told = append(r.told, s)
		fate := string(s.Fate)
		if s.Err != nil {
			fate += ": " + s.Err.Error()
		}
		fates[s.Entry.Kind] = fate
	}); err != nil {
		r.t.Errorf("sweep: %v", err)
	}
	return fates
}

func (r *remains) stateFiles() int {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "*.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(files)
}

func TestSweep(t *testing.T) {
	alive := catalog.Identity{Host: "i-2", Boot: "boot", Run: "alive"}
	upload := []string{"upload", "bucket=" + bucket, "key=" + sweptKey, "started=" + sweptTime}
	claim := []string{"claim", "claim_id=7"}
	give := map[string]string{tag: "migrate"}
	for name, c := range map[string]struct {
		set   func(*remains) [][]string // the things in the state file
		fates map[string]string
		check func(*remains)
		stays bool // the state file
	}{
		"all there is": {
			set: func(r *remains) [][]string {
				r.volume("vol-1", r.dead, workflow.VolumeInProgress)
				return [][]string{{"attachment", "volume=vol-1"}, {"volume", "volume=vol-1"}, append(upload, "upload="+r.upload(sweptKey)), claim}
			},
			fates: map[string]string{"volume": "removed", "attachment": "removed", "upload": "removed", "claim": "removed"},
			check: func(r *remains) {
				if len(r.volumes.there) > 0 || r.store.Uploads() > 0 || !cmp.Equal(r.cat.Tags(first), give) {
					t.Errorf("left: %v, %d uploads, tags %v", r.volumes.there, r.store.Uploads(), r.cat.Tags(first))
				}
			},
		},
		"nothing": {set: func(*remains) [][]string { return nil }, fates: map[string]string{}},
		"a volume that shows late": {
			set: func(r *remains) [][]string {
				r.volume("vol-1", r.dead, workflow.VolumeInProgress)
				r.volume("vol-2", alive, workflow.VolumeInProgress)
				r.volumes.hidden = 3
				return [][]string{{"volume"}}
			},
			fates: map[string]string{"volume": "removed"},
			check: func(r *remains) {
				if diff := cmp.Diff([]snapshot.VolumeID{"vol-1"}, r.volumes.removed); diff != "" {
					t.Errorf("removed (-want +got):\n%s", diff)
				}
			},
		},
		"a volume that was never made": {set: func(*remains) [][]string { return [][]string{{"volume"}} }, fates: map[string]string{"volume": "gone"}},
		"a volume that is gone":        {set: func(*remains) [][]string { return [][]string{{"volume", "volume=vol-1"}} }, fates: map[string]string{"volume": "removed"}},
		"a kept volume": {
			set: func(r *remains) [][]string {
				r.volume("vol-1", r.dead, workflow.VolumeKept)
				return [][]string{{"volume", "volume=vol-1"}}
			},
			fates: map[string]string{"volume": "spared"},
			check: func(r *remains) {
				if len(r.volumes.there) != 1 {
					t.Error("it is gone")
				}
			},
		},
		"a volume in use": {
			set: func(r *remains) [][]string {
				r.volumes.fail["vol-1"] = workflow.ErrInUse
				return [][]string{{"volume", "volume=vol-1"}, {"attachment", "volume=vol-1"}}
			},
			fates: map[string]string{"volume": "left: it is in use", "attachment": "left: vol-1 is still there"}, stays: true,
		},
		"another region": {
			set:   func(*remains) [][]string { return [][]string{{"volume", "volume=vol-1", "region=eu-west-1"}} },
			fates: map[string]string{"volume": "left: it is in eu-west-1, and this run in us-east-1"}, stays: true,
		},
		"another account": {
			set: func(r *remains) [][]string {
				r.volumes.account = errors.New("no such instance")
				return [][]string{{"volume", "volume=vol-1"}, claim}
			},
			fates: map[string]string{"volume": "left: no such instance", "claim": "left: no such instance"}, stays: true,
		},
		"another store": {
			set:   func(*remains) [][]string { return [][]string{append(upload, "endpoint=https://other", "upload=1")} },
			fates: map[string]string{"upload": `left: no store at "https://other" has ` + bucket}, stays: true,
		},
		"an upload without its id": {
			set: func(r *remains) [][]string {
				r.upload(sweptKey)
				r.upload(sweptKey)
				r.upload(sweptKey + ".other")
				return [][]string{upload}
			},
			fates: map[string]string{"upload": "removed"},
			check: func(r *remains) {
				if n := r.store.Uploads(); n != 1 {
					t.Errorf("%d uploads, want the one of another key", n)
				}
			},
		},
		"an upload without its id, of a snapshot that another run has": {
			set: func(r *remains) [][]string {
				r.upload(sweptKey)
				r.tags(map[string]string{tag + "-owner": r.owner(alive)})
				return [][]string{upload}
			},
			fates: map[string]string{"upload": "left: its id is not known, and run alive on i-2 is at work on " + string(first)}, stays: true,
		},
		"an upload without its id, of a snapshot that the predecessor has": {
			set: func(r *remains) [][]string {
				r.upload(sweptKey)
				r.tags(map[string]string{tag + "-owner": "-"})
				return [][]string{upload}
			},
			fates: map[string]string{"upload": `left: its id is not known, and somebody is at work on ` + string(first) + `: its tag snap-to-s3 is "migrating"`}, stays: true,
		},
		"an upload from before": {
			set: func(r *remains) [][]string {
				r.upload(sweptKey)
				return [][]string{append(upload, "started=2000-01-01T00:05:01Z")}
			},
			fates: map[string]string{"upload": "gone"},
			check: func(r *remains) {
				if r.store.Uploads() != 1 {
					t.Error("it is gone")
				}
			},
		},
		"a claim that is another's by now": {
			set: func(r *remains) [][]string {
				r.tags(map[string]string{tag + "-owner": r.owner(alive), tag + "-id": "8"})
				return [][]string{claim}
			},
			fates: map[string]string{"claim": "spared"},
			check: func(r *remains) {
				if r.cat.Tags(first)[tag] != "migrating" {
					t.Errorf("tags %v", r.cat.Tags(first))
				}
			},
		},
		"a later release's": {
			set: func(*remains) [][]string { return [][]string{{"lease"}} }, fates: map[string]string{"lease": `left: this version does not know what a "lease" is`}, stays: true,
		},
		"a mount and a loop device that are gone": {
			set: func(r *remains) [][]string {
				return [][]string{{"mount", "folder=" + filepath.Join(r.dir, "mount"), "loop=/dev/loop999", "backing=/dev/none"}, {"loop", "loop=/dev/loop999", "backing=/dev/none"}}
			},
			fates: map[string]string{"mount": "removed", "loop": "removed"},
		},
		"a loop device that cannot be one": {
			set:   func(*remains) [][]string { return [][]string{{"loop", "loop=/dev/sda", "backing=/dev/none"}} },
			fates: map[string]string{"loop": `left: "/dev/sda" over "/dev/none" is no loop device of ours`}, stays: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemains(t)
				r.left(c.set(r)...)
				if diff := cmp.Diff(c.fates, r.sweep()); diff != "" {
					t.Errorf("fates (-want +got):\n%s", diff)
				}
				if c.check != nil {
					c.check(r)
				}
				if there := r.stateFiles() > 0; there != c.stays && (len(c.fates) > 0 || there) {
					t.Errorf("the state file is there: %v, want %v", there, c.stays)
				}
			})
		})
	}
}

func (r *remains) tags(tags map[string]string) {
	r.t.Helper()
	if err := r.cat.SetTags(r.t.Context(), first, tags); err != nil {
		r.t.Fatal(err)
	}
}

// After a restart nothing is mounted any more, and only the folder that was made for
// it may be there.
func TestSweepAfterARestart(t *testing.T) {
	r := newRemains(t)
	folder := filepath.Join(r.dir, "snap-1")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	r.dead.Boot = "the boot before"
	r.left([]string{"mount", "folder=" + folder, "loop=/dev/loop0", "backing=/dev/none", "made=" + folder}, []string{"loop", "loop=/dev/loop0", "backing=/dev/none"})
	if diff := cmp.Diff(map[string]string{"mount": "removed", "loop": "removed"}, r.sweep()); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// Cut off at any moment, the state file names what is left, and the next sweep does
// the rest.
func TestSweepCutOff(t *testing.T) {
	for n := range 6 {
		synctest.Test(t, func(t *testing.T) {
			r := newRemains(t)
			r.volume("vol-1", r.dead, workflow.VolumeInProgress)
			r.left(
				[]string{"volume", "volume=vol-1"}, []string{"attachment", "volume=vol-1"},
				[]string{"upload", "bucket=" + bucket, "key=" + sweptKey, "started=" + sweptTime, "upload=" + r.upload(sweptKey)},
				[]string{"claim", "claim_id=7"})
			ctx, cancel := context.WithCancel(t.Context())
			told := 0
			err := r.sweeper().Sweep(ctx, nil, func(workflow.Swept) {
				if told++; told == n {
					cancel()
				}
			})
			if err != nil {
				t.Errorf("sweep: %v", err)
			}
			cancel()
			r.sweep()
			if len(r.volumes.there) > 0 || r.store.Uploads() > 0 || r.cat.Tags(first)[tag] != "migrate" || r.stateFiles() > 0 {
				t.Errorf("cut off after %d: %v, %d uploads, tags %v", n, r.volumes.there, r.store.Uploads(), r.cat.Tags(first))
			}
		})
	}
}

// An archive without a record is replaced only once its run can commit nothing any
// more.
func TestTakingOverAnUnfinishedArchive(t *testing.T) {
	image, disk := writeDisk(t)
	in := func(name string, run func(t *testing.T, w *world, other catalog.Identity)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, image, disk)
				other := catalog.Identity{Host: "i-2", Boot: "boot", Run: "other"}
				w.putAs(w.name(first).ArchiveKey(), "half of it", map[string]string{"snap-to-s3-run": other.Run})
				run(t, w, other)
			})
		})
	}
	set := func(t *testing.T, w *world, key string, o catalog.Owner) {
		t.Helper()
		if err := w.cat.SetTags(t.Context(), first, map[string]string{key: o.String()}); err != nil {
			t.Fatal(err)
		}
	}
	in("nobody has it", func(t *testing.T, w *world, _ catalog.Identity) {
		r := w.newRun().do(t.Context(), all())
		if r.err != nil || !slices.ContainsFunc(r.report.notes, func(n string) bool { return strings.Contains(n, "left unfinished by run other") }) {
			t.Errorf("%v, notes %q", r.err, r.report.notes)
		}
		w.whole(first)
	})
	in("its run has it under another tag", func(t *testing.T, w *world, other catalog.Identity) {
		set(t, w, "backup-owner", catalog.Owner{Identity: other, Renewed: time.Now()})
		r := w.newRun().do(t.Context(), all())
		if r.err == nil || !strings.Contains(r.report.finished[0].Err.Error(), "run other on i-2 is at work on it") {
			t.Errorf("%v", r.report.finished[0].Err)
		}
		if got := string(w.object(w.name(first).ArchiveKey())); got != "half of it" {
			t.Errorf("the object is %q", got)
		}
		time.Sleep(catalog.Live)
		if r := w.newRun().do(t.Context(), all()); r.err != nil {
			t.Errorf("an hour later: %v", r.err)
		}
	})
	in("another run has it under another tag", func(t *testing.T, w *world, other catalog.Identity) {
		other.Run = "a third"
		set(t, w, "backup-owner", catalog.Owner{Identity: other, Renewed: time.Now()})
		if r := w.newRun().do(t.Context(), all()); r.err != nil {
			t.Error(r.err)
		}
	})
	in("its record comes while ours is written", func(t *testing.T, w *world, _ catalog.Identity) {
		w.points.visit = func(l string) {
			if l == "store commit archive #1" {
				w.putAs(w.name(first).ArchiveRecordKey(), "{}", map[string]string{"snap-to-s3-run": "other"})
			}
		}
		r := w.newRun().do(t.Context(), all())
		if r.err == nil || !strings.Contains(r.report.finished[0].Err.Error(), "was finished meanwhile by run other") {
			t.Errorf("%v", r.err)
		}
		if got := string(w.object(w.name(first).ArchiveKey())); got != "half of it" {
			t.Errorf("the object is %q", got)
		}
	})
	in("somebody replaces it meanwhile", func(t *testing.T, w *world, _ catalog.Identity) {
		w.points.visit = func(l string) {
			if l == "store commit archive #1" {
				w.put(w.name(first).ArchiveKey(), "somebody else's")
			}
		}
		if r := w.newRun().do(t.Context(), all()); !errors.Is(r.err, objstore.ErrExists) {
			t.Errorf("error %v", r.err)
		}
	})
}
