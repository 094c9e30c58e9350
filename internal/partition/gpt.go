package partition

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// The UEFI specification has a GPT in 5.3.
const (
	gptSignature  = "EFI PART"
	gptHeaderSize = 92
	minEntrySize  = 128
	maxEntrySize  = 4096
	maxEntries    = 1024    // far more than any tool makes; with maxEntrySize 4 MiB
	maxLBA        = 1 << 39 // in sectors of 512 bytes 256 TiB, four of the largest volumes
)

// gptTable is what was found of a GPT.
type gptTable struct {
	header  *gptHeader // nil: neither header can be used
	entries []byte
	primary bool   // it is the one at the beginning of the disk
	signed  bool   // one of the places had a header, usable or not
	why     string // why the primary cannot be used
}

type gptHeader struct {
	GPTHeader
	sector, lba int64
	diskID      string
	entriesCRC  uint32
}

// entriesSectors is how many sectors the entries take.
func (h *gptHeader) entriesSectors() int64 { return (h.Entries*h.EntrySize + h.sector - 1) / h.sector }

// readGPT looks for a GPT in sectors of both sizes: the primary, then the backup
// in all places where it may be. A disk without one is no error.
func (d *disk) readGPT(ctx context.Context, boot bootSector) (gptTable, error) {
	places := []gptPlace{{sector512, 1}, {sector4Kn, 1}}
	var g gptTable
	for _, p := range places {
		h, err := d.tryGPT(ctx, &g, p)
		if err != nil {
			return gptTable{}, err
		}
		if g.header != nil {
			g.primary = true
			return g, nil
		}
		if h != nil { // its entries are damaged, but it tells where the backup is
			places = append(places, gptPlace{p.sector, h.AlternateLBA})
		}
	}
	if end, ok := boot.protectiveEnd(); ok { // of a disk that grew since
		places = append(places, gptPlace{sector512, end}, gptPlace{sector4Kn, end})
	}
	places = append(places, gptPlace{sector512, d.size/sector512 - 1}, gptPlace{sector4Kn, d.size/sector4Kn - 1})
	for _, p := range places[2:] {
		if _, err := d.tryGPT(ctx, &g, p); err != nil || g.header != nil {
			return g, err
		}
	}
	return g, nil
}

type gptPlace struct{ sector, lba int64 }

// tryGPT reads the header in one place, and its entries. If they can be used, g
// has them; a header with entries that cannot be is returned.
func (d *disk) tryGPT(ctx context.Context, g *gptTable, at gptPlace) (*gptHeader, error) {
	sectors := d.size / at.sector
	if at.lba < 1 || at.lba >= sectors {
		return nil, nil
	}
	p, err := d.read(ctx, at.lba*at.sector, at.sector)
	if err != nil {
		return nil, err
	}
	if string(p[:8]) != gptSignature {
		if g.why == "" {
			g.why = "no header"
		}
		return nil, nil
	}
	h, why := parseGPTHeader(p, at)
	if why == "" && h.EntriesLBA > sectors-h.entriesSectors() {
		why = "entries that are not on the disk"
	}
	if why != "" {
		g.blame(why)
		return nil, nil
	}
	entries, err := d.read(ctx, h.EntriesLBA*at.sector, h.Entries*h.EntrySize)
	if err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != h.entriesCRC {
		g.blame("wrong checksum of the entries")
		return h, nil
	}
	g.header, g.entries = h, entries
	return h, nil
}

// blame keeps the first reason of a place that had a header at all.
func (g *gptTable) blame(why string) {
	if !g.signed {
		g.why = why
	}
	g.signed = true
}

func parseGPTHeader(p []byte, at gptPlace) (h *gptHeader, why string) {
	size := binary.LittleEndian.Uint32(p[12:])
	if size < gptHeaderSize || int64(size) > at.sector {
		return nil, fmt.Sprintf("a header of %d bytes", size)
	}
	sum := append([]byte(nil), p[:size]...)
	clear(sum[16:20])
	if crc32.ChecksumIEEE(sum) != binary.LittleEndian.Uint32(p[16:]) {
		return nil, "wrong checksum of the header"
	}
	h = &gptHeader{
		GPTHeader: GPTHeader{
			Entries: int64(binary.LittleEndian.Uint32(p[80:])), EntrySize: int64(binary.LittleEndian.Uint32(p[84:])),
		},
		sector: at.sector, lba: at.lba, diskID: guid(p[56:]), entriesCRC: binary.LittleEndian.Uint32(p[88:]),
	}
	var mine int64
	for off, to := range map[int]*int64{24: &mine, 32: &h.AlternateLBA, 40: &h.FirstUsable, 48: &h.LastUsable, 72: &h.EntriesLBA} {
		lba := binary.LittleEndian.Uint64(p[off:])
		if lba > maxLBA {
			return nil, "a sector with a number that no disk has"
		}
		*to = int64(lba)
	}
	switch {
	case mine != at.lba:
		return nil, "a header that belongs elsewhere"
	case h.FirstUsable < 1 || h.FirstUsable > h.LastUsable:
		return nil, "no room for partitions"
	case h.EntrySize < minEntrySize || h.EntrySize > maxEntrySize || h.EntrySize&(h.EntrySize-1) != 0:
		return nil, fmt.Sprintf("entries of %d bytes", h.EntrySize)
	case h.Entries < 1 || h.Entries > maxEntries:
		return nil, fmt.Sprintf("%d entries, where 1 to %d can be read", h.Entries, maxEntries)
	case h.EntriesLBA < 2 && at.lba == 1 || h.EntriesLBA < 1:
		return nil, "entries that lie in the header"
	}
	return h, ""
}

// decodeGPT makes partitions of the entries.
func (d *disk) decodeGPT(ctx context.Context, boot bootSector, g gptTable) (Table, error) {
	h := g.header
	t := Table{Type: GPT, SectorSize: h.sector, Size: d.size, DiskID: h.diskID, GPT: &h.GPTHeader}
	t.Notes = g.notes(boot, d.size/h.sector-1)
	if !g.primary { // a primary's entries are at 2, unless someone moved them
		h.EntriesLBA, h.AlternateLBA = 2, h.lba
	}
	if h.AlternateLBA == 0 {
		h.AlternateLBA = d.size/h.sector - 1
	}
	for i := range h.Entries {
		p, used, err := d.gptPartition(h, int(i)+1, g.entries[i*h.EntrySize:][:minEntrySize])
		if err != nil {
			return Table{}, err
		}
		if used {
			t.Partitions = append(t.Partitions, p)
		}
	}
	if err := arrange(t.Partitions, h.sector); err != nil {
		return Table{}, err
	}
	return t, d.fill(ctx, &t)
}

// notes says what is strange about the table.
func (g *gptTable) notes(boot bootSector, last int64) []string {
	var notes []string
	if !g.primary {
		notes = append(notes, fmt.Sprintf("the primary GPT is damaged (%s): its backup at sector %d was read", g.why, g.header.lba))
	}
	if !boot.protective() {
		notes = append(notes, "there is a GPT, but no protective MBR: Linux would not read it")
	} else if boot.hybrid() {
		notes = append(notes, "the MBR has partitions beside the GPT (a hybrid): the GPT was read, as Linux does")
	}
	switch {
	case g.header.LastUsable > last:
		notes = append(notes, "the GPT is of a larger disk: this one ends before the last sector that it counts")
	case g.primary && g.header.AlternateLBA != last, !g.primary && g.header.lba != last:
		notes = append(notes, "the backup GPT is not at the end of the disk: the disk has grown since")
	}
	return notes
}

func (d *disk) gptPartition(h *gptHeader, number int, e []byte) (p Partition, used bool, err error) {
	if [16]byte(e) == [16]byte{} { // the type of an entry that is not used
		return p, false, nil
	}
	first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
	sectors := uint64(d.size / h.sector)
	if last < first {
		return p, false, damaged("partition %d is empty: it begins at sector %d and ends at %d", number, first, last)
	}
	if last >= sectors {
		return p, false, damaged("partition %d: sectors %d to %d are not on the disk of %d sectors", number, first, last, sectors)
	}
	// A table that is made again overwrites what lies in its place.
	room := h.entriesSectors()
	if first < 2 || int64(first) < h.EntriesLBA+room && int64(last) >= h.EntriesLBA {
		return p, false, damaged("partition %d: sectors %d to %d are where the partition table is", number, first, last)
	}
	if int64(last) >= int64(sectors)-1-room {
		return p, false, damaged("partition %d: it ends at sector %d of %d, where the backup of the partition table must be", number, last, sectors)
	}
	return Partition{
		Number: number, Role: Primary,
		Start: int64(first) * h.sector, Length: int64(last-first+1) * h.sector,
		Type: guid(e), UUID: guid(e[16:]), Name: utf16Text(e[56:128]),
		Attributes: binary.LittleEndian.Uint64(e[48:]),
	}, true, nil
}

// guid is the text of a GUID, whose first three fields are little-endian.
func guid(p []byte) string {
	return dashed([]byte{p[3], p[2], p[1], p[0], p[5], p[4], p[7], p[6], p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]})
}

// dashed is the text of a UUID.
func dashed(p []byte) string {
	h := hex.EncodeToString(p[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
