package workflow_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/catalog/catalogtest"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

const (
	tag    = "snap-to-s3"
	bucket = "backups.example.com"
	first  = snapshot.ID("snap-00000001")
)

// world is an account in memory: a catalog, a store and volumes, each of whose
// calls passes a point where a test can make it fail.
type world struct {
	t      *testing.T
	points *points
	cat    *catalogtest.Memory
	store  *objstore.Memory
	dir    string // state files
	image  string // every snapshot's disk
	disk   []byte

	marked string // what the last volume was marked as mounted with

	mu   sync.Mutex
	live map[snapshot.VolumeID]bool
	made int
}

// writeDisk makes a disk of data that cannot be compressed, with a hole and zeros.
func writeDisk(t *testing.T) (path string, disk []byte) {
	t.Helper()
	disk = make([]byte, 5<<20+4096)
	r := rand.NewChaCha8([32]byte{1})
	for _, part := range [][2]int{{0, 1 << 20}, {2 << 20, 3<<20 + 100}, {4 << 20, len(disk)}} {
		if _, err := r.Read(disk[part[0]:part[1]]); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, disk
}

// newWorld has n snapshots of the disk, tagged migrate.
func newWorld(t *testing.T, n int, image string, disk []byte) *world {
	t.Helper()
	w := &world{t: t, points: newPoints(), dir: t.TempDir(), image: image, disk: disk, live: map[snapshot.VolumeID]bool{}}
	var all []snapshot.Snapshot
	for i := range n {
		all = append(all, snapshot.Snapshot{
			ID: snapshot.ID(fmt.Sprintf("snap-%08x", i+1)), VolumeID: snapshot.VolumeID(fmt.Sprintf("vol-%08x", i+1)),
			Size: int64(len(disk)), Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), State: snapshot.StateCompleted,
			Description: "nightly", Tags: map[string]string{tag: catalog.Migrate, "Name": "web"},
		})
	}
	w.cat = catalogtest.New(all...)
	w.store = objstore.NewMemory(objstore.MemoryOptions{
		Limits: objstore.Limits{MinPart: 256 << 10, Floor: 1 << 20},
		Fault: func(op, key string) error {
			// The wire of the store: what a Writer does by itself.
			return w.points.do(context.Background(), "wire "+op+" "+role(key), func() error { return nil })
		},
	})
	return w
}

// run is one process: a Migrator with a state file of its own.
type run struct {
	*workflow.Migrator
	w      *world
	report *report
	sum    workflow.Summary
	err    error
}

func (w *world) newRun(change ...func(*workflow.Migrator)) *run {
	w.t.Helper()
	id := runstate.NewRunID()
	self := catalog.Identity{Host: "i-0123456789abcdef0", Boot: "boot", Run: id}
	state, err := runstate.Create(w.dir, runstate.Header{Run: id, Host: self.Host, Boot: self.Boot, PID: os.Getpid(), Started: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	code, err := codec.New("lz4", 1)
	if err != nil {
		w.t.Fatal(err)
	}
	cat, report := &faultyCatalog{w.cat, w.points}, &report{}
	log := slog.New(slog.DiscardHandler)
	m := &workflow.Migrator{
		Catalog: cat, Store: &faultyStore{w.store, w.points}, State: state, Report: report, Log: log,
		Protocol: &catalog.Protocol{Catalog: cat, Tag: tag, Self: self, Now: time.Now, Log: log},
		Volumes:  &volumes{w, state},
		Run:      id, ToolVersion: "test", Tag: tag, Bucket: bucket, Codec: code, VolumeType: "gp3", Jobs: 1,
		Pricing:     workflow.Pricing{Table: cost.Builtin(), Region: "us-east-1", BucketRegion: "us-east-1"},
		Upload:      workflow.Upload{Streams: 1, Limits: objstore.Limits{MinPart: 256 << 10, Floor: 1 << 20}},
		CheckVolume: func(snapshot.Snapshot) error { return nil },
		Cleanup:     5 * time.Minute,
	}
	for _, c := range change {
		c(m)
	}
	return &run{Migrator: m, w: w, report: report}
}

func overwrite(m *workflow.Migrator) { m.Overwrite = true }

// do works through the subject and ends the state file as the process would.
func (r *run) do(ctx context.Context, sub workflow.Subject) *run {
	r.w.t.Helper()
	r.sum, r.err = r.Migrate(ctx, sub)
	if err := r.State.Close(); err != nil {
		r.w.t.Errorf("close the state file: %v", err)
	}
	if started, done := r.report.started, r.report.done; started != done {
		r.w.t.Errorf("%d progress lines were started and %d ended", started, done)
	}
	return r
}

func all() workflow.Subject { return workflow.Subject{All: true} }

func named(ids ...snapshot.ID) workflow.Subject { return workflow.Subject{IDs: ids} }

// left is what state files of ended runs name.
func (w *world) left() []runstate.Entry {
	w.t.Helper()
	runs, err := runstate.List(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var left []runstate.Entry
	for _, r := range runs {
		if r.Err != nil {
			w.t.Errorf("state file: %v", r.Err)
		}
		left = append(left, r.Left...)
	}
	return left
}

func (w *world) name(id snapshot.ID) layout.Name {
	n := layout.Name{Kind: layout.Image, Codec: "lz4"}
	for s := range w.cat.Snapshots(context.Background(), catalog.Filter{IDs: []snapshot.ID{id}}) {
		n.Snapshot = s
	}
	return n
}

// clean wants nothing of a run to be there: no volume, no upload, no state file,
// and the tags as they were.
func (w *world) clean(id snapshot.ID) {
	w.t.Helper()
	if diff := cmp.Diff(map[string]string{tag: catalog.Migrate, "Name": "web"}, w.cat.Tags(id)); diff != "" {
		w.t.Errorf("tags of %s (-want +got):\n%s", id, diff)
	}
	w.empty()
}

func (w *world) empty() {
	w.t.Helper()
	if len(w.live) > 0 {
		w.t.Errorf("volumes left: %v", slices.Collect(maps.Keys(w.live)))
	}
	if n := w.store.Uploads(); n > 0 {
		w.t.Errorf("%d uploads left", n)
	}
	if left := w.left(); len(left) > 0 {
		w.t.Errorf("state files name %+v", left)
	}
}

// whole wants one whole set of objects of a snapshot, its tag at migrated, and
// nothing else.
func (w *world) whole(ids ...snapshot.ID) {
	w.t.Helper()
	w.empty()
	var want []string
	for _, id := range ids {
		if diff := cmp.Diff(map[string]string{tag: catalog.Migrated, "Name": "web"}, w.cat.Tags(id)); diff != "" {
			w.t.Errorf("tags of %s (-want +got):\n%s", id, diff)
		}
		n := w.name(id)
		want = append(want, n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.store.Keys()); diff != "" {
		w.t.Fatalf("objects (-want +got):\n%s", diff)
	}
	for _, id := range ids {
		w.belongTogether(id)
	}
}

// belongTogether reads the objects of a snapshot back and compares them with
// the disk and with each other.
func (w *world) belongTogether(id snapshot.ID) {
	w.t.Helper()
	n := w.name(id)
	rec, err := layout.DecodeArchiveRecord(w.object(n.ArchiveRecordKey()))
	if err != nil {
		w.t.Fatal(err)
	}
	commit, err := layout.DecodeSnapshotRecord(w.object(n.SnapshotRecordKey()))
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff([]layout.ArchiveRecord{rec}, commit.Archives); diff != "" {
		w.t.Errorf("the snapshot record repeats another archive record (-want +got):\n%s", diff)
	}
	info, err := w.store.Stat(context.Background(), n.ArchiveKey())
	if err != nil {
		w.t.Fatal(err)
	}
	if rec.CRC64NVME != info.CRC64NVME || rec.Run != info.Metadata[layout.MetaRun] || rec.StoredSize != info.Size {
		w.t.Errorf("the record %+v is not of the archive %+v", rec, info)
	}
	if got := int64(len(w.object(n.EntriesKey()))); got != rec.Entries.Size {
		w.t.Errorf("the entries have %d bytes, in the record %d", got, rec.Entries.Size)
	}
	plain, err := codec.NewReader("lz4", bytes.NewReader(w.object(n.ArchiveKey())))
	if err != nil {
		w.t.Fatal(err)
	}
	defer plain.Close()
	if got, err := io.ReadAll(plain); err != nil || !bytes.Equal(got, w.disk) {
		w.t.Errorf("the archive holds another disk (%d bytes, %v)", len(got), err)
	}
}

func (w *world) object(key string) []byte {
	w.t.Helper()
	r, err := w.store.Open(context.Background(), key, objstore.Range{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// role is what an object is for, by its key.
func role(key string) string {
	switch {
	case strings.HasSuffix(key, ".image.lz4.json"):
		return "snapshot record"
	case strings.HasSuffix(key, ".json"):
		return "archive record"
	case strings.HasSuffix(key, ".entries"):
		return "entries"
	}
	return "archive"
}

// volumes makes volumes out of the world's disk.
type volumes struct {
	w     *world
	state *runstate.File
}

func (v *volumes) Open(ctx context.Context, _ context.CancelCauseFunc, r workflow.VolumeRequest) (workflow.Volume, error) {
	w := v.w
	w.mu.Lock()
	w.made++
	id := snapshot.VolumeID(fmt.Sprintf("vol-1%07x", w.made))
	w.mu.Unlock()
	intent, err := v.state.Intend(runstate.KindVolume, map[string]string{"volume": string(id)})
	if err != nil {
		return nil, err
	}
	r.Step("creating volume")
	err = w.points.do(ctx, "volume open", func() error { return nil })
	if err != nil {
		// As an opener promises: all that it made is taken back.
		if done := intent.Done(); done != nil {
			w.t.Error(done)
		}
		return nil, err
	}
	file, err := block.OpenFile(w.image)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.live[id] = true
	w.mu.Unlock()
	return &volume{file, w, id, intent}, nil
}

type volume struct {
	block.Source
	w      *world
	id     snapshot.VolumeID
	intent *runstate.Intent
}

func (v *volume) ID() snapshot.VolumeID { return v.id }
func (v *volume) Device() string        { return v.w.image }
func (v *volume) Reused() bool          { return false }
func (v *volume) Keep()                 { v.w.t.Errorf("%s was to be kept", v.id) }

func (v *volume) MarkMounted(ctx context.Context, partitions string) error {
	return v.w.points.do(ctx, "volume mark mounted", func() error {
		v.w.marked = partitions
		return nil
	})
}

func (v *volume) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	// By place: the readers are many, and come in any order.
	err = v.w.points.do(ctx, fmt.Sprintf("volume read of block %d", off/block.Size), func() (err error) {
		n, err = v.Source.ReadAt(ctx, p, off)
		return err
	})
	return n, err
}

func (v *volume) Leave(why error) error {
	if err := v.Close(); err != nil {
		v.w.t.Errorf("leave %s: %v", v.id, err)
	}
	if stay := v.intent.Stay(why.Error(), "aws ec2 delete-volume --volume-id "+string(v.id)); stay != nil {
		v.w.t.Error(stay)
	}
	return fmt.Errorf("volume %s stays: %w", v.id, why)
}

func (v *volume) Release(ctx context.Context) error {
	if err := v.Close(); err != nil {
		v.w.t.Errorf("release %s: %v", v.id, err)
	}
	err := v.w.points.do(ctx, "volume release", func() error {
		v.w.mu.Lock()
		defer v.w.mu.Unlock()
		delete(v.w.live, v.id)
		return nil
	})
	if err == nil {
		return v.intent.Done()
	}
	if stay := v.intent.Stay(err.Error(), "aws ec2 delete-volume --volume-id "+string(v.id)); stay != nil {
		v.w.t.Error(stay)
	}
	return fmt.Errorf("volume %s stays: %w", v.id, err)
}

// report keeps what a run tells.
type report struct {
	mu            sync.Mutex
	started, done int
	finished      []workflow.SnapshotResult
	objects       []workflow.ObjectResult
	notes         []string
	plans         []workflow.PlanItem
	totals        []workflow.Totals
	parts         []workflow.PartItem
	differences   []workflow.Difference
}

func (r *report) keep(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *report) Plan(p workflow.PlanItem) { r.keep(func() { r.plans = append(r.plans, p) }) }
func (r *report) Part(p workflow.PartItem) { r.keep(func() { r.parts = append(r.parts, p) }) }
func (r *report) Cost(t workflow.Totals)   { r.keep(func() { r.totals = append(r.totals, t) }) }
func (r *report) Object(o workflow.ObjectResult) {
	r.keep(func() { r.objects = append(r.objects, o) })
}

func (r *report) Finished(s workflow.SnapshotResult) {
	r.keep(func() { r.finished = append(r.finished, s) })
}

func (r *report) Difference(d workflow.Difference) {
	r.keep(func() { r.differences = append(r.differences, d) })
}

func (r *report) Note(_ snapshot.ID, text string) {
	r.keep(func() { r.notes = append(r.notes, text) })
}

func (r *report) Start(snapshot.Snapshot, int64) workflow.Task {
	r.keep(func() { r.started++ })
	return &task{r}
}

// lefts are all things that the run said to have left.
func (r *report) lefts() []error {
	var all []error
	for _, f := range r.finished {
		all = append(all, f.Left...)
	}
	return all
}

type task struct{ r *report }

func (t *task) Stage(string) {}
func (t *task) Total(int64)  {}
func (t *task) Add(int64)    {}

func (t *task) Files(int64, string) {}

func (t *task) Done() { t.r.keep(func() { t.r.done++ }) }
