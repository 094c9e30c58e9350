package workflow_test

import (
	"errors"
	"slices"
	"testing"

	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/snapshot"
	"snap-to-s3/internal/workflow"
)

func quick(v *workflow.Verifier) { v.Depth = workflow.Quick }

func sampled(share float64) func(*workflow.Verifier) {
	return func(v *workflow.Verifier) { v.Depth, v.Sample, v.Seed = workflow.Sampled, share, 1 }
}

// storedDamage is a way in which what stands in the bucket can be damaged.
type storedDamage struct {
	name    string
	without string // key of an object that is gone
	do      func(t *testing.T, s *objstore.Memory)
	kind    string // of the first difference
	quick   bool   // sizes, checksums and records show it
	// asFailure: there is nothing that it could differ from.
	asFailure bool
	// commit: it is in the snapshot's record alone, which an archive's address does not
	// lead to.
	commit bool
}

const second = snapshot.ID("snap-00000002")

// bucketKeys are the keys of one snapshot's objects.
type bucketKeys struct{ archive, entries, record, commit string }

func (w *world) keys(id snapshot.ID) bucketKeys {
	n := w.name(id)
	return bucketKeys{n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey()}
}

// storedDamages are of the first of two snapshots, whose objects are these.
func storedDamages(of map[string][]byte, a, b bucketKeys) []storedDamage {
	as := func(key string, data []byte) func(*testing.T, *objstore.Memory) {
		return func(t *testing.T, s *objstore.Memory) { replaceIn(t, s, key, data) }
	}
	all := []storedDamage{
		{name: "another archive", kind: "size", quick: true, do: as(a.archive, of[b.archive])},
		{name: "entries of another archive", kind: "size", quick: true, do: as(a.entries, of[b.entries])},
		{name: "record of another archive", kind: "record", quick: true, do: as(a.record, of[b.record])},
		{name: "record of another archive, with this key", kind: "record", quick: true, do: func(t *testing.T, s *objstore.Memory) {
			rec := must(layout.DecodeArchiveRecord(of[b.record]))
			rec.Archive, rec.Key, rec.Entries.Key = a.archive, a.record, a.entries
			resealIn(t, s, a.record, &rec)
		}},
		{name: "another run's", kind: "run", quick: true, do: func(t *testing.T, s *objstore.Memory) {
			info, err := s.Stat(t.Context(), a.archive)
			if err == nil {
				info.Metadata[layout.MetaRun] = "20200101T000000Z-00000000"
				_, err = putObject(t.Context(), s, a.archive, of[a.archive], info, info.ETag)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{name: "missing archive", kind: "missing", quick: true, without: a.archive},
		{name: "missing entries", kind: "missing", quick: true, without: a.entries},
		{name: "missing archive record", kind: "missing", quick: true, without: a.record},
		{name: "missing snapshot record", without: a.commit, commit: true, asFailure: true},
	}
	return slices.Concat(all, commitDamages(of, a, b), byteDamages(of, a))
}

// commitDamages are of the snapshot's record.
func commitDamages(of map[string][]byte, a, b bucketKeys) []storedDamage {
	changed := func(from string, change func(*layout.SnapshotRecord)) func(*testing.T, *objstore.Memory) {
		return func(t *testing.T, s *objstore.Memory) {
			rec := must(layout.DecodeSnapshotRecord(of[from]))
			change(&rec)
			resealIn(t, s, a.commit, &rec)
		}
	}
	return []storedDamage{
		{name: "record of another snapshot", kind: "key", quick: true, commit: true, do: changed(b.commit, func(*layout.SnapshotRecord) {})},
		{name: "record of another snapshot, with this key", kind: "snapshot", quick: true, commit: true, do: changed(b.commit, func(r *layout.SnapshotRecord) { r.Key = a.commit })},
		{name: "another's archive", kind: "snapshot", quick: true, commit: true, do: changed(a.commit, func(r *layout.SnapshotRecord) {
			others := must(layout.DecodeSnapshotRecord(of[b.commit]))
			r.Archives, r.Totals = others.Archives, others.Totals
		})},
		{name: "another size", kind: "record", quick: true, commit: true, do: changed(a.commit, func(r *layout.SnapshotRecord) {
			own := r.Archives[0]
			own.PlainSize--
			_ = must(layout.EncodeRecord(&own))
			r.Archives[0], r.Totals = own, layout.Sum([]layout.ArchiveRecord{own})
		})},
	}
}

// byteDamages are of the bytes of each object.
func byteDamages(of map[string][]byte, a bucketKeys) (all []storedDamage) {
	for _, key := range []string{a.archive, a.entries, a.record, a.commit} {
		for name, change := range map[string]func([]byte) []byte{
			"first bit":   func(b []byte) []byte { b[0] ^= 1; return b },
			"middle bit":  func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b },
			"last bit":    func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
			"last byte":   func(b []byte) []byte { return b[:len(b)-1] },
			"half":        func(b []byte) []byte { return b[:len(b)/2] },
			"nothing":     func([]byte) []byte { return nil },
			"a byte more": func(b []byte) []byte { return append(b, 0) },
			"twice":       func(b []byte) []byte { return append(b, b...) },
			"zeros":       func(b []byte) []byte { return make([]byte, len(b)) },
		} {
			data := change(slices.Clone(of[key]))
			all = append(all, storedDamage{
				name: name + " of the " + role(key), quick: true, commit: key == a.commit,
				do: func(t *testing.T, s *objstore.Memory) { replaceIn(t, s, key, data) },
			})
		}
	}
	return all
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Two pieces of 5 MiB exchanged, as parts of an upload would be that were put
// together in the wrong order: whether the store has noticed or not.
func TestVerifyFindsSwappedParts(t *testing.T) {
	t.Parallel()
	path, disk := noiseDisk(t, 17<<20)
	w := newWorld(t, 1, path, disk).migrated()
	const piece = 5 << 20
	key := w.keys(first).archive
	b := w.object(key)
	other := slices.Concat(b[piece:2*piece], b[:piece], b[2*piece:])
	silent := bodies{w.store, map[string][]byte{key: other}}
	for name, c := range map[string]struct {
		depth func(*workflow.Verifier)
		found bool
	}{"whole": {func(*workflow.Verifier) {}, true}, "sample": {sampled(1), true}, "quick": {quick, false}} {
		if v := verifyAll(t, silent, c.depth); errors.Is(v.err, workflow.ErrDifferent) != c.found || v.sum.Failed > 0 {
			t.Errorf("%s, with a HEAD as before: %v", name, v)
		}
	}
	r := w.quickRun(func(m *workflow.Migrator) { m.Store = silent }).validate(t.Context(), named(first))
	if !errors.Is(r.err, workflow.ErrDifferent) {
		t.Errorf("validate: %v", r.err)
	}
	replaceIn(t, w.store, key, other)
	for name, depth := range map[string]func(*workflow.Verifier){"whole": func(*workflow.Verifier) {}, "sample": sampled(1), "quick": quick} {
		v := verifyAll(t, w.store, depth)
		if !errors.Is(v.err, workflow.ErrDifferent) || v.differences[0].Kind != "checksum" || name == "quick" && len(v.differences) != 1 {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// Whatever is damaged in the bucket once the records are written is found without
// the snapshot: by reading all of it, by a sample of everything, and, where a HEAD
// or a record shows it, quickly.
func TestVerifyFindsEachDamage(t *testing.T) {
	t.Parallel()
	path, disk := noiseDisk(t, 1<<20+100)
	w := newWorld(t, 2, path, disk)
	migrateBoth(w)
	if v := verifyAll(t, w.store); v.err != nil || v.sum.Verified != 2 || len(v.differences) > 0 {
		t.Fatal(v)
	}
	of := map[string][]byte{}
	for _, key := range w.store.Keys() {
		of[key] = w.object(key)
	}
	a := w.keys(first)
	for _, c := range storedDamages(of, a, w.keys(second)) {
		t.Run(c.name, func(t *testing.T) {
			s := w.copyStore(c.without)
			if c.do != nil {
				c.do(t, s)
			}
			for depth, change := range map[string]func(*workflow.Verifier){"whole": func(*workflow.Verifier) {}, "sample": sampled(1), "quick": quick} {
				c.verify(t, s, depth, change)
			}
			if v := verifyAll(t, s); c.asFailure && (v.sum.Verified != 1 || v.sum.Failed != 1 || v.err == nil) {
				t.Errorf("of all there are: %v, %q", v, v.notes)
			}
			v := verifyThese(t, s, workflow.VerifySubject{Keys: []string{a.archive}})
			if (v.err == nil) != c.commit {
				t.Errorf("by its address: %v", v)
			}
		})
	}
}

func (c storedDamage) verify(t *testing.T, s objstore.Store, depth string, change func(*workflow.Verifier)) {
	t.Helper()
	v := verifyThese(t, s, workflow.VerifySubject{IDs: []snapshot.ID{first, second}}, change)
	switch {
	case c.asFailure:
		if v.err == nil || errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed != 1 || v.sum.Verified != 1 {
			t.Errorf("%s: %v", depth, v)
		}
	case depth == "quick" && !c.quick:
		if v.err != nil {
			t.Errorf("%s: %v", depth, v)
		}
	case !errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed > 0 || v.sum.Different == 0 || len(v.differences) == 0:
		t.Errorf("%s: %v", depth, v)
	case c.kind != "" && v.differences[0].Kind != c.kind:
		t.Errorf("%s: the first difference is %v, want kind %q", depth, v.differences[0], c.kind)
	}
}

// migrateBoth archives two snapshots of different disks.
func migrateBoth(w *world) {
	w.t.Helper()
	image := w.image
	for _, id := range []snapshot.ID{first, second} {
		if r := w.quickRun().do(w.t.Context(), named(id)); r.err != nil {
			w.t.Fatal(r.err)
		}
		w.image = writeFile(w.t, make([]byte, len(w.disk)))
	}
	w.image = image
}
