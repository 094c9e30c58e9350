package bill

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// valueKind says how the bytes of a value are to be understood.
type valueKind struct {
	physical  format.Type
	width     int // bytes; 0 if each value has its own
	decimal   bool
	scale     int
	perSecond int64 // of a timestamp; -1 for days; 0 for what is no time
}

// plainDictionary is how writers of the first version of the format, such as
// Spark, name the encodings of dictionaries and of pages with one.
const plainDictionary = format.Encoding(2)

// values are those of a page or dictionary.
type values struct {
	kind    valueKind
	raw     []byte
	ends    []uint32 // of each value in raw, if they differ in length
	count   int      // of values that are no null
	ids     []uint32 // into dictionary, if there is one
	index   []int32  // of each row's value; -1 for null; nil if there are no nulls
	levels  []uint32
	of      *values // the dictionary
	classes []storage
	days    []int32 // of a dictionary; noDay before the first look
	scratch []byte
}

// plain takes n values as they are written one after another.
func (v *values) plain(raw []byte, n int) error {
	v.raw, v.count, v.ids, v.of, v.ends = raw, n, nil, nil, v.ends[:0]
	if v.kind.width > 0 {
		if n > len(raw)/v.kind.width {
			return fmt.Errorf("a page of %d values in %d bytes: %w", n, len(raw), errParquet)
		}
		return nil
	}
	if n > len(raw)/4 {
		return fmt.Errorf("a page of %d values in %d bytes: %w", n, len(raw), errParquet)
	}
	at := uint32(0)
	for range n {
		if uint32(len(raw))-at < 4 {
			return fmt.Errorf("a text's length: %w", errParquet)
		}
		size := binary.LittleEndian.Uint32(raw[at:])
		if at += 4; size > uint32(len(raw))-at {
			return fmt.Errorf("a text of %d bytes: %w", size, errParquet)
		}
		at += size
		v.ends = append(v.ends, at)
	}
	return nil
}

// data takes the values of a page of n rows.
func (v *values) data(b, levels []byte, n int, optional bool, encoding format.Encoding, dictionary *values) error {
	v.index = nil
	some := n
	if optional {
		v.levels = slices.Grow(v.levels[:0], n)[:n]
		if err := hybrid(v.levels, levels, 1); err != nil {
			return err
		}
		some = v.present(n)
	}
	switch encoding {
	case format.Plain:
		return v.plain(b, some)
	case plainDictionary, format.RLEDictionary:
		if dictionary == nil {
			return fmt.Errorf("a page without its dictionary: %w", errParquet)
		}
		v.of, v.count = dictionary, some
		v.ids = slices.Grow(v.ids[:0], some)[:some]
		if some == 0 {
			return nil
		}
		if len(b) == 0 || b[0] > 32 {
			return fmt.Errorf("a page's indexes: %w", errParquet)
		}
		if err := hybrid(v.ids, b[1:], uint(b[0])); err != nil {
			return err
		}
		if top := slices.Max(v.ids); int64(top) >= int64(dictionary.count) {
			return fmt.Errorf("index %d of a dictionary of %d: %w", top, dictionary.count, errParquet)
		}
		return nil
	}
	return fmt.Errorf("values in encoding %s are not read", encoding)
}

// present makes the index of rows from their levels, if any row has no value.
func (v *values) present(n int) int {
	some := 0
	for _, l := range v.levels {
		some += int(l & 1)
	}
	if some == n {
		return n
	}
	v.index = make([]int32, n)
	next := int32(0)
	for i, l := range v.levels {
		if l == 0 {
			v.index[i] = -1
			continue
		}
		v.index[i] = next
		next++
	}
	return some
}

// hybrid decodes runs and packed groups of numbers of so many bits
// (https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE), as
// many as dst has room for.
func hybrid(dst []uint32, b []byte, width uint) error {
	bytes := int(width+7) / 8
	for len(dst) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 || head == 0 {
			return fmt.Errorf("a run of numbers: %w", errParquet)
		}
		b = b[n:]
		if head&1 == 0 {
			if len(b) < bytes {
				return fmt.Errorf("a run of numbers: %w", errParquet)
			}
			var value uint32
			for i := range bytes {
				value |= uint32(b[i]) << (8 * i)
			}
			run := min(head>>1, uint64(len(dst)))
			for i := range dst[:run] {
				dst[i] = value
			}
			b, dst = b[bytes:], dst[run:]
			continue
		}
		groups := head >> 1
		if groups > uint64(len(dst)+7)/8 {
			groups = uint64(len(dst)+7) / 8 // padding is not looked at
		}
		size := int(groups) * int(width)
		if size > len(b) {
			return fmt.Errorf("a group of numbers: %w", errParquet)
		}
		n = min(int(groups)*8, len(dst))
		unpackBits(dst[:n], b[:size], width)
		b, dst = b[size:], dst[n:]
	}
	return nil
}

// unpackBits reads numbers of so many bits, the lowest first.
func unpackBits(dst []uint32, b []byte, width uint) {
	var held uint64
	var have uint
	mask := uint64(1)<<width - 1
	for i := range dst {
		for have < width {
			held |= uint64(b[0]) << have
			b = b[1:]
			have += 8
		}
		dst[i] = uint32(held & mask)
		held >>= width
		have -= width
	}
}

// find is the value of a row: where it stands, and its number there; nil for null.
func (v *values) find(row int) (*values, int) {
	if v.index != nil {
		at := v.index[row]
		if at < 0 {
			return nil, 0
		}
		row = int(at)
	}
	if v.of != nil {
		return v.of, int(v.ids[row])
	}
	return v, row
}

func (v *values) bytes(i int) []byte {
	if v.kind.width > 0 {
		return v.raw[i*v.kind.width : (i+1)*v.kind.width]
	}
	from := uint32(4)
	if i > 0 {
		from += v.ends[i-1]
	}
	return v.raw[from:v.ends[i]]
}
