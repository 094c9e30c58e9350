package workflow

import (
	"fmt"
	"io"
	"iter"
	"sync"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/layout"
)

// feed gives what the entries of an archive say to two who read the archive at the
// same time: to who decodes its frames, and to who looks at what is in them. It
// goes forward only when one of them has nothing left, and keeps what is for the
// other: as much as lies between the two.
type feed struct {
	mu     sync.Mutex
	next   func() (layout.Row, error, bool)
	stop   func()
	header *layout.EntriesHeader
	end    *layout.EntriesEnd
	frames []layout.FrameRun
	rows   []layout.Row
	held   int64 // bytes that rows take
	err    error // sticky; io.EOF after the last row
}

func newFeed(rows iter.Seq2[layout.Row, error]) *feed {
	f := &feed{}
	f.next, f.stop = iter.Pull2(rows)
	return f
}

// close ends the reading of the entries.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop()
	if f.err == nil {
		f.err = io.EOF
	}
}

// advance takes one more row. The lock is held.
func (f *feed) advance() error {
	if f.err != nil {
		return f.err
	}
	row, err, ok := f.next()
	switch {
	case !ok:
		f.err = io.EOF
	case err != nil:
		f.err = err
	case row.Header != nil:
		f.header = row.Header
	case row.End != nil:
		f.end = row.End
	case row.Frames != nil:
		f.frames = append(f.frames, *row.Frames)
	default:
		f.rows = append(f.rows, row)
		f.held += rowBytes(row)
		if f.held > maxHeld {
			f.err = fmt.Errorf("%w: more rows stand before a frame than it can hold", layout.ErrDamaged)
		}
	}
	return f.err
}

// maxHeld is the most bytes of rows that lie between the two readers: what the rows
// of all frames that are on their way can come to is far less.
const maxHeld = 256 << 20

// rowBytes is about what a row takes in memory.
func rowBytes(row layout.Row) int64 {
	const fixed = 300
	switch {
	case row.Entry != nil:
		return fixed + int64(len(row.Entry.Path)+len(row.Entry.Link))
	case row.Data != nil:
		return fixed + int64(len(row.Data.Sums))*32
	}
	return fixed
}

// frame is the archive's next frame; io.EOF after the last.
func (f *feed) frame() (codec.Frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.frames) == 0 {
		if err := f.advance(); err != nil {
			return codec.Frame{}, err
		}
	}
	run := &f.frames[0]
	first := run.First
	run.First.PlainOff += first.PlainLen
	run.First.StoredOff += first.StoredLen
	if run.Count--; run.Count == 0 {
		f.frames = f.frames[1:]
	}
	return first, nil
}

// row is the next row about what is in the archive; io.EOF after the last.
func (f *feed) row() (layout.Row, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.rows) == 0 {
		if err := f.advance(); err != nil {
			return layout.Row{}, err
		}
	}
	row := f.rows[0]
	f.rows = f.rows[1:]
	f.held -= rowBytes(row)
	return row, nil
}

// forget drops the rows that nobody asked for.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows, f.held = nil, 0
}

// finish reads to the end what nobody asked for, and returns what kept it from
// that, if anything did.
func (f *feed) finish() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		f.frames, f.rows, f.held = nil, nil, 0
		if err := f.advance(); err != nil {
			if err == io.EOF { //nolint:errorlint // set above
				return nil
			}
			return err
		}
	}
}
