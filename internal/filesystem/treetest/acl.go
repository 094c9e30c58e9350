//go:build linux

package treetest

import "encoding/binary"

// The tags of ACL entries, from linux/posix_acl.h.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclNoID = 0xffffffff
)

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// aclValue is an ACL as the kernel takes it: version 2, then tag, permissions and
// id of each entry, little endian (linux/posix_acl_xattr.h).
func aclValue(entries ...aclEntry) string {
	raw := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		raw = binary.LittleEndian.AppendUint16(raw, e.tag)
		raw = binary.LittleEndian.AppendUint16(raw, e.perm)
		raw = binary.LittleEndian.AppendUint32(raw, e.id)
	}
	return string(raw)
}

// fullACL has named users and groups with the ids that people and programs get
// wrong: root, nobody, the largest.
func fullACL(mask uint16) string {
	return aclValue(
		aclEntry{aclUserObj, 7, aclNoID},
		aclEntry{aclUser, 6, 0}, aclEntry{aclUser, 4, 65534}, aclEntry{aclUser, 0, 4294967294},
		aclEntry{aclGroupObj, 5, aclNoID},
		aclEntry{aclGroup, 7, 0}, aclEntry{aclGroup, 1, 65534}, aclEntry{aclGroup, 3, 4294967294},
		aclEntry{aclMask, mask, aclNoID},
		aclEntry{aclOther, 4, aclNoID},
	)
}

// smallACL says no more than a mode does.
func smallACL(user, group, other uint16) string {
	return aclValue(aclEntry{aclUserObj, user, aclNoID}, aclEntry{aclGroupObj, group, aclNoID}, aclEntry{aclOther, other, aclNoID})
}

// longACL names n users.
func longACL(n int) string {
	entries := []aclEntry{{aclUserObj, 6, aclNoID}}
	for i := range n {
		entries = append(entries, aclEntry{aclUser, uint16(i % 8), uint32(100000 + i)})
	}
	entries = append(entries, aclEntry{aclGroupObj, 4, aclNoID}, aclEntry{aclMask, 7, aclNoID}, aclEntry{aclOther, 0, aclNoID})
	return aclValue(entries...)
}
