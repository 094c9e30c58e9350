package bill

import (
	"bytes"
	"strconv"

	"snap-to-s3/internal/snapshot"
)

// arn is a snapshot's ARN, in parts of the text it was read from.
type arn struct{ partition, region, account, id []byte }

// parseARN reads "arn:aws:ec2:us-west-2:123456789012:snapshot/snap-…".
func parseARN(text []byte) (arn, bool) {
	var a arn
	rest, ok := bytes.CutPrefix(text, []byte("arn:"))
	if !ok {
		return a, false
	}
	a.partition, rest, _ = bytes.Cut(rest, []byte(":"))
	rest, ok = bytes.CutPrefix(rest, []byte("ec2:"))
	if !ok || !plain(a.partition) {
		return a, false
	}
	a.region, rest, _ = bytes.Cut(rest, []byte(":"))
	a.account, rest, _ = bytes.Cut(rest, []byte(":"))
	a.id, ok = bytes.CutPrefix(rest, []byte("snapshot/"))
	return a, ok && plain(a.region) && (len(a.account) == 0 || account(a.account))
}

// plain says whether text may stand in a partition's or region's name.
func plain(text []byte) bool {
	const long = 40
	if len(text) == 0 || len(text) > long {
		return false
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func account(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) == 12
}

// packedID is a snapshot's id in twelve bytes: a million of them must fit.
type packedID struct {
	low  uint64
	high uint8 // the seventeenth digit
	old  bool  // 8 digits
}

const idPrefix = "snap-"

func packID(text []byte) (packedID, bool) {
	digits, ok := bytes.CutPrefix(text, []byte(idPrefix))
	if !ok || len(digits) != 8 && len(digits) != 17 {
		return packedID{}, false
	}
	p := packedID{old: len(digits) == 8}
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return packedID{}, false
		}
		p.high = uint8(p.low >> 60)
		p.low = p.low<<4 | uint64(c)
	}
	return p, true
}

func (p packedID) id() snapshot.ID {
	text := strconv.FormatUint(p.low, 16)
	width := 8
	if !p.old {
		width = 16
	}
	for len(text) < width {
		text = "0" + text
	}
	if !p.old {
		text = strconv.FormatUint(uint64(p.high), 16) + text
	}
	return snapshot.ID(idPrefix + text)
}
