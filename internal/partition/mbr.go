package partition

import (
	"context"
	"encoding/binary"
	"fmt"
)

// bootSector is the first sector of a disk, as an MBR (also an EBR) has it.
type bootSector struct {
	signed  bool // it ends with 0x55AA
	diskID  uint32
	entries [4]mbrEntry
}

type mbrEntry struct {
	boot         byte
	kind         byte
	start, count uint32 // sectors
}

// The types of entries that are not ordinary partitions.
const (
	kindExtended      = 0x05
	kindExtendedLBA   = 0x0f
	kindExtendedLinux = 0x85
	kindProtective    = 0xee
)

func (e mbrEntry) used() bool { return e.count != 0 } // as Linux has it: the type may be 0

func (e mbrEntry) extended() bool {
	return e.kind == kindExtended || e.kind == kindExtendedLBA || e.kind == kindExtendedLinux
}

func parseBootSector(p []byte) bootSector {
	var b bootSector
	if len(p) < sector512 {
		return b
	}
	b.signed = p[510] == 0x55 && p[511] == 0xaa
	b.diskID = binary.LittleEndian.Uint32(p[440:])
	for i := range b.entries {
		e := p[446+16*i:]
		b.entries[i] = mbrEntry{
			boot: e[0], kind: e[4],
			start: binary.LittleEndian.Uint32(e[8:]), count: binary.LittleEndian.Uint32(e[12:]),
		}
	}
	return b
}

// isTable tells whether Linux would read partitions from it: a boot sector of
// another kind has code or text where the entries are, whose first bytes are
// hardly ever all 0x00 or 0x80 (Linux, block/partitions/msdos.c). A sector
// without one entry is no table: what lies behind it is not known.
func (b bootSector) isTable() bool {
	used := false
	for _, e := range b.entries {
		if e.boot != 0 && e.boot != 0x80 {
			return false
		}
		used = used || e.used()
	}
	return b.signed && used
}

// protective tells whether it says that there is a GPT.
func (b bootSector) protective() bool {
	_, ok := b.protectiveEnd()
	return ok
}

// protectiveEnd is the last sector of what an entry of type 0xEE covers: the one
// of the backup GPT, when it was written.
func (b bootSector) protectiveEnd() (lba int64, ok bool) {
	if !b.isTable() {
		return 0, false
	}
	for _, e := range b.entries {
		if e.kind == kindProtective {
			return int64(e.start) + int64(e.count) - 1, true
		}
	}
	return 0, false
}

// hybrid tells whether it has partitions beside the protective entry.
func (b bootSector) hybrid() bool {
	for _, e := range b.entries {
		if e.used() && e.kind != kindProtective && e.kind != 0 {
			return true
		}
	}
	return false
}

// readMBR reads the table in sectors of 512 bytes, or of 4096, which nothing in
// an MBR tells apart: where all partitions are on the disk in both, the sectors
// are of 512 bytes unless the partitions then hold nothing known, and in sectors
// of 4096 bytes they do.
func (d *disk) readMBR(ctx context.Context, boot bootSector) (Table, error) {
	small, errSmall := d.mbrIn(ctx, boot, sector512)
	if errSmall != nil && !isDamage(errSmall) || small.known() > 0 {
		return small, errSmall
	}
	large, err := d.mbrIn(ctx, boot, sector4Kn)
	if err != nil && !isDamage(err) {
		return Table{}, err
	}
	if err == nil && large.known() > 0 {
		return large, nil
	}
	return small, errSmall
}

// known is how many partitions hold something known.
func (t Table) known() int {
	n := 0
	for _, p := range t.Partitions {
		if p.Content.Type != "" {
			n++
		}
	}
	return n
}

// mbrIn reads the table in sectors of one size.
func (d *disk) mbrIn(ctx context.Context, boot bootSector, sector int64) (Table, error) {
	t := Table{Type: MBR, SectorSize: sector, Size: d.size, DiskID: fmt.Sprintf("%08x", boot.diskID)}
	if d.size < 2*sector {
		return t, damaged("a disk of %d bytes has no room for a partition in sectors of %d bytes", d.size, sector)
	}
	for i, e := range boot.entries {
		if !e.used() {
			continue
		}
		p := t.mbrPartition(i+1, e, 0)
		if p.Start == 0 {
			return t, damaged("partition %d begins at sector 0, where the partition table is", p.Number)
		}
		if p.end() > d.size {
			return t, damaged("partition %d: %d bytes at %d are not on the disk of %d bytes", p.Number, p.Length, p.Start, d.size)
		}
		p.Role = Primary
		if e.extended() {
			p.Role = Extended
		}
		t.Partitions = append(t.Partitions, p)
	}
	next := 5
	for _, p := range t.Partitions {
		if p.Role != Extended {
			continue
		}
		if err := d.addLogical(ctx, &t, p, &next); err != nil {
			return t, err
		}
	}
	if err := arrange(t.Partitions, sector); err != nil {
		return t, err
	}
	return t, d.fill(ctx, &t)
}

// mbrPartition is what an entry of an MBR or EBR says; its start counts from base.
func (t *Table) mbrPartition(number int, e mbrEntry, base int64) Partition {
	return Partition{
		Number: number,
		Start:  base + int64(e.start)*t.SectorSize, Length: int64(e.count) * t.SectorSize,
		Type: fmt.Sprintf("0x%02x", e.kind), Attributes: uint64(e.boot),
		UUID: fmt.Sprintf("%s-%02x", t.DiskID, number), // hexadecimal, as in Linux
	}
}
