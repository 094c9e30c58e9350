package archive

import (
	"context"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// ring is all memory for bytes of an archive on their way, and so the bound of it:
//
//	(reads/8 + workers + 1) × 4 MiB plain, (workers + 2) × 4 MiB compressed
//
// that is 44 MiB for 32 reads and 2 workers. To that come the tables of the
// encoders, one a worker (lz4: 32 KiB, from level 3 on 384 KiB; zstd: under 1 MiB at
// level 1, 9 MiB at level 9, 47 MiB at 19). Buffers are made when first needed: a
// sparse volume takes less. Where nothing is compressed there are none for that.
//
// A frame's compressed buffer is taken in the order of the frames. Were it taken
// in another, later frames could hold all of them while the one that has to be
// written next waits.
type ring struct{ plain, stored pool }

func newRing(c codec.Codec, reads, workers int) *ring {
	reading := (reads + frameBlocks - 1) / frameBlocks
	bound := 0
	if c.Name() != "" {
		bound = c.Bound(codec.FrameSize)
	}
	return &ring{
		plain:  newPool(reading+workers+1, codec.FrameSize),
		stored: newPool(workers+2, bound),
	}
}

// pool is a number of buffers of one size.
type pool struct {
	free   chan []byte
	unmade chan struct{} // one for each buffer not yet made
	size   int
}

func newPool(n, size int) pool {
	p := pool{make(chan []byte, n), make(chan struct{}, n), size}
	for range n {
		p.unmade <- struct{}{}
	}
	return p
}

// get waits for a buffer. What is in it is undefined.
func (p pool) get(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.free:
		return b, nil
	default:
	}
	select {
	case b := <-p.free:
		return b, nil
	case <-p.unmade:
		if p.size == 0 {
			return nil, nil
		}
		return block.AlignedBuffer(p.size), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p pool) put(b []byte) { p.free <- b }
