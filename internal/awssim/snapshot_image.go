package awssim

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

const imageBlock = 512 << 10 // 512 KiB, the block of EBS snapshots

// diskImage is what a snapshot holds: a file, a reader, or zeros.
type diskImage struct {
	size    int64
	data    io.ReaderAt // nil: all zeros
	file    *os.File    // data, if that is a file: it tells its holes
	seeking sync.Mutex  // the file's offset, which only the search for data uses
	present []uint64    // a bit for each block that is not all zero

	summing sync.Mutex
	sums    map[int64]blockSum // of the blocks that are present; nil: not known yet
}

func openDiskImage(spec SnapshotSpec) (*diskImage, error) {
	im := &diskImage{}
	switch {
	case spec.Image != "" && spec.Reader != nil:
		return nil, errors.New("both an image file and a reader")
	case spec.Image != "":
		f, err := os.Open(spec.Image)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if !info.Mode().IsRegular() {
			return nil, errors.Join(fmt.Errorf("%s is not a regular file", spec.Image), f.Close())
		}
		im.file, im.data, im.size = f, f, info.Size()
	case spec.Reader != nil:
		if spec.SizeBytes <= 0 {
			return nil, errors.New("a reader without its size in bytes")
		}
		im.data, im.size = spec.Reader, spec.SizeBytes
	}
	im.present = make([]uint64, (im.size/imageBlock+1)/64+1)
	err := im.chunks(func(p []byte, off int64) error {
		im.present[off/imageBlock/64] |= 1 << (off / imageBlock % 64)
		return nil
	})
	if err != nil {
		return nil, joinClose(fmt.Errorf("read the disk image: %w", err), im)
	}
	return im, nil
}

func joinClose(err error, im *diskImage) error { return errors.Join(err, im.close()) }

func (im *diskImage) close() error {
	if im.file == nil {
		return nil
	}
	return im.file.Close()
}

// fullSize is FullSnapshotSizeInBytes of this image on a device of size bytes.
func (im *diskImage) fullSize(size int64) int64 {
	n := int64(0)
	for _, w := range im.present {
		n += int64(bits.OnesCount64(w))
	}
	return min(n*imageBlock, (size+imageBlock-1)/imageBlock*imageBlock)
}

func (im *diskImage) has(block int64) bool {
	return block/64 < int64(len(im.present)) && im.present[block/64]>>(block%64)&1 == 1
}

// chunks calls f with all of the image that is not zero, in pieces that lie
// within one block.
func (im *diskImage) chunks(f func(p []byte, off int64) error) error {
	const piece = 64 << 10 // divides a block
	buf := make([]byte, piece)
	for off := int64(0); off < im.size; {
		from, to, err := im.nextData(off)
		if err != nil {
			return err
		}
		if from >= to {
			return nil
		}
		for off = from / piece * piece; off < to; off += piece {
			p := buf[:min(piece, im.size-off)]
			if n, err := im.data.ReadAt(p, off); n < len(p) {
				return fmt.Errorf("at byte %d: %w", off+int64(n), err)
			}
			if allZero(p) {
				continue
			}
			if err := f(p, off); err != nil {
				return err
			}
		}
	}
	return nil
}

// The whence values of lseek that look for data and holes (lseek(2)).
const (
	seekData = 3
	seekHole = 4
)

// nextData returns the first range at or after off that may hold data; from ==
// to == size if there is none.
func (im *diskImage) nextData(off int64) (from, to int64, err error) {
	if im.file == nil {
		if im.data == nil {
			return im.size, im.size, nil
		}
		return off, im.size, nil
	}
	im.seeking.Lock()
	defer im.seeking.Unlock()
	from, err = im.file.Seek(off, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO): // none
		return im.size, im.size, nil
	case errors.Is(err, syscall.EINVAL): // a filesystem that does not know
		return off, im.size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = im.file.Seek(from, seekHole)
	return from, min(to, im.size), err
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// copyTo writes the image as the content of a new sparse file of size bytes.
// Blocks up to noise bytes that are all zero in the image become noise.
func (im *diskImage) copyTo(path string, size, noise int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := im.chunks(func(p []byte, off int64) error { _, err := f.WriteAt(p, off); return err }); err != nil {
		return err
	}
	r := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, imageBlock)
	for block := int64(0); block*imageBlock < noise; block++ {
		if im.has(block) {
			continue
		}
		if _, err := r.Read(buf); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf[:min(imageBlock, noise-block*imageBlock)], block*imageBlock); err != nil {
			return err
		}
	}
	return nil
}
