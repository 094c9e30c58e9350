package cli

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/objstore"
)

// smallDiskPlan has a part of each kind, and is quick to make.
func smallDiskPlan() treetest.Plan {
	return treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 16 * mib, Holds: "ext4", Name: "first"},
		{Number: 2, Length: 16 * mib, Holds: "ext2"},
		{Number: 3, Length: mib, Holds: treetest.Noise, Name: "boot"},
		{Number: 4, Length: mib, Holds: treetest.Zero},
	}}
}

// aSmallDisk adds a snapshot of one.
func (w *world) aSmallDisk(spec awssim.SnapshotSpec) treeDisk {
	w.t.Helper()
	image, plan := treetest.Disk(w.t, smallDiskPlan())
	return w.addDisk(image, plan, spec)
}

// A rerun looks first, and makes a volume only for what is not there.
func TestTreesAreKeptByARerun(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4", "mkfs.ext2")
	w := newWorld(t, awssim.Config{})
	d := w.aSmallDisk(awssim.SnapshotSpec{})
	w.ok(migrateTrees("--all")...)
	d.isRestored(t, w.view)
	before := w.state()

	w.again(d.subject)
	r := w.ok(migrateTrees("--all")...)
	if !strings.Contains(r.stdout, "0 migrated, 1 kept") || w.called("CreateVolume")+w.called("PutObject")+w.called("CreateMultipartUpload") > 0 {
		t.Error("the second run did not keep what was there")
	}
	for _, p := range d.parts(t) {
		if p.stored() && !strings.Contains(r.stderr, d.partKey(p)+" is whole already: kept") {
			t.Errorf("nothing says that %s is kept", d.partKey(p))
		}
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("the bucket changed (-before +after):\n%s", diff)
	}
	w.isMigrated(d.subject)

	// What is archived stays in the record, unless it is said that it may go.
	w.again(d.subject)
	r = w.ok(migrateTrees("--all", "--skip-partition", "2")...)
	if !strings.Contains(r.stderr, "partition 2 was to be left out, and is archived already: it stays") || !strings.Contains(r.stdout, "0 migrated, 1 kept") || strings.Contains(r.stdout, "left out") {
		t.Error("a partition that is archived was left out")
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("the bucket changed (-before +after):\n%s", diff)
	}
	w.again(d.subject)
	d.skip = []int{2}
	leavesOut := func(r result) {
		if !strings.Contains(r.stdout, "\n"+strings.Repeat(" ", len(d.ID))+"  left out  partition 2 (ext2, ") {
			t.Error("the result does not name what was left out")
		}
	}
	leavesOut(w.ok(migrateTrees("--all", "--skip-partition", "2", "--overwrite")...))
	d.isRestored(t, w.view)
	w.again(d.subject)
	leavesOut(w.ok(migrateTrees("--all", "--skip-partition", "2")...))
	before = w.state()

	// Another choice is another record, of the archives that it needs.
	w.again(d.subject)
	d.skip, d.raw = nil, []int{2, 4}
	w.ok(migrateTrees(append(partitionArgs(d.raw, d.skip), "--all")...)...)
	d.isRestored(t, w.view)
	raw := treePart{treetest.Partition{Number: 2}, 2, "img"}
	zeros := treePart{treetest.Partition{Number: 4}, 4, "img"}
	w.changedOnly(before, append(append(objectsOf(d.partKey(raw)), objectsOf(d.partKey(zeros))...), d.recordKey())...)
	// The same one again is kept, and the first one needs its record alone.
	before = w.state()
	w.again(d.subject)
	r = w.ok(migrateTrees(append(partitionArgs(d.raw, d.skip), "--all")...)...)
	if !strings.Contains(r.stdout, "0 migrated, 1 kept") || w.called("CreateVolume") > 0 {
		t.Error("the same choice was not kept")
	}
	w.again(d.subject)
	d.skip, d.raw = nil, nil
	w.ok(migrateTrees("--all")...)
	d.isRestored(t, w.view)
	w.changedOnly(before, d.recordKey())

	w.again(d.subject)
	r = w.ok(migrateTrees("--all", "--overwrite")...)
	if !strings.Contains(r.stdout, "1 migrated, 0 kept") {
		t.Errorf("--overwrite: %s", r.stdout)
	}
	d.isRestored(t, w.view)
	w.changedOnly(before, d.keys(t)...)
	w.isMigrated(d.subject)
	w.freeHost()
}

func objectsOf(archive string) []string {
	return []string{archive, "manifests/" + archive + ".entries", "manifests/" + archive + ".json"}
}

// changedOnly wants these objects to be others than before, and all others to be
// as they were.
func (w *world) changedOnly(before map[string]string, keys ...string) {
	w.t.Helper()
	var changed []string
	for key, now := range w.state() {
		if before[key] != now {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	slices.Sort(keys)
	if diff := cmp.Diff(keys, changed); diff != "" {
		w.t.Errorf("objects that changed (-want +got):\n%s", diff)
	}
}

// A run that finds one of the archives missing writes that one.
func TestTreesOfWhichOneWasLost(t *testing.T) {
	treetest.Require(t, "sfdisk", "tar", "zstd", "mkfs.ext4", "mkfs.ext2")
	w := newWorld(t, awssim.Config{})
	d := w.aSmallDisk(awssim.SnapshotSpec{})
	w.ok(migrateTrees("--all")...)
	for i, p := range d.parts(t) {
		if !p.stored() {
			continue
		}
		lost := d.partKey(p)
		bucket := []string{"first", "second", "third", "fourth"}[i] + ".example.com"
		w.copyBucket(bucket, lost)
		w.again(d.subject)
		r := w.ok("migrate", "--bucket", bucket, "--all")
		if !strings.Contains(r.stdout, "1 migrated, 0 kept") || strings.Contains(r.stderr, lost+" is whole already") {
			t.Errorf("without %s: %s", lost, r.stdout)
		}
		if n := strings.Count(r.stderr, "is whole already: kept"); n != 3 {
			t.Errorf("%d archives were kept, want 3", n)
		}
		var written []string
		for _, o := range w.sim.Objects(bucket) {
			old, there := w.sim.Object(testBucket, o.Key)
			if !there || old.Metadata["snap-to-s3-run"] != o.Metadata["snap-to-s3-run"] {
				written = append(written, o.Key)
			}
		}
		want := append(objectsOf(lost), d.recordKey())
		slices.Sort(want)
		if diff := cmp.Diff(want, written); diff != "" {
			t.Errorf("objects that were written (-want +got):\n%s", diff)
		}
		d.isRestored(t, func(key string) ([]byte, bool) {
			o, ok := w.sim.Object(bucket, key)
			if !ok {
				return nil, false
			}
			return readObject(t, o), true
		})
		w.isMigrated(d.subject)
	}
	w.freeHost()
}

func readObject(t *testing.T, o awssim.Object) []byte {
	t.Helper()
	r := o.Open()
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// copyBucket makes a bucket with all objects but one. It sets the environment, so
// that its test cannot be parallel.
func (w *world) copyBucket(to, but string) {
	w.t.Helper()
	w.sim.AddBucket(awssim.Bucket{Name: to})
	for _, kv := range w.sim.Env() {
		name, value, _ := strings.Cut(kv, "=")
		w.t.Setenv(name, value)
	}
	w.t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	w.t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	ctx := context.Background()
	session, err := aws.Load(ctx, aws.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := s3.New(session, to, s3.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range w.objects() {
		if o.Key == but {
			continue
		}
		obj, err := store.Create(ctx, o.Key, objstore.CreateOptions{Metadata: o.Metadata})
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := obj.Write(readObject(w.t, o)); err != nil {
			w.t.Fatal(err)
		}
		if _, err := obj.Commit(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
}
