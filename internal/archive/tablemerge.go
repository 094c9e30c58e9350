package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"snap-to-s3/internal/hint"
)

// merger goes through a sorter's records in order. key and content are those of
// the record that it is at, until advance; neither is there when ok is false.
type merger struct {
	ok           bool
	key, content []byte

	sorter  *recordSorter
	cursors []*recordCursor // a heap: the first one is at the first record
}

// recordCursor goes through one run, or through what the sorter holds.
type recordCursor struct {
	number       int // of the run: of records that compare equal the first comes first
	key, content []byte

	file *bufio.Reader // nil: refs
	buf  []byte
	refs []recordRef
}

// merge returns a merger at the first record. Nothing can be added any more, and
// there can be several mergers one after the other.
func (s *recordSorter) merge() (*merger, error) {
	if !s.sorted {
		s.sort()
		s.sorted = true
	}
	if err := s.mergeRuns(); err != nil {
		return nil, err
	}
	return s.merger(s.runs, s.refs)
}

// mergeRuns makes fewer runs of them until there is a buffer for each.
func (s *recordSorter) mergeRuns() error {
	most := int(max(s.memory/4/(16<<10), 4))
	for len(s.runs) > most {
		f, err := openSpill(s.folder)
		if err != nil {
			return err
		}
		var fewer []recordRun
		for from := 0; from < len(s.runs); from += most {
			run, err := s.mergeTo(f, fewer, s.runs[from:min(from+most, len(s.runs))])
			if err != nil {
				return errors.Join(err, f.Close())
			}
			fewer = append(fewer, run)
		}
		old := s.file
		s.file, s.runs = f, fewer
		if err := old.Close(); err != nil {
			return spillError(s.folder, err)
		}
	}
	return nil
}

func (s *recordSorter) mergeTo(f *os.File, before, runs []recordRun) (recordRun, error) {
	m, err := s.merger(runs, nil)
	w := s.writer(f, before)
	for err == nil && m.ok {
		w.record(m.key, m.content)
		err = m.advance()
	}
	if err != nil {
		return recordRun{}, err
	}
	return w.end()
}

func (s *recordSorter) merger(runs []recordRun, held []recordRef) (*merger, error) {
	m := &merger{sorter: s}
	size := min(max(s.memory/4/int64(len(runs)+1), 4<<10), 256<<10)
	for i, r := range runs {
		m.cursors = append(m.cursors, &recordCursor{number: i, file: bufio.NewReaderSize(io.NewSectionReader(s.file, r.off, r.size), int(size))})
	}
	m.cursors = append(m.cursors, &recordCursor{number: len(runs), refs: held})
	kept := m.cursors[:0]
	for _, c := range m.cursors {
		more, err := s.next(c)
		if err != nil {
			return nil, err
		}
		if more {
			kept = append(kept, c)
		}
	}
	m.cursors = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	m.top()
	return m, nil
}

func (m *merger) top() {
	m.ok = len(m.cursors) > 0
	m.key, m.content = nil, nil
	if m.ok {
		m.key, m.content = m.cursors[0].key, m.cursors[0].content
	}
}

// advance goes to the next record.
func (m *merger) advance() error {
	more, err := m.sorter.next(m.cursors[0])
	if err != nil {
		return err
	}
	if !more {
		last := len(m.cursors) - 1
		m.cursors[0], m.cursors = m.cursors[last], m.cursors[:last]
	}
	m.down(0)
	m.top()
	return nil
}

// at says whether the merger is at a record of this key.
func (m *merger) at(key []byte) bool { return m.ok && bytes.Equal(m.key, key) }

// down moves a cursor to its place in the heap below it.
func (m *merger) down(i int) {
	h := m.cursors
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if m.before(h[child], h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (m *merger) before(a, b *recordCursor) bool {
	c := m.sorter.compare(a.key, a.content, b.key, b.content)
	return c < 0 || c == 0 && a.number < b.number
}

// next takes the cursor to its next record, if there is one.
func (s *recordSorter) next(c *recordCursor) (bool, error) {
	if c.file != nil {
		more, err := c.read()
		if err != nil {
			return false, hint.Wrap(fmt.Errorf("in the folder %s: read sorted entries: %w", s.folder, err),
				"look at dmesg for errors of the disk there, or set TMPDIR to a folder elsewhere")
		}
		return more, nil
	}
	if len(c.refs) == 0 {
		return false, nil
	}
	c.key, c.content = s.record(c.refs[0])
	c.refs = c.refs[1:]
	return true, nil
}

func (c *recordCursor) read() (bool, error) {
	key, err := binary.ReadUvarint(c.file)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	content, err := binary.ReadUvarint(c.file)
	if err != nil {
		return false, noEOF(err)
	}
	if key > maxRecord || content > maxRecord || content < numberSize {
		return false, errDamagedRecord
	}
	if n := int(key + content); n > cap(c.buf) {
		c.buf = make([]byte, n, 2*n)
	} else {
		c.buf = c.buf[:n]
	}
	if _, err := io.ReadFull(c.file, c.buf); err != nil {
		return false, noEOF(err)
	}
	c.key, c.content = c.buf[:key], c.buf[key:]
	return true, nil
}

// noEOF is err, but the end of a run is none within a record.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
