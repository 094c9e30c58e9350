package partition_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/partition"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// testDisk is a disk in memory of which only what was written takes room. It
// counts what is read of it.
type testDisk struct {
	size   int64
	pieces map[int64][]byte // by offset; later ones may cover earlier ones
	order  []int64
	fail   func(off, n int64) error

	reads, bytes atomic.Int64
}

func newDisk(size int64) *testDisk { return &testDisk{size: size, pieces: map[int64][]byte{}} }

func (d *testDisk) put(off int64, p []byte) *testDisk {
	if off < 0 || off+int64(len(p)) > d.size {
		panic("a test writes past the end of its disk")
	}
	if old, ok := d.pieces[off]; ok { // the longer one keeps its end
		merged := append([]byte(nil), old...)
		if len(p) > len(old) {
			merged = append(merged, p[len(old):]...)
		}
		copy(merged, p)
		p = merged
		d.order = slices.DeleteFunc(d.order, func(o int64) bool { return o == off })
	}
	d.pieces[off] = append([]byte(nil), p...)
	d.order = append(d.order, off)
	return d
}

func (d *testDisk) Size() int64  { return d.size }
func (d *testDisk) Close() error { return nil }

func (d *testDisk) Extents(context.Context) iter.Seq2[block.Extent, error] {
	return func(yield func(block.Extent, error) bool) { yield(block.Extent{Len: d.size}, nil) }
}

func (d *testDisk) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	d.reads.Add(1)
	d.bytes.Add(int64(len(p)))
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, errors.New("a negative offset")
	}
	if d.fail != nil {
		if err := d.fail(off, int64(len(p))); err != nil {
			return 0, err
		}
	}
	n := int(max(0, min(int64(len(p)), d.size-off)))
	d.fill(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *testDisk) fill(p []byte, off int64) {
	clear(p)
	for _, at := range d.order {
		piece := d.pieces[at]
		from, to := max(at, off), min(at+int64(len(piece)), off+int64(len(p)))
		if from < to {
			copy(p[from-off:to-off], piece[from-at:to-at])
		}
	}
}

// gptEntry is a partition as a test wants it, in sectors.
type gptEntry struct {
	number      int
	first, last uint64
	name        string // ASCII
}

// gptPlan says how a GPT is to be.
type gptPlan struct {
	sector      int64
	entries     []gptEntry
	count, size uint32                       // of entries; 0: 128 of 128 bytes
	spoil       func(header, entries []byte) // before the checksums
}

const linuxData = "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4"

// header makes a header with its entries, at lba with the other one at alternate.
func (p gptPlan) header(lba, alternate, entriesLBA, last int64) (header, entries []byte) {
	le := binary.LittleEndian
	if p.count == 0 {
		p.count, p.size = 128, 128
	}
	entries = make([]byte, p.count*p.size)
	for _, e := range p.entries {
		raw := entries[uint32(e.number-1)*p.size:]
		copy(raw, linuxData)
		copy(raw[16:], "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")
		raw[31] = byte(e.number)
		le.PutUint64(raw[32:], e.first)
		le.PutUint64(raw[40:], e.last)
		for i, c := range []byte(e.name) {
			raw[56+2*i] = c
		}
	}
	header = make([]byte, p.sector)
	copy(header, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
	le.PutUint64(header[24:], uint64(lba))
	le.PutUint64(header[32:], uint64(alternate))
	table := (int64(len(entries)) + p.sector - 1) / p.sector
	le.PutUint64(header[40:], uint64(2+table))
	le.PutUint64(header[48:], uint64(last-table-1))
	copy(header[56:], "\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0\x01")
	le.PutUint64(header[72:], uint64(entriesLBA))
	le.PutUint32(header[80:], p.count)
	le.PutUint32(header[84:], p.size)
	if p.spoil != nil {
		p.spoil(header, entries)
	}
	sumGPT(header, entries)
	return header, entries
}

// sumGPT sets the checksums of a header.
func sumGPT(header, entries []byte) {
	le := binary.LittleEndian
	le.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
	clear(header[16:20])
	le.PutUint32(header[16:], crc32.ChecksumIEEE(header[:92]))
}

// gpt writes both tables and the protective MBR.
func (d *testDisk) gpt(p gptPlan) *testDisk {
	last := d.size/p.sector - 1
	header, entries := p.header(1, last, 2, last)
	table := (int64(len(entries)) + p.sector - 1) / p.sector
	d.put(p.sector, header).put(2*p.sector, entries)
	header, entries = p.header(last, 1, last-table, last)
	d.put((last-table)*p.sector, entries).put(last*p.sector, header)
	return d.mbr(0, mbrEntry{kind: 0xee, start: 1, count: uint32(min(last, 1<<32-1))})
}

type mbrEntry struct {
	boot, kind   byte
	start, count uint32
}

// table is a sector with the mark and up to four entries.
func table(entries ...mbrEntry) []byte {
	s := make([]byte, 512)
	for i, e := range entries {
		raw := s[446+16*i:]
		raw[0], raw[4] = e.boot, e.kind
		binary.LittleEndian.PutUint32(raw[8:], e.start)
		binary.LittleEndian.PutUint32(raw[12:], e.count)
	}
	s[510], s[511] = 0x55, 0xaa
	return s
}

// mbr writes a table and leaves the code before it.
func (d *testDisk) mbr(id uint32, entries ...mbrEntry) *testDisk {
	return d.put(440, binary.LittleEndian.AppendUint32(nil, id)).put(446, table(entries...)[446:])
}

func (d *testDisk) ebr(at int64, entries ...mbrEntry) *testDisk { return d.put(at, table(entries...)) }

// Superblocks as small as they can be and still be taken for what they are.

func extBlock(blocks, features uint32) []byte {
	le := binary.LittleEndian
	sb := make([]byte, 1024)
	le.PutUint32(sb[0:], 1024)   // inodes
	le.PutUint32(sb[4:], blocks) // of 4 KiB
	le.PutUint32(sb[12:], blocks/2)
	le.PutUint32(sb[16:], 1000)
	le.PutUint32(sb[24:], 2)
	le.PutUint32(sb[28:], 2)
	le.PutUint32(sb[32:], 32768)
	le.PutUint32(sb[36:], 32768)
	le.PutUint32(sb[40:], 1024)
	le.PutUint16(sb[56:], 0xef53)
	le.PutUint16(sb[58:], 1)
	le.PutUint32(sb[76:], 1)
	le.PutUint32(sb[84:], 11)
	le.PutUint16(sb[88:], 256)
	le.PutUint32(sb[96:], features)
	copy(sb[104:], "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10")
	copy(sb[120:], secretLabel)
	return sb
}

// What the owner of a disk calls things: in no error and no note.
const secretLabel, secretName = "hush-label", "hush-name"

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func xfsBlock(blocks uint64) []byte {
	be := binary.BigEndian
	sb := make([]byte, 512)
	copy(sb, "XFSB")
	be.PutUint32(sb[4:], 4096)
	be.PutUint64(sb[8:], blocks)
	copy(sb[32:], "\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20")
	be.PutUint64(sb[48:], 4)
	be.PutUint64(sb[56:], 64)
	be.PutUint32(sb[84:], uint32(blocks/4))
	be.PutUint32(sb[88:], 4)
	be.PutUint32(sb[96:], 1024)
	be.PutUint16(sb[100:], 0xb4a5)
	be.PutUint16(sb[102:], 512)
	be.PutUint16(sb[104:], 512)
	be.PutUint16(sb[106:], 8)
	copy(sb[108:], secretLabel)
	sb[120], sb[121], sb[122], sb[123] = 12, 9, 9, 3
	lg := byte(0)
	for uint64(1)<<lg < blocks/4 {
		lg++
	}
	sb[124] = lg
	be.PutUint64(sb[128:], 64)
	be.PutUint64(sb[136:], 60)
	be.PutUint64(sb[144:], blocks/2)
	be.PutUint32(sb[216:], 1)
	binary.LittleEndian.PutUint32(sb[224:], crc32.Checksum(sb, castagnoli()))
	return sb
}

func btrfsBlock(size, devices uint64) []byte {
	le := binary.LittleEndian
	sb := make([]byte, 4096)
	copy(sb[32:], "\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30")
	le.PutUint64(sb[48:], 64*kib)
	copy(sb[64:], "_BHRfS_M")
	le.PutUint64(sb[72:], 7)
	le.PutUint64(sb[80:], 30*mib)
	le.PutUint64(sb[88:], 22*mib)
	le.PutUint64(sb[112:], size*devices)
	le.PutUint64(sb[120:], 144*kib)
	le.PutUint64(sb[136:], devices)
	le.PutUint32(sb[144:], 4096)
	le.PutUint32(sb[148:], 16384)
	le.PutUint32(sb[152:], 16384)
	le.PutUint32(sb[156:], 4096)
	le.PutUint64(sb[188:], 0x341)
	le.PutUint64(sb[201:], 1) // the device's own item
	le.PutUint64(sb[209:], size)
	copy(sb[299:], secretLabel)
	le.PutUint32(sb, crc32.Checksum(sb[32:], castagnoli()))
	return sb
}

func lvmLabel(sector int64) []byte {
	l := make([]byte, 512)
	copy(l, "LABELONE")
	binary.LittleEndian.PutUint64(l[8:], uint64(sector))
	binary.LittleEndian.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001AbCdEfGhIjKlMnOpQrStUvWxYz012345")
	binary.LittleEndian.PutUint32(l[16:], lvmSum(l[20:]))
	return l
}

// lvmSum is LVM's checksum: a CRC-32 that begins with a number of its own and
// is not turned over at the end (lib/misc/crc.h of LVM2 has the number).
func lvmSum(p []byte) uint32 {
	crc := uint32(0xf597a6cf)
	for _, b := range p {
		crc ^= uint32(b)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320*(crc&1)
		}
	}
	return crc
}

func swapPage(page int64) []byte {
	p := make([]byte, page)
	binary.LittleEndian.PutUint32(p[1024:], 1)
	binary.LittleEndian.PutUint32(p[1028:], 255)
	copy(p[1036:], "\x31\x32\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\x3e\x3f\x40"+secretLabel)
	copy(p[page-10:], "SWAPSPACE2")
	return p
}

// raidBlock is a superblock of version 1 at a sector of its device.
func raidBlock(sector uint64) []byte {
	le := binary.LittleEndian
	sb := make([]byte, 4096)
	le.PutUint32(sb, 0xa92b4efc)
	le.PutUint32(sb[4:], 1)
	copy(sb[16:], "\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f\x50")
	copy(sb[32:], secretLabel)
	le.PutUint32(sb[72:], 1)
	le.PutUint32(sb[92:], 2)
	le.PutUint64(sb[144:], sector)
	le.PutUint32(sb[220:], 2) // max_dev: so many roles follow
	sum, zero := uint64(0), sb[216:220]
	clear(zero)
	for i := 0; i < 256+2*2; i += 4 {
		sum += uint64(le.Uint32(sb[i:]))
	}
	le.PutUint32(zero, uint32(sum)+uint32(sum>>32))
	return sb
}

// twoOn is a GPT with two partitions of 10 MiB each.
func twoOn(sector int64) gptPlan {
	s := uint64(mib / sector)
	return gptPlan{sector: sector, entries: []gptEntry{
		{1, s, 11*s - 1, secretName}, {2, 11 * s, 21*s - 1, ""},
	}}
}

// brief is a table in lines, one a partition.
func brief(t partition.Table) []string {
	lines := []string{fmt.Sprintf("%s %d", t.Type, t.SectorSize)}
	for _, p := range t.Partitions {
		line := fmt.Sprintf("%d %s %d+%d", p.Number, p.Role, p.Start, p.Length)
		if p.EBR != 0 {
			line += fmt.Sprintf(" ebr %d", p.EBR)
		}
		if p.Content.Type != "" {
			line += " " + p.Content.Type
		}
		lines = append(lines, line)
	}
	return lines
}

// grown is a disk with more room behind what it was.
func grown(d *testDisk, size int64) *testDisk {
	d.size = size
	return d
}

func noSecrets(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(strings.ToLower(text), "hush") {
		t.Errorf("a name of the disk's owner is in %q", text)
	}
}
