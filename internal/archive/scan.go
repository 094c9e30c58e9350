package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
)

// ScanOptions says how a tar is read.
type ScanOptions struct {
	// Progress is told how far it is, from one goroutine: plain bytes and
	// entries so far, and the path of the last one. It may be nil.
	Progress func(plainBytes, entries int64, path string)
}

// ScanTree reads a plain tar stream to its end and tells visit of each entry, in
// the order of the stream: rows as WriteTree makes them, new for each call. Of a
// hard link a tar has neither type nor size: its row is of a regular file of no
// bytes, with a Sum only where the stream repeats the content. Of a folder it has
// no size. The result has Plain and the counts, not Stored and Digest.
//
// It reads what WriteTree, GNU tar and bsdtar write: v7, ustar, GNU and PAX, with
// sparse files in all of their forms. Whatever readers of tars may disagree on is
// an error: other numbers, names or records than these programs write, padding
// that is not zero, anything but zeros behind the end. A stream that ends early
// is an io.ErrUnexpectedEOF. Errors name the byte and the entry; those of visit are
// returned as they are, and when ctx has ended, its cause.
//
// It runs in the caller's goroutine. Its memory is 1 MiB, and for an entry that has
// them up to 64 MiB of extended header or of map of holes, and as much again for
// what stands in it.
func ScanTree(ctx context.Context, r io.Reader, o ScanOptions, visit func(*TreeRow) error) (TreeResult, error) {
	return scanTree(ctx, newScanReader(r), o, visit)
}

func scanTree(ctx context.Context, in *scanReader, o ScanOptions, visit func(*TreeRow) error) (TreeResult, error) {
	s := scanner{in: in, progress: o.Progress}
	if s.progress == nil {
		s.progress = func(int64, int64, string) {}
	}
	for {
		row, err := s.next(ctx)
		if err != nil {
			return TreeResult{}, s.fail(ctx, err)
		}
		if row == nil {
			s.res.Plain = s.in.at
			s.tell(0)
			return s.res, nil
		}
		s.count(row)
		if err := visit(row); err != nil {
			return TreeResult{}, err
		}
		s.tell(progressBytes)
	}
}

// progressBytes is how far it goes before it is told again.
const progressBytes = codec.FrameSize

// scanner reads one tar.
type scanner struct {
	in       *scanReader
	progress func(int64, int64, string)
	told     int64     // plain bytes that progress was told of
	rows     []TreeRow // not used yet
	body     []byte    // of extended headers; what records has lies in it
	global   paxRecords
	records  paxRecords // of the entry
	long     gnuNames   // of the entry
	holes    sparseFile // of the entry
	name     []byte     // to put names together in
	last     string     // path of the last entry, for errors and progress
	inside   bool       // last is still being read
	res      TreeResult
}

// gnuNames are names too long for the header of the entry that follows.
type gnuNames struct{ path, link []byte }

// fail says where it was.
func (s *scanner) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	where := "before its first entry"
	switch {
	case s.inside:
		where = fmt.Sprintf("in %.300q", "./"+s.last)
	case s.res.Entries > 0:
		where = fmt.Sprintf("after %.300q", "./"+s.last)
	}
	return fmt.Errorf("the tar at byte %d, %s: %w", s.in.at, where, err)
}

// tell tells progress, when there are so many more bytes than it knows of.
func (s *scanner) tell(more int64) {
	if s.in.at-s.told >= more {
		s.told = s.in.at
		s.progress(s.in.at, s.res.Entries, s.last)
	}
}

func (s *scanner) count(row *TreeRow) {
	s.inside = false
	s.res.Entries++
	switch {
	case row.Type == filesystem.Folder:
		s.res.Folders++
	case row.Type == filesystem.Regular && row.Link == "":
		s.res.Regular++
		s.res.Bytes += min(row.Size, math.MaxInt64-s.res.Bytes)
	}
}

// next reads an entry with all that stands before it. It is nil at the end.
func (s *scanner) next(ctx context.Context) (*TreeRow, error) {
	s.records.reset()
	s.long = gnuNames{}
	if cap(s.body) > scanBuffer { // few entries need so much
		s.body = nil
	}
	s.body = s.body[:0]
	begun, at := false, s.in.at
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := s.in.take(tarBlock)
		if err != nil {
			return nil, err
		}
		if b[0] == 0 && block.AllZero(b) {
			if begun {
				return nil, errors.New("the tar ends behind an extended header, without its entry")
			}
			return nil, s.end(ctx)
		}
		h, err := parseHeader(b)
		if err != nil {
			return nil, err
		}
		switch h.flag {
		case flagGlobal:
			if begun {
				return nil, errors.New("a global header between an extended header and its entry")
			}
			err = s.globals(ctx, h)
			at = s.in.at
		case flagPAX:
			begun = true
			err = s.extended(ctx, h)
		case flagLongName, flagLongLink:
			begun = true
			err = s.longName(ctx, h)
		default:
			return s.entry(ctx, h, at)
		}
		if err != nil {
			return nil, err
		}
	}
}

// end reads what is behind the first block of zeros: one more, and then as many
// as the writer's record has.
func (s *scanner) end(ctx context.Context) error {
	if err := s.in.zeros(tarBlock); err != nil {
		return fmt.Errorf("one block of zeros, where a tar ends with two: %w", err)
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, err := s.in.rest()
		if err != nil || b == nil {
			return err
		}
		if !block.AllZero(b) {
			return errors.New("something follows on the end of the tar")
		}
	}
}

// row takes memory for many at a time: a tree may be nothing but small files.
func (s *scanner) row() *TreeRow {
	if len(s.rows) == 0 {
		s.rows = make([]TreeRow, 64)
	}
	row := &s.rows[0]
	s.rows = s.rows[1:]
	return row
}
