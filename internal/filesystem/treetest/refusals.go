//go:build linux

package treetest

import "fmt"

// Refusals is what a filesystem made by Image does not hold of what Make makes,
// each as "case: errno" or "case: becomes what".
func Refusals(fs string) []string {
	var all []string
	switch fs {
	case "ext2", "ext3", "ext4":
		all = append(all, beyond(2147483648, 15032385535)...)
		// ext keeps the xattrs of a file in one block beside the inode, unless it has
		// the feature ea_inode; ACLs are xattrs.
		all = append(all, "acls 1500 users: ENOSPC", "xattrs value 16000: ENOSPC", "xattrs value 60000: ENOSPC", "xattrs value 65536: ENOSPC", "huge 1 EiB: EFBIG")
	case "xfs":
		all = append(all, beyond(2147483648, 16299260424)...)
		// Its symlinks end at 1,023 bytes, its minor numbers at 18 bits.
		all = append(all, "symlinks 1024: ENAMETOOLONG", "symlinks 4095: ENAMETOOLONG", "special minor 20 bits: EINVAL", "special largest: EINVAL")
	case "btrfs":
		// An xattr fits a leaf of 16 KiB.
		all = append(all, "xattrs value 60000: ENOSPC", "xattrs value 65536: ENOSPC")
	}
	if fs == "ext2" || fs == "ext3" {
		// Without extents nothing can be allocated unwritten, and a file of blocks of
		// 4 KiB ends below 4 TiB.
		all = append(all, "huge 15 TiB: EFBIG")
		for _, name := range [...]string{
			"unwritten", "unwritten then data", "unwritten around data", "allocated behind the end", "allocated and empty", "zeroed range",
		} {
			all = append(all, "sparse "+name+": ENOTSUP")
		}
	}
	return all
}

// beyond names the times that a filesystem cannot hold: those past its first and
// its last second become these.
func beyond(first, last int64) []string {
	var all []string
	for _, ns := range [...]string{"000000001", "100000000", "999999999"} {
		all = append(all, fmt.Sprintf("times -2147483648.%s: becomes -%d+000000000ns", ns, first))
	}
	for _, ns := range [...]string{"000000000", "000000001", "100000000", "999999999"} {
		all = append(all, fmt.Sprintf("times 23036313600.%s: becomes %d+000000000ns", ns, last))
	}
	return all
}
