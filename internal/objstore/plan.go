package objstore

import (
	"fmt"

	"snap-to-s3/internal/hint"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Limits are what a store allows of one object. Third-party stores differ from
// S3 in each of them.
type Limits struct {
	MinPart   int64 // bytes; smallest part but the last
	MaxPart   int64 // bytes; largest part, and largest object of a single put
	MaxParts  int   // parts of one upload
	MaxObject int64 // bytes of one object
	Floor     int64 // bytes; smallest part that is chosen where nobody fixes one
}

// S3Limits returns the limits of Amazon S3: parts of 5 MiB to 5 GiB, 10,000 of
// them, and so objects up to 48.8 TiB (S3 user guide, "Multipart upload limits").
func S3Limits() Limits {
	return Limits{
		MinPart:   5 * mib,
		MaxPart:   5 * gib,
		MaxParts:  10_000,
		MaxObject: 10_000 * 5 * gib,
		Floor:     8 * mib,
	}
}

// orS3 fills what is left zero from S3's limits.
func (l Limits) orS3() Limits {
	s := S3Limits()
	if l.MinPart == 0 {
		l.MinPart = s.MinPart
	}
	if l.MaxPart == 0 {
		l.MaxPart = s.MaxPart
	}
	if l.MaxParts == 0 {
		l.MaxParts = s.MaxParts
	}
	if l.MaxObject == 0 {
		l.MaxObject = s.MaxObject
	}
	if l.Floor == 0 {
		l.Floor = max(s.Floor, l.MinPart)
	}
	return l
}

// Plan says how large each part of an object is. All are equal as long as the
// object stays within the bound it was planned for; nine tenths of the part
// numbers are meant for that. Past it the rest of the numbers must do for
// whatever comes, so sizes double each time a quarter of what is left of the
// numbers is used: gentle for an object slightly over its bound, and still good
// for half as much again, or for 2.5 TiB more.
type Plan struct {
	limits   Limits
	first    int64 // bytes
	fixed    bool
	growFrom int // first part number that may be larger
}

// NewPlan plans the parts of an object that hardly exceeds bound bytes (0:
// unknown). fixed, unless 0, is the size of every part but the last. It is an
// error when parts of that size cannot hold bound.
func NewPlan(bound, fixed int64, l Limits) (Plan, error) {
	l = l.orS3()
	bound = min(bound, l.MaxObject)
	if fixed != 0 {
		return fixedPlan(bound, fixed, l)
	}
	meant := int64(l.MaxParts - l.MaxParts/10)
	unit := min(mib, l.Floor)
	first := roundUp(ceilDiv(bound, meant), unit)
	first = min(max(first, l.Floor, l.MinPart), l.MaxPart)
	// An unknown or small bound leaves most numbers unused: then half of them
	// go by before anything grows.
	growFrom := max(int(ceilDiv(bound, first)), l.MaxParts/2) + 1
	return Plan{limits: l, first: first, growFrom: growFrom}, nil
}

func fixedPlan(bound, fixed int64, l Limits) (Plan, error) {
	if fixed < l.MinPart || fixed > l.MaxPart {
		return Plan{}, hint.Wrap(
			fmt.Errorf("part size of %s is outside what the store takes: %s to %s",
				size(fixed), size(l.MinPart), size(l.MaxPart)),
			"choose another --part-size, or leave it out: it is then derived from the size of the snapshot")
	}
	if need := ceilDiv(bound, fixed); need > int64(l.MaxParts) {
		return Plan{}, hint.Wrap(
			fmt.Errorf("an object of up to %s needs %d parts of %s, the store takes %d",
				size(bound), need, size(fixed), l.MaxParts),
			fmt.Sprintf("use a --part-size of at least %s, or leave it out",
				size(roundUp(ceilDiv(bound, int64(l.MaxParts)), min(mib, fixed)))))
	}
	return Plan{limits: l, first: fixed, fixed: true}, nil
}

// First is the size of the first part in bytes, and of all others while the
// object stays within its bound.
func (p Plan) First() int64 { return p.first }

// Part is the size in bytes of part n, counted from 1.
func (p Plan) Part(n int) int64 {
	if p.fixed || n < p.growFrom {
		return p.first
	}
	size, from := p.first, p.growFrom
	for size < p.limits.MaxPart {
		size *= 2
		left := p.limits.MaxParts - from + 1
		from += max(1, left/4)
		if n < from {
			break
		}
	}
	return min(size, p.limits.MaxPart)
}

// Parts is how many parts an object of so many bytes takes, at least one. It is
// over the store's limit where the object does not fit.
func (p Plan) Parts(bytes int64) int {
	if p.fixed || ceilDiv(bytes, p.first) < int64(p.growFrom) {
		return int(max(1, ceilDiv(bytes, p.first)))
	}
	n := p.growFrom - 1
	bytes -= int64(n) * p.first
	for bytes > 0 {
		n++
		bytes -= p.Part(n)
	}
	return n
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

func roundUp(a, unit int64) int64 { return ceilDiv(a, unit) * unit }

// size writes bytes for a person: whole binary units where they are whole.
func size(bytes int64) string {
	units := []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", gib}, {"MiB", mib}, {"KiB", 1 << 10}}
	for _, u := range units {
		if bytes >= u.size && bytes%u.size == 0 {
			return fmt.Sprintf("%d %s", bytes/u.size, u.name)
		}
		if bytes >= u.size {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", bytes)
}
