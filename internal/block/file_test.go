package block

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

func noise(n int) []byte {
	g := rand.NewChaCha8([32]byte{1})
	p := make([]byte, n)
	g.Read(p)
	return p
}

func imageFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string) *File {
	t.Helper()
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// at makes an io.ReaderAt of a Source's two ways to read.
type at func(ctx context.Context, p []byte, off int64) (int, error)

func (r at) ReadAt(p []byte, off int64) (int, error) { return r(context.Background(), p, off) }

func TestFileReads(t *testing.T) {
	t.Parallel()
	content := noise(3*Size + 12345)
	f := openFile(t, imageFile(t, content))
	if f.Size() != int64(len(content)) {
		t.Fatalf("size %d, want %d", f.Size(), len(content))
	}
	for name, read := range map[string]at{"ReadAt": f.ReadAt, "ReadLent": f.ReadLent} {
		tail := f.Size() - 20_000 // it reads a byte or two at a time
		if err := iotest.TestReader(io.NewSectionReader(read, tail, 20_000), content[tail:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, x := range []struct {
			off  int64
			n    int
			want int
			err  error
		}{
			{0, 0, 0, nil},
			{f.Size(), 0, 0, nil},
			{f.Size(), 1, 0, io.EOF},
			{f.Size() + 99, 5, 0, io.EOF},
			{f.Size() - 10, 20, 10, io.EOF},
			{f.Size() - 10, 10, 10, nil},
			{17, 2*Size + 3, 2*Size + 3, nil},
			{0, 4 * Size, len(content), io.EOF},
		} {
			p := make([]byte, x.n)
			n, err := read(t.Context(), p, x.off)
			if n != x.want || err != x.err || !bytes.Equal(p[:n], content[min(x.off, f.Size()):][:n]) {
				t.Errorf("%s(%d bytes, %d) = %d, %v; want %d, %v", name, x.n, x.off, n, err, x.want, x.err)
			}
		}
		if _, err := read(t.Context(), make([]byte, 1), -1); err == nil {
			t.Errorf("%s: a negative offset was taken", name)
		}
	}
}

func TestFileConcurrentReads(t *testing.T) {
	t.Parallel()
	content := noise(4 * Size)
	f := openFile(t, imageFile(t, content))
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			off := int64(i * 4001 % (3 * Size))
			p := make([]byte, 9000)
			if n, err := f.ReadAt(t.Context(), p, off); err != nil || !bytes.Equal(p[:n], content[off:off+9000]) {
				t.Errorf("read at %d: %d, %v", off, n, err)
			}
		})
	}
	wg.Wait()
}

func TestFileThatShrinks(t *testing.T) {
	t.Parallel()
	path := imageFile(t, noise(2*Size))
	f := openFile(t, path)
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	_, err := f.ReadAt(t.Context(), make([]byte, 500), 5000)
	if e, ok := errors.AsType[*ReadError](err); !ok || e.Off != 5000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestNotADisk(t *testing.T) {
	t.Parallel()
	for _, path := range []string{t.TempDir(), os.DevNull, "/no/such/image"} {
		for name, open := range map[string]func(string) error{
			"OpenFile":   func(p string) error { _, err := OpenFile(p); return err },
			"OpenDevice": func(p string) error { _, err := OpenDevice(t.Context(), p); return err },
		} {
			if err := open(path); err == nil {
				t.Errorf("%s opened %s", name, path)
			}
		}
	}
}

// brokenDisk stands for a device that hangs or fails.
type brokenDisk struct {
	begun chan struct{} // told of each read, if not nil
	hang  chan struct{} // closed: reads go on; nil: they do not hang
	good  int           // bytes read before err
	err   error
}

func (d brokenDisk) ReadAt(p []byte, _ int64) (int, error) {
	if d.hang != nil {
		d.begun <- struct{}{}
		<-d.hang
	}
	for i := range p {
		p[i] = 0xaa
	}
	return min(d.good, len(p)), d.err
}

func TestReadErrorNamesItsPlace(t *testing.T) {
	t.Parallel()
	f := openFile(t, imageFile(t, make([]byte, 4*Size)))
	f.data = brokenDisk{good: 4096, err: &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}}
	for name, read := range map[string]at{"ReadAt": f.ReadAt, "ReadLent": f.ReadLent} {
		_, err := read(t.Context(), make([]byte, Size), Size)
		want := "read " + f.Name() + " at offset 528384: input/output error"
		if err == nil || err.Error() != want || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

// A disk that does not answer holds no caller, and writes into nobody's memory
// afterwards.
func TestHangingReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := openFile(t, imageFile(t, make([]byte, Size)))
	disk := brokenDisk{begun: make(chan struct{}), hang: make(chan struct{}), good: Size}
	f.data = disk
	p := make([]byte, Size)
	for name, x := range map[string]struct {
		read at
		p    []byte
	}{"ReadAt": {f.ReadAt, p}, "ReadLent": {f.ReadLent, make([]byte, Size)}} {
		cause := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-disk.begun
			cancel(cause)
		}()
		if n, err := x.read(ctx, x.p, 0); n != 0 || err != cause {
			t.Fatalf("%s: got %d, %v", name, n, err)
		}
	}
	if len(f.slots) != 2 {
		t.Errorf("%d reads under way, want the 2 that hang", len(f.slots))
	}
	close(disk.hang)
	for range maxReads { // all places are free again once the disk answers
		f.slots <- struct{}{}
	}
	if !bytes.Equal(p, make([]byte, Size)) {
		t.Error("a read that was given up wrote into its caller's memory")
	}
}

func TestReadsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	f := openFile(t, imageFile(t, make([]byte, Size)))
	for range maxReads {
		f.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.ReadAt(ctx, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the read to wait for a place until its context ends", err)
	}
}

func TestAlignedBuffer(t *testing.T) {
	f := &File{unit: 512}
	for _, n := range []int{1, 512, 4096, Size, 3*Size + 7} {
		p := AlignedBuffer(n)
		if len(p) != n || cap(p) != n {
			t.Errorf("AlignedBuffer(%d): len %d, cap %d", n, len(p), cap(p))
		}
		if n%512 == 0 && !f.fits(p, 1024) {
			t.Errorf("AlignedBuffer(%d) is not aligned", n)
		}
	}
}

// What the copy of ReadAt costs: compare the two.
func BenchmarkFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "disk.img")
	if err := os.WriteFile(path, noise(64*Size), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := AlignedBuffer(8 * Size)
	for name, read := range map[string]at{"ReadAt": f.ReadAt, "ReadLent": f.ReadLent, "bare": func(_ context.Context, p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(Size)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for i := 0; b.Loop(); i++ {
				if _, err := read(ctx, p[i%8*Size:][:Size], int64(i%64)*Size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
