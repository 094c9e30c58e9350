package archive

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"

	"snap-to-s3/internal/codec"
)

// frameWriter writes frames one behind the other and tells rows where each is.
type frameWriter struct {
	w    io.Writer
	rows interface{ Frame(f codec.Frame) error }

	digest hash.Hash // over the hashes of the frames
	plain  int64     // bytes written so far
	stored int64
}

func newFrameWriter(w io.Writer, rows interface{ Frame(f codec.Frame) error }) frameWriter {
	return frameWriter{w: w, rows: rows, digest: sha256.New()}
}

func (fw *frameWriter) write(frame []byte, plain int, sum [32]byte) error {
	n, err := fw.w.Write(frame)
	if err == nil && n < len(frame) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	f := codec.Frame{PlainOff: fw.plain, PlainLen: int64(plain), StoredOff: fw.stored, StoredLen: int64(len(frame)), Hash: sum}
	fw.plain += f.PlainLen
	fw.stored += f.StoredLen
	fw.digest.Write(sum[:])
	return fw.rows.Frame(f)
}

// sequencer writes the frames and rows of an image in order.
type sequencer struct {
	frameWriter
	blocks   rowMerger
	zeros    zeroFrame
	progress func(int64)
}

func newSequencer(w io.Writer, rows ImageRows, zeros zeroFrame, progress func(int64)) *sequencer {
	return &sequencer{frameWriter: newFrameWriter(w, rows), blocks: newRowMerger(rows), zeros: zeros, progress: progress}
}

// run writes all that p makes.
func (s *sequencer) run(ctx context.Context, p *pipeline) error {
	for {
		c, ok, err := receive(ctx, p.order)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if c.run > 0 {
			err = s.absent(ctx, c)
		} else {
			err = s.chunk(ctx, c, p.memory)
		}
		if err != nil {
			return err
		}
	}
	return s.blocks.flush()
}

// absent writes a run of frames that are all the same: nothing but the counters
// changes from one to the next.
func (s *sequencer) absent(ctx context.Context, c *chunk) error {
	const report = 256 // frames: 1 GiB
	if err := s.blocks.add(rowAbsent, c.number*frameBlocks, c.run*frameBlocks); err != nil {
		return err
	}
	for i := range c.run {
		if i%report == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.write(s.zeros.stored, codec.FrameSize, s.zeros.hash); err != nil {
			return err
		}
		if (i+1)%report == 0 || i+1 == c.run {
			s.progress(s.plain)
		}
	}
	return nil
}

func (s *sequencer) chunk(ctx context.Context, c *chunk, memory *ring) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	frame, sum := c.stored, c.hash
	if c.allZero {
		frame, sum = s.zeros.stored, s.zeros.hash
	}
	if err := s.write(frame, c.size, sum); err != nil {
		return err
	}
	memory.stored.put(c.stored)
	if err := s.addRows(c); err != nil {
		return err
	}
	s.progress(s.plain)
	return nil
}

func (s *sequencer) addRows(c *chunk) error {
	from := c.number * frameBlocks
	for i := range c.blocks() {
		var err error
		switch {
		case !c.isPresent(i):
			err = s.blocks.add(rowAbsent, from+int64(i), 1)
		case c.zero[i]:
			err = s.blocks.add(rowZero, from+int64(i), 1)
		default:
			err = s.blocks.data(from+int64(i), c.sums[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sequencer) result(size int64) ImageResult {
	r := ImageResult{Plain: size, Stored: s.stored, DataBlocks: s.blocks.count[rowData], ZeroBlocks: s.blocks.count[rowZero], AbsentBlocks: s.blocks.count[rowAbsent]}
	s.digest.Sum(r.Digest[:0])
	return r
}

type rowKind int

const (
	rowNone rowKind = iota
	rowAbsent
	rowZero
	rowData
)

// rowMerger makes one row of neighbours that are alike. Its memory is 128 KiB.
type rowMerger struct {
	out   ImageRows
	kind  rowKind
	from  int64
	n     int64
	sums  [][32]byte // of a data row
	count [rowData + 1]int64
}

func newRowMerger(out ImageRows) rowMerger {
	return rowMerger{out: out, sums: make([][32]byte, 0, MaxRowBlocks)}
}

// add adds blocks; they follow those added before.
func (m *rowMerger) add(kind rowKind, from, n int64) error {
	if kind != m.kind {
		if err := m.flush(); err != nil {
			return err
		}
		m.kind, m.from = kind, from
	}
	m.n += n
	m.count[kind] += n
	return nil
}

func (m *rowMerger) data(at int64, sum [32]byte) error {
	if len(m.sums) == MaxRowBlocks {
		if err := m.flush(); err != nil {
			return err
		}
	}
	if err := m.add(rowData, at, 1); err != nil {
		return err
	}
	m.sums = append(m.sums, sum)
	return nil
}

func (m *rowMerger) flush() error {
	kind, from, n := m.kind, m.from, m.n
	sums := m.sums
	m.kind, m.n, m.sums = rowNone, 0, m.sums[:0]
	switch kind {
	case rowAbsent:
		return m.out.Absent(from, n)
	case rowZero:
		return m.out.Zero(from, n)
	case rowData:
		return m.out.Data(from, sums)
	}
	return nil
}
