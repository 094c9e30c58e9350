// Package archive writes a volume as a stream of independent compressed frames,
// and reads such a stream back.
//
// It owns the way through: which blocks are read, how many at once, what is
// hashed, in which order frames and rows come out, and how much memory that may
// take. It refuses to know where the volume comes from, where the bytes go, and
// how the rows are stored.
package archive

import (
	"context"
	"errors"
	"io"
	"runtime"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// MaxRowBlocks is the most blocks that one Data row covers.
const MaxRowBlocks = 4096

const frameBlocks = codec.FrameSize / block.Size // 8, and nothing is left over

// defaultReads is how many reads of 512 KiB are in flight: a fresh EBS volume is
// slow by the read, not by the byte, and takes up to about 32 at a time.
const defaultReads = 32

// ImageRows takes what is learned of an image while it is written. The calls
// come from one goroutine, in the order of the image: ranges of blocks one after
// the other without a gap, and frames likewise. A range comes once it is whole,
// so after the frames that it begins in. An error ends the writing.
type ImageRows interface {
	// Absent is a range that the volume never held data in.
	Absent(fromBlock, count int64) error
	// Zero is a range that was read and is all zero.
	Zero(fromBlock, count int64) error
	// Data is a range with the SHA-256 of each block, at most MaxRowBlocks. sums
	// is used again after the call.
	Data(fromBlock int64, sums [][32]byte) error
	// Frame is a frame that w has taken.
	Frame(f codec.Frame) error
}

// ImageOptions says how an image is written.
type ImageOptions struct {
	Codec    codec.Codec
	Workers  int                    // goroutines that hash and compress; 0: one a core
	Reads    int                    // reads of 512 KiB in flight; 0: 32
	Progress func(plainBytes int64) // told how far it is, from one goroutine, never less than before; may be nil
}

// ImageResult is what was written.
type ImageResult struct {
	Plain, Stored                        int64    // bytes of the volume, and of the stream
	Digest                               [32]byte // SHA-256 over the hashes of all frames
	DataBlocks, ZeroBlocks, AbsentBlocks int64
}

// WriteImage writes all of src to w as frames of 4 MiB, and its rows to rows.
// Absent blocks are stored as zeros.
//
// Reads, hashing and compression run in goroutines, all of which have ended when
// it returns. Its memory is that of ring. The first error ends it: an error of w
// or rows is returned as it is, one of src with its place; when ctx has ended,
// its cause. A Write that hangs must be ended by whoever made w.
func WriteImage(ctx context.Context, src block.Source, w io.Writer, rows ImageRows, o ImageOptions) (ImageResult, error) {
	if src.Size() <= 0 {
		return ImageResult{}, errors.New("the volume has no bytes")
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Reads <= 0 {
		o.Reads = defaultReads
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	memory := newRing(o.Codec, o.Reads, o.Workers)
	zeros, err := newZeroFrame(ctx, memory, o.Codec)
	if err != nil {
		return ImageResult{}, err
	}
	p := newPipeline(src, memory, o)
	out := newSequencer(w, rows, zeros, o.Progress)

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	wait := p.start(ctx, fail)
	if err := out.run(ctx, p); err != nil {
		fail(err)
	}
	wait()
	if ctx.Err() != nil {
		return ImageResult{}, context.Cause(ctx)
	}
	return out.result(src.Size()), nil
}
