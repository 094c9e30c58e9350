package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// Superblocks of MD arrays (Linux, include/uapi/linux/raid/md_p.h).
const (
	raidMagic     = 0xa92b4efc
	raidOldSize   = 4096 // of a superblock of version 0.90
	raidOldUnit   = 64 << 10
	raidSize      = 256 // of one of version 1, without the table of devices
	raidMaxTable  = 3840 / 2
	raidAtEnd     = 8 << 10
	raidOldSumAt  = 152 // word 38
	raidSumAt     = 216
	raidOldHeader = 90 // the minor version
)

func probeRAID(r region) (finding, string) {
	sectors := r.size / sector512
	end := (sectors - raidAtEnd/sector512) &^ 7 * sector512
	for _, p := range [...]struct {
		version string
		place   int64
		sb      []byte
	}{
		{"1.0", end, r.late(end, raidOldSize)},
		{"1.1", 0, r.at(0, raidOldSize)},
		{"1.2", 4096, r.at(4096, raidOldSize)},
	} {
		f, ok := parseRAID(p.sb, p.place, p.version)
		if ok && p.version == "1.0" {
			f.place = p.place
		}
		if ok {
			return f, ""
		}
	}
	old := r.size&^(raidOldUnit-1) - raidOldUnit
	f, ok := parseOldRAID(r.late(old, raidOldSize))
	if ok {
		f.place = old
	}
	return f, ""
}

// parseRAID reads version 1. It says where it lies, so that one at the end of a
// disk is not taken for one at the end of its last partition.
func parseRAID(sb []byte, place int64, version string) (finding, bool) {
	if sb == nil || le32(sb, 0) != raidMagic || le32(sb, 4) != 1 || le64(sb, 144) != place/sector512 {
		return finding{}, false
	}
	table := le32(sb, 220)
	if table > raidMaxTable {
		return finding{}, false
	}
	if sum := raidSum(sb[:(raidSize+2*table+3)&^3], raidSumAt, raidSize+2*table); int64(sum) != le32(sb, raidSumAt) {
		return finding{}, false
	}
	return finding{Content: Content{
		Type: "linux_raid_member", UUID: uuidOf(sb[16:]), Label: text(sb[32:64]), Used: -1, Files: -1,
		Features: raidFeatures(int32(le32(sb, 72)), version),
	}}, true
}

// raidSum is calc_sb_1_csum of drivers/md/md.c: the 32-bit words, and a last half
// of one, added up.
func raidSum(sb []byte, skip int, size int64) uint32 {
	sum, off := uint64(0), 0
	for ; int64(off)+4 <= size; off += 4 {
		if off != skip {
			sum += uint64(binary.LittleEndian.Uint32(sb[off:]))
		}
	}
	if int64(off)+2 == size {
		sum += uint64(binary.LittleEndian.Uint16(sb[off:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

// parseOldRAID reads version 0.90, which does not say where it lies. Its numbers
// are those of the machine that wrote it.
func parseOldRAID(sb []byte) (finding, bool) {
	if sb == nil {
		return finding{}, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(sb) != raidMagic {
		order = binary.BigEndian
	}
	if order.Uint32(sb) != raidMagic || order.Uint32(sb[4:]) != 0 || order.Uint32(sb[8:]) != raidOldHeader {
		return finding{}, false
	}
	sum := uint64(0)
	for off := 0; off < raidOldSize; off += 4 {
		if off != raidOldSumAt {
			sum += uint64(order.Uint32(sb[off:]))
		}
	}
	if uint32(sum)+uint32(sum>>32) != order.Uint32(sb[raidOldSumAt:]) {
		return finding{}, false
	}
	id := bytes.Join([][]byte{sb[20:24], sb[52:64]}, nil)
	if order == binary.LittleEndian { // mdadm and blkid show its four words as numbers
		for i := 0; i < len(id); i += 4 {
			binary.BigEndian.PutUint32(id[i:], binary.LittleEndian.Uint32(id[i:]))
		}
	}
	return finding{Content: Content{
		Type: "linux_raid_member", UUID: uuidOf(id), Used: -1, Files: -1,
		Features: raidFeatures(int32(order.Uint32(sb[28:])), "0.90"),
	}}, true
}

func raidFeatures(level int32, version string) []string {
	name := fmt.Sprintf("raid%d", level)
	if level == -1 {
		name = "linear"
	}
	return []string{"metadata_" + version, name}
}

// probeLUKS looks for the first header alone (LUKS1 and LUKS2 on-disk formats,
// gitlab.com/cryptsetup/cryptsetup/docs): the second of LUKS2 outlives a
// filesystem that is made in its place.
func probeLUKS(r region) (finding, string) {
	p := r.at(0, 592)
	if p == nil || string(p[:6]) != "LUKS\xba\xbe" || be16(p, 6) < 1 || be16(p, 6) > 2 {
		return finding{}, ""
	}
	c := Content{Type: "crypto_LUKS", UUID: text(p[168:208]), Used: -1, Files: -1, Features: []string{fmt.Sprintf("luks%d", be16(p, 6))}}
	if be16(p, 6) == 2 {
		c.Label = text(p[24:72])
	}
	return finding{Content: c}, ""
}

// probeLVM looks for the label of a physical volume in the first four sectors
// (LVM2, lib/label/label.h and lib/format_text/layout.h).
func probeLVM(r region) (finding, string) {
	const first = 0xf597a6cf // what LVM's checksum begins with
	for sector := range 4 {
		p := r.at(sector*sector512, sector512)
		if p == nil || string(p[:8]) != "LABELONE" || string(p[24:32]) != "LVM2 001" || le64(p, 8) != int64(sector) {
			continue
		}
		if int64(^crc32.Update(^uint32(first), crc32.IEEETable, p[20:])) != le32(p, 16) {
			return finding{}, "there is a label of LVM2 whose checksum is wrong"
		}
		c := Content{Type: "LVM2_member", Used: -1, Files: -1}
		if at := le32(p, 20); at >= 32 && at <= sector512-32 {
			id := string(p[at : at+32])
			c.UUID = strings.Join([]string{id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:]}, "-")
		}
		return finding{Content: c}, ""
	}
	return finding{}, ""
}

// probeBcache looks for the superblock of a cache or of what is cached (Linux,
// drivers/md/bcache/bcache_ondisk.h).
func probeBcache(r region) (finding, string) {
	p := r.at(4096, 4096)
	if p == nil || string(p[24:40]) != "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81" || le64(p, 8) != 8 {
		return finding{}, ""
	}
	return finding{Content: Content{Type: "bcache", UUID: uuidOf(p[40:]), Label: text(p[72:104]), Used: -1, Files: -1}}, ""
}
