package workflow

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
)

// sample reads the entries, and some frames of the archive, each by its range. It
// returns how many.
func (r *readback) sample(ctx context.Context, share float64, random *rand.Rand) (frames int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, err := openObject(ctx, r, r.a.entries, nil)
	if err != nil {
		return 0, err
	}
	defer list.close()
	f := newFeed(layout.ReadEntries(list.plain))
	defer f.close()
	for {
		next, err := f.frame()
		if err != nil { // the end, or told below
			break
		}
		f.forget()
		// The first one always: something must have been read of any archive.
		if frames > 0 && random.Float64() >= share {
			continue
		}
		frames++
		if err := r.sampleFrame(ctx, next); err != nil {
			return frames, err
		}
	}
	listed := f.finish()
	if err := r.failure(ctx, nil, list); err != nil {
		return frames, err
	}
	if err := r.checkList(list, f, listed); err != nil {
		return frames, err
	}
	if listed != nil {
		return frames, errCut
	}
	return frames, nil
}

// sampleFrame reads one frame by itself.
func (r *readback) sampleFrame(ctx context.Context, f codec.Frame) error {
	get := objstore.NewReader(ctx, r.store, r.a.info, objstore.ReadOptions{Streams: 1, Off: f.StoredOff, Len: f.StoredLen, Log: r.log})
	defer func() { _ = get.Close() }() // all that matters was read
	raw := &objectReader{from: get, progress: r.progress}
	moved := f
	moved.StoredOff = 0
	given := false
	table := func() (codec.Frame, error) {
		if given {
			return codec.Frame{}, io.EOF
		}
		given = true
		return moved, nil
	}
	for got, err := range archive.ReadFrames(ctx, raw, table, archive.FrameOptions{Codec: r.a.codec, Image: r.a.kind == layout.Image, Workers: 1}) {
		if err != nil {
			if raw.err != nil {
				return fmt.Errorf("read %s: %w", r.a.key, raw.err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r.damaged(&archive.FrameError{Frame: f, Err: err})
			return nil
		}
		if got.Damage != nil {
			r.damaged(&archive.FrameError{Frame: f, Err: got.Damage.Err})
		}
		r.plain += f.PlainLen
	}
	return nil
}
