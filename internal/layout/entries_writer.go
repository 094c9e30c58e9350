package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/hint"
)

// EntriesWriter writes the entries of an archive while that is written. Methods
// are called in the order of the volume or the tree, from one goroutine; blocks,
// entries and frames may run ahead of each other. The first error stays and is
// returned by every later call. Memory: about 8 MiB, and for each MiB of rows 64
// bytes and up to 512 of a path (a volume of 64 TiB full of data has 7,000 of
// those, a tree of 10 million files 3,000).
type EntriesWriter struct {
	w     io.Writer
	size  int64
	tally *tally
	enc   *zstd.Encoder

	rows   []byte // of the frame being filled
	packed []byte
	index  []place
	first  place // where the frame being filled begins

	absent, zero BlockRange // at most one of these three is waiting to grow
	dataFrom     int64
	sums         []byte
	frames       FrameRun // waiting to grow

	closed bool
	err    error
}

// NewEntriesWriter starts the entries that h names. The caller fills Kind,
// Archive, Snapshot, Run and Codec, PlainSize of an image, and Name and Label of
// a partition that has them. It does not close w.
func NewEntriesWriter(w io.Writer, h EntriesHeader) *EntriesWriter {
	h.Entries, h.BlockSize, h.FrameSize = FormatVersion, 0, codec.FrameSize
	if h.Kind == Image {
		h.BlockSize = block.Size
	}
	e := &EntriesWriter{w: w}
	if e.tally, e.err = newTally(h); e.err != nil {
		e.err = fmt.Errorf("entries of %s: %w", h.Archive, e.err)
		return e
	}
	// Rows are mostly hashes, from which no level gets more than the 25 % that
	// Base64 adds.
	e.enc, e.err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true), zstd.WithWindowSize(entriesFrame), zstd.WithLowerEncoderMem(true))
	if e.err == nil {
		e.err = e.appendJSON(newHeaderRow(h))
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

// Entry tells of the next entry of a tar: the root first, folders before what is
// in them, in the order of ComparePaths.
func (e *EntriesWriter) Entry(t TreeEntry) error {
	if !e.open() {
		return e.err
	}
	if err := e.tally.entry(&t); err != nil {
		if errors.Is(err, errTooLong) {
			err = hint.Wrap(err, "archive the partition as it is (--raw-partition), or the whole volume (--dd)")
		}
		return e.fail(err)
	}
	if !e.first.named {
		e.first.path, e.first.named = strings.Clone(indexPath(t.Path)), true
	}
	e.rows = appendEntry(e.rows, &t)
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
// the rows do not cover the image, or have no tree.
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
	b := bytes.NewBuffer(e.rows)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(row); err != nil {
		return e.fail(err)
	}
	e.rows = b.Bytes()
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
	p := e.first
	p.size, p.plainSize = int64(len(e.packed)), int64(len(e.rows))
	e.index = append(e.index, p)
	e.rows = e.rows[:0]
	if err := e.write(e.packed); err != nil {
		return err
	}
	e.first = place{at: e.size, block: e.tally.next, offset: e.tally.plain}
	return nil
}

func (e *EntriesWriter) write(b []byte) error {
	n, err := e.w.Write(b)
	e.size += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return e.fail(fmt.Errorf("write: %w", err))
	}
	return nil
}
