package partition

import (
	"bytes"
	"fmt"
	"slices"
)

// Bits of the XFS superblock (Linux, fs/xfs/libxfs/xfs_format.h).
const (
	xfsMagic       = "XFSB"
	xfsMoreBits    = 0x8000 // of the version: features2 counts
	xfsChecksumAt  = 224
	xfsSuperblock  = 264
	xfsFtypeBit    = 0x200 // of features2, version 4
	xfsProjid32Bit = 0x80  // of features2
)

// xfsNames are the words of xfs_info and mkfs.xfs.
func xfsNames() (forWriting, incompat map[int]string) {
	return map[int]string{0: "finobt", 1: "rmapbt", 2: "reflink", 3: "inobtcount"},
		map[int]string{
			0: "ftype", 1: "sparse", 2: "meta_uuid", 3: "bigtime", 4: "needsrepair", 5: "nrext64", 6: "exchange",
			7: "parent", 8: "metadir", 9: "zoned",
		}
}

func probeXFS(r region) (finding, string) {
	sb := r.at(0, sector512)
	if sb == nil || string(sb[:4]) != xfsMagic {
		return finding{}, ""
	}
	unit, blocks, sector, version := be32(sb, 4), be64(sb, 8), be16(sb, 102), be16(sb, 100)&0xf
	groups, perGroup := be32(sb, 88), be32(sb, 84)
	inProgress := sb[126] != 0 // mkfs.xfs has not got to its end
	if version != 4 && version != 5 || !powerOfTwo(unit, 512, 64<<10) || !powerOfTwo(sector, 512, 32<<10) ||
		unit != 1<<(sb[120]&63) || blocks <= 0 || inProgress ||
		groups == 0 || perGroup == 0 || (blocks+perGroup-1)/perGroup != groups {
		return finding{}, ""
	}
	if version == 5 && !xfsChecksum(r.at(0, int(sector))) {
		return finding{}, "there is a superblock of xfs whose checksum is wrong"
	}
	if !r.fits(blocks, unit) {
		return finding{}, fmt.Sprintf("there is a superblock of xfs with %d blocks of %d bytes, more than there is room for", blocks, unit)
	}
	f := finding{Content: Content{
		Type: "xfs", UUID: uuidOf(sb[32:]), Label: text(sb[108:120]), BlockSize: unit, Used: -1, Files: -1,
		Features: xfsFeatures(sb, version),
	}}
	if free := be64(sb, 144); free >= 0 && free <= blocks {
		f.Used = (blocks - free) * unit
	}
	if inodes, free := be64(sb, 128), be64(sb, 136); free >= 0 && free <= inodes {
		f.Files = inodes - free
	}
	return f, ""
}

// xfsChecksum checks the sector with the superblock. The checksum is, unlike all
// other numbers, little-endian.
func xfsChecksum(sector []byte) bool {
	if sector == nil {
		return false
	}
	sum := bytes.Clone(sector)
	clear(sum[xfsChecksumAt : xfsChecksumAt+4])
	return int64(crc32c(sum)) == le32(sector, xfsChecksumAt)
}

func xfsFeatures(sb []byte, version int64) []string {
	all := []string{fmt.Sprintf("v%d", version)}
	if be64(sb, 48) == 0 {
		all = append(all, "external_log")
	}
	if be64(sb, 16) != 0 {
		all = append(all, "realtime")
	}
	if version == 4 {
		if bits := be32(sb, 200); be16(sb, 100)&xfsMoreBits != 0 {
			if bits&xfsFtypeBit != 0 {
				all = append(all, "ftype")
			}
			if bits&xfsProjid32Bit != 0 {
				all = append(all, "projid32bit")
			}
		}
	} else {
		forWriting, incompat := xfsNames()
		all = append(all, features(forWriting, uint64(be32(sb, 212)), func(bit uint64) string { return fmt.Sprintf("ro_compat_0x%x", bit) })...)
		all = append(all, features(incompat, uint64(be32(sb, 216)), func(bit uint64) string { return fmt.Sprintf("incompat_0x%x", bit) })...)
	}
	slices.Sort(all)
	return all
}
