package workflow_test

import (
	"os"
	"path/filepath"
	"testing"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/workflow"
)

const blockSize = 512 << 10

// flipped is a copy of an image with one bit changed at each place.
func flipped(t *testing.T, image string, at ...int64) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "flipped.img")
	treetest.SparseCopy(t, image, other, 0)
	f, err := os.OpenFile(other, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range at {
		var b [1]byte
		if _, err := f.ReadAt(b[:], off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b[:], off); err != nil {
			t.Fatal(err)
		}
	}
	return other
}

func blocks(part layout.Part, first, count int64) damage {
	return damage{Kind: "content", Part: part, Off: first * blockSize, Len: count * blockSize}
}

// One block of the head, of a raw partition, or of one that was left out for being
// blank.
func TestValidateFindsEachDamageOfADisk(t *testing.T) {
	t.Parallel()
	image, plan := damageDisk(t)
	raw, blank := plan.Partitions[1].Start, plan.Partitions[2].Start
	whole := worldOf(t, image).migrated(withTrees)
	whole.same(withTrees)
	for _, c := range []struct {
		name string
		at   []int64
		want []damage
		// Where a partition is only in the archive of the other disk.
		ofArchive []damage
	}{
		{"head", []int64{100_000}, []damage{blocks(layout.Head, 0, 1)}, nil},
		{"end of the head", []int64{1<<20 - 1}, []damage{blocks(layout.Head, 1, 1)}, nil},
		{"both blocks of the head", []int64{100_000, 1<<20 - 1}, []damage{blocks(layout.Head, 0, 2)}, nil},
		{"first byte of a partition", []int64{raw}, []damage{blocks(damagedPart, 0, 1)}, nil},
		{"last byte of a partition", []int64{raw + 1<<20 - 1}, []damage{blocks(damagedPart, 1, 1)}, nil},
		{"blank partition", []int64{blank + 3*blockSize + 17}, []damage{{Kind: "content", Part: blankPart, Len: 2 << 20}}, []damage{blocks(blankPart, 3, 1)}},
		{"several", []int64{77_777, raw + 5, raw + blockSize + 5}, []damage{blocks(layout.Head, 0, 1), blocks(damagedPart, 0, 2)}, nil},
	} {
		other := flipped(t, image, c.at...)
		if c.ofArchive == nil {
			c.ofArchive = c.want
		}
		t.Run(c.name+", of the snapshot", func(t *testing.T) {
			whole.t, whole.image = t, other
			whole.differs(c.want, withTrees)
		})
		t.Run(c.name+", of the archive", func(t *testing.T) {
			w := worldOf(t, other).migrated(withTrees)
			w.image = image
			w.differs(c.ofArchive, withTrees)
		})
	}
	whole.t = t
}

// The table on the disk and the one in the record differ in one thing.
func TestValidateFindsEachDamageOfATable(t *testing.T) {
	t.Parallel()
	image, _ := damageDisk(t)
	w := worldOf(t, image).migrated(withTrees)
	key := w.partName(partOfTree).SnapshotRecordKey()
	sealed := w.object(key)
	for name, change := range map[string]func(g *layout.Geometry){
		"uuid":              func(g *layout.Geometry) { g.Partitions[1].UUID = "01234567-89ab-cdef-0123-456789abcdef" },
		"type":              func(g *layout.Geometry) { g.Partitions[0].Type = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" },
		"attributes":        func(g *layout.Geometry) { g.Partitions[2].Attributes ^= 4 },
		"content":           func(g *layout.Geometry) { g.Partitions[0].Content = "ext3" },
		"filesystem's uuid": func(g *layout.Geometry) { g.Partitions[0].ContentUUID = "01234567-89ab-cdef-0123-456789abcdef" },
		"disk id":           func(g *layout.Geometry) { g.DiskID = "01234567-89ab-cdef-0123-456789abcdef" },
		"size of the disk":  func(g *layout.Geometry) { g.Size += 1 << 20 },
		"gpt":               func(g *layout.Geometry) { g.GPT.LastUsable-- },
		"start":             func(g *layout.Geometry) { g.Partitions[0].Start += 4096; g.Partitions[0].Size -= 4096 },
		"features":          func(g *layout.Geometry) { g.Partitions[0].Features[0] = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			rec, err := layout.DecodeSnapshotRecord(sealed)
			if err != nil {
				t.Fatal(err)
			}
			change(rec.Geometry)
			resealIn(t, w.store, key, &rec)
			differences := w.differs([]damage{{Kind: "geometry"}}, withTrees)
			if d := differences[0]; d.Between != workflow.BetweenSnapshot || d.Want == d.Got || d.Key != key {
				t.Errorf("difference %+v", d)
			}
		})
	}
	w.t = t
	replaceIn(t, w.store, key, sealed)
	w.same(withTrees)
}

// A whole disk as one image: each of its blocks, the short one at the end too.
func TestValidateFindsEachBlock(t *testing.T) {
	t.Parallel()
	path, disk := writeDisk(t)
	w := newWorld(t, 1, path, disk).migrated()
	w.same()
	size := int64(len(disk))
	for at := int64(0); at < size; at += blockSize {
		n := min(blockSize, size-at)
		w.image = flipped(t, path, at+n/2)
		w.differs([]damage{{Kind: "content", Off: at, Len: n}})
	}
	for cut, want := range map[int64]damage{
		size - 1: {Kind: "content", Off: 5 << 20, Len: 4095},
		5 << 20:  {Kind: "added", Off: 5 << 20, Len: blockSize},
	} {
		w.image = writeFile(t, disk[:cut])
		w.differs([]damage{want})
	}
}
