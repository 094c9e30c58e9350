package workflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/workflow"
)

// damageKind is what is done to bytes at random. It may come out as no change.
type damageKind func(r *rand.Rand, b []byte) []byte

func randomBit(r *rand.Rand, b []byte) []byte {
	b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	return b
}

func randomByte(r *rand.Rand, b []byte) []byte {
	b[r.IntN(len(b))] = byte(r.Uint32())
	return b
}

func randomCut(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }

func randomEnd(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(20) {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// randomSwap exchanges two pieces of the same length.
func randomSwap(r *rand.Rand, b []byte) []byte {
	n := 1 + r.IntN(len(b)/2)
	from := r.IntN(len(b) - 2*n + 1)
	to := from + n + r.IntN(len(b)-from-2*n+1)
	for i := range n {
		b[from+i], b[to+i] = b[to+i], b[from+i]
	}
	return b
}

// randomGap takes a piece out, and randomTwice puts one in a second time.
func randomGap(r *rand.Rand, b []byte) []byte {
	from := r.IntN(len(b))
	return slices.Delete(b, from, from+1+r.IntN(len(b)-from))
}

func randomTwice(r *rand.Rand, b []byte) []byte {
	from := r.IntN(len(b))
	to := from + 1 + r.IntN(len(b)-from)
	return slices.Insert(b, to, slices.Clone(b[from:to])...)
}

func randomZeros(r *rand.Rand, b []byte) []byte {
	from := r.IntN(len(b))
	clear(b[from : from+1+r.IntN(min(4096, len(b)-from))])
	return b
}

// damageAtRandom changes one of the objects for sure, bits most often.
func damageAtRandom(r *rand.Rand, of map[string][]byte, keys []string) (what, key string, data []byte) {
	kinds := []struct {
		name string
		do   damageKind
	}{
		{"bit", randomBit},
		{"bit", randomBit},
		{"bit", randomBit},
		{"bit", randomBit},
		{"byte", randomByte},
		{"cut", randomCut},
		{"end", randomEnd},
		{"swap", randomSwap},
		{"gap", randomGap},
		{"twice", randomTwice},
		{"zeros", randomZeros},
	}
	for {
		key = keys[r.IntN(len(keys))]
		k := kinds[r.IntN(len(kinds))]
		if data = k.do(r, slices.Clone(of[key])); !bytes.Equal(data, of[key]) {
			return k.name, key, data
		}
	}
}

// manyDamages makes damages at random, one at a time, and wants each to be found
// by a verification; by a validation too, of one in each.
func manyDamages(t *testing.T, w *world, seed uint64, n, each int, change func(*workflow.Verifier), changes ...func(*workflow.Migrator)) {
	t.Helper()
	of := map[string][]byte{}
	for _, key := range w.store.Keys() {
		of[key] = w.object(key)
	}
	keys := w.store.Keys()
	for _, key := range keys { // more of what there is more of
		if !strings.HasPrefix(key, layout.Manifests) {
			keys = append(keys, key, key)
		}
	}
	slices.Sort(keys)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range n {
		what, key, data := damageAtRandom(r, of, keys)
		name := fmt.Sprintf("%d: %s in %s", i, what, key)
		damaged := bodies{w.store, map[string][]byte{key: data}}
		for depth, more := range map[string]func(*workflow.Verifier){"whole": func(*workflow.Verifier) {}, "sample of all": sampled(1)} {
			if depth != "whole" && i%4 > 0 {
				continue
			}
			v := verifyAll(t, damaged, change, more)
			if !errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed > 0 || len(v.differences) == 0 {
				t.Errorf("%s: %s: %v", name, depth, v)
			}
		}
		if i%each > 0 {
			continue
		}
		run := w.quickRun(append(changes, func(m *workflow.Migrator) { m.Store = damaged })...).validate(t.Context(), named(first))
		if !errors.Is(run.err, workflow.ErrDifferent) || len(run.report.differences) == 0 {
			t.Errorf("%s: validate says %v, %v", name, errs(run), run.report.differences)
		}
		w.tagged("migrated")
	}
	if v := verifyAll(t, w.store, change); v.err != nil || v.sum.Different > 0 {
		t.Errorf("without damage: %v", v)
	}
	w.same(changes...)
}

// errs are the errors of the snapshots of a run.
func errs(r *run) (all []error) {
	for _, f := range r.report.finished {
		all = append(all, f.Err)
	}
	return all
}

func coded(name string) func(*workflow.Migrator) {
	return func(m *workflow.Migrator) {
		c, err := codec.New(name, map[string]int{"lz4": 1, "zstd": 3}[name])
		if err != nil {
			panic(err)
		}
		m.Codec, m.Prefer.Codec = c, name
	}
}

func inKind(kind layout.Kind) func(*workflow.Migrator) {
	return func(m *workflow.Migrator) { m.Prefer.Kind = kind }
}

// smallTree is a disk with one part of each kind.
func smallTree(t *testing.T) string {
	t.Helper()
	treetest.Require(t, "sfdisk", "mkfs.ext4")
	image, _ := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 8 << 20, Holds: "ext4"}, {Number: 2, Length: 1 << 20, Holds: treetest.Noise},
	}})
	return image
}

// A thousand damages at random.
func TestRandomDamagesAreFound(t *testing.T) {
	t.Parallel()
	none := func(*workflow.Verifier) {}
	for i, name := range []string{"lz4", "zstd"} {
		t.Run("image, "+name, func(t *testing.T) {
			t.Parallel()
			path, disk := smallDisk(t)
			n := 390
			if name == "lz4" { // of more than one frame
				path, disk = writeDisk(t)
				n = 150
			}
			w := newWorld(t, 1, path, disk).migrated(coded(name))
			manyDamages(t, w, uint64(i), n, 12, none, coded(name))
		})
		t.Run("tree, "+name, func(t *testing.T) {
			t.Parallel()
			w := worldOf(t, smallTree(t)).migrated(withTrees, coded(name))
			manyDamages(t, w, uint64(i), 200, 40, none, withTrees, coded(name), inKind(layout.Tar))
		})
	}
}

// Of encrypted objects too: wherever in the message it is, also in what tells of its
// keys.
func TestRandomDamagesOfEncryptedAreFound(t *testing.T) {
	t.Parallel()
	k := newDamageKeys(t)
	t.Run("image", func(t *testing.T) {
		path, disk := smallDisk(t)
		w := newWorld(t, 1, path, disk).migrated(k.sealing)
		manyDamages(t, w, 3, 45, 9, k.verifying, k.opening)
	})
	t.Run("tree", func(t *testing.T) {
		w := worldOf(t, smallTree(t)).migrated(withTrees, k.sealing)
		manyDamages(t, w, 4, 15, 5, k.verifying, withTrees, k.opening)
	})
	t.Run("head", func(t *testing.T) {
		path, disk := writeDisk(t)
		w := newWorld(t, 1, path, disk).migrated(k.sealing)
		for _, key := range w.store.Keys() {
			if !strings.HasSuffix(key, ".gpg") {
				continue
			}
			whole := w.object(key)
			for at := range 110 { // the public-key packet, and the beginning of the data's
				if at > 16 && at%7 > 0 {
					continue
				}
				data := slices.Clone(whole)
				data[at] ^= 1 << (at % 8)
				v := verifyAll(t, bodies{w.store, map[string][]byte{key: data}}, k.verifying)
				if !errors.Is(v.err, workflow.ErrDifferent) || v.sum.Failed > 0 {
					t.Errorf("byte %d of %s: %v", at, key, v)
				}
			}
		}
	})
}
