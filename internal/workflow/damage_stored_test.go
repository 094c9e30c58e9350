package workflow_test

import (
	"errors"
	"fmt"
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

// largeWorld has two snapshots of a disk that does not compress and has more than two pieces of 5 MiB.
func largeWorld(t *testing.T) *world {
	t.Helper()
	path, disk := noiseDisk(t, 17<<20)
	return newWorld(t, 2, path, disk)
}

// storedDamage is a way in which what stands in the bucket can be damaged.
type storedDamage struct {
	name string
	do   func(w *world, s *objstore.Memory)
	kind string // the first difference
	quick bool   // sizes, checksums and records show it
	// asFailure: there is nothing that it could differ from.
	asFailure bool
	// commit: it is in the snapshot's record alone, which an archive's address does not
	// lead to.
	commit bool
}

func rewrite(w *world, s *objstore.Memory, key string, change func([]byte) []byte) {
	w.t.Helper()
	other := *w
	other.store = s
	other.replaceObject(key, change(slices.Clone(other.object(key))))
}

func resealed(w *world, s *objstore.Memory, key string, change func(*layout.ArchiveRecord)) {
	w.t.Helper()
	other := *w
	other.store = s
	rec, err := layout.DecodeArchiveRecord(other.object(key))
	if err != nil {
		w.t.Fatal(err)
	}
	change(&rec)
	other.reseal(key, &rec)
}

func deleted(keys ...string) func(*world, *objstore.Memory) {
	return func(w *world, s *objstore.Memory) { *s = *w.copyStore(keys...) }
}

const second = "snap-00000002"

// storedDamages are of a snapshot first, beside which there is a second of another disk.
func storedDamages(w *world) []storedDamage {
	n, m := w.name(first), w.name(second)
	archive, entries, record, commit := n.ArchiveKey(), n.EntriesKey(), n.ArchiveRecordKey(), n.SnapshotRecordKey()
	take := func(from string) func([]byte) []byte { return func([]byte) []byte { return w.object(from) } }
	all := []storedDamage{
		{name: "swapped pieces", kind: "checksum", quick: true, do: func(w *world, s *objstore.Memory) { rewrite(w, s, archive, swapPieces) }},
		{name: "another archive", kind: "size", quick: true, do: func(w *world, s *objstore.Memory) { rewrite(w, s, archive, take(m.ArchiveKey())) }},
		{name: "entries of another archive", kind: "checksum", do: func(w *world, s *objstore.Memory) { rewrite(w, s, entries, take(m.EntriesKey())) }},
		{name: "record of another archive", kind: "record", quick: true, do: func(w *world, s *objstore.Memory) { rewrite(w, s, record, take(m.ArchiveRecordKey())) }},
		{name: "record of another archive, with this key", kind: "record", quick: true, do: func(w *world, s *objstore.Memory) {
			rewrite(w, s, record, take(m.ArchiveRecordKey()))
			resealed(w, s, record, func(r *layout.ArchiveRecord) { r.Archive, r.Key, r.Entries.Key = archive, record, entries })
		}},
		{name: "record of another snapshot", commit: true, kind: "key", quick: true, do: func(w *world, s *objstore.Memory) { rewrite(w, s, commit, take(m.SnapshotRecordKey())) }},
		{name: "record of another snapshot, with this key", commit: true, kind: "snapshot", quick: true, do: func(w *world, s *objstore.Memory) {
			rec, err := layout.DecodeSnapshotRecord(w.object(m.SnapshotRecordKey()))
			if err != nil {
				w.t.Fatal(err)
			}
			rec.Key = commit
			other := *w
			other.store = s
			other.reseal(commit, &rec)
		}},
		{name: "record of this snapshot, of another's archive", commit: true, kind: "snapshot", quick: true, do: func(w *world, s *objstore.Memory) {
			rec, err := layout.DecodeSnapshotRecord(w.object(commit))
			if err != nil {
				w.t.Fatal(err)
			}
			others, err := layout.DecodeSnapshotRecord(w.object(m.SnapshotRecordKey()))
			if err != nil {
				w.t.Fatal(err)
			}
			rec.Archives, rec.Totals = others.Archives, others.Totals
			other := *w
			other.store = s
			other.reseal(commit, &rec)
		}},
		{name: "another run's", kind: "run", quick: true, do: func(w *world, s *objstore.Memory) {
			info, err := s.Stat(w.t.Context(), archive)
			if err == nil {
				etag := info.ETag
				info.Metadata[layout.MetaRun] = "20200101T000000Z-00000000"
				_, err = putObject(w.t.Context(), s, archive, w.object(archive), info, etag)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "missing archive", kind: "missing", quick: true, do: deleted(archive)},
		{name: "missing entries", kind: "missing", quick: true, do: deleted(entries)},
		{name: "missing archive record", kind: "missing", quick: true, do: deleted(record)},
		{name: "missing snapshot record", commit: true, do: deleted(commit), asFailure: true},
	}
	for _, key := range []string{archive, entries, record, commit} {
		part := fmt.Sprintf(" (%s)", role(key))
		isQuick := role(key) != "entries"
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
			sized := len(change(make([]byte, 64))) != 64
			all = append(all, storedDamage{
				name: name + part, quick: isQuick || sized, commit: key == commit,
				do: func(w *world, s *objstore.Memory) { rewrite(w, s, key, change) },
			})
		}
	}
	return all
}

// swapPieces exchanges the first two pieces of 5 MiB: as parts of an upload would be
// that were put together in the wrong order.
func swapPieces(b []byte) []byte {
	const piece = 5 << 20
	return slices.Concat(b[piece:2*piece], b[:piece], b[2*piece:])
}

// Whatever is damaged in the bucket once the records are written is found without
// the snapshot: by reading all of it, by a sample of everything, and, where a HEAD
// or a record shows it, quickly.
func TestVerifyFindsEachDamage(t *testing.T) {
	t.Parallel()
	w := largeWorld(t)
	migrateBoth(w)
	if v := verifyAll(t, w.store); v.err != nil || v.sum.Verified != 2 || len(v.differences) > 0 {
		t.Fatal(v)
	}
	for _, c := range storedDamages(w) {
		t.Run(c.name, func(t *testing.T) {
			s := w.copyStore()
			w := *w
			w.t = t
			c.do(&w, s)
			for depth, change := range map[string]func(*workflow.Verifier){"whole": func(*workflow.Verifier) {}, "sample": sampled(1), "quick": quick} {
				v := verifyThese(t, s, workflow.VerifySubject{IDs: named(first, second).IDs}, change)
				switch {
				case depth == "quick" && !c.quick && !c.asFailure:
					if v.err != nil {
						t.Errorf("%s: %v", depth, v)
					}
				case c.asFailure:
					if v.err == nil || errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed != 1 || v.sum.Verified != 1 {
						t.Errorf("%s: %v", depth, v)
					}
				case !errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed > 0 || v.sum.Different == 0 || len(v.differences) == 0:
					t.Errorf("%s: %v", depth, v)
				case c.kind != "" && v.differences[0].Kind != c.kind:
					t.Errorf("%s: first of the differences is %v, want kind %q", depth, v.differences[0], c.kind)
				}
			}
			v := verifyThese(t, s, workflow.VerifySubject{Keys: []string{w.name(first).ArchiveKey()}})
			if (v.err == nil) != c.commit {
				t.Errorf("by its address: %v", v)
			}
		})
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
