package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/workflow"
)

// The fault matrix of images once more for trees. Mounts take the kernel's time,
// which no bubble of synctest has: calls hang for as long as clean-up is given.

// treesCleanup is long for the kernel, and short for a test that waits for its end.
const treesCleanup = 2 * time.Second

// treeDisk is a disk with one part of each kind, and what its archives hold.
type treeDisk struct {
	image string
	disk  []byte
	plain map[layout.Part][]byte
}

const partOfTree, partOfNoise = layout.Part(1), layout.Part(2)

func newTreeDisk(t *testing.T) treeDisk {
	t.Helper()
	treetest.Require(t, "sfdisk", "mkfs.ext4", "tar")
	const mib = 1 << 20
	image, plan := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 8 * mib, Holds: "ext4"},
		{Number: 2, Length: mib, Holds: treetest.Noise},
	}})
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	d := treeDisk{image: image, disk: data, plain: map[layout.Part][]byte{
		layout.Head: data[:mib], partOfNoise: data[9*mib : 10*mib],
	}}
	// The tar of a run that goes well is the measure for all others, once GNU tar
	// has made the tree of it.
	w := d.world(t)
	if r := w.newRun(trees).do(t.Context(), all()); r.err != nil {
		t.Fatal(r.err)
	}
	tar := w.plain(w.partName(partOfTree))
	into := t.TempDir()
	if r := treetest.Untar(t, bytes.NewReader(tar), into); r.Code != 0 {
		t.Fatalf("tar -x: code %d: %s", r.Code, r.Stderr)
	}
	got := treetest.Read(t, into, treetest.ReadOptions{})
	if lines := treetest.Diff(plan.Partitions[0].Want, got, treetest.DiffOptions{}); len(lines) > 0 {
		t.Fatalf("the tree of the first archive: %q", lines)
	}
	d.plain[partOfTree] = tar
	d.whole(w)
	return d
}

// world has one snapshot of the disk, in an image of its own: a loop device that
// stays would be over that.
func (d treeDisk) world(t *testing.T) *world {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	treetest.SparseCopy(t, d.image, image, 0)
	w := newWorld(t, 1, image, d.disk)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if over, err := filesystem.LoopsOver(ctx, image); err != nil || len(over) > 0 {
			t.Errorf("loop devices left over the disk: %v, %v", over, err)
		}
	})
	return w
}

// trees makes a run one that stores files.
func trees(m *workflow.Migrator) {
	m.Trees = true
	m.Cleanup = treesCleanup
	m.Protocol.Settle = time.Millisecond
}

func (w *world) partName(p layout.Part) layout.Name {
	n := w.name(first)
	n.Partition = p
	if p == partOfTree {
		n.Kind = layout.Tar
	}
	return n
}

func treeParts() []layout.Part { return []layout.Part{layout.Head, partOfNoise, partOfTree} }

func (w *world) plain(n layout.Name) []byte {
	w.t.Helper()
	r, err := codec.NewReader("lz4", bytes.NewReader(w.object(n.ArchiveKey())))
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

// whole wants the archives of all parts, with what belongs to each, and nothing
// else; the tag says so.
func (d treeDisk) whole(w *world) {
	w.t.Helper()
	want := []string{w.partName(partOfTree).SnapshotRecordKey()}
	for _, p := range treeParts() {
		n := w.partName(p)
		want = append(want, n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.store.Keys()); diff != "" {
		w.t.Fatalf("objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{tag: catalog.Migrated, "Name": "web"}, w.cat.Tags(first)); diff != "" {
		w.t.Errorf("tags (-want +got):\n%s", diff)
	}
	d.belongTogether(w)
}

// belongTogether reads back all that the snapshot record tells of.
func (d treeDisk) belongTogether(w *world) {
	w.t.Helper()
	commit, err := layout.DecodeSnapshotRecord(w.object(w.partName(partOfTree).SnapshotRecordKey()))
	if err != nil {
		w.t.Fatal(err)
	}
	var archives []layout.ArchiveRecord
	for _, p := range treeParts() {
		n := w.partName(p)
		rec, err := layout.DecodeArchiveRecord(w.object(n.ArchiveRecordKey()))
		if err != nil {
			w.t.Fatal(err)
		}
		archives = append(archives, rec)
		info, err := w.store.Stat(context.Background(), n.ArchiveKey())
		if err != nil || rec.CRC64NVME != info.CRC64NVME || rec.Run != info.Metadata[layout.MetaRun] || rec.StoredSize != info.Size {
			w.t.Errorf("part %q: the record %+v is not of the archive %+v, %v", p, rec, info, err)
		}
		entries := w.object(n.EntriesKey())
		if int64(len(entries)) != rec.Entries.Size {
			w.t.Errorf("part %q: the entries have %d bytes, in the record %d", p, len(entries), rec.Entries.Size)
		}
		for row, err := range layout.ReadEntries(bytes.NewReader(entries)) {
			if err != nil || row.Header != nil && row.Header.Run != rec.Run || row.End != nil && row.End.Digest != rec.Digest {
				w.t.Errorf("part %q: its entries are of another archive: %+v, %v", p, row, err)
			}
		}
		if got := w.plain(n); !bytes.Equal(got, d.plain[p]) {
			w.t.Errorf("part %q: the archive holds something else, of %d bytes", p, len(got))
		}
	}
	if diff := cmp.Diff(archives, commit.Archives); diff != "" {
		w.t.Errorf("the snapshot record repeats other archive records (-own +repeated):\n%s", diff)
	}
}

// treeCalls are the labels of all calls of a run over trees that goes well. Of the
// reads of the volume one of each kind is as good as all: of the table, and of an
// image.
func (d treeDisk) treeCalls(t *testing.T) []string {
	t.Helper()
	w := d.world(t)
	if r := w.newRun(trees).do(t.Context(), all()); r.err != nil || r.sum.Migrated != 1 {
		t.Fatalf("%+v, %v", r.sum, r.err)
	}
	const ofTable, ofNoise = "volume read of block 0 #1", "volume read of block 19 #1"
	seen := slices.DeleteFunc(slices.Clone(w.points.seen), func(l string) bool {
		return strings.HasPrefix(l, "volume read") && l != ofTable && l != ofNoise
	})
	for _, want := range []string{ofTable, ofNoise, "volume mark mounted #1", "store commit archive #3", "volume release #1"} {
		if !slices.Contains(seen, want) {
			t.Fatalf("the call %q was not made, but %q", want, seen)
		}
	}
	return seen
}

// Each call fails once, before it was carried out or after, and each is
// interrupted, going on or hanging: what the run leaves is right, and a run after
// it makes one whole set of objects.
func TestTreesFailAtEveryCall(t *testing.T) {
	d := newTreeDisk(t)
	for _, label := range d.treeCalls(t) {
		modes := map[string]mode{" before": failBefore}
		if changes(label) {
			modes[" after"] = failAfter
		}
		for name, m := range modes {
			t.Run(label+name, func(t *testing.T) {
				t.Parallel()
				w := d.world(t)
				w.points.at(label, m)
				d.ends(w, w.newRun(trees).do(t.Context(), all()), label)
			})
		}
	}
}

func TestTreesInterruptedAtEveryCall(t *testing.T) {
	d := newTreeDisk(t)
	for _, label := range d.treeCalls(t) {
		modes := map[string]mode{"": passes}
		if waits(label) {
			modes[" hangs"] = hangs
		}
		for name, m := range modes {
			t.Run(label+name, func(t *testing.T) {
				t.Parallel()
				w := d.world(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				w.points.at(label, m)
				w.points.visit = func(l string) {
					if l == label {
						cancel(errInterrupted)
					}
				}
				r := w.newRun(trees).do(ctx, all())
				if !errors.Is(r.err, errInterrupted) {
					t.Errorf("error %v, want the interrupt", r.err)
				}
				if f := r.report.finished; len(f) == 1 && f[0].Outcome == workflow.Failed && !errors.Is(f[0].Err, errInterrupted) {
					t.Errorf("the snapshot failed with %v", f[0].Err)
				}
				d.ends(w, r, label)
			})
		}
	}
}

// ends holds what a run left against what it says, and runs again until all is
// there.
func (d treeDisk) ends(w *world, r *run, label string) {
	w.t.Helper()
	w.points.plan, w.points.visit = nil, nil
	if !slices.Contains(w.points.seen, label) {
		w.t.Fatal("the call was not made")
	}
	mounted := slices.ContainsFunc(r.report.parts, func(p workflow.PartItem) bool { return p.Plan == workflow.PlanFiles })
	if mounted && w.marked != "1" {
		w.t.Errorf("it was mounted with the volume marked %q", w.marked)
	}
	lefts := r.report.lefts()
	migrated := w.cat.Tags(first)[tag] == catalog.Migrated
	switch {
	case len(lefts) > 0:
		w.named(r)
	case migrated:
		w.empty()
		d.whole(w)
	default:
		w.clean(first)
	}
	for _, err := range lefts {
		if strings.Contains(err.Error(), "unmount") {
			w.t.Errorf("a mount is said to be left: %v", err)
		}
	}
	if !migrated {
		d.recover(w, r)
	}
}

// recover runs again, as the error says.
func (d treeDisk) recover(w *world, failed *run) {
	w.t.Helper()
	kept := map[string]string{}
	for _, p := range treeParts() {
		n := w.partName(p)
		info, err := w.store.Stat(context.Background(), n.ArchiveKey())
		if err != nil {
			continue
		}
		if _, err := w.store.Stat(context.Background(), n.ArchiveRecordKey()); err == nil {
			kept[n.ArchiveKey()] = info.ETag
		}
	}
	again := w.newRun(trees).do(context.Background(), named(first))
	if again.err != nil || again.sum.Migrated+again.sum.Kept != 1 {
		w.t.Fatalf("the run after that: %+v, %v\nthe first: %v", again.sum, again.err, failed.err)
	}
	d.whole(w)
	for key, etag := range kept {
		if info, err := w.store.Stat(context.Background(), key); err != nil || info.ETag != etag {
			w.t.Errorf("%s was whole, and written again: %v", key, err)
		}
	}
}

// A migrated snapshot whose archives are replaced, each commit failing: at no end
// does the tag say "migrated" where the archives are not those of the record.
func TestReplacingTreesFailsAtEveryCommit(t *testing.T) {
	d := newTreeDisk(t)
	labels := slices.DeleteFunc(d.treeCalls(t), func(l string) bool { return !strings.HasPrefix(l, "store commit") })
	if len(labels) != 10 {
		t.Fatalf("commits: %q, want ten", labels)
	}
	for _, label := range labels {
		for name, m := range map[string]mode{" before": failBefore, " after": failAfter} {
			t.Run(label+name, func(t *testing.T) {
				t.Parallel()
				w := d.world(t)
				if r := w.newRun(trees).do(t.Context(), all()); r.err != nil {
					t.Fatal(r.err)
				}
				w.points.reset()
				w.points.at(label, m)
				w.newRun(trees, overwrite).do(t.Context(), named(first))
				if w.cat.Tags(first)[tag] == catalog.Migrated {
					d.whole(w)
				}
				w.points.reset()
				if r := w.newRun(trees, overwrite).do(t.Context(), named(first)); r.err != nil {
					t.Fatal(r.err)
				}
				w.empty()
				d.whole(w)
			})
		}
	}
}

// The clean-up after a tree that cannot be stored: each of its calls fails or
// hangs, and what stays is named.
func TestEveryCallOfTheCleanUpOfTreesFails(t *testing.T) {
	d := newTreeDisk(t)
	const fault = "store write archive #3" // the tar's
	w := d.world(t)
	w.points.at(fault, failBefore)
	if r := w.newRun(trees).do(t.Context(), all()); !errors.Is(r.err, errFault) {
		t.Fatalf("error %v", r.err)
	}
	w.clean(first)
	cleanup := slices.Clone(w.points.seen[slices.Index(w.points.seen, fault)+1:])
	cleanup = cleanup[:len(cleanup)-1] // the last looks for another snapshot
	if !slices.Contains(cleanup, "volume release #1") || len(cleanup) < 4 {
		t.Fatalf("the clean-up is only %q", cleanup)
	}
	for _, label := range cleanup {
		for name, m := range map[string]mode{" before": failBefore, " after": failAfter, " hangs": hangs} {
			if m == failAfter && !changes(label) || m == hangs && !waits(label) {
				continue
			}
			t.Run(label+name, func(t *testing.T) {
				t.Parallel()
				w := d.world(t)
				w.points.plan = func(l string) mode {
					switch l {
					case fault:
						return failBefore
					case label:
						return m
					}
					return passes
				}
				r := w.newRun(trees).do(t.Context(), all())
				if !errors.Is(r.err, errFault) {
					t.Errorf("error %v, want the fault", r.err)
				}
				w.points.plan = nil
				if len(w.live) > 0 || len(w.cat.Tags(first)) > 2 {
					w.named(r)
				}
				if len(w.cat.Tags(first)) > 2 {
					return // the claim stays, and keeps others off for an hour
				}
				d.recover(w, r)
			})
		}
	}
}
