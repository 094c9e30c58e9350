package cli

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// demoImage is a 1 GiB disk with a partition table and an ext4 filesystem, made
// by scripts/make-demo-image.sh.
//
//go:embed demo.img.zst
var demoImage []byte

// writeDemoImage unpacks the embedded disk, sparse where it holds zeros.
func writeDemoImage(path string) (err error) {
	r, err := codec.NewReader("zstd", bytes.NewReader(demoImage))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("unpack the demo disk: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close(), f.Close()) }()
	buf, zeros := make([]byte, block.Size), make([]byte, block.Size)
	var off int64
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return fmt.Errorf("unpack the demo disk: %w", err)
			}
		}
		off += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			if err := f.Truncate(off); err != nil {
				return fmt.Errorf("unpack the demo disk: %w", err)
			}
			return nil
		case err != nil:
			return fmt.Errorf("unpack the demo disk: %w", err)
		}
	}
}
