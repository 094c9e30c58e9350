//go:build !cgo

package codec

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// openZstd takes the nearest of klauspost's four levels.
func openZstd(level int) implementation {
	nearest := zstd.EncoderLevelFromZstd(level)
	note := fmt.Sprintf("zstd level %d: this build has no libzstd and writes its nearest own level, %q", level, nearest)
	// No encoder has its own goroutines: EncodeAll runs in the caller's.
	open := func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(nearest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true))
	}
	return implementation{
		note:      note,
		zeroShare: 0.0003,
		bound:     zstdBound,
		encoder: func() (Encoder, error) {
			w, err := open()
			if err != nil {
				return nil, fmt.Errorf("open a zstd encoder at level %d: %w", level, err)
			}
			return &zstdEncoder{w: w}, nil
		},
	}
}

// zstdBound allows for a header and a checksum (18 and 4 bytes) and 3 bytes for
// each block of 128 KiB or less, which are stored as they are at worst.
func zstdBound(n int) int { return n + n>>12 + 64 }

type zstdEncoder struct{ w *zstd.Encoder }

func (e *zstdEncoder) AppendFrame(dst, src []byte) ([]byte, error) {
	if err := checkFrameSize(src); err != nil {
		return dst, err
	}
	return e.w.EncodeAll(src, dst), nil
}

func (e *zstdEncoder) Close() error { return e.w.Close() }
