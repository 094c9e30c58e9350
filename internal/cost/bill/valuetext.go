package bill

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/format"
)

// text is a row's value as a CSV would have it; empty for null. It is good until
// the next call.
func (c *columnReader) text(row int64) ([]byte, error) {
	i, err := c.seek(row)
	if err != nil {
		return nil, err
	}
	v, at := c.page.find(i)
	if v == nil {
		return []byte{}, nil
	}
	c.page.scratch, err = v.appendText(c.page.scratch[:0], at)
	return c.page.scratch, err
}

// moved says whether a row's value stands elsewhere than that of the call
// before; if not, the two are one.
func (c *columnReader) moved(row int64) (bool, error) {
	i, err := c.seek(row)
	if err != nil {
		return false, err
	}
	v, at := c.page.find(i)
	if v == c.lastIn && at == c.lastAt && v != &c.page {
		return false, nil
	}
	c.lastIn, c.lastAt = v, at
	return true, nil
}

func (v *values) appendText(to []byte, i int) ([]byte, error) {
	b, k := v.bytes(i), &v.kind
	var n int64
	switch k.physical {
	case format.ByteArray, format.FixedLenByteArray:
		if k.decimal {
			return appendDecimal(to, b, k.scale)
		}
		if !utf8.Valid(b) {
			return to, errNotUTF8
		}
		if len(b) > maxLine {
			return to, errLongLine
		}
		return append(to, b...), nil
	case format.Double:
		return strconv.AppendFloat(to, math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64), nil
	case format.Float:
		return strconv.AppendFloat(to, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 'g', -1, 32), nil
	case format.Int96:
		return appendSecond(to, int96(b)), nil
	case format.Int32:
		n = int64(int32(binary.LittleEndian.Uint32(b)))
	default:
		n = int64(binary.LittleEndian.Uint64(b))
	}
	switch {
	case k.perSecond != 0:
		return appendSecond(to, k.second(n)), nil
	case k.decimal:
		return strconv.AppendInt(append(strconv.AppendInt(to, n, 10), 'e'), -int64(k.scale), 10), nil
	}
	return strconv.AppendInt(to, n, 10), nil
}

func appendSecond(to []byte, second int64) []byte {
	return time.Unix(second, 0).UTC().AppendFormat(to, "2006-01-02T15:04:05Z")
}

// second is the second since 1970 that a timestamp or date is in.
func (k *valueKind) second(n int64) int64 {
	if k.perSecond < 0 {
		return n * secondsPerDay
	}
	s := n / k.perSecond
	if n%k.perSecond < 0 {
		s--
	}
	return s
}

// int96 is the second of a time as Impala and Spark used to write them:
// nanoseconds of a day, and its Julian day.
func int96(b []byte) int64 {
	const julian1970 = 2_440_588
	nanos := binary.LittleEndian.Uint64(b)
	day := int64(binary.LittleEndian.Uint32(b[8:])) - julian1970
	return day*secondsPerDay + int64(nanos/1e9)
}

var errWide = errors.New("is a decimal of too many bytes")

func appendDecimal(to, b []byte, scale int) ([]byte, error) {
	const wide = 32
	if len(b) == 0 || len(b) > wide {
		return to, errWide
	}
	n := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return strconv.AppendInt(append(n.Append(to, 10), 'e'), -int64(scale), 10), nil
}

// storage is what a row's usage type says. Each text of a dictionary is looked at once.
func (c *columnReader) storage(row int64) (storage, error) {
	i, err := c.seek(row)
	if err != nil {
		return notSnapshot, err
	}
	v, at := c.page.find(i)
	if v == nil {
		return notSnapshot, nil
	}
	if v.kind.physical != format.ByteArray {
		return notSnapshot, errors.New("is no text")
	}
	if v == &c.page {
		return storageOf(v.bytes(at)), nil
	}
	if v.classes == nil {
		v.classes = make([]storage, v.count)
		for i := range v.classes {
			v.classes[i] = storageOf(v.bytes(i))
		}
	}
	return v.classes[at], nil
}

const noDay = math.MinInt32

// day is the day that a row's time is in; noDay where there is none. Each time
// of a dictionary is looked at once.
func (c *columnReader) day(row int64) (int32, error) {
	i, err := c.seek(row)
	if err != nil {
		return 0, err
	}
	v, at := c.page.find(i)
	if v == nil {
		return noDay, nil
	}
	if v == &c.page {
		return v.dayOf(at), nil
	}
	if v.days == nil {
		v.days = make([]int32, v.count)
		for i := range v.days {
			v.days[i] = v.dayOf(i)
		}
	}
	return v.days[at], nil
}

func (v *values) dayOf(i int) int32 {
	b := v.bytes(i)
	var second int64
	switch {
	case v.kind.physical == format.Int96:
		second = int96(b)
	case v.kind.perSecond != 0 && len(b) == 8:
		second = v.kind.second(int64(binary.LittleEndian.Uint64(b)))
	case v.kind.perSecond != 0 && len(b) == 4:
		second = v.kind.second(int64(int32(binary.LittleEndian.Uint32(b))))
	default:
		if day, ok := parseDay(b); ok {
			return day
		}
		return noDay
	}
	if day := second / secondsPerDay; second > 0 && day < math.MaxInt16 { // 2059
		return int32(day)
	}
	return noDay
}
