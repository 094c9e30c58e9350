package bill

import (
	"encoding/binary"
	"errors"
)

// Parquet's metadata is Thrift in its compact form
// (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
// A decoder makes room for as many elements as a list says it has, and for
// strings as long as they say they are: what comes from a file is looked over first.
const (
	maxThriftDepth   = 24      // metadata of Parquet is 8 deep
	maxThriftStructs = 1 << 18 // in lists: row groups, columns of each
	maxThriftItems   = 1 << 21 // in lists, of anything
)

var (
	errThriftShort = errors.New("metadata is cut short")
	errThrift      = errors.New("metadata is damaged")
	errThriftLarge = errors.New("metadata is larger than that of any bill")
)

// overseer walks through one Thrift value without making anything of it.
type overseer struct {
	b              []byte
	at             int
	structs, items int
}

// oversee returns how long the struct is that b begins with: errThriftShort if
// b ends before it does, another error if it should not be decoded.
func oversee(b []byte) (int, error) {
	o := overseer{b: b}
	err := o.fields(0)
	return o.at, err
}

const (
	thriftTrue, thriftFalse, thriftByte, thriftI16, thriftI32, thriftI64 = 1, 2, 3, 4, 5, 6
	thriftDouble, thriftBinary, thriftList, thriftSet, thriftMap         = 7, 8, 9, 10, 11
	thriftStruct                                                         = 12
)

func (o *overseer) fields(depth int) error {
	if depth > maxThriftDepth {
		return errThriftLarge
	}
	for {
		head, err := o.octet()
		if err != nil || head == 0 {
			return err
		}
		if head>>4 == 0 {
			if _, err := o.varint(); err != nil {
				return err
			}
		}
		kind := head & 15
		if kind == thriftTrue || kind == thriftFalse {
			continue // the value is the type
		}
		if err := o.value(kind, depth); err != nil {
			return err
		}
	}
}

func (o *overseer) value(kind byte, depth int) error {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		_, err := o.octet()
		return err
	case thriftI16, thriftI32, thriftI64:
		_, err := o.varint()
		return err
	case thriftDouble:
		return o.skip(8)
	case thriftBinary:
		n, err := o.varint()
		if err != nil {
			return err
		}
		return o.skip(n)
	case thriftList, thriftSet:
		return o.list(depth + 1)
	case thriftMap:
		return o.pairs(depth + 1)
	case thriftStruct:
		return o.fields(depth + 1)
	}
	return errThrift
}

func (o *overseer) list(depth int) error {
	head, err := o.octet()
	if err != nil {
		return err
	}
	n := uint64(head >> 4)
	if n == 15 {
		if n, err = o.varint(); err != nil {
			return err
		}
	}
	return o.elements(n, depth, head&15)
}

func (o *overseer) pairs(depth int) error {
	n, err := o.varint()
	if err != nil || n == 0 {
		return err
	}
	kinds, err := o.octet()
	if err != nil {
		return err
	}
	return o.elements(n, depth, kinds>>4, kinds&15)
}

// elements walks n times over values of the kinds given.
func (o *overseer) elements(n uint64, depth int, kinds ...byte) error {
	if depth > maxThriftDepth || n > maxThriftItems {
		return errThriftLarge
	}
	for range n {
		for _, kind := range kinds {
			o.items++
			if kind == thriftStruct {
				o.structs++
			}
			if o.items > maxThriftItems || o.structs > maxThriftStructs {
				return errThriftLarge
			}
			if err := o.value(kind, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *overseer) octet() (byte, error) {
	if o.at >= len(o.b) {
		return 0, errThriftShort
	}
	o.at++
	return o.b[o.at-1], nil
}

func (o *overseer) varint() (uint64, error) {
	v, n := binary.Uvarint(o.b[o.at:])
	switch {
	case n == 0:
		return 0, errThriftShort
	case n < 0:
		return 0, errThrift
	}
	o.at += n
	return v, nil
}

func (o *overseer) skip(n uint64) error {
	if n > uint64(len(o.b)-o.at) {
		return errThriftShort
	}
	o.at += int(n)
	return nil
}
