package partition

import (
	"encoding/binary"
	"fmt"
	"strings"

	"snap-to-s3/internal/block"
)

// bootSigned tells whether a boot sector ends as one.
func bootSigned(p []byte) bool { return p[510] == 0x55 && p[511] == 0xaa }

// probeFAT looks for a FAT that says so in its boot sector (Microsoft's FAT
// specification, 3.1 to 3.5); the first ones of DOS did not. Its label is the one
// there, too, and not the one in the root folder.
func probeFAT(r region) (finding, string) {
	p := r.at(0, sector512)
	if p == nil || !bootSigned(p) || p[0] != 0xeb && p[0] != 0xe9 || string(p[3:11]) == "-FVE-FS-" { // BitLocker imitates it
		return finding{}, ""
	}
	kind, extra := text(p[54:62]), 38
	if string(p[82:90]) == "FAT32   " {
		kind, extra = "FAT32   ", 66
	}
	sector, perCluster, reserved, copies := le16(p, 11), int64(p[13]), le16(p, 14), int64(p[16])
	total, perFAT, media := le16(p, 19), le16(p, 22), p[21]
	if total == 0 {
		total = le32(p, 32)
	}
	if perFAT == 0 && extra == 66 {
		perFAT = le32(p, 36)
	}
	if !strings.HasPrefix(kind, "FAT") || !powerOfTwo(sector, 512, 4096) || !powerOfTwo(perCluster, 1, 128) ||
		reserved == 0 || copies < 1 || copies > 2 || media != 0xf0 && media < 0xf8 || perFAT == 0 ||
		reserved+copies*perFAT+(le16(p, 17)*32+sector-1)/sector >= total {
		return finding{}, ""
	}
	if !r.fits(total, sector) {
		return finding{}, fmt.Sprintf("there is a boot sector of vfat with %d sectors of %d bytes, more than there is room for", total, sector)
	}
	c := Content{
		Type: "vfat", BlockSize: sector * perCluster, Used: -1, Files: -1,
		Features: []string{strings.ToLower(strings.TrimRight(kind, " "))},
	}
	if p[extra] == 0x28 || p[extra] == 0x29 {
		c.UUID = serial(p[extra+1:])
	}
	if label := strings.TrimRight(string(p[extra+5:extra+16]), " "); p[extra] == 0x29 && label != "NO NAME" {
		c.Label = text([]byte(label))
	}
	return finding{Content: c}, ""
}

func serial(p []byte) string { return fmt.Sprintf("%02X%02X-%02X%02X", p[3], p[2], p[1], p[0]) }

// probeExFAT checks the boot region with its checksum (Microsoft's exFAT file
// system specification, 3.1 and 3.4).
func probeExFAT(r region) (finding, string) {
	p := r.at(0, sector512)
	if p == nil || !bootSigned(p) || string(p[3:11]) != "EXFAT   " || !block.AllZero(p[11:64]) ||
		p[108] < 9 || p[108] > 12 || int(p[108])+int(p[109]) > 25 {
		return finding{}, ""
	}
	sector := int64(1) << p[108]
	region := r.at(0, int(12*sector))
	if region == nil {
		return finding{}, ""
	}
	sum := uint32(0)
	for i, b := range region[:11*sector] {
		if i != 106 && i != 107 && i != 112 { // flags and fill, which change
			sum = (sum<<31 | sum>>1) + uint32(b)
		}
	}
	if int64(sum) != le32(region, int(11*sector)) {
		return finding{}, "there is a boot sector of exfat whose checksum is wrong"
	}
	if total := le64(p, 72); !r.fits(total, sector) {
		return finding{}, fmt.Sprintf("there is a boot sector of exfat with %d sectors of %d bytes, more than there is room for", total, sector)
	}
	return finding{Content: Content{
		Type: "exfat", UUID: serial(p[100:]), BlockSize: sector << p[109], Used: -1, Files: -1,
	}}, ""
}

// probeNTFS (Linux, fs/ntfs3/ntfs.h).
func probeNTFS(r region) (finding, string) {
	p := r.at(0, sector512)
	if p == nil || !bootSigned(p) || string(p[3:11]) != "NTFS    " {
		return finding{}, ""
	}
	sector, total := le16(p, 11), le64(p, 40)
	perCluster := int64(p[13])
	if perCluster > 0x80 { // large clusters: the power of two, negative
		perCluster = 1 << min(256-perCluster, 20)
	}
	if !powerOfTwo(sector, 512, 4096) || !powerOfTwo(perCluster, 1, 4096) || total <= 0 || !r.fits(total, sector) {
		return finding{}, ""
	}
	return finding{Content: Content{
		Type: "ntfs", UUID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(p[72:])), BlockSize: sector * perCluster, Used: -1, Files: -1,
	}}, ""
}
