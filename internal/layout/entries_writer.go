package layout

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// indexRow places one frame of entries: where it lies in the object, and which
// block and which plain offset its rows begin with.
type indexRow struct {
	At        int64 `json:"at"`
	Size      int64 `json:"size"`
	PlainSize int64 `json:"plain_size"`
	Block     int64 `json:"block"`
	Offset    int64 `json:"offset"`
}

// EntriesWriter writes the entries of an image while its archive is written.
// Methods are called in the order of the volume, from one goroutine; blocks and
// frames may run ahead of each other. The first error stays and is returned by
// every later call. Memory: about 8 MiB, and 40 bytes for each MiB of rows (a
// volume of 64 TiB full of data has 7,000 of those).
type EntriesWriter struct {
	w     io.Writer
	sum   hash.Hash
	size  int64
	tally *tally
	enc   *zstd.Encoder

	rows   []byte // of the frame being filled
	packed []byte
	index  []indexRow
	first  indexRow // where the frame being filled begins

	absent, zero BlockRange // at most one of these three is waiting to grow
	dataFrom     int64
	sums         []byte
	frames       FrameRun // waiting to grow

	closed bool
	err    error
}

// NewEntriesWriter starts the entries that h names. The caller fills Kind,
// Archive, Snapshot, Run, PlainSize and Codec. It does not close w.
func NewEntriesWriter(w io.Writer, h EntriesHeader) *EntriesWriter {
	h.Entries, h.BlockSize, h.FrameSize = FormatVersion, block.Size, codec.FrameSize
	e := &EntriesWriter{w: w, sum: sha256.New()}
	if h.Kind != Image {
		e.err = fmt.Errorf("entries of %s: of kind %q, not of an image", h.Archive, h.Kind)
		return e
	}
	if e.tally, e.err = newTally(h); e.err != nil {
		e.err = e.fail(e.err)
		return e
	}
	// Rows are mostly hashes, from which no level gets more than the 25 % that
	// Base64 adds.
	e.enc, e.err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true), zstd.WithWindowSize(entriesFrame), zstd.WithLowerEncoderMem(true))
	if e.err == nil {
		e.err = e.appendJSON(h)
	}
	return e
}

// Absent tells of blocks that the snapshot lacks; they are stored as zeros.
func (e *EntriesWriter) Absent(fromBlock, count int64) error {
	return e.blockRange(&e.absent, BlockRange{fromBlock, count})
}

// Zero tells of blocks that are zero.
func (e *EntriesWriter) Zero(fromBlock, count int64) error {
	return e.blockRange(&e.zero, BlockRange{fromBlock, count})
}

// Data tells of blocks with data and the SHA-256 of each. sums is not retained.
func (e *EntriesWriter) Data(fromBlock int64, sums [][sha256.Size]byte) error {
	if !e.open() || len(sums) == 0 {
		return e.err
	}
	for from := fromBlock; len(sums) > 0; {
		n := min(len(sums), maxBlocksRow-len(e.sums)/sha256.Size)
		if n == 0 {
			e.flushBlocks()
			if err := e.cutFull(); err != nil {
				return err
			}
			continue
		}
		if err := e.tally.cover(&e.tally.blocks.Data, from, int64(n)); err != nil {
			return e.fail(err)
		}
		if len(e.sums) == 0 {
			e.flushBlocks()
			e.dataFrom = from
		}
		for _, sum := range sums[:n] {
			e.sums = append(e.sums, sum[:]...)
		}
		from, sums = from+int64(n), sums[n:]
	}
	return e.cutFull()
}

// Frame tells of the next frame of the archive.
func (e *EntriesWriter) Frame(f codec.Frame) error {
	if !e.open() {
		return e.err
	}
	if err := e.tally.run(FrameRun{First: f, Count: 1}); err != nil {
		return e.fail(err)
	}
	if e.frames.extend(f) {
		return nil
	}
	e.flushFrames()
	e.frames = FrameRun{First: f, Count: 1}
	return e.cutFull()
}

// Close writes what is left, the last row and the trailer. It is an error if
// the rows do not cover the image.
func (e *EntriesWriter) Close() error {
	if !e.open() {
		return e.err
	}
	e.closed = true
	end, err := e.tally.end()
	if err != nil {
		return e.fail(err)
	}
	e.flushBlocks()
	e.flushFrames()
	if err := e.appendJSON(struct {
		End EntriesEnd `json:"end"`
	}{end}); err != nil {
		return err
	}
	if err := e.cut(); err != nil {
		return err
	}
	return e.trailer()
}

// Size is the number of bytes written; after Close, the size of the object.
func (e *EntriesWriter) Size() int64 { return e.size }

// SHA256 is over the bytes written so far; after Close, over the object.
func (e *EntriesWriter) SHA256() [sha256.Size]byte { return [sha256.Size]byte(e.sum.Sum(nil)) }

// End is the last row, with the archive's digest; valid once all is told.
func (e *EntriesWriter) End() (EntriesEnd, error) {
	if e.err != nil {
		return EntriesEnd{}, e.err
	}
	return e.tally.end()
}

func (e *EntriesWriter) open() bool {
	if e.err == nil && e.closed {
		e.err = errors.New("entries: already closed")
	}
	return e.err == nil
}

func (e *EntriesWriter) fail(err error) error {
	name := "entries"
	if e.tally != nil {
		name += " of " + e.tally.header.Archive
	}
	e.err = fmt.Errorf("%s: %w", name, err)
	return e.err
}

// blockRange adds r to the range of its kind that waits, and lets go of the
// other kinds.
func (e *EntriesWriter) blockRange(waiting *BlockRange, r BlockRange) error {
	if !e.open() || r.Count == 0 {
		return e.err
	}
	count := &e.tally.blocks.Zero
	if waiting == &e.absent {
		count = &e.tally.blocks.Absent
	}
	if err := e.tally.cover(count, r.From, r.Count); err != nil {
		return e.fail(err)
	}
	if waiting.Count == 0 {
		e.flushBlocks()
		waiting.From = r.From
	}
	waiting.Count += r.Count
	return e.cutFull()
}

func (e *EntriesWriter) flushBlocks() {
	switch {
	case e.absent.Count > 0:
		e.rows = appendRange(e.rows, "absent", e.absent)
	case e.zero.Count > 0:
		e.rows = appendRange(e.rows, "zero", e.zero)
	case len(e.sums) > 0:
		e.rows = appendData(e.rows, e.dataFrom, e.sums)
	}
	e.absent, e.zero, e.sums = BlockRange{}, BlockRange{}, e.sums[:0]
}

func (e *EntriesWriter) flushFrames() {
	if e.frames.Count > 0 {
		e.rows = appendFrames(e.rows, e.frames)
	}
	e.frames = FrameRun{}
}

func (e *EntriesWriter) appendJSON(row any) error {
	b, err := json.Marshal(row)
	if err != nil {
		return e.fail(err)
	}
	e.rows = append(append(e.rows, b...), '\n')
	return nil
}

// cutFull ends the frame of entries once it has its size. What waits goes into
// it, so that every frame begins where the tally stands.
func (e *EntriesWriter) cutFull() error {
	if len(e.rows) < entriesFrame {
		return nil
	}
	e.flushBlocks()
	e.flushFrames()
	return e.cut()
}

func (e *EntriesWriter) cut() error {
	e.packed = e.enc.EncodeAll(e.rows, e.packed[:0])
	row := e.first
	row.Size, row.PlainSize = int64(len(e.packed)), int64(len(e.rows))
	e.index = append(e.index, row)
	e.rows = e.rows[:0]
	if err := e.write(e.packed); err != nil {
		return err
	}
	e.first = indexRow{At: e.size, Block: e.tally.next, Offset: e.tally.plain}
	return nil
}

func (e *EntriesWriter) trailer() error {
	if err := e.enc.Close(); err != nil {
		return e.fail(err)
	}
	b := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	b = append(b, 0, 0, 0, 0) // length of what follows, below
	for _, row := range e.index {
		line, err := json.Marshal(row)
		if err != nil {
			return e.fail(err)
		}
		b = append(append(b, line...), '\n')
	}
	length := len(b) + trailerTail
	if length > maxTrailer {
		return e.fail(fmt.Errorf("a trailer of %d bytes is more than a reader takes", length))
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(length-trailerHead))
	b = binary.LittleEndian.AppendUint64(b, uint64(length))
	return e.write(append(b, trailerMagic...))
}

func (e *EntriesWriter) write(b []byte) error {
	n, err := e.w.Write(b)
	e.size += int64(n)
	e.sum.Write(b[:n])
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return e.fail(fmt.Errorf("write: %w", err))
	}
	return nil
}
