package codec

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxWindow is the most that a zstd frame may ask a reader to remember: 128 MiB,
// as much as `zstd -d` grants without being asked for more.
const maxWindow = 128 << 20

// NewReader decodes any concatenation of standard frames of that format,
// skippable ones included, ours or another program's. An empty stream, one that
// ends inside a frame, and a wrong checksum are errors. Close releases the
// decoder, not r.
func NewReader(name string, r io.Reader) (io.ReadCloser, error) {
	if _, err := lookup(name); err != nil {
		return nil, err
	}
	return &reader{name: name, in: bufio.NewReaderSize(r, 64<<10)}, nil
}

type reader struct {
	name   string
	in     *bufio.Reader
	frames io.Reader // nil before the first Read: klauspost's reads ahead as soon as it is made
	close  func()    // nil: nothing to release
	err    error     // sticky, as decoders may go on after one
}

func (d *reader) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	if d.frames == nil {
		if err := d.open(); err != nil {
			d.err = d.explain(err)
			return 0, d.err
		}
	}
	n, err := d.frames.Read(p)
	if err != nil {
		d.err = d.explain(err)
	}
	return n, d.err
}

func (d *reader) open() error {
	if _, err := d.in.Peek(1); err != nil {
		return unexpected(err)
	}
	if d.name == "lz4" {
		d.frames = lz4.NewReader(d.in)
		return nil
	}
	z, err := zstd.NewReader(d.in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	d.frames, d.close = z, z.Close
	return nil
}

func (d *reader) explain(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("decode %s: %w", d.name, err)
}

func (d *reader) Close() error {
	d.err = errors.New("read of a closed " + d.name + " decoder")
	if d.close != nil {
		d.close()
		d.close = nil
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
