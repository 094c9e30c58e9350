package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// errACLName is an ACL that cannot be read: what a name means, the machine knew
// that wrote the archive.
var errACLName = errors.New("an ACL names a user or group without its number")

// readACL turns the text form of an ACL into what the kernel stores: what aclText
// writes; what acl_to_text(3) makes for GNU tar, which has names, of which root is
// the same everywhere; and libarchive's, which has commas, the numbers behind the
// names, and the entries in another order.
func readACL(text []byte) ([]byte, error) {
	separator := "\n"
	if bytes.IndexByte(text, ',') >= 0 {
		separator = ","
	}
	raw := binary.LittleEndian.AppendUint32(nil, aclVersion)
	lines := strings.TrimSuffix(string(text), "\n")
	if lines == "" {
		return raw, nil
	}
	var entries [][aclEntry]byte
	for line := range strings.SplitSeq(lines, separator) {
		e, err := readACLEntry(line)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if separator == "," { // the kernel's order is that of its tags
		slices.SortStableFunc(entries, func(a, b [aclEntry]byte) int { return int(a[0]) - int(b[0]) })
	}
	for _, e := range entries {
		raw = append(raw, e[:]...)
	}
	return raw, nil
}

func readACLEntry(line string) (raw [aclEntry]byte, err error) {
	parts := strings.Split(line, ":")
	bad := fmt.Errorf("the ACL entry %.100q", line)
	if len(parts) < 3 || len(parts) > 4 {
		return raw, bad
	}
	who, id := parts[1], uint32(aclUndefined)
	tag := uint16(0)
	switch word := parts[0]; {
	case word == "user" && who == "":
		tag = aclUserObj
	case word == "user":
		tag = aclUser
	case word == "group" && who == "":
		tag = aclGroupObj
	case word == "group":
		tag = aclGroup
	case word == "mask" && who == "":
		tag = aclMask
	case word == "other" && who == "":
		tag = aclOther
	default:
		return raw, bad
	}
	perm, ok := readRWX(parts[2])
	if !ok || who == "" && len(parts) != 3 {
		return raw, bad
	}
	if who != "" {
		if id, err = readACLID(who, parts[3:]); err != nil {
			return raw, fmt.Errorf("%w: %w", bad, err)
		}
	}
	binary.LittleEndian.PutUint16(raw[:], tag)
	binary.LittleEndian.PutUint16(raw[2:], perm)
	binary.LittleEndian.PutUint32(raw[4:], id)
	return raw, nil
}

// readACLID reads who an entry is for: a name and its number, or one of them.
func readACLID(who string, number []string) (uint32, error) {
	if len(number) > 0 {
		who = number[0]
	}
	n, ok := decimal([]byte(who))
	switch {
	case ok && n < math.MaxUint32: // that is nobody at all
		return uint32(n), nil
	case ok || len(number) > 0:
		return 0, fmt.Errorf("the id %.30q", who)
	case who == "root":
		return 0, nil
	}
	return 0, errACLName
}

func readRWX(text string) (uint16, bool) {
	for perm := range uint16(8) {
		if rwx(perm) == text {
			return perm, true
		}
	}
	return 0, false
}
