package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/codec"
)

// ErrNoEntry says: a tar has no entry of that path.
var ErrNoEntry = errors.New("no such entry in the archive")

// EntriesIndex reads parts of entries by range. It is safe for concurrent use
// if its reader is.
type EntriesIndex struct {
	r     io.ReaderAt
	kind  Kind
	index []place
	named []place // those of index that begin with a path
	dec   *zstd.Decoder
}

// OpenEntries reads the trailer of entries of size bytes: two reads at the tail.
// Entries that are encrypted have none that could be read this way.
func OpenEntries(r io.ReaderAt, size int64) (*EntriesIndex, error) {
	if size < int64(minEntriesObject) {
		return nil, fmt.Errorf("open entries: %w: only %d bytes long", ErrDamaged, size)
	}
	tail := make([]byte, trailerTail)
	if err := readFull(r, tail, size-int64(trailerTail)); err != nil {
		return nil, fmt.Errorf("open entries: read the tail: %w", err)
	}
	length := binary.LittleEndian.Uint64(tail)
	if string(tail[8:]) != trailerMagic || length < uint64(minEntriesObject) || length > maxTrailer || length > uint64(size) {
		return nil, fmt.Errorf("open entries: %w: no trailer at the end", ErrDamaged)
	}
	trailer := make([]byte, length)
	start := size - int64(length)
	if err := readFull(r, trailer, start); err != nil {
		return nil, fmt.Errorf("open entries: read the trailer: %w", err)
	}
	if binary.LittleEndian.Uint32(trailer) != skippableMagic || uint64(binary.LittleEndian.Uint32(trailer[4:])) != length-trailerHead {
		return nil, fmt.Errorf("open entries: %w: the trailer is not a skippable frame of its own length", ErrDamaged)
	}
	kind, index, err := parseIndex(trailer[trailerHead:len(trailer)-trailerTail], start)
	if err != nil {
		return nil, fmt.Errorf("open entries: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEntriesFrame))
	if err != nil {
		return nil, fmt.Errorf("open entries: %w", err)
	}
	x := &EntriesIndex{r: r, kind: kind, index: index, dec: dec}
	for _, p := range index {
		if p.named {
			x.named = append(x.named, p)
		}
	}
	return x, nil
}

// Kind is what the archive holds.
func (x *EntriesIndex) Kind() Kind { return x.kind }

// FrameAt finds the archive's frame that holds plain byte off, by one read.
func (x *EntriesIndex) FrameAt(off int64) (codec.Frame, error) {
	i := sort.Search(len(x.index), func(i int) bool { return x.index[i].offset > off }) - 1
	if off < 0 || i < 0 {
		return codec.Frame{}, fmt.Errorf("find frame: byte %d is before the archive", off)
	}
	rows, err := x.rows(x.index[i])
	if err != nil {
		return codec.Frame{}, fmt.Errorf("find frame of byte %d: %w", off, err)
	}
	for line := range bytes.Lines(rows) {
		if !bytes.Contains(line, []byte(`"frames"`)) {
			continue // most of the bytes are hashes of blocks, or names
		}
		row, _, err := parseRow(line)
		if err != nil {
			return codec.Frame{}, fmt.Errorf("find frame of byte %d: %w", off, err)
		}
		if row.Frames == nil {
			continue
		}
		if f, ok := row.Frames.at(off); ok {
			return f, nil
		}
	}
	return codec.Frame{}, fmt.Errorf("find frame: byte %d is behind the archive: %w", off, io.EOF)
}

// Lookup finds the entry of a tar with that path, by one read unless it is among
// paths that are alike in their first 512 bytes. Without one it is ErrNoEntry.
func (x *EntriesIndex) Lookup(path string) (TreeEntry, error) {
	if x.kind != Tar {
		return TreeEntry{}, fmt.Errorf("find entry %s: the archive is an image", quoted(path))
	}
	at, err := x.frameOf(path)
	if err != nil {
		return TreeEntry{}, fmt.Errorf("find entry %s: %w", quoted(path), err)
	}
	var found *TreeEntry
	if at >= 0 {
		found, err = x.firstFrom(x.named[at], path)
	}
	switch {
	case err != nil:
		return TreeEntry{}, fmt.Errorf("find entry %s: %w", quoted(path), err)
	case found == nil || found.Path != path:
		return TreeEntry{}, fmt.Errorf("find entry %s: %w", quoted(path), ErrNoEntry)
	}
	return *found, nil
}

// frameOf is the last of the frames with entries that does not begin behind
// path: if path is in any, it is in that one. -1: all begin behind it.
func (x *EntriesIndex) frameOf(path string) (int, error) {
	cut := indexPath(path)
	end := sort.Search(len(x.named), func(i int) bool { return ComparePaths(x.named[i].path, cut) > 0 })
	if len(cut) < maxIndexPath {
		return end - 1, nil
	}
	// Frames that begin with the same bytes: only their rows tell the rest.
	from := sort.Search(end, func(i int) bool { return ComparePaths(x.named[i].path, cut) >= 0 })
	var failed error
	behind := sort.Search(end-from, func(i int) bool {
		first, err := x.firstFrom(x.named[from+i], "")
		if err == nil && first == nil {
			err = fmt.Errorf("%w: a frame without the entry that the trailer tells of", ErrDamaged)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			return true
		}
		return ComparePaths(first.Path, path) > 0
	})
	return from + behind - 1, failed
}

// firstFrom is the first entry of a frame that is not before path, or nil.
func (x *EntriesIndex) firstFrom(at place, path string) (*TreeEntry, error) {
	rows, err := x.rows(at)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(rows) {
		row, _, err := parseRow(line)
		switch {
		case err != nil:
			return nil, err
		case row.Entry == nil || ComparePaths(row.Entry.Path, path) < 0:
			continue
		}
		if err := row.Entry.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return row.Entry, nil
	}
	return nil, nil
}

func (x *EntriesIndex) rows(at place) ([]byte, error) {
	if at.size > 2*maxEntriesFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, at.size)
	}
	packed := make([]byte, at.size)
	if err := readFull(x.r, packed, at.at); err != nil {
		return nil, err
	}
	rows, err := x.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if int64(len(rows)) != at.plainSize {
		return nil, fmt.Errorf("%w: a frame has %d bytes, the trailer says %d", ErrDamaged, len(rows), at.plainSize)
	}
	return rows, nil
}

// readFull reads all of p at off; io.EOF together with all of it is no error.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
