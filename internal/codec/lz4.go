package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The lz4 frame (lz4_Frame_format.md): magic, flags, block size, content size,
// header checksum; one block; end mark; content checksum.
const (
	lz4Magic     = 0x184D2204
	lz4Flags     = 1<<6 | 1<<5 | 1<<3 | 1<<2 // version 1, independent blocks, content size, content checksum
	lz4BlockCode = 7 << 4                    // blocks of at most 4 MiB = FrameSize
	lz4RawBlock  = 1 << 31                   // in a block's length: stored as it is

	lz4HeaderSize = 4 + 1 + 1 + 8 + 1
	lz4FrameExtra = lz4HeaderSize + 4 + 4 + 4 // header, block length, end mark, checksum
)

// openLZ4 maps levels as the lz4 program does (until its 1.9): 1 and 2 are its
// fast mode; from 3 on hash chains are searched to a depth that doubles with each
// level.
func openLZ4(level int) implementation {
	return implementation{
		zeroShare: 0.004,
		bound:     func(n int) int { return lz4.CompressBlockBound(n) + lz4FrameExtra },
		encoder: func() (Encoder, error) {
			if level <= 2 {
				return &lz4Encoder{compress: fastBlock(&fastMatcher{})}, nil
			}
			return &lz4Encoder{compress: newHCMatcher(level).compress}, nil
		},
	}
}

// lz4Encoder writes frames of one block. compress appends src as a block to
// dst, which has the room.
type lz4Encoder struct {
	compress func(dst, src []byte) []byte
}

func (e *lz4Encoder) AppendFrame(dst, src []byte) ([]byte, error) {
	if err := checkFrameSize(src); err != nil {
		return dst, err
	}
	frame := slices.Grow(dst, lz4.CompressBlockBound(len(src))+lz4FrameExtra)
	frame = appendLZ4Header(frame, len(src))
	if len(src) > 0 {
		at := len(frame)
		frame = e.compress(append(frame, 0, 0, 0, 0), src)
		size := uint32(len(frame) - at - 4)
		if int(size) >= len(src) { // the format wants such a block stored as it is
			frame = append(frame[:at+4], src...)
			size = uint32(len(src)) | lz4RawBlock
		}
		binary.LittleEndian.PutUint32(frame[at:], size)
	}
	frame = append(frame, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(frame, xxh32(src)), nil
}

func (e *lz4Encoder) Close() error {
	e.compress = nil
	return nil
}

func appendLZ4Header(dst []byte, size int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	at := len(dst)
	dst = append(dst, lz4Flags, lz4BlockCode)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(size))
	return append(dst, byte(xxh32(dst[at:])>>8))
}

func fastBlock(c *fastMatcher) func(dst, src []byte) []byte {
	return func(dst, src []byte) []byte {
		n := c.compress(dst[len(dst):cap(dst)], src)
		return dst[:len(dst)+n]
	}
}

// lz4Block finds the one block of a frame that AppendFrame has made for a content
// of n bytes. Other frames are as good; they take another decoder.
func lz4Block(frame []byte, n int) (block []byte, raw, ours bool) {
	head := appendLZ4Header(make([]byte, 0, lz4HeaderSize), n)
	if n == 0 || len(frame) < lz4FrameExtra || !bytes.Equal(frame[:lz4HeaderSize], head) {
		return nil, false, false
	}
	size := binary.LittleEndian.Uint32(frame[lz4HeaderSize:])
	block = frame[lz4HeaderSize+4 : len(frame)-8]
	if int64(size&^lz4RawBlock) != int64(len(block)) || binary.LittleEndian.Uint32(frame[len(frame)-8:]) != 0 {
		return nil, false, false
	}
	return block, size&lz4RawBlock != 0, true
}

// decodeLZ4Block decodes the block of a frame of ours into dst, and holds it to the
// frame's checksum.
func decodeLZ4Block(dst, frame, block []byte, raw bool) error {
	if raw {
		if len(block) != len(dst) {
			return fmt.Errorf("a block of %d bytes as they are for %d", len(block), len(dst))
		}
		copy(dst, block)
	} else if n, err := lz4.UncompressBlock(block, dst); err != nil {
		return err
	} else if n != len(dst) {
		return fmt.Errorf("a block of %d bytes for %d", n, len(dst))
	}
	if xxh32(dst) != binary.LittleEndian.Uint32(frame[len(frame)-4:]) {
		return errors.New("the checksum of its contents is wrong")
	}
	return nil
}
