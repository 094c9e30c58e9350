package partition

import (
	"fmt"
	"slices"
)

// Bits of the ext superblock that decide what it is (Linux, fs/ext4/ext4.h).
const (
	extHasJournal   = 1 << 2  // compatible
	extMetadataCsum = 1 << 10 // for writing
	extBigalloc     = 1 << 9  // for writing
	extRecover      = 1 << 2  // incompatible
	extJournalDev   = 1 << 3  // incompatible
	ext64bit        = 1 << 7  // incompatible

	ext3ForWriting   = 0b111      // sparse_super, large_file, btree_dir: all that ext2 and ext3 know
	ext3Incompatible = 0b10010    // filetype, meta_bg: all that ext2 knows
	extTestFS        = 1 << 2     // flags: ext4 in its first years
	extMagic         = 0xef53     // 16 bits are little: the other checks are what counts
	extMaxLogBlock   = 6          // 64 KiB
	extSuper         = 1024       // its offset and size
	extChecksumAt    = 1024 - 4   // it is over what is before it
	extRaw           = 0xffffffff // the kernel's crc32c has no last inversion
)

// extNames are the names of dumpe2fs (e2fsprogs, lib/e2p/feature.c).
func extNames() (compat, forWriting, incompat map[int]string) {
	compat = map[int]string{
		0: "dir_prealloc", 1: "imagic_inodes", 2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index",
		6: "lazy_bg", 8: "snapshot_bitmap", 9: "sparse_super2", 10: "fast_commit", 11: "stable_inodes", 12: "orphan_file",
	}
	forWriting = map[int]string{
		0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize",
		7: "snapshot", 8: "quota", 9: "bigalloc", 10: "metadata_csum", 11: "replica", 12: "read-only", 13: "project",
		14: "shared_blocks", 15: "verity", 16: "orphan_present",
	}
	incompat = map[int]string{
		0: "compression", 1: "filetype", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg", 6: "extent", 7: "64bit",
		8: "mmp", 9: "flex_bg", 10: "ea_inode", 12: "dirdata", 13: "metadata_csum_seed", 14: "large_dir",
		15: "inline_data", 16: "encrypt", 17: "casefold",
	}
	return compat, forWriting, incompat
}

func probeExt(r region) (finding, string) {
	sb := r.at(extSuper, extSuper)
	if sb == nil || le16(sb, 0x38) != extMagic || le32(sb, 0x18) > extMaxLogBlock || le32(sb, 0x4c) > 1 {
		return finding{}, ""
	}
	var compat, incompat, forWriting int64
	if le32(sb, 0x4c) == 1 { // revision 0 has no features
		compat, incompat, forWriting = le32(sb, 0x5c), le32(sb, 0x60), le32(sb, 0x64)
	}
	unit := int64(1024) << le32(sb, 0x18)
	blocks, free := le32(sb, 0x4), le32(sb, 0xc)
	if incompat&ext64bit != 0 {
		blocks |= le32(sb, 0x150) << 32
		free |= le32(sb, 0x158) << 32
	}
	f := finding{Content: Content{
		Type: extType(compat, forWriting, incompat, le32(sb, 0x160)),
		UUID: uuidOf(sb[0x68:]), Label: text(sb[0x78:0x88]), BlockSize: unit, Used: -1, Files: -1,
		Features: extFeatures(compat, forWriting, incompat), Dirty: incompat&extRecover != 0,
	}}
	switch {
	case f.Type != "jbd" && !extPlausible(sb, unit, blocks, forWriting):
		return finding{}, ""
	case forWriting&extMetadataCsum != 0 && int64(crc32c(sb[:extChecksumAt])^extRaw) != le32(sb, extChecksumAt):
		return finding{}, "there is a superblock of ext4 whose checksum is wrong"
	case !r.fits(blocks, unit):
		return finding{}, fmt.Sprintf("there is a superblock of %s with %d blocks of %d bytes, more than there is room for", f.Type, blocks, unit)
	}
	if free >= 0 && free <= blocks && f.Type != "jbd" {
		f.Used = (blocks - free) * unit
		f.Files = max(le32(sb, 0)-le32(sb, 0x10), -1)
	}
	return f, ""
}

// extPlausible checks what the kernel checks before it mounts one (Linux,
// fs/ext4/super.c): every byte of a superblock that is random would have to be
// so by chance.
func extPlausible(sb []byte, unit, blocks, forWriting int64) bool {
	first, perGroup := le32(sb, 0x14), le32(sb, 0x20)
	inodes, inodesPerGroup := le32(sb, 0), le32(sb, 0x28)
	ratio := int64(1)
	if forWriting&extBigalloc != 0 {
		log := le32(sb, 0x1c) - le32(sb, 0x18)
		if log < 0 || log > 20 {
			return false
		}
		ratio <<= log
	}
	inodeSize := int64(128)
	if le32(sb, 0x4c) == 1 {
		inodeSize = le16(sb, 0x58)
	}
	if blocks <= first || first > 1 || perGroup == 0 || perGroup > 8*unit*ratio ||
		inodesPerGroup == 0 || inodesPerGroup > 8*unit || !powerOfTwo(inodeSize, 128, unit) {
		return false
	}
	return (blocks-first+perGroup-1)/perGroup*inodesPerGroup == inodes
}

// extType is blkid's word: ext2 has no journal, and ext4 what ext3 does not know.
func extType(compat, forWriting, incompat, flags int64) string {
	switch {
	case incompat&extJournalDev != 0:
		return "jbd"
	case flags&extTestFS != 0:
		return "ext4"
	case compat&extHasJournal == 0 && forWriting&^ext3ForWriting == 0 && incompat&^ext3Incompatible == 0:
		return "ext2"
	case compat&extHasJournal != 0 && forWriting&^ext3ForWriting == 0 && incompat&^(ext3Incompatible|extRecover) == 0:
		return "ext3"
	}
	return "ext4"
}

func extFeatures(compat, forWriting, incompat int64) []string {
	compatNames, writingNames, incompatNames := extNames()
	unknown := func(word string) func(uint64) string {
		return func(bit uint64) string { return fmt.Sprintf("%s_0x%x", word, bit) }
	}
	all := slices.Concat(
		features(compatNames, uint64(compat), unknown("compat")),
		features(writingNames, uint64(forWriting), unknown("ro_compat")),
		features(incompatNames, uint64(incompat), unknown("incompat")),
	)
	slices.Sort(all)
	return all
}
