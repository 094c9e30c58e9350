package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Decoder decodes frames one by one. It holds its working memory from frame to
// frame and is not safe for concurrent use: one for each worker.
type Decoder struct {
	name string
	lz4  *lz4.Reader // for frames that are not as ours; made when one comes
	src  *bytes.Reader
	zstd *zstd.Decoder
}

// NewDecoder returns a decoder for frames of that format.
func NewDecoder(name string) (*Decoder, error) {
	if _, err := lookup(name); err != nil {
		return nil, err
	}
	d := &Decoder{name: name, src: bytes.NewReader(nil)}
	if name == "lz4" {
		return d, nil
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	d.zstd = z
	return d, nil
}

// DecodeFrame decodes src into dst, and it is an error when that is not exactly
// what dst has room for. What is in dst after an error is undefined.
func (d *Decoder) DecodeFrame(dst, src []byte) error {
	n, err := d.decode(dst, src)
	switch {
	case err != nil:
		return fmt.Errorf("decode %s: %w", d.name, err)
	case n != len(dst):
		return fmt.Errorf("decode %s: %d bytes came out, not %d", d.name, n, len(dst))
	}
	return nil
}

func (d *Decoder) decode(dst, src []byte) (int, error) {
	if d.zstd != nil {
		// A frame says how long its content is, unless that is a few bytes, so that more
		// than dst holds is refused before it is made.
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, err
		}
		if h.HasFCS && h.FrameContentSize != uint64(len(dst)) {
			return 0, fmt.Errorf("the frame says that it holds %d bytes, not %d", h.FrameContentSize, len(dst))
		}
		out, err := d.zstd.DecodeAll(src, dst[:0:len(dst)])
		if err == nil && len(out) > 0 && len(dst) > 0 && &out[0] != &dst[0] {
			err = errors.New("more came out than the frame says")
		}
		return len(out), err
	}
	if block, raw, ours := lz4Block(src, len(dst)); ours {
		return len(dst), decodeLZ4Block(dst, src, block, raw)
	}
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(d.src)
	}
	d.src.Reset(src)
	d.lz4.Reset(d.src)
	n, err := io.ReadFull(d.lz4, dst)
	if err != nil {
		return n, unexpected(err)
	}
	// The end of the frame and its checksum come after the last byte.
	var more [1]byte
	extra, err := d.lz4.Read(more[:])
	if err == nil || !errors.Is(err, io.EOF) || extra > 0 {
		if err == nil {
			err = errors.New("the frame holds more")
		}
		return n + extra, err
	}
	return n, nil
}

// Close gives the working memory back. The decoder cannot be used again.
func (d *Decoder) Close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}
