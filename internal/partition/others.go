package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// probeF2FS (Linux, include/linux/f2fs_fs.h).
func probeF2FS(r region) (finding, string) {
	p := r.at(1024, 1024)
	if p == nil || le32(p, 0) != 0xf2f52010 {
		return finding{}, ""
	}
	log, total := le32(p, 16), le64(p, 36)
	if le32(p, 8) < 9 || le32(p, 8) > log || log < 12 || log > 16 || total <= 0 || !r.fits(total, 1<<log) {
		return finding{}, ""
	}
	return finding{Content: Content{
		Type: "f2fs", UUID: uuidOf(p[108:]), Label: utf16Text(p[124 : 124+512]), BlockSize: 1 << log, Used: -1, Files: -1,
	}}, ""
}

// probeJFS (Linux, fs/jfs/jfs_superblock.h).
func probeJFS(r region) (finding, string) {
	p := r.at(32<<10, 512)
	if p == nil || string(p[:4]) != "JFS1" {
		return finding{}, ""
	}
	// The size counts in blocks of the device, of 1 << l2pbsize bytes.
	unit, log, deviceLog := le32(p, 16), le16(p, 20), le16(p, 28)
	if le32(p, 4) < 1 || le32(p, 4) > 2 || !powerOfTwo(unit, 512, 4096) || log > 12 || unit != 1<<log || deviceLog < 9 || deviceLog > 12 ||
		!r.fits(le64(p, 8), 1<<deviceLog) {
		return finding{}, ""
	}
	return finding{Content: Content{
		Type: "jfs", UUID: uuidOf(p[136:]), Label: text(p[152:168]), BlockSize: unit, Used: -1, Files: -1,
	}}, ""
}

// probeReiserFS (Linux before 6.13, fs/reiserfs/reiserfs.h).
func probeReiserFS(r region) (finding, string) {
	for _, off := range [...]int{64 << 10, 8 << 10} {
		p := r.at(off, 204)
		if p == nil {
			continue
		}
		magic := text(p[52:62])
		if magic != "ReIsErFs" && magic != "ReIsEr2Fs" && magic != "ReIsEr3Fs" {
			continue
		}
		if unit := le16(p, 44); powerOfTwo(unit, 512, 8192) && r.fits(le32(p, 0), unit) {
			c := Content{Type: "reiserfs", BlockSize: unit, Used: -1, Files: -1}
			if magic != "ReIsErFs" {
				c.UUID, c.Label = uuidOf(p[84:]), text(p[100:116])
			}
			return finding{Content: c}, ""
		}
	}
	return finding{}, ""
}

// probeISO (ECMA-119, 8.4).
func probeISO(r region) (finding, string) {
	p := r.at(32<<10, 2048)
	if p == nil || string(p[:7]) != "\x01CD001\x01" || !r.fits(le32(p, 80), le16(p, 128)) {
		return finding{}, ""
	}
	c := Content{Type: "iso9660", Label: strings.TrimRight(text(p[40:72]), " "), BlockSize: le16(p, 128), Used: -1, Files: -1}
	date := p[830:846] // of its last change; blkid's UUID
	if !isDate(date) {
		date = p[813:829] // of its creation
	}
	if d := string(date); isDate(date) {
		c.UUID = strings.Join([]string{d[:4], d[4:6], d[6:8], d[8:10], d[10:12], d[12:14], d[14:16]}, "-")
	}
	return finding{Content: c}, ""
}

func isDate(p []byte) bool {
	zeros := 0
	for _, b := range p {
		if b < '0' || b > '9' {
			return false
		}
		if b == '0' {
			zeros++
		}
	}
	return zeros < len(p)
}

// probeSquashFS looks for version 4 (Linux, fs/squashfs/squashfs_fs.h).
func probeSquashFS(r region) (finding, string) {
	p := r.at(0, 96)
	if p == nil || string(p[:4]) != "hsqs" || le16(p, 28) != 4 {
		return finding{}, ""
	}
	unit, log := le32(p, 12), le16(p, 22)
	if !powerOfTwo(unit, 4096, 1<<20) || log > 20 || unit != 1<<log || !r.fits(le64(p, 40), 1) {
		return finding{}, ""
	}
	return finding{Content: Content{Type: "squashfs", BlockSize: unit, Used: le64(p, 40), Files: le32(p, 4)}}, ""
}

// probeSwap looks at the end of a first page of each size that Linux has (Linux,
// include/linux/swap.h). One with a hibernated system in it is not swap.
func probeSwap(r region) (finding, string) {
	for page := 4 << 10; page <= 64<<10; page *= 2 {
		p := r.at(0, page)
		if p == nil {
			break
		}
		switch end := string(p[page-10:]); {
		case end == "SWAPSPACE2":
		case strings.HasPrefix(end, "S1SUSPEND"), strings.HasPrefix(end, "S2SUSPEND"), strings.HasPrefix(end, "ULSUSPEND"),
			strings.HasPrefix(end, "LINHIB0001"):
			return finding{Content: Content{Type: "swsuspend", BlockSize: int64(page), Used: -1, Files: -1}}, ""
		default:
			continue
		}
		for _, order := range [...]binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			last := int64(order.Uint32(p[1028:]))
			if order.Uint32(p[1024:]) == 1 && last > 0 && r.fits(last, int64(page)) {
				return finding{Content: Content{
					Type: "swap", UUID: uuidOf(p[1036:]), Label: text(p[1052:1068]), BlockSize: int64(page), Used: -1, Files: -1,
				}}, ""
			}
		}
		return finding{}, fmt.Sprintf("there is a signature of swap with pages of %d bytes, but no header that goes with it", page)
	}
	return finding{}, ""
}

// probeZFS looks at the first of the four labels: its list of names and values,
// and an uberblock, of which there are as many as there is room (OpenZFS,
// include/sys/vdev_impl.h and uberblock_impl.h).
func probeZFS(r region) (finding, string) {
	const lists, uberblocks, least = 16 << 10, 128 << 10, 1 << 10
	list := r.at(lists, uberblocks-lists)
	if list == nil || list[0] != 1 { // XDR
		return finding{}, ""
	}
	ring := r.at(uberblocks, frontSize-uberblocks)
	for off := 0; off+least <= len(ring); off += least {
		p := ring[off:]
		if binary.LittleEndian.Uint64(p) == 0x00bab10c || binary.BigEndian.Uint64(p) == 0x00bab10c {
			c := Content{Type: "zfs_member", Used: -1, Files: -1}
			if v := xdrValue(list, "pool_guid", 8); len(v) >= 8 {
				c.UUID = strconv.FormatUint(binary.BigEndian.Uint64(v), 10)
			}
			if v := xdrValue(list, "name", 9); len(v) >= 4 {
				if n := be32(v, 0); n <= int64(len(v)-4) {
					c.Label = string(v[4 : 4+n])
				}
			}
			return finding{Content: c}, ""
		}
	}
	return finding{}, ""
}

// xdrValue finds a value of a type in a list by its name: the name's length, the
// name filled up to whole words, the type, and how many there are, which is 1.
func xdrValue(list []byte, name string, kind byte) []byte {
	key := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	key = append(key, name...)
	for len(key)%4 != 0 {
		key = append(key, 0)
	}
	key = append(key, 0, 0, 0, kind, 0, 0, 0, 1)
	_, value, _ := bytes.Cut(list, key)
	return value
}

// utf16Text is a little-endian text that ends with zero or the field.
func utf16Text(p []byte) string {
	var units []uint16
	for ; len(p) > 1 && (p[0] != 0 || p[1] != 0); p = p[2:] {
		units = append(units, binary.LittleEndian.Uint16(p))
	}
	return string(utf16.Decode(units))
}
