package partition

import (
	"bytes"
	"hash/crc32"
	"testing"

	"snap-to-s3/internal/layout"
)

// FuzzRead reads disks whose beginning and end are anything, as is something in
// between; a GPT gets checksums that are right. What comes out is a table that a
// record takes, and few reads lead to it.
func FuzzRead(f *testing.F) {
	seed := func(m *image, head, place, middle, tail int64) {
		all := [3][]byte{make([]byte, head), make([]byte, middle), make([]byte, tail)}
		for i, off := range []int64{0, place, m.size - tail} {
			if _, err := m.ReadAt(f.Context(), all[i], off); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(all[0], all[1], uint32(place), all[2], uint32(m.size/512))
	}
	for _, sector := range []int64{512, 4096} {
		s := two(diskSize, sector)
		s.count = 4
		seed(s.image(), 2*sector+512, 0, 0, sector)
		seed(s.image().put(sector, junk()), 2*sector, 0, 0, 2*sector)
		seed(s.image().put(mib+1024, ext(8*mib)), 2*sector+512, mib+1024, 1024, 0)
	}
	link := mbrEntry{kind: 5, start: 8, count: 1000}
	logical := (&image{size: diskSize}).put(0, mbrSector(7, mbrEntry{kind: 0x83, start: 1, count: 7}, link))
	logical.put(4096, mbrSector(0, mbrEntry{kind: 0x83, start: 1, count: 7}, mbrEntry{kind: 5, start: 16, count: 32})).
		put(24*512, mbrSector(0, mbrEntry{kind: 0x83, start: 2, count: 7}))
	seed(logical, 512, 8*512, 17*512, 0)
	seed((&image{size: diskSize}).put(1024, ext(diskSize)), 2048, 0, 0, 0)
	seed((&image{size: diskSize}).put(diskSize-8192, raid(diskSize-8192)), 0, 0, 0, 8192)
	f.Fuzz(func(t *testing.T, head, middle []byte, place uint32, tail []byte, sectors uint32) {
		m := &image{size: max(int64(sectors)*512, int64(len(head)+len(tail)))}
		head = bytes.Clone(head)
		sealGPT(head, 512)
		sealGPT(head, 4096)
		m.put(0, head).put(m.size-int64(len(tail)), tail).put(int64(place), middle)
		got, err := Read(t.Context(), m)
		if m.reads > 3*maxEntries+4*maxLogical { // of 512 KiB at most
			t.Errorf("%d reads of %d bytes", m.reads, m.bytes)
		}
		if err != nil {
			if !isDamage(err) {
				t.Errorf("not of the disk: %v", err)
			}
			return
		}
		checkTable(t, got)
	})
}

// sealGPT makes the checksums right of a GPT whose entries are all there.
func sealGPT(p []byte, sector int64) {
	if int64(len(p)) < 2*sector || string(p[sector:sector+8]) != gptSignature {
		return
	}
	h := p[sector : 2*sector]
	size, at, entries := le32(h, 12), le64(h, 72), le32(h, 80)*le32(h, 84)
	if size < gptHeaderSize || size > sector || at < 2 || at > 100 || entries > int64(len(p)) || at*sector > int64(len(p))-entries {
		return
	}
	record(h).le(4, 88, uint64(crc32.ChecksumIEEE(p[at*sector:][:entries]))).le(4, 16, 0)
	record(h).le(4, 16, uint64(crc32.ChecksumIEEE(h[:size])))
}

func checkTable(t *testing.T, got Table) {
	t.Helper()
	g := layout.Geometry{SectorSize: got.SectorSize, Size: got.Size, DiskID: got.DiskID, Table: layout.TableType(got.Type)}
	if h := got.GPT; h != nil {
		g.GPT = &layout.GPT{
			FirstUsable: h.FirstUsable, LastUsable: h.LastUsable, Entries: h.Entries,
			EntrySize: h.EntrySize, EntriesLBA: h.EntriesLBA, AlternateLBA: h.AlternateLBA,
		}
	}
	for _, p := range got.Partitions {
		g.Partitions = append(g.Partitions, layout.Partition{
			Number: layout.Part(p.Number), Role: layout.Role(p.Role), Start: p.Start, Size: p.Length, Type: p.Type, UUID: p.UUID,
			Attributes: layout.Bits(p.Attributes), EBR: p.EBR, Content: p.Content.Type, ContentUUID: p.Content.UUID,
			BlockSize: p.Content.BlockSize, Features: p.Content.Features,
		})
	}
	if err := g.Check(); err != nil {
		t.Errorf("a record does not take %+v: %v", got, err)
	}
	if got.Head() < 0 || got.Head() >= got.Size {
		t.Errorf("a head of %d bytes on a disk of %d", got.Head(), got.Size)
	}
}

// FuzzProbe lets each probe look at anything, in a place of its own; a btrfs gets
// a checksum that is right.
func FuzzProbe(f *testing.F) {
	for place, r := range map[uint32]record{
		1024: ext(diskSize), btrfsSuper: btrfs(diskSize)[:600], 0: fat(diskSize), 4096: raid(4096)[:264], 32 << 10: iso()[:2048],
	} {
		f.Add([]byte(r), place)
	}
	f.Add([]byte(zfsLabel()[16<<10:17<<10]), uint32(16<<10))
	f.Add(bytes.Repeat([]byte("LABELONE"), 64), uint32(512))
	f.Fuzz(func(t *testing.T, data []byte, place uint32) {
		p := make([]byte, frontSize)
		copy(p[place%frontSize:], data)
		record(p).le(4, btrfsSuper, uint64(crc32c(p[btrfsSuper+btrfsFromSums:][:btrfsSuperSize-btrfsFromSums])))
		copy(p[128<<10:], "\x0c\xb1\xba\x00\x00\x00\x00\x00") // an uberblock
		r := region{front: p, tail: p[frontSize-tailSize:], size: diskSize}
		c, _ := r.scan().content("the disk")
		if c.Type == "" && (c.UUID != "" || c.Features != nil) || c.BlockSize < 0 || c.BlockSize > 64<<20 ||
			c.Used < -1 || c.Used > r.size && c.Type != "btrfs" || c.Files < -1 || len(c.Features) > 100 || len(c.UUID) > 100 {
			t.Errorf("got %+v of %d bytes", c, r.size)
		}
	})
}
