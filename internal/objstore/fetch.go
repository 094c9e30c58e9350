package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"snap-to-s3/internal/pause"
)

// cutError is a body that ended before its range did: the next request can go on.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// fetch fills data with the object's bytes from off on.
func (r *Reader) fetch(ctx context.Context, off int64, data []byte) error {
	have, moved, tries := 0, 0, 0
	for {
		n, err := r.request(ctx, off+int64(have), data[have:])
		have, moved = have+n, moved+n
		if err == nil {
			return nil
		}
		at := off + int64(have)
		if ctx.Err() != nil {
			return fmt.Errorf("read %s at byte %d: %w", r.info.Key, at, context.Cause(ctx))
		}
		if _, cut := errors.AsType[*cutError](err); !cut {
			return fmt.Errorf("from byte %d on: %w", at, err) // Open names the object
		}
		if moved >= progressMade {
			tries, moved = 0, 0
		}
		if tries++; tries > r.options.Tries {
			return fmt.Errorf("read %s at byte %d, cut off %d times: %w", r.info.Key, at, tries, err)
		}
		r.options.Log.LogAttrs(ctx, slog.LevelWarn, "reading was cut off, it goes on where it stopped", slog.String("key", r.info.Key),
			slog.Int64("byte", at), slog.Int("try", tries), slog.Int("up_to", r.options.Tries), slog.Any("err", err))
		if err := pause.For(ctx, r.options.Backoff<<min(tries-1, maxDoubling)); err != nil {
			return fmt.Errorf("read %s at byte %d: %w", r.info.Key, at, err)
		}
	}
}

// request is one request for a range, and how many bytes of it came.
func (r *Reader) request(ctx context.Context, off int64, data []byte) (int, error) {
	// No bytes are asked for of an empty object only: that is its whole.
	body, err := r.store.Open(ctx, r.info.Key, Range{Off: off, Len: int64(len(data)), ETag: r.info.ETag})
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(body, data)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	// What Close says of a body that was read to its end, or is broken, is no news.
	_ = body.Close()
	if err != nil {
		return n, &cutError{err}
	}
	return n, nil
}
