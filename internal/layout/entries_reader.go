package layout

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/codec"
)

// ReadEntries yields the rows of entries from their first byte on, in bounded
// memory. It checks that they are whole and free of gaps; rows of a kind that
// it does not know are left aside. It ends after the first error; entries that
// end too early are ErrDamaged.
func ReadEntries(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxEntriesFrame))
		if err != nil {
			yield(Row{}, fmt.Errorf("read entries: %w", err))
			return
		}
		defer dec.Close()
		lines := bufio.NewScanner(dec)
		lines.Buffer(nil, maxRow)
		var c checker
		for lines.Scan() {
			row, known, err := parseRow(lines.Bytes())
			if err == nil && known {
				err = c.check(row)
			}
			if err != nil {
				yield(Row{}, fmt.Errorf("read entries: %w", err))
				return
			}
			if known && !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Row{}, fmt.Errorf("read entries: %w", err))
		} else if !c.ended {
			yield(Row{}, fmt.Errorf("read entries: %w: they end before their last row", ErrDamaged))
		}
	}
}

// checker holds the rows of whole entries to the rules of docs/format.md.
type checker struct {
	tally *tally
	ended bool
}

func (c *checker) check(row Row) error {
	if (row.Header != nil) != (c.tally == nil) || c.ended {
		return fmt.Errorf("%w: a header row is not at the start, or something follows the last row", ErrDamaged)
	}
	if row.Header != nil {
		t, err := newTally(*row.Header)
		if err != nil && !errors.Is(err, ErrNewer) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		c.tally = t
		return err
	}
	var err error
	switch t := c.tally; {
	case row.Absent != nil:
		err = t.cover(&t.blocks.Absent, row.Absent.From, row.Absent.Count)
	case row.Zero != nil:
		err = t.cover(&t.blocks.Zero, row.Zero.From, row.Zero.Count)
	case row.Data != nil:
		err = t.cover(&t.blocks.Data, row.Data.From, int64(len(row.Data.Sums)))
	case row.Frames != nil:
		err = t.run(*row.Frames)
	case row.End != nil:
		c.ended = true
		var want EntriesEnd
		if want, err = t.end(); err == nil && *row.End != want {
			err = fmt.Errorf("the last row says %+v, the rows before it %+v", *row.End, want)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// EntriesIndex reads parts of entries by range. It is safe for concurrent use
// if its reader is.
type EntriesIndex struct {
	r     io.ReaderAt
	index []indexRow
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
	index, err := parseIndex(trailer[trailerHead:len(trailer)-trailerTail], start)
	if err != nil {
		return nil, fmt.Errorf("open entries: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEntriesFrame))
	if err != nil {
		return nil, fmt.Errorf("open entries: %w", err)
	}
	return &EntriesIndex{r: r, index: index, dec: dec}, nil
}

// parseIndex reads the rows of a trailer that begins at byte end of the object.
func parseIndex(b []byte, end int64) ([]indexRow, error) {
	var (
		index []indexRow
		prev  indexRow
	)
	for line := range bytes.Lines(b) {
		var row indexRow
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("%w: trailer: %v", ErrDamaged, err)
		}
		if row.At != prev.At+prev.Size || row.Size <= 0 || row.Size > end-row.At ||
			row.PlainSize <= 0 || row.PlainSize > maxEntriesFrame || row.Block < prev.Block || row.Offset < prev.Offset {
			return nil, fmt.Errorf("%w: trailer: impossible place of frame %d", ErrDamaged, len(index))
		}
		index, prev = append(index, row), row
	}
	if len(index) == 0 || prev.At+prev.Size != end || index[0].Block != 0 || index[0].Offset != 0 {
		return nil, fmt.Errorf("%w: trailer: its frames do not fill the object", ErrDamaged)
	}
	return index, nil
}

// FrameAt finds the archive's frame that holds plain byte off, by one read.
func (x *EntriesIndex) FrameAt(off int64) (codec.Frame, error) {
	i := sort.Search(len(x.index), func(i int) bool { return x.index[i].Offset > off }) - 1
	if off < 0 || i < 0 {
		return codec.Frame{}, fmt.Errorf("find frame: byte %d is before the image", off)
	}
	rows, err := x.rows(x.index[i])
	if err != nil {
		return codec.Frame{}, fmt.Errorf("find frame of byte %d: %w", off, err)
	}
	for line := range bytes.Lines(rows) {
		if !bytes.Contains(line, []byte(`"frames"`)) {
			continue // most of the bytes are hashes of blocks
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
	return codec.Frame{}, fmt.Errorf("find frame: byte %d is behind the image: %w", off, io.EOF)
}

func (x *EntriesIndex) rows(at indexRow) ([]byte, error) {
	if at.Size > 2*maxEntriesFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, at.Size)
	}
	packed := make([]byte, at.Size)
	if err := readFull(x.r, packed, at.At); err != nil {
		return nil, err
	}
	rows, err := x.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if int64(len(rows)) != at.PlainSize {
		return nil, fmt.Errorf("%w: a frame has %d bytes, the trailer says %d", ErrDamaged, len(rows), at.PlainSize)
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
