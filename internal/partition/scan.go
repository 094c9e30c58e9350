package partition

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"

	"snap-to-s3/internal/block"
)

// region is what probes see of a partition, or of the whole disk: its beginning
// and its end.
type region struct {
	front, tail []byte
	size        int64
}

const (
	frontSize = 256 << 10 // a label of ZFS, the largest of what is looked for
	tailSize  = 128 << 10 // the superblock of an MD array, version 0.90, is in it
)

// at returns n bytes of the front, or nil if it is shorter.
func (r region) at(off, n int) []byte {
	if off > len(r.front)-n {
		return nil
	}
	return r.front[off : off+n]
}

// late returns n bytes at an offset that is in the tail, or nil.
func (r region) late(off int64, n int) []byte {
	from := off - (r.size - int64(len(r.tail)))
	if off < 0 || from < 0 || from > int64(len(r.tail)-n) {
		return nil
	}
	return r.tail[from : from+int64(n)]
}

// finding is what stands the checks of a probe.
type finding struct {
	Content
	place int64 // bytes: where the signature is, if it is in the tail
}

// probe looks for one kind of content. A zero finding is none; what would be one
// but for a check that it does not stand is a doubt, for a person to know.
type probe func(r region) (f finding, doubt string)

// members hold something that needs more than a mount, and are looked for first:
// a disk of a mirror looks like the filesystem that it is a copy of.
var members = [...]probe{probeRAID, probeLUKS, probeLVM, probeBcache}

var contents = [...]probe{
	probeExt, probeXFS, probeBtrfs, probeFAT, probeExFAT, probeNTFS, probeF2FS, probeJFS, probeReiserFS,
	probeISO, probeSquashFS, probeSwap, probeZFS,
}

// scan is all that was found in a region.
type scan struct {
	found  []finding // of members alone, if there is one
	doubts []string
}

func (d *disk) scan(ctx context.Context, off, size int64) (scan, error) {
	front, err := d.read(ctx, off, min(frontSize, size))
	if err != nil {
		return scan{}, err
	}
	n := min(tailSize, size)
	tail, err := d.read(ctx, off+size-n, n)
	if err != nil {
		return scan{}, err
	}
	return region{front, tail, size}.scan(), nil
}

func (r region) scan() scan {
	var s scan
	for _, table := range [...][]probe{members[:], contents[:]} {
		for _, look := range table {
			f, doubt := look(r)
			if f.Type != "" {
				s.found = append(s.found, f)
			}
			if doubt != "" {
				s.doubts = append(s.doubts, doubt)
			}
		}
		if s.found != nil {
			return s
		}
	}
	return s
}

// content is what the region holds, with notes if that is not plain. Two
// filesystems in one place are none: one of them is stale, and its files would be
// archived in place of the others.
func (s scan) content(where string) (Content, []string) {
	var notes []string
	switch {
	case len(s.found) == 0:
		for _, d := range s.doubts {
			notes = append(notes, where+": "+d)
		}
		return Content{}, notes
	case len(s.found) > 1:
		return Content{}, []string{where + ": there are signs of " + strings.Join(s.types(), " and of ") + ": it is taken for unknown"}
	}
	return s.found[0].Content, nil
}

func (s scan) types() []string {
	var types []string
	for _, f := range s.found {
		types = append(types, f.Type)
	}
	return types
}

// outside leaves out of a scan of the whole disk what lies at its end in a
// partition, as that is the partition's: the last one often ends where the disk
// does.
func (s scan) outside(parts []Partition) scan {
	s.found = slices.DeleteFunc(slices.Clone(s.found), func(f finding) bool {
		return f.place > 0 && slices.ContainsFunc(parts, func(p Partition) bool {
			return p.Role != Extended && f.place >= p.Start && f.place < p.end()
		})
	})
	return s
}

// conflict is an error where both a table and something on the whole disk stand
// all checks.
func (s scan) conflict(t Table) error {
	if len(s.found) == 0 || len(t.Partitions) == 0 {
		return nil
	}
	return damaged("the disk as a whole is %s, but it has a partition table of type %s with %d partitions, too: one of the two is left from another use",
		strings.Join(s.types(), " and "), t.Type, len(t.Partitions))
}

// text is a field that ends with zero or the field.
func text(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

// uuidOf is the text of a UUID, or "" of one that is not set.
func uuidOf(p []byte) string {
	if block.AllZero(p[:16]) {
		return ""
	}
	return dashed(p)
}

// crc32c is the checksum of ext4, XFS and btrfs.
func crc32c(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// powerOfTwo tells whether n is one in the range.
func powerOfTwo(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }

// features names the bits that are set, sorted: "" in names are unknown ones.
func features(of map[int]string, bits uint64, unknown func(bit uint64) string) []string {
	var names []string
	for i := range 64 {
		if bits&(1<<i) == 0 {
			continue
		}
		if name := of[i]; name != "" {
			names = append(names, name)
		} else {
			names = append(names, unknown(1<<i))
		}
	}
	return names
}

func le16(p []byte, off int) int64 { return int64(binary.LittleEndian.Uint16(p[off:])) }
func le32(p []byte, off int) int64 { return int64(binary.LittleEndian.Uint32(p[off:])) }
func be16(p []byte, off int) int64 { return int64(binary.BigEndian.Uint16(p[off:])) }
func be32(p []byte, off int) int64 { return int64(binary.BigEndian.Uint32(p[off:])) }

// le64 and be64 are for counts: what is negative in them is beyond any check of
// sizes, which has to refuse it.
func le64(p []byte, off int) int64 { return int64(binary.LittleEndian.Uint64(p[off:])) }
func be64(p []byte, off int) int64 { return int64(binary.BigEndian.Uint64(p[off:])) }

// fits tells whether count units of a size are at most a region's bytes.
func (r region) fits(count, unit int64) bool {
	return count >= 0 && unit > 0 && count <= r.size/unit
}
