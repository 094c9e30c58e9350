package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"snap-to-s3/internal/block"
)

// scanBuffer is how much of a stream is read at a time, in bytes.
const scanBuffer = 1 << 20

// atOnce is what some gives in one piece, in bytes, for a hash in one go.
const atOnce = 64 << 10

// scanReader reads a stream and knows where it is. What it gives is valid until
// the next call. An end is always one that was not expected.
type scanReader struct {
	r  *bufio.Reader
	at int64
}

func newScanReader(r io.Reader) *scanReader {
	return &scanReader{r: bufio.NewReaderSize(r, scanBuffer)}
}

// take gives the next n bytes, which fit into the buffer.
func (s *scanReader) take(n int) ([]byte, error) {
	b, err := s.r.Peek(n)
	if err != nil {
		s.at += int64(len(b))
		return nil, unexpected(err)
	}
	return b, s.pass(n)
}

func (s *scanReader) pass(n int) error {
	_, err := s.r.Discard(n)
	s.at += int64(n)
	return err
}

// some gives up to most of the next bytes, and at least one.
func (s *scanReader) some(most int64) ([]byte, error) {
	if most <= atOnce {
		return s.take(int(most))
	}
	if s.r.Buffered() == 0 {
		if _, err := s.r.Peek(1); err != nil {
			return nil, unexpected(err)
		}
	}
	return s.take(int(min(most, int64(s.r.Buffered()))))
}

// line gives the next line of at most most bytes, without its line feed.
func (s *scanReader) line(most int64) ([]byte, error) {
	b, err := s.r.ReadSlice('\n')
	s.at += int64(len(b))
	if errors.Is(err, io.EOF) && int64(len(b)) < most {
		return nil, io.ErrUnexpectedEOF
	}
	if errors.Is(err, bufio.ErrBufferFull) || int64(len(b)) > most || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("a line of more than %d bytes", most)
	}
	if err != nil {
		return nil, err
	}
	return b[:len(b)-1], nil
}

// zeros passes over n bytes, which must be zero and fit into the buffer.
func (s *scanReader) zeros(n int64) error {
	if n == 0 {
		return nil
	}
	b, err := s.take(int(n))
	if err == nil && !block.AllZero(b) {
		return fmt.Errorf("the %d bytes before it should be zeros", n)
	}
	return err
}

// appendTo appends n bytes and passes over their padding. Memory grows with what
// has come, whatever a header promises.
func (s *scanReader) appendTo(ctx context.Context, to []byte, n int64) ([]byte, error) {
	for left := n; left > 0; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := s.some(left)
		if err != nil {
			return nil, err
		}
		to = append(to, b...)
		left -= int64(len(b))
	}
	return to, s.zeros(padding(n))
}

// rest gives some of what is left, and nothing at the end.
func (s *scanReader) rest() ([]byte, error) {
	if _, err := s.r.Peek(1); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return s.take(s.r.Buffered())
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
