package objstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// SpoolOver is the size in bytes over which parts go to files, where a folder is given.
const SpoolOver = 64 * mib

const (
	chunkSize = 1 * mib // memory is taken and reused in these
)

// partBuffer holds one part while it fills and while it is sent. It is filled
// by one goroutine and then read by one other.
type partBuffer interface {
	write(p []byte) error
	// body reads the whole part, from its start.
	body() io.ReadSeeker
	// release makes room for another part.
	release()
}

// chunkRing lends memory to parts. What is given back is lent again, so a
// writer's memory is that of the parts it holds at one time.
type chunkRing struct {
	mu   sync.Mutex
	free [][]byte
}

func (r *chunkRing) take() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		c := r.free[n-1]
		r.free = r.free[:n-1]
		return c
	}
	return make([]byte, chunkSize)
}

func (r *chunkRing) give(chunks [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, chunks...)
}

// memoryPart is a part in chunks of the ring.
type memoryPart struct {
	ring   *chunkRing
	chunks [][]byte
	size   int64
}

func (m *memoryPart) write(p []byte) error {
	for len(p) > 0 {
		at := int(m.size % chunkSize)
		if at == 0 {
			m.chunks = append(m.chunks, m.ring.take())
		}
		n := copy(m.chunks[len(m.chunks)-1][at:], p)
		m.size += int64(n)
		p = p[n:]
	}
	return nil
}

func (m *memoryPart) body() io.ReadSeeker { return &chunkReader{chunks: m.chunks, size: m.size} }

func (m *memoryPart) release() {
	m.ring.give(m.chunks)
	m.chunks, m.size = m.chunks[:0], 0
}

// chunkReader reads a memory part. It has WriteTo, so that no copy of a part is
// made on its way to a socket.
type chunkReader struct {
	chunks [][]byte
	size   int64
	off    int64
}

func (r *chunkReader) rest() []byte {
	at := r.off % chunkSize
	return r.chunks[r.off/chunkSize][at:min(chunkSize, at+r.size-r.off)]
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	n := copy(p, r.rest())
	r.off += int64(n)
	return n, nil
}

func (r *chunkReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.off < r.size {
		n, err := w.Write(r.rest())
		r.off += int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (r *chunkReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("objstore: seek before the start of a part")
	}
	r.off = offset
	return offset, nil
}

// filePart is a part in a file that has no name: when the process dies, however
// that is, the kernel takes it away.
type filePart struct {
	dir  string
	file *os.File
	size int64
	give func(*os.File)
}

func (f *filePart) write(p []byte) error {
	n, err := f.file.WriteAt(p, f.size)
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("spool a part to %s: %w", f.dir, err)
	}
	return nil
}

func (f *filePart) body() io.ReadSeeker { return io.NewSectionReader(f.file, 0, f.size) }

func (f *filePart) release() { f.give(f.file) }

// openUnlinked opens a file in dir that is in no folder, or is removed from it
// at once where the filesystem has no O_TMPFILE.
func openUnlinked(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err == nil {
		return f, nil
	}
	// EISDIR: a kernel or filesystem that takes the flag for O_DIRECTORY
	// (open(2), O_TMPFILE).
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("open a spool file in %s: %w", dir, err)
	}
	f, err = os.CreateTemp(dir, ".snap-to-s3-part-*")
	if err != nil {
		return nil, fmt.Errorf("open a spool file in %s: %w", dir, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink the spool file %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}
