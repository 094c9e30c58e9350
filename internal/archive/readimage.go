package archive

import (
	"context"
	"io"

	"snap-to-s3/internal/codec"
)

// ReadImage decodes a stored stream of that codec to w and returns how many
// plain bytes that were. It ends with ctx between two reads of r; a read that
// hangs must be ended by whoever made r.
func ReadImage(ctx context.Context, r io.Reader, codecName string, w io.Writer) (n int64, err error) {
	d, err := codec.NewReader(codecName, r)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := d.Close(); err == nil {
			err = closeErr
		}
	}()
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		got, readErr := d.Read(buf)
		wrote, err := w.Write(buf[:got])
		n += int64(wrote)
		switch {
		case err != nil:
			return n, err
		case wrote < got:
			return n, io.ErrShortWrite
		case readErr == io.EOF:
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
	return n, context.Cause(ctx)
}
