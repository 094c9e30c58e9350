package partition_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/partition"
)

// A disk of which something cannot be read is never one with less on it.
func TestEveryReadFails(t *testing.T) {
	bad := errors.New("a read that fails")
	const size = 40 * mib
	disks := map[string]func() *testDisk{
		"gpt":         func() *testDisk { return newDisk(size).gpt(twoOn(512)).put(mib+1024, extBlock(2560, 0x42)) },
		"gpt damaged": func() *testDisk { return newDisk(size).gpt(twoOn(4096)).put(4096+60, []byte{1}) },
		"gpt moved":   func() *testDisk { return grown(newDisk(size).gpt(twoOn(512)), 2*size).put(1030, []byte{1}) },
		"mbr 4Kn": func() *testDisk {
			return newDisk(size).mbr(1, mbrEntry{0, 0x83, 256, 2560}).put(mib+1024, extBlock(2560, 0x42))
		},
		"logical": func() *testDisk {
			return newDisk(size).mbr(1, mbrEntry{0, 0x05, 2048, 40960}).
				ebr(mib, mbrEntry{0, 0x83, 2048, 2048}, mbrEntry{0, 0x05, 8192, 8192}).ebr(mib+8192*512, mbrEntry{0, 0x83, 2048, 4096})
		},
		"bare": func() *testDisk { return newDisk(size).put(0, xfsBlock(10240)) },
	}
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) {
			whole := disk()
			if _, err := partition.Read(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			for nth := range whole.reads.Load() {
				d := disk()
				d.fail = func(int64, int64) error {
					if d.reads.Load() == nth+1 {
						return bad
					}
					return nil
				}
				got, err := partition.Read(t.Context(), d)
				if !errors.Is(err, bad) {
					t.Errorf("read %d fails: error %v, table %q", nth+1, err, brief(got))
				}
				if h := hint.Of(err); strings.Contains(h, "--dd") {
					t.Errorf("read %d fails: hint %q, which would fail as well", nth+1, h)
				}
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(bad)
	if _, err := partition.Read(ctx, disks["gpt"]()); !errors.Is(err, bad) {
		t.Errorf("cancelled: %v", err)
	}
}

// What is only nearly a superblock is none: fragments of old filesystems and
// random bytes are on most disks.
func TestAlmost(t *testing.T) {
	const size = 40 * mib
	le, be := binary.LittleEndian, binary.BigEndian
	bent := func(p []byte, bend func(p []byte)) []byte { bend(p); return p }
	cases := map[string]*testDisk{
		"ext of no inodes":            newDisk(size).put(1024, bent(extBlock(10240, 0x42), func(p []byte) { le.PutUint32(p, 0) })),
		"ext of huge blocks":          newDisk(size).put(1024, bent(extBlock(10240, 0x42), func(p []byte) { le.PutUint32(p[24:], 12) })),
		"ext without its checksum":    newDisk(size).put(1024, bent(extBlock(10240, 0x42), func(p []byte) { le.PutUint32(p[100:], 0x400); p[0x175] = 1 })),
		"xfs with a wrong checksum":   newDisk(size).put(0, bent(xfsBlock(10240), func(p []byte) { p[130]++ })),
		"xfs of no version":           newDisk(size).put(0, bent(xfsBlock(10240), func(p []byte) { be.PutUint16(p[100:], 0) })),
		"ext of a larger disk":        newDisk(size).put(1024, extBlock(1<<20, 0x42)),
		"btrfs of a larger disk":      newDisk(size).put(64*kib, btrfsBlock(size+1, 1)),
		"xfs of a larger disk":        newDisk(size).put(0, xfsBlock(1<<20)),
		"btrfs with a wrong checksum": newDisk(size).put(64*kib, bent(btrfsBlock(size, 1), func(p []byte) { p[300]++ })),
		"btrfs copy of elsewhere":     newDisk(size).put(64*kib, bent(btrfsBlock(size, 1), func(p []byte) { le.PutUint64(p[48:], 64*mib); le.PutUint32(p, 0) })),
		"text":                        newDisk(size).put(0, []byte(strings.Repeat("XFS F2FS LABELONE swap ", 5000))),
		"lvm label of another sector": newDisk(size).put(1024, lvmLabel(7)),
		"swap of no version":          newDisk(size).put(0, bent(swapPage(4096), func(p []byte) { le.PutUint32(p[1024:], 77) })),
		"mirror with a wrong sum":     newDisk(size).put(4096, bent(raidBlock(8), func(p []byte) { p[33]++ })),
	}
	for name, d := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := partition.Read(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if c := got.Partitions[0].Content; c.Type != "" {
				t.Errorf("it is taken for %s", c.Type)
			}
		})
	}
}

// Every GPT without overlap is read as it is.
func TestGPTRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64 * mib
		plan := gptPlan{sector: rapid.SampledFrom([]int64{512, 4096}).Draw(t, "sector")}
		sectors := uint64(size / plan.sector)
		numbers := rapid.Permutation([]int{1, 2, 3, 14, 15, 64, 127, 128}).Draw(t, "numbers")
		at := uint64(mib / plan.sector)
		want := []string{fmt.Sprintf("gpt %d", plan.sector)}
		for _, n := range numbers {
			first := at + rapid.Uint64Range(0, sectors/16).Draw(t, "gap")
			last := first + rapid.Uint64Range(0, sectors/16).Draw(t, "length")
			if last >= sectors-64 {
				break
			}
			plan.entries = append(plan.entries, gptEntry{number: n, first: first, last: last})
			want = append(want, fmt.Sprintf("%d primary %d+%d", n, int64(first)*plan.sector, int64(last-first+1)*plan.sector))
			at = last + 1
		}
		d := newDisk(size).gpt(plan)
		if rapid.Bool().Draw(t, "damaged") {
			d.put(plan.sector+rapid.Int64Range(0, 91).Draw(t, "byte"), []byte{0x5a, 0xa5})
		}
		got, err := partition.Read(context.WithoutCancel(t.Context()), d)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, brief(got)); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}

// What the owner of a disk calls things is in no error and in no note.
func TestSecrets(t *testing.T) {
	const size = 40 * mib
	ext := extBlock(2560, 0x42)
	entries := func(e ...gptEntry) *testDisk { return newDisk(size).gpt(gptPlan{sector: 512, entries: e}) }
	both := func() *testDisk { return newDisk(size).gpt(twoOn(512)).put(mib+1024, ext) }
	for name, d := range map[string]*testDisk{
		"overlap":          entries(gptEntry{4, 2048, 4096, secretName}, gptEntry{9, 4096, 8191, secretName}),
		"outside":          entries(gptEntry{2, 2048, size / 512, secretName}),
		"backwards":        entries(gptEntry{6, 4096, 2048, secretName}),
		"in the table":     entries(gptEntry{1, 2, 4096, secretName}),
		"damaged":          both().put(512, make([]byte, 512)),
		"backup damaged":   both().put(size-512, make([]byte, 512)),
		"two contents":     both().put(mib+64*kib, btrfsBlock(10*mib, 1)),
		"content and more": both().put(mib+64*kib, btrfsBlock(30*mib, 1)),
		"xfs too large":    newDisk(size).put(0, xfsBlock(1<<20)),
		"ext too large":    newDisk(size).put(1024, extBlock(1<<20, 0x42)),
		"btrfs under gpt":  both().put(64*kib, btrfsBlock(size, 1)),
		"ext under mbr":    newDisk(size).mbr(1, mbrEntry{0, 0x83, 2048, 2048}).put(1024, extBlock(8192, 0x42)),
		"mirror over mbr":  newDisk(size).mbr(1, mbrEntry{0, 0x83, 2048, 2048}).put(size-8*kib, raidBlock(size/512-16)),
		"swap over mbr":    newDisk(size).put(0, swapPage(4096)).mbr(1, mbrEntry{0, 0x83, 2048, 2048}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := partition.Read(t.Context(), d)
			noSecrets(t, strings.Join(got.Notes, "\n"))
			if err == nil {
				return
			}
			noSecrets(t, err.Error()+hint.Of(err))
			if !strings.Contains(hint.Of(err), "--dd") {
				t.Errorf("hint %q of %q, want --dd in it", hint.Of(err), err)
			}
		})
	}
}

// A read takes 10 to 20 ms where a snapshot is read directly: two are for the
// disk, two for each partition, and one for each EBR.
func TestFewReads(t *testing.T) {
	const size = 256 * mib
	logical := newDisk(size).mbr(1, mbrEntry{0, 0x05, 2048, 400000})
	for i := range uint32(10) {
		logical.ebr(int64(2048+i*40000)*512, mbrEntry{0, 0x83, 2048, 20000}, mbrEntry{0, 0x05, (i + 1) * 40000, 1})
	}
	logical.ebr(int64(2048+9*40000)*512, mbrEntry{0, 0x83, 2048, 20000})
	for _, c := range []struct {
		name string
		disk *testDisk
		most int64
	}{
		{"bare", newDisk(size).put(0, xfsBlock(10240)), 2},
		{"nothing", newDisk(size), 2},
		{"gpt", newDisk(size).gpt(twoOn(512)), 2 + 2*2},
		{"gpt damaged", newDisk(size).gpt(twoOn(4096)).put(4096, make([]byte, 92)), 2 + 2*2 + 1},
		{"mbr", newDisk(size).mbr(1, mbrEntry{0, 0x83, 2048, 20000}).put(mib+1024, extBlock(2500, 0x42)), 2 + 2},
	} {
		if _, err := partition.Read(t.Context(), c.disk); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if reads := c.disk.reads.Load(); reads > c.most {
			t.Errorf("%s: %d reads of %d bytes, want %d at most", c.name, reads, c.disk.bytes.Load(), c.most)
		}
	}
	if _, err := partition.Read(t.Context(), logical); err != nil {
		t.Fatal(err)
	}
	if reads := logical.reads.Load(); reads > 2+10*(1+2)*2 { // in sectors of either size
		t.Errorf("ten logical partitions: %d reads", reads)
	}
}

// Every MBR without overlap is read as it is, and so are its logical partitions.
func TestMBRRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64 * mib
		d := newDisk(size)
		id := rapid.Uint32().Draw(t, "id")
		at := uint32(63)
		gap := func() uint32 { return rapid.Uint32Range(0, 4096).Draw(t, "gap") }
		length := func() uint32 { return rapid.Uint32Range(1, 8192).Draw(t, "length") }
		kind := func() byte { return rapid.SampledFrom([]byte{0x83, 0x07, 0x82, 0x8e, 0xfd, 0xef}).Draw(t, "kind") }
		var entries []mbrEntry
		want := []string{"mbr 512"}
		container := rapid.IntRange(0, 4).Draw(t, "container") // 0: none
		number := 5
		for slot := 1; slot <= 4; slot++ {
			at += gap()
			if slot != container {
				e := mbrEntry{kind: kind(), start: at, count: length()}
				entries = append(entries, e)
				want = append(want, fmt.Sprintf("%d primary %d+%d", slot, int64(e.start)*512, int64(e.count)*512))
				at += e.count
				continue
			}
			start := at
			var inside []string
			ebrs := rapid.IntRange(1, 6).Draw(t, "logical")
			type logical struct{ ebr, first, count uint32 }
			var chain []logical
			for range ebrs {
				l := logical{ebr: at, first: 1 + gap(), count: length()}
				chain = append(chain, l)
				at += l.first + l.count + gap()
			}
			for i, l := range chain {
				sector := []mbrEntry{{kind: kind(), start: l.first, count: l.count}}
				if i+1 < len(chain) {
					sector = append(sector, mbrEntry{kind: 0x05, start: chain[i+1].ebr - start, count: 1})
				}
				d.ebr(int64(l.ebr)*512, sector...)
				inside = append(inside, fmt.Sprintf("%d logical %d+%d ebr %d", number, int64(l.ebr+l.first)*512, int64(l.count)*512, int64(l.ebr)*512))
				number++
			}
			e := mbrEntry{kind: rapid.SampledFrom([]byte{0x05, 0x0f, 0x85}).Draw(t, "extended"), start: start, count: at - start}
			entries = append(entries, e)
			want = append(append(want, fmt.Sprintf("%d extended %d+%d", slot, int64(start)*512, int64(e.count)*512)), inside...)
		}
		d.mbr(id, entries...)
		got, err := partition.Read(context.WithoutCancel(t.Context()), d)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, brief(got)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for _, p := range got.Partitions {
			if uuid := fmt.Sprintf("%08x-%02x", id, p.Number); p.UUID != uuid {
				t.Errorf("partition %d is %s, want %s", p.Number, p.UUID, uuid)
			}
		}
	})
}

// Whatever happens to one of the two tables of a GPT, the disk is what it was, or
// an error: never another one.
func TestGPTDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 40 * mib
		sector := rapid.SampledFrom([]int64{512, 4096}).Draw(t, "sector")
		d := newDisk(size).gpt(twoOn(sector))
		if rapid.Bool().Draw(t, "grown") {
			grown(d, 3*size/2)
		}
		want, err := partition.Read(context.WithoutCancel(t.Context()), d)
		if err != nil {
			t.Fatal(err)
		}
		from, to := sector, 2*sector+128*128 // the primary
		if rapid.Bool().Draw(t, "backup") {
			from, to = size-sector-128*128, size
		}
		for range rapid.IntRange(1, 4).Draw(t, "places") {
			off := rapid.Int64Range(from, to-1).Draw(t, "place")
			if rapid.Bool().Draw(t, "header") {
				off = rapid.Int64Range(0, 91).Draw(t, "field") + map[bool]int64{true: sector, false: size - sector}[from == sector]
			}
			n := min(int(to-off), rapid.SampledFrom([]int{1, 2, 8, 512, 4096}).Draw(t, "bytes"))
			d.put(off, rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "damage"))
		}
		got, err := partition.Read(context.WithoutCancel(t.Context()), d)
		if err != nil {
			t.Fatal(err) // the other table is whole
		}
		if diff := cmp.Diff(brief(want), brief(got)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for i, p := range got.Partitions {
			if w := want.Partitions[i]; p.UUID != w.UUID || p.Type != w.Type || p.Name != w.Name || got.DiskID != want.DiskID {
				t.Errorf("partition %d is another one: %+v, want %+v", p.Number, p, w)
			}
		}
	})
}

// A header is good in its own place alone: where the backup was copied to the
// beginning, its entries are not where a primary has them.
func TestHeaderOfElsewhere(t *testing.T) {
	const size, last = 40 * mib, 40*mib/512 - 1
	d := newDisk(size).gpt(twoOn(512))
	backup := make([]byte, 512)
	if _, err := d.ReadAt(t.Context(), backup, last*512); err != nil {
		t.Fatal(err)
	}
	got, err := partition.Read(t.Context(), d.put(512, backup))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Partitions) != 2 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "belongs elsewhere") {
		t.Errorf("got %q, notes %q", brief(got), got.Notes)
	}
}

// The oldest kind of mirror has its mark in the last whole 64 KiB but one, which
// is nearly 128 KiB before the end of some disks.
func TestOldMirror(t *testing.T) {
	le := binary.LittleEndian
	sb := make([]byte, 4096)
	le.PutUint32(sb, 0xa92b4efc)
	le.PutUint32(sb[8:], 90)
	le.PutUint32(sb[28:], 1)
	copy(sb[52:], "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c")
	sum := uint64(0)
	for i := 0; i < len(sb); i += 4 {
		sum += uint64(le.Uint32(sb[i:]))
	}
	le.PutUint32(sb[152:], uint32(sum)+uint32(sum>>32))
	for _, more := range []int64{0, 512, 32 * kib, 64*kib - 512} {
		at := int64(40*mib - 64*kib)
		d := newDisk(40*mib+more).put(1024, extBlock(10200, 0x42)).put(at, sb)
		got, err := partition.Read(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Partitions[0].Content; c.Type != "linux_raid_member" {
			t.Errorf("%d bytes more than whole units: it is taken for %q", more, c.Type)
		}
	}
}
