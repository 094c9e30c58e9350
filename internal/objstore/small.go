package objstore

import (
	"context"
	"io"
)

// ReadAll returns a small object whole, and of one with more than limit bytes the
// first limit+1.
func ReadAll(ctx context.Context, s Store, key string, limit int64) (_ []byte, err error) {
	r, err := s.Open(ctx, key, Range{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	return io.ReadAll(io.LimitReader(r, limit+1))
}
