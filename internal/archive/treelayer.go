package archive

import (
	"context"
	"fmt"
	"math"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
)

// share is a part of a frame that belongs to one entry.
type share struct {
	from, to int
	off      int64 // of the file
	sum      *contentSum
	row      *TreeRow // set in the last span of its entry
}

// layer lays a tree out as one tar stream, frame after frame.
type layer struct {
	p     *treePipeline
	links filesystem.Links
	heads headers
	rows  []TreeRow // not used yet

	c  *piece // being filled
	at int64  // offset of its first byte in the stream

	regular, folders, bytes int64
}

func (l *layer) entry(ctx context.Context, e *filesystem.Entry) error {
	if e.Type == filesystem.Socket {
		l.p.o.Skipped(e.Path)
		return nil
	}
	row := l.row(e)
	first, before := l.links.First(e)
	var cut pieces
	if before {
		row.Link = first
	} else if e.Type == filesystem.Regular {
		var err error
		if cut, err = cutFile(e); err != nil {
			return l.p.unreadable.add(&filesystem.PathError{Path: e.Path, Err: err})
		}
	}
	head, err := l.heads.entry(e, row.Link, cut)
	if err != nil {
		return l.p.unreadable.add(&filesystem.PathError{Path: e.Path, Err: err})
	}
	l.count(row)
	if err := l.begin(ctx); err != nil {
		return err
	}
	row.At = l.at + int64(l.c.size)
	if !before {
		row.XattrSum = xattrDigest(e.Xattrs)
	}
	if err := l.write(ctx, head); err != nil {
		return err
	}
	var sum *contentSum
	if e.Type == filesystem.Regular && !before {
		sum = newContentSum(e.Size, e.Size-cut.bytes)
		if err := l.content(ctx, e, cut, sum); err != nil {
			return err
		}
		if e.Sparse {
			row.Stored, row.Map = cut.bytes, mapSum(cut.data)
		}
	}
	// After the padding, so that every byte of an entry stands before its row.
	l.c.shares = append(l.c.shares, share{sum: sum, row: row})
	return nil
}

// row takes memory for many at a time: a tree may be nothing but small files.
func (l *layer) row(e *filesystem.Entry) *TreeRow {
	if len(l.rows) == 0 {
		l.rows = make([]TreeRow, 64)
	}
	row := &l.rows[0]
	l.rows = l.rows[1:]
	row.Entry = *e
	row.Content, row.Data, row.Xattrs = nil, nil, nil
	return row
}

func (l *layer) count(row *TreeRow) {
	switch {
	case row.Type == filesystem.Folder:
		l.folders++
	case row.Type == filesystem.Regular && row.Link == "":
		l.regular++
		l.bytes += min(row.Size, math.MaxInt64-l.bytes) // two files of 8 EiB of hole are more
	}
}

// content lays out what is in a file, and has it read.
func (l *layer) content(ctx context.Context, e *filesystem.Entry, cut pieces, sum *contentSum) error {
	if err := l.write(ctx, cut.sparse); err != nil {
		return err
	}
	for _, d := range cut.data {
		if err := l.data(ctx, e, d, sum); err != nil {
			return err
		}
		if err := l.write(ctx, make([]byte, padding(d.Len))); err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) data(ctx context.Context, e *filesystem.Entry, d filesystem.Extent, sum *contentSum) error {
	if e.File() == nil && int64(len(e.Content)) != d.Len {
		return fmt.Errorf("./%s: %d bytes were read of %d", e.Path, len(e.Content), d.Len)
	}
	for d.Len > 0 {
		if err := l.begin(ctx); err != nil {
			return err
		}
		c := l.c
		n := min(d.Len, int64(codec.FrameSize-c.size), readSize)
		to := c.plain[c.size : c.size+int(n)]
		c.shares = append(c.shares, share{from: c.size, to: c.size + int(n), off: d.Off, sum: sum})
		c.size += int(n)
		if f := e.File(); f == nil {
			copy(to, e.Content[d.Off:])
		} else {
			f.Retain()
			c.unread.Add(1)
			if err := send(ctx, l.p.reads, fileRead{c, f, to, d.Off}); err != nil {
				f.Release()
				return err
			}
		}
		d.Off, d.Len = d.Off+n, d.Len-n
	}
	return nil
}

// begin makes sure that there is a frame with room.
func (l *layer) begin(ctx context.Context) error {
	if l.c != nil && l.c.size < codec.FrameSize {
		return nil
	}
	l.seal()
	c := &piece{}
	if err := c.begin(ctx, l.p.memory); err != nil {
		return err
	}
	l.c = c
	if err := send(ctx, l.p.order, c); err != nil {
		return err
	}
	return send(ctx, l.p.laid, c)
}

// seal says that all of the frame was asked for.
func (l *layer) seal() {
	if l.c == nil {
		return
	}
	l.at += int64(l.c.size)
	l.c.filled()
	l.c = nil
}

func (l *layer) write(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		if err := l.begin(ctx); err != nil {
			return err
		}
		n := copy(l.c.plain[l.c.size:codec.FrameSize], b)
		l.c.size += n
		b = b[n:]
	}
	return nil
}

// end writes the two blocks of zeros that a tar ends with.
func (l *layer) end(ctx context.Context) error {
	if err := l.write(ctx, make([]byte, 2*tarBlock)); err != nil {
		return err
	}
	l.seal()
	return nil
}
