package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
)

// entry reads an entry to its end. at is where its first header begins.
func (s *scanner) entry(ctx context.Context, h tarHeader, at int64) (*TreeRow, error) {
	row := s.row()
	row.At = at
	if err := s.describe(row, &h); err != nil {
		return nil, err
	}
	if err := s.attributes(row); err != nil {
		return nil, err
	}
	size := h.size
	if s.records.size.set {
		size = s.records.size.n
	}
	switch {
	case row.Type != filesystem.Regular && size != 0:
		return nil, fmt.Errorf("a size of %d bytes, where its type has no content", size)
	case row.Link != "" && size > 0 && !s.records.any:
		// A link may repeat the content since there are extended headers; before,
		// its size was for information, and who wrote it is not known.
		return nil, fmt.Errorf("a hard link with a size of %d bytes, of which it is not clear whether they follow", size)
	case row.Type == filesystem.Regular && (row.Link == "" || size > 0):
		return row, s.content(ctx, row, &h, size)
	}
	return row, nil
}

// describe fills in what headers say of an entry, but for its size and attributes.
func (s *scanner) describe(row *TreeRow, h *tarHeader) (err error) {
	s.inside = true
	s.last = string(s.entryName(h))
	if row.Type, err = h.entryType(); err != nil {
		return err
	}
	if s.long.path != nil && s.records.path.set || s.long.link != nil && s.records.link.set {
		return errors.New("two long names of one entry")
	}
	old := h.flag == flagRegular || h.flag == flagOldRegular
	if n := len(s.last); old && n > 0 && s.last[n-1] == '/' {
		row.Type = filesystem.Folder // in v7 that is all that it is known by
	}
	if row.Path, err = scanPath(s.last, row.Type == filesystem.Folder); err != nil {
		return err
	}
	s.last = row.Path
	if err := s.setTarget(row, h); err != nil {
		return err
	}
	row.Mode, row.UID, row.GID, row.Sec = h.mode, h.uid, h.gid, h.time
	for _, p := range []*paxRecords{&s.global, &s.records} {
		if p.uid.set {
			row.UID = uint32(p.uid.n)
		}
		if p.gid.set {
			row.GID = uint32(p.gid.n)
		}
		if p.time.set {
			row.Sec, row.Nsec = p.time.sec, p.time.nsec
		}
	}
	if row.Type == filesystem.CharDevice || row.Type == filesystem.BlockDevice {
		if row.Major, row.Minor, err = h.device(); err != nil {
			return err
		}
		if p := &s.records; p.major.set {
			row.Major = uint32(p.major.n)
		}
		if p := &s.records; p.minor.set {
			row.Minor = uint32(p.minor.n)
		}
	}
	return nil
}

// entryName is the name of an entry as it stands in the stream.
func (s *scanner) entryName(h *tarHeader) []byte {
	switch p := &s.records; {
	case p.sparse.name.set:
		return p.sparse.name.b
	case p.path.set:
		return p.path.b
	case s.long.path != nil:
		return s.long.path
	}
	s.name = h.appendName(s.name[:0])
	return s.name
}

// setTarget sets what an entry points to.
func (s *scanner) setTarget(row *TreeRow, h *tarHeader) (err error) {
	link := h.link()
	switch {
	case s.records.link.set:
		link = s.records.link.b
	case s.long.link != nil:
		link = s.long.link
	}
	switch {
	case h.flag == flagLink:
		if row.Link, err = scanPath(string(link), false); err != nil {
			return fmt.Errorf("a hard link: %w", err)
		}
	case row.Type == filesystem.Symlink:
		if len(link) == 0 || len(link) > layout.MaxPath {
			return fmt.Errorf("a symlink with a target of %d bytes", len(link))
		}
		row.Target = string(link)
		if strings.IndexByte(row.Target, 0) >= 0 {
			return fmt.Errorf("a symlink with a NUL in its target %.300q", link)
		}
	case len(link) > 0:
		return fmt.Errorf("a link to %.300q, where its type has none", link)
	}
	return nil
}

// content reads what is in a regular file.
func (s *scanner) content(ctx context.Context, row *TreeRow, h *tarHeader, size int64) error {
	row.Size = size
	pieces := [...]filesystem.Extent{{Off: 0, Len: size}}
	data := pieces[:]
	sparse, err := s.sparse(ctx, row, h, size)
	if err != nil {
		return err
	}
	if sparse != nil {
		data = sparse.data
		row.Sparse, row.Size, row.Stored, row.Map = true, sparse.size, sparse.bytes, mapSum(data)
		size = sparse.bytes
	}
	sum := newContentSum(row.Size, row.Size-size)
	var byRuns *contentSum // of what may have been a hole to who wrote the entries
	if sparse == nil && size > manyHoles {
		byRuns = newContentSum(size, size)
	}
	for _, d := range data {
		for d.Len > 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b, err := s.in.some(d.Len)
			if err != nil {
				return err
			}
			sum.write(b, d.Off)
			if byRuns != nil {
				byRuns.write(b, d.Off)
			}
			d.Off, d.Len = d.Off+int64(len(b)), d.Len-int64(len(b))
			s.tell(progressBytes)
		}
	}
	row.Sum, row.Runs = sum.end(), sum.runs != nil
	if byRuns != nil {
		row.RunSum = byRuns.end()
	}
	return s.in.zeros(padding(size))
}
