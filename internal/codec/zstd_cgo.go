//go:build cgo

package codec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/DataDog/zstd"
)

const (
	zstdDescriptor   = 4      // offset of the frame header descriptor, after the magic
	zstdChecksumFlag = 1 << 2 // RFC 8878, 3.1.1.1.1: a content checksum follows the blocks
	zstdChecksumSize = 4
)

// openZstd writes libzstd's own levels.
//
// A context of libzstd is freed by its finalizer only, and the Go collector does
// not see its size (under 1 MiB at level 1, 47 MiB at level 19). So contexts of closed
// encoders are kept for the next ones: there are never more than were in use at
// the same time.
func openZstd(level int) implementation {
	var contexts zstdContexts
	return implementation{
		zeroShare: 0.0001,
		bound:     zstdBound,
		encoder: func() (Encoder, error) {
			return &zstdEncoder{level: level, pool: &contexts, ctx: contexts.get()}, nil
		},
	}
}

func zstdBound(n int) int { return zstd.CompressBound(n) + zstdChecksumSize }

type zstdEncoder struct {
	level int
	pool  *zstdContexts
	ctx   zstd.Ctx
}

// AppendFrame lets libzstd write a frame without a checksum, which is all that
// the binding can ask for in one call, and then adds the checksum: a flag in the
// header, and the low half of XXH64 at the end.
func (e *zstdEncoder) AppendFrame(dst, src []byte) ([]byte, error) {
	if err := checkFrameSize(src); err != nil {
		return dst, err
	}
	grown := slices.Grow(dst, zstdBound(len(src)))
	frame, err := e.ctx.CompressLevel(grown[len(grown):cap(grown)], src, e.level)
	if err != nil {
		return dst, fmt.Errorf("compress a zstd frame of %d bytes: %w", len(src), err)
	}
	frame[zstdDescriptor] |= zstdChecksumFlag
	grown = grown[:len(dst)+len(frame)]
	return binary.LittleEndian.AppendUint32(grown, uint32(xxh64(src))), nil
}

func (e *zstdEncoder) Close() error {
	if e.ctx != nil {
		e.pool.put(e.ctx)
		e.ctx = nil
	}
	return nil
}

type zstdContexts struct {
	mu   sync.Mutex
	free []zstd.Ctx
}

func (p *zstdContexts) get() zstd.Ctx {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		ctx := p.free[n-1]
		p.free = p.free[:n-1]
		return ctx
	}
	return zstd.NewCtx()
}

func (p *zstdContexts) put(ctx zstd.Ctx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, ctx)
}
