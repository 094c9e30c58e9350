package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"snap-to-s3/internal/filesystem"
)

// Rows stand in a table's records as their key, which is the path, and these
// fields behind each other: flags, type, numbers as varints, strings with their
// length, hashes as they are.

// keySlash stands for a slash in a key: no path has a NUL, so the order of keys
// as bytes is that of paths component by component.
const keySlash = 0

// appendKey makes the key of a path.
func appendKey(b []byte, path string) []byte {
	from := len(b)
	b = append(b, path...)
	for i := from; i < len(b); i++ {
		if b[i] == '/' {
			b[i] = keySlash
		}
	}
	return b
}

func pathOf(key []byte) string {
	var path strings.Builder
	path.Grow(len(key))
	for _, c := range key {
		if c == keySlash {
			c = '/'
		}
		path.WriteByte(c)
	}
	return path.String()
}

// The flags of a row: what is true of it, and which hashes it has.
const (
	rowSubvolume = 1 << iota
	rowSparse
	rowRuns
	rowXattrSum
	rowSum
	rowMap
	rowRunSum
)

// rowSums are the hashes of a row, each with its flag.
func rowSums(r *TreeRow) [4]struct {
	flag byte
	sum  **[32]byte
} {
	return [...]struct {
		flag byte
		sum  **[32]byte
	}{{rowXattrSum, &r.XattrSum}, {rowSum, &r.Sum}, {rowMap, &r.Map}, {rowRunSum, &r.RunSum}}
}

// appendRow makes a record's fields of all of r but its path.
func appendRow(b []byte, r *TreeRow) []byte {
	var flags byte
	if r.Subvolume {
		flags |= rowSubvolume
	}
	if r.Sparse {
		flags |= rowSparse
	}
	if r.Runs {
		flags |= rowRuns
	}
	sums := rowSums(r)
	for _, s := range sums {
		if *s.sum != nil {
			flags |= s.flag
		}
	}
	b = append(b, flags, byte(r.Type))
	for _, n := range [...]uint64{
		uint64(r.Mode), uint64(r.UID), uint64(r.GID), uint64(r.Nsec), uint64(r.Links), r.Device, r.Inode, uint64(r.Major), uint64(r.Minor),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, n := range [...]int64{r.Sec, r.Size, r.Allocated, r.At, r.Stored} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range [...]string{r.Target, r.Link} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range sums {
		if *s.sum != nil {
			b = append(b, (*s.sum)[:]...)
		}
	}
	return b
}

// decodeRow makes the row of a record.
func decodeRow(key, fields []byte) (*TreeRow, error) {
	d := rowDecoder{rest: fields}
	r := &TreeRow{}
	r.Path = pathOf(key)
	flags := d.byte()
	r.Type = filesystem.Type(d.byte())
	r.Subvolume, r.Sparse, r.Runs = flags&rowSubvolume != 0, flags&rowSparse != 0, flags&rowRuns != 0
	r.Mode, r.UID, r.GID, r.Nsec, r.Links = d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint32()
	r.Device, r.Inode = d.uint(), d.uint()
	r.Major, r.Minor = d.uint32(), d.uint32()
	r.Sec, r.Size, r.Allocated, r.At, r.Stored = d.int(), d.int(), d.int(), d.int(), d.int()
	r.Target, r.Link = string(d.bytes(d.uint())), string(d.bytes(d.uint()))
	for _, s := range rowSums(r) {
		if flags&s.flag == 0 {
			continue
		}
		if b := d.bytes(32); b != nil {
			sum := [32]byte(b)
			*s.sum = &sum
		}
	}
	if d.damaged || len(d.rest) > 0 {
		return nil, fmt.Errorf("the row of %q: %w", r.Path, errDamagedRecord)
	}
	return r, nil
}

var errDamagedRecord = errors.New("the temporary file does not have what was written to it")

// rowDecoder takes fields off the front; where there are too few it is damaged
// and gives zeros.
type rowDecoder struct {
	rest    []byte
	damaged bool
}

func (d *rowDecoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.damaged, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *rowDecoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *rowDecoder) uint() uint64 {
	n, size := binary.Uvarint(d.rest)
	d.damaged = d.damaged || size <= 0
	d.rest = d.rest[max(size, 0):]
	return n
}

func (d *rowDecoder) uint32() uint32 {
	n := d.uint()
	d.damaged = d.damaged || n > 1<<32-1
	return uint32(n)
}

func (d *rowDecoder) int() int64 {
	n, size := binary.Varint(d.rest)
	d.damaged = d.damaged || size <= 0
	d.rest = d.rest[max(size, 0):]
	return n
}
