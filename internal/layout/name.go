// Package layout is the contract with the bucket: the keys of objects, their
// metadata and tags, the records that say what an archive is, and the entries
// that say what is in it. docs/format.md is the same contract in words. The
// package makes and reads bytes; it never talks to a store, never compresses an
// archive, and puts no secret, file name or label into anything but entries.
package layout

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"snap-to-s3/internal/snapshot"
)

// Kind is what an archive holds.
type Kind string

// The kinds of archive. The value stands in the archive's key.
const (
	Image Kind = "img" // the bytes of a volume, a partition or the sectors before the first
	Tar   Kind = "tar" // the files of a partition
)

// FormatVersion is the version of the whole contract. It stands in metadata,
// records and entries, and changes only when older readers would go wrong.
const FormatVersion = 1

// Manifests is the prefix of everything that is not an archive. Archives begin
// with "vol-", so that a lifecycle rule can tell the two apart.
const Manifests = "manifests/"

const (
	maxKey = 1024 // bytes of UTF-8; S3 User Guide, "Naming Amazon S3 objects"

	// Room that is kept behind every description, so that it is cut at the same
	// place for all objects of a snapshot, whatever their partition and coding.
	longestTail = ".99999.tar.zstd.gpg" + entriesSuffix + gpgSuffix

	entriesSuffix = ".entries"
	recordSuffix  = ".json"
	gpgSuffix     = ".gpg"

	// timeForm is ISO 8601 with a numeric offset; the zone is UTC always.
	timeForm = "2006-01-02T15:04:05-07:00"
)

// Name is what the keys of one archive are made from.
type Name struct {
	Snapshot  snapshot.Snapshot
	Kind      Kind
	Codec     string // "lz4" or "zstd"
	Encrypted bool   // with gpg recipients
	Partition Part
}

// ArchiveKey is the key of the archive itself.
func (n Name) ArchiveKey() string {
	return n.stem() + description(n.Snapshot.Description, maxKey-n.fixed()) + n.tail()
}

// EntriesKey is the key of the archive's entries.
func (n Name) EntriesKey() string {
	key := Manifests + n.ArchiveKey() + entriesSuffix
	if n.Encrypted {
		key += gpgSuffix
	}
	return key
}

// ArchiveRecordKey is the key of the archive's record.
func (n Name) ArchiveRecordKey() string { return Manifests + n.ArchiveKey() + recordSuffix }

// SnapshotRecordKey is the key of the record that commits the snapshot. It has
// neither description nor partition. Where partitions are archived one by one
// the name must be that of a tar, or of any part that is not the whole disk.
func (n Name) SnapshotRecordKey() string {
	// Not the archive's own word: "tar" here would be the archive record of a
	// tar that has neither description nor partition.
	what := "image"
	if n.Kind == Tar || n.Partition != Whole {
		what = "files"
	}
	return Manifests + n.stem() + "." + what + n.coding() + recordSuffix
}

func (n Name) stem() string {
	s := n.Snapshot
	return fmt.Sprintf("%s/%s %s", s.VolumeID, Time(s.Start), s.ID)
}

func (n Name) tail() string {
	t := "." + string(n.Kind) + n.coding()
	if n.Partition != Whole {
		t = "." + n.Partition.String() + t
	}
	return t
}

func (n Name) coding() string {
	if n.Encrypted {
		return "." + n.Codec + gpgSuffix
	}
	return "." + n.Codec
}

// fixed is the length of the longest derived key without its description.
func (n Name) fixed() int {
	tail := max(len(longestTail), len(n.tail())+len(entriesSuffix)+len(gpgSuffix))
	return len(Manifests) + len(n.stem()) + tail
}

// Time is a snapshot's start time as keys and metadata have it: to the second,
// with the offset of UTC written out.
func Time(t time.Time) string { return t.UTC().Format(timeForm) }

// description is " - " and the text as a key may hold it, in at most room
// bytes, or "" where nothing is left of it.
func description(text string, room int) string {
	const dash = " - "
	text = cut(clean(text), room-len(dash))
	if text == "" {
		return ""
	}
	return dash + text
}

// clean makes text fit for one segment of a key: no control characters, no
// separators, valid UTF-8, and nothing that XML 1.0 has no form for, since a
// listing of the bucket is XML.
func clean(text string) string {
	var b strings.Builder
	for _, r := range valid(text) {
		if r == '/' || r == '\\' || unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF {
			r = '_'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// valid replaces each byte that is not part of valid UTF-8 by "_".
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && n == 1 {
			b.WriteByte('_')
		} else {
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

// cut shortens text to at most n bytes and never in the middle of a rune.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	n = max(n, 0)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
