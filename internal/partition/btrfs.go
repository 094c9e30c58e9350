package partition

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
)

// The superblock of btrfs (Linux, include/uapi/linux/btrfs_tree.h).
const (
	btrfsSuper     = 64 << 10
	btrfsSuperSize = 4096
	btrfsMagic     = "_BHRfS_M"
	btrfsFromSums  = 0x20 // the checksum is over what comes behind it

	btrfsCRC32C, btrfsSHA256, btrfsLastChecksum = 0, 2, 3
)

// btrfsNames are the names of /sys/fs/btrfs/features.
func btrfsNames() (forWriting, incompat map[int]string) {
	return map[int]string{0: "free_space_tree", 1: "free_space_tree_valid", 2: "verity", 3: "block_group_tree"},
		map[int]string{
			0: "mixed_backref", 1: "default_subvol", 2: "mixed_groups", 3: "compress_lzo", 4: "compress_zstd",
			5: "big_metadata", 6: "extended_iref", 7: "raid56", 8: "skinny_metadata", 9: "no_holes", 10: "metadata_uuid",
			11: "raid1c34", 12: "zoned", 13: "extent_tree_v2", 14: "raid_stripe_tree", 16: "simple_quota",
		}
}

func probeBtrfs(r region) (finding, string) {
	sb := r.at(btrfsSuper, btrfsSuperSize)
	if sb == nil || string(sb[0x40:0x48]) != btrfsMagic || le64(sb, 0x30) != btrfsSuper {
		return finding{}, ""
	}
	unit, node := le32(sb, 0x90), le32(sb, 0x94)
	total, used, devices, here := le64(sb, 0x70), le64(sb, 0x78), le64(sb, 0x88), le64(sb, 0xd1)
	if le64(sb, 0x48) == 0 || !powerOfTwo(unit, 2048, 64<<10) || !powerOfTwo(node, unit, 64<<10) ||
		total <= 0 || devices < 1 || devices > 1<<20 || le16(sb, 0xc4) > btrfsLastChecksum {
		return finding{}, ""
	}
	if !btrfsChecksum(sb) {
		return finding{}, "there is a superblock of btrfs whose checksum is wrong"
	}
	if !r.fits(here, 1) {
		return finding{}, fmt.Sprintf("there is a superblock of btrfs for a device of %d bytes, more than there is room for", here)
	}
	forWriting, incompat := btrfsNames()
	f := finding{Content: Content{
		Type: "btrfs", UUID: uuidOf(sb[0x20:]), Label: text(sb[0x12b:0x22b]), BlockSize: unit, Used: -1, Files: -1,
		Features: slices.Concat(
			features(forWriting, uint64(le64(sb, 0xb4)), func(bit uint64) string { return fmt.Sprintf("ro_compat_0x%x", bit) }),
			features(incompat, uint64(le64(sb, 0xbc)), func(bit uint64) string { return fmt.Sprintf("incompat_0x%x", bit) }),
		),
		Devices: int(devices), Dirty: le64(sb, 0x60) != 0,
	}}
	slices.Sort(f.Features)
	if used >= 0 && used <= total {
		f.Used = used
	}
	return f, ""
}

// btrfsChecksum checks the two kinds that the standard library has; of the others
// (xxhash, blake2b) what the superblock says of its place has to do.
func btrfsChecksum(sb []byte) bool {
	switch le16(sb, 0xc4) {
	case btrfsCRC32C:
		return int64(crc32c(sb[btrfsFromSums:])) == le32(sb, 0)
	case btrfsSHA256:
		sum := sha256.Sum256(sb[btrfsFromSums:])
		return bytes.Equal(sum[:], sb[:btrfsFromSums])
	}
	return true
}
