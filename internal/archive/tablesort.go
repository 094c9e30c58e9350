package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"snap-to-s3/internal/hint"
)

// maxRecord is the most bytes of a record: a tar's names have no length of their
// own that ends them.
const maxRecord = 16 << 20

// recordSorter sorts records by their keys as bytes, records of one key by
// the part of what follows it that then says, and else in the order in which
// they came.
//
// It holds records up to a bound, then writes them sorted to a file that has no
// name. Half of memory is for records, and a quarter to read files back; the
// rest is what the collector leaves lying.
type recordSorter struct {
	folder string
	memory int64                       // bytes
	then   func(content []byte) []byte // nil: none

	chunks [][]byte // records behind each other
	refs   []recordRef
	used   int   // chunks
	held   int64 // bytes of them
	sorted bool
	file   *os.File // nil: nothing was written
	runs   []recordRun
}

// recordRef is where a record stands in chunks.
type recordRef struct{ chunk, off, key, size uint32 }

// recordRun is a range of file with sorted records.
type recordRun struct{ off, size int64 }

// add takes a copy of a record, whose first key bytes are its key.
func (s *recordSorter) add(record []byte, key int) error {
	if len(record) > maxRecord {
		return fmt.Errorf("an entry's names have %d bytes; at most %d are sorted", len(record), maxRecord)
	}
	if s.used == 0 || cap(s.chunks[s.used-1])-len(s.chunks[s.used-1]) < len(record) {
		if err := s.grow(len(record)); err != nil {
			return err
		}
	}
	c := &s.chunks[s.used-1]
	s.refs = append(s.refs, recordRef{uint32(s.used - 1), uint32(len(*c)), uint32(key), uint32(len(record))})
	*c = append(*c, record...)
	return nil
}

// grow makes a chunk with room for n bytes, and that room by spilling.
func (s *recordSorter) grow(n int) error {
	const refSize = 16
	size := s.chunkSize()
	if s.used > 0 && s.held+int64(max(n, size))+int64(len(s.refs))*refSize > s.memory/2 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if n > size {
		s.chunks = slices.Insert(s.chunks, s.used, make([]byte, 0, n))
	} else if s.used == len(s.chunks) {
		s.chunks = append(s.chunks, make([]byte, 0, size))
	}
	s.held += int64(cap(s.chunks[s.used]))
	s.used++
	return nil
}

// chunkSize is the bytes of a chunk, but of one for a single longer record.
func (s *recordSorter) chunkSize() int { return int(min(max(s.memory/32, 512), 1<<20)) }

func (s *recordSorter) record(r recordRef) (key, content []byte) {
	b := s.chunks[r.chunk][r.off : r.off+r.size]
	return b[:r.key], b[r.key:]
}

func (s *recordSorter) sort() {
	slices.SortFunc(s.refs, func(a, b recordRef) int {
		keyA, contentA := s.record(a)
		keyB, contentB := s.record(b)
		if c := s.compare(keyA, contentA, keyB, contentB); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.chunk, b.chunk), cmp.Compare(a.off, b.off))
	})
}

func (s *recordSorter) compare(keyA, contentA, keyB, contentB []byte) int {
	if c := bytes.Compare(keyA, keyB); c != 0 || s.then == nil {
		return c
	}
	return bytes.Compare(s.then(contentA), s.then(contentB))
}

// spill writes what is held as one more run.
func (s *recordSorter) spill() error {
	if s.file == nil {
		f, err := openSpill(s.folder)
		if err != nil {
			return err
		}
		s.file = f
	}
	s.sort()
	w := s.writer(s.file, s.runs)
	for _, r := range s.refs {
		w.record(s.record(r))
	}
	run, err := w.end()
	if err != nil {
		return err
	}
	s.runs = append(s.runs, run)
	s.refs = s.refs[:0]
	s.chunks = slices.DeleteFunc(s.chunks, func(c []byte) bool { return cap(c) > s.chunkSize() })
	for i := range s.chunks {
		s.chunks[i] = s.chunks[i][:0]
	}
	s.used, s.held = 0, 0
	return nil
}

func (s *recordSorter) close() error {
	s.chunks, s.refs, s.used, s.runs = nil, nil, 0, nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// openSpill opens a file that only its owner may read, and takes its name away
// while it is empty: the names of a snapshot's files go into it.
func openSpill(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, ".snap-to-s3-table-*")
	if err != nil {
		return nil, spillError(folder, fmt.Errorf("make a temporary file to sort entries in: %w", err))
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(spillError(folder, fmt.Errorf("unlink a temporary file: %w", err)), f.Close())
	}
	return f, nil
}

func spillError(folder string, err error) error {
	return hint.Wrap(fmt.Errorf("in the folder %s: %w", folder, err),
		"make room there, or set TMPDIR to a folder that has it: some 200 bytes for each file of the snapshot, or twice that if there are very many")
}

// runWriter writes a run behind those that file has. The first error stays.
type runWriter struct {
	folder string
	out    *bufio.Writer
	run    recordRun
	err    error
}

func (s *recordSorter) writer(f *os.File, before []recordRun) *runWriter {
	w := &runWriter{folder: s.folder}
	if n := len(before); n > 0 {
		w.run.off = before[n-1].off + before[n-1].size
	}
	w.out = bufio.NewWriterSize(io.NewOffsetWriter(f, w.run.off), int(min(max(s.memory/16, 4<<10), 256<<10)))
	return w
}

func (w *runWriter) record(key, content []byte) {
	var lengths [2 * binary.MaxVarintLen32]byte
	head := binary.AppendUvarint(binary.AppendUvarint(lengths[:0], uint64(len(key))), uint64(len(content)))
	for _, b := range [...][]byte{head, key, content} {
		n, err := w.out.Write(b)
		w.run.size += int64(n)
		w.err = cmp.Or(w.err, err)
	}
}

func (w *runWriter) end() (recordRun, error) {
	if err := cmp.Or(w.err, w.out.Flush()); err != nil {
		return recordRun{}, spillError(w.folder, fmt.Errorf("write sorted entries: %w", err))
	}
	return w.run, nil
}
