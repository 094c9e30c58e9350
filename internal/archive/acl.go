package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The tags of an ACL's entries (linux/posix_acl_xattr.h; acl(5) has their words).
const (
	aclVersion   = 2
	aclHeader    = 4
	aclEntry     = 8
	aclUserObj   = 0x01
	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclOther     = 0x20
	aclUndefined = 0xFFFFFFFF
)

// aclText turns an ACL as the kernel stores it into the long text form of acl(5),
// with numbers for users and groups: names mean something else on each machine.
func aclText(raw []byte) (string, error) {
	if len(raw) < aclHeader || (len(raw)-aclHeader)%aclEntry != 0 {
		return "", fmt.Errorf("an ACL of %d bytes", len(raw))
	}
	if v := binary.LittleEndian.Uint32(raw); v != aclVersion {
		return "", fmt.Errorf("an ACL of version %d", v)
	}
	var lines []string
	for e := raw[aclHeader:]; len(e) > 0; e = e[aclEntry:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		word, who := "", ""
		switch tag {
		case aclUserObj, aclUser:
			word = "user"
		case aclGroupObj, aclGroup:
			word = "group"
		case aclMask:
			word = "mask"
		case aclOther:
			word = "other"
		default:
			return "", fmt.Errorf("an ACL entry of unknown kind %#x", tag)
		}
		if tag == aclUser || tag == aclGroup {
			if id == aclUndefined {
				return "", errors.New("an ACL entry of nobody")
			}
			who = strconv.FormatUint(uint64(id), 10)
		}
		if perm > 7 {
			return "", fmt.Errorf("an ACL entry with permissions %#x", perm)
		}
		lines = append(lines, word+":"+who+":"+rwx(perm))
	}
	return strings.Join(lines, "\n") + "\n", nil
}

func rwx(perm uint16) string {
	text := []byte("---")
	for i, c := range []byte("rwx") {
		if perm>>(2-i)&1 != 0 {
			text[i] = c
		}
	}
	return string(text)
}
