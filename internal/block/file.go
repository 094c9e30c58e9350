package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"unsafe"
)

// maxReads is how many reads of one File may be under way, those included that
// nobody waits for any more. Each of them takes a thread, as a read that hangs
// in the kernel cannot be ended from outside.
const maxReads = 256

// bounceSize is the most that ReadAt reads at a time into memory of its own.
const bounceSize = Size

// bounceBuffer is ReadAt's own memory for one read.
type bounceBuffer struct{ p []byte }

// pageSize is what memory is aligned to for O_DIRECT. Devices want 512 or 4096.
const pageSize = 4096

// LentReader is a Source that can read straight into the caller's memory, if the
// caller can do without it should the read be given up.
type LentReader interface {
	// ReadLent is ReadAt without the copy: when it returns an error, the read
	// may still be under way and write into p at any later time, so p must
	// never be used again.
	ReadLent(ctx context.Context, p []byte, off int64) (int, error)
}

// ReadError is a read that failed, with its place.
type ReadError struct {
	Name string // file or device
	Off  int64  // bytes
	Err  error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("read %s at offset %d: %v", e.Name, e.Off, e.Err)
}

// Unwrap returns what the kernel said.
func (e *ReadError) Unwrap() error { return e.Err }

// File is a disk image or a device as a Source.
//
// A read that its context gives up goes on in the kernel until the disk answers:
// until then it holds one thread, one of maxReads places, its memory (at most
// Size, or what was lent), and the descriptor, even after Close.
type File struct {
	f     *os.File
	data  io.ReaderAt // f; its reads may hang
	name  string
	size  int64
	unit  int64         // offsets and lengths are multiples of it (O_DIRECT); 1 if any will do
	slots chan struct{} // one for each read under way
	spare sync.Pool     // *bounceBuffer
	whole bool          // not sparse: one extent over all
}

var (
	_ Source     = (*File)(nil)
	_ LentReader = (*File)(nil)
)

// OpenFile opens a disk image, or a device that others may be using too.
// The holes of an image are its absent blocks.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	file, err := newFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file, nil
}

func newFile(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file := &File{f: f, data: f, name: f.Name(), size: info.Size(), unit: 1, slots: make(chan struct{}, maxReads)}
	file.spare.New = func() any { return &bounceBuffer{AlignedBuffer(bounceSize)} }
	switch {
	case info.Mode().IsRegular():
	case info.Mode().Type() == os.ModeDevice: // a block device: a character device has one bit more
		file.whole = true
		if file.size, err = deviceSize(f); err != nil {
			return nil, fmt.Errorf("size of %s: %w", f.Name(), err)
		}
	default:
		return nil, fmt.Errorf("%s is neither a disk image nor a block device", f.Name())
	}
	return file, nil
}

// Size is the length of the image or device in bytes, as it was when opened.
func (f *File) Size() int64 { return f.size }

// Name is the path that was opened.
func (f *File) Name() string { return f.name }

// Close closes the file. Reads that were given up end by themselves.
func (f *File) Close() error { return f.f.Close() }

// Extents yields where an image file is not a hole, rounded outwards to Size. A
// device, and a file on a filesystem that cannot tell, is one extent.
func (f *File) Extents(ctx context.Context) iter.Seq2[Extent, error] {
	if f.whole {
		return wholeExtent(f.size)
	}
	return dataExtents(ctx, f.f, f.size)
}

// ReadAt reads into memory of its own and copies, so that p is the caller's
// again when it returns, whatever the disk does. ReadLent saves the copy.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	n, end, err := f.clip(p, off)
	if err != nil {
		return 0, err
	}
	for done := 0; done < n; {
		from := off + int64(done)
		first := from - from%f.unit
		skip := int(from - first)
		want := min(n-done, bounceSize-skip)
		buf := f.spare.Get().(*bounceBuffer)
		// The end of a device is a multiple of its unit, so this stays inside.
		length := roundUp(int64(skip+want), f.unit)
		if err := f.read(ctx, buf.p[:length], first); err != nil {
			return done, err // and buf is left to the read, which may go on
		}
		copy(p[done:done+want], buf.p[skip:])
		f.spare.Put(buf)
		done += want
	}
	return n, end
}

// ReadLent implements LentReader.
func (f *File) ReadLent(ctx context.Context, p []byte, off int64) (int, error) {
	n, end, err := f.clip(p, off)
	if err != nil {
		return 0, err
	}
	if n > 0 && !f.fits(p[:n], off) {
		return f.ReadAt(ctx, p, off)
	}
	if n > 0 {
		if err := f.read(ctx, p[:n], off); err != nil {
			return 0, err
		}
	}
	return n, end
}

// clip says how much of p lies before the end, and what to return with it.
func (f *File) clip(p []byte, off int64) (n int, end, err error) {
	switch {
	case off < 0:
		return 0, nil, &ReadError{f.name, off, errors.New("negative offset")}
	case len(p) == 0:
		return 0, nil, nil
	case off >= f.size:
		return 0, nil, io.EOF
	case f.size-off < int64(len(p)):
		return int(f.size - off), io.EOF, nil
	}
	return len(p), nil, nil
}

// fits says whether the kernel can read into p directly.
func (f *File) fits(p []byte, off int64) bool {
	if f.unit == 1 {
		return true
	}
	return off%f.unit == 0 && int64(len(p))%f.unit == 0 && uintptr(unsafe.Pointer(&p[0]))%pageSize == 0
}

// read fills p, which lies inside the file. After ctx's error the read may still
// be under way.
func (f *File) read(ctx context.Context, p []byte, off int64) error {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		n, err := f.data.ReadAt(p, off)
		<-f.slots
		done <- f.readError(err, off+int64(n))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *File) readError(err error, off int64) error {
	if err == nil {
		return nil
	}
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err // the rest is in ReadError
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it has become shorter than %d bytes: %w", f.size, io.ErrUnexpectedEOF)
	}
	return &ReadError{f.name, off, err}
}

// AlignedBuffer returns n bytes that begin on a memory page, as a device that is
// read past the page cache wants them.
func AlignedBuffer(n int) []byte {
	p := make([]byte, n+pageSize-1)
	skip := int(-uintptr(unsafe.Pointer(&p[0])) % pageSize)
	return p[skip : skip+n : skip+n]
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
