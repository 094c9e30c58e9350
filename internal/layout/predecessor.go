package layout

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"snap-to-s3/internal/snapshot"
)

// PredecessorKey is the key of an archive that the predecessor has written: like
// ours, with the start in the local zone of the machine, the description as it was,
// and the partition by the end of its device's name.
type PredecessorKey struct {
	Volume      snapshot.VolumeID
	Snapshot    snapshot.ID
	Start       time.Time // in the zone of the key
	Description string    // as in the key, "" for none
	Partition   string    // "1", "p1"; "" of a disk without a partition table, and of an image
	Kind        Kind
	Codec       string
	Encrypted   bool
}

// String is the key.
func (k PredecessorKey) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s %s", k.Volume, k.Start.Format(timeForm), k.Snapshot)
	if k.Description != "" {
		b.WriteString(" - " + k.Description)
	}
	if k.Partition != "" {
		b.WriteString("." + k.Partition)
	}
	b.WriteString("." + string(k.Kind) + "." + k.Codec)
	if k.Encrypted {
		b.WriteString(gpgSuffix)
	}
	return b.String()
}

// Part is the partition's number, Whole where there is none.
func (k PredecessorKey) Part() Part {
	n, err := strconv.Atoi(strings.TrimPrefix(k.Partition, "p"))
	if err != nil {
		return Whole
	}
	return Part(n)
}

// A description may have line ends in it.
var predecessorTail = regexp.MustCompile(`(?s)^(.*?)(?:\.(p?[1-9][0-9]{0,3}))?\.(tar|img)\.(lz4|zstd)(\.gpg)?$`)

// ParsePredecessorKey reads a key that the predecessor may have written for s: of
// its volume, its id and its start, in whatever zone. Ours are such keys too: what
// wrote an object, its metadata tells.
func ParsePredecessorKey(key string, s snapshot.Snapshot) (PredecessorKey, bool) {
	rest, ok := strings.CutPrefix(key, string(s.VolumeID)+"/")
	if !ok {
		return PredecessorKey{}, false
	}
	stamp, rest, ok := strings.Cut(rest, " ")
	start, err := time.Parse(timeForm, stamp)
	if !ok || err != nil || start.Unix() != s.Start.Unix() {
		return PredecessorKey{}, false
	}
	rest, ok = strings.CutPrefix(rest, string(s.ID))
	if !ok {
		return PredecessorKey{}, false
	}
	m := predecessorTail.FindStringSubmatch(rest)
	if m == nil {
		return PredecessorKey{}, false
	}
	description, described := strings.CutPrefix(m[1], " - ")
	if !described && m[1] != "" {
		return PredecessorKey{}, false
	}
	k := PredecessorKey{
		Volume: s.VolumeID, Snapshot: s.ID, Start: start, Description: description, Partition: m[2],
		Kind: Kind(m[3]), Codec: m[4], Encrypted: m[5] != "",
	}
	// What looks like a partition may be the end of the description. An image has
	// none: where the predecessor's would seem to, it is one of ours.
	if with := description + "." + k.Partition; described && k.Partition != "" && with == s.Description {
		k.Description, k.Partition = with, ""
	}
	return k, k.Kind == Tar || k.Partition == ""
}

var codingForm = regexp.MustCompile(`\.(tar|img)\.(lz4|zstd)(\.gpg)?$`)

// CodingOf is what the end of an archive's key says of it, ours or the
// predecessor's.
func CodingOf(key string) (kind Kind, codec string, encrypted, ok bool) {
	m := codingForm.FindStringSubmatch(key)
	if m == nil || strings.HasPrefix(key, Manifests) {
		return "", "", false, false
	}
	return Kind(m[1]), m[2], m[3] != "", true
}

// PredecessorKeys are keys that the predecessor may have written for s, one for
// each zone that has been the local time of some place since EBS has snapshots
// (IANA time zone database, 2026a); UTC, which machines have, first. k says the
// rest. There are none where they would be longer than a key can be.
func PredecessorKeys(s snapshot.Snapshot, k PredecessorKey) []string {
	k.Volume, k.Snapshot, k.Description = s.VolumeID, s.ID, s.Description
	var keys []string
	for _, minutes := range zones {
		k.Start = s.Start.In(time.FixedZone("", minutes*60))
		if key := k.String(); len(key) <= maxKey {
			keys = append(keys, key)
		}
	}
	return keys
}

// zones are the offsets of local times from UTC, in minutes.
var zones = [...]int{
	0, -300, -480, -420, -360, -240, 60, 120, 180, 330, 480, 540, 600, // where most machines are
	-720, -660, -600, -570, -540, -270, -210, -180, -150, -120, -60,
	210, 240, 270, 300, 345, 360, 390, 420, 510, 525, 570, 585, 630, 660, 690, 720, 765, 780, 825, 840,
}
