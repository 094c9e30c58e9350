package awssim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// memoryBlob is how much of a payload is held in memory; larger ones are files.
const memoryBlob = 64 << 10 // 64 KiB

// blob is the bytes of a part or a small object.
type blob struct {
	memory []byte // if path is empty
	path   string
	size   int64
}

// receive stores what r brings and hands it to sums on the way.
func (s *Server) receive(r io.Reader, sums io.Writer) (blob, error) {
	r = io.TeeReader(r, sums)
	head, err := io.ReadAll(io.LimitReader(r, memoryBlob+1))
	if err != nil {
		return blob{}, err
	}
	if len(head) <= memoryBlob {
		return blob{memory: head, size: int64(len(head))}, nil
	}
	s.s3.mu.Lock()
	s.s3.blobs++
	path := filepath.Join(s.objectDir(), strconv.Itoa(s.s3.blobs))
	s.s3.mu.Unlock()
	f, err := os.Create(path)
	if err != nil {
		return blob{}, fmt.Errorf("store a payload: %w", err)
	}
	n, err := io.CopyBuffer(onlyWriter{f}, io.MultiReader(bytes.NewReader(head), r), make([]byte, 1<<20)) // 1 MiB
	if err = errors.Join(err, f.Close()); err != nil {
		return blob{}, errors.Join(err, os.Remove(path))
	}
	return blob{path: path, size: n}, nil
}

// onlyWriter hides ReadFrom, which would take small steps of its own.
type onlyWriter struct{ io.Writer }

func (b blob) open() (io.ReadCloser, error) {
	if b.path == "" {
		return io.NopCloser(bytes.NewReader(b.memory)), nil
	}
	return os.Open(b.path)
}

func (b blob) remove() error {
	if b.path == "" {
		return nil
	}
	return os.Remove(b.path)
}

// contents is an object's bytes: its parts in order, shared by the object and
// those who read it; the last to let go removes the files. Guarded by s3State.mu.
type contents struct {
	blobs []blob
	size  int64
	refs  int
}

func newContents(blobs ...blob) *contents {
	c := &contents{blobs: blobs, refs: 1}
	for _, b := range blobs {
		c.size += b.size
	}
	return c
}

// release lets go under s3State.mu.
func (c *contents) release() error {
	c.refs--
	if c.refs > 0 {
		return nil
	}
	var errs []error
	for _, b := range c.blobs {
		errs = append(errs, b.remove())
	}
	return errors.Join(errs...)
}

// readFrom holds the contents until the reader is closed, so that files stay
// while they are read. Called under s3State.mu.
func (s *Server) readFrom(c *contents) *contentsReader {
	c.refs++
	return &contentsReader{s: s, c: c, left: c.size}
}

// contentsReader reads across parts, one open file at a time.
type contentsReader struct {
	s    *Server
	c    *contents
	off  int64
	left int64
	cur  io.ReadCloser
	next int
	done bool
}

func (r *contentsReader) Read(p []byte) (int, error) {
	for r.left > 0 {
		if r.cur == nil {
			if err := r.advance(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.cur.Read(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		if errors.Is(err, io.EOF) {
			err = r.cur.Close()
			r.cur = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// advance opens the next blob that holds bytes wanted.
func (r *contentsReader) advance() error {
	if r.next >= len(r.c.blobs) {
		return io.ErrUnexpectedEOF
	}
	b := r.c.blobs[r.next]
	r.next++
	if r.off >= b.size {
		r.off -= b.size
		return nil
	}
	cur, err := b.open()
	if err != nil {
		return err
	}
	if seeker, ok := cur.(io.Seeker); ok {
		_, err = seeker.Seek(r.off, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, cur, r.off)
	}
	if err != nil {
		return errors.Join(err, cur.Close())
	}
	r.off, r.cur = 0, cur
	return nil
}

// Close lets go of the contents; the second time it does nothing.
func (r *contentsReader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	var err error
	if r.cur != nil {
		err = r.cur.Close()
	}
	r.s.s3.mu.Lock()
	defer r.s.s3.mu.Unlock()
	return errors.Join(err, r.c.release())
}
