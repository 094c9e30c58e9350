package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/filesystem"
)

// maxSparseMap is the longest map of holes, in bytes of the stream: about three
// million pieces.
const maxSparseMap = 64 << 20

// The old sparse header of GNU (GNU tar manual, "Storing Sparse Files", "Old GNU
// Format"): pieces in the header, and in as many more blocks as there are.
const (
	oldPiece        = 24 // bytes: offset and length, 12 each
	oldPiecesAt     = 386
	oldPieces       = 4
	oldMoreAt       = 482
	oldRealSizeAt   = 483
	oldMorePieces   = 21
	oldMoreBlocksAt = oldMorePieces * oldPiece
)

// sparseFile is where the data of a file lie.
type sparseFile struct {
	size  int64 // of the file
	bytes int64 // of data
	data  []filesystem.Extent
	ended bool // by an empty piece at the end of the file
}

// add adds a piece. Empty ones say where the file ends, or, of bsdtar, that it
// begins with a hole. Others must be whole blocks but for the last: GNU tar
// fills each up, and others do not.
func (f *sparseFile) add(off, n int64) error {
	end := int64(0)
	if last := len(f.data) - 1; last >= 0 {
		end = f.data[last].Off + f.data[last].Len
	}
	switch {
	case f.ended, off < end, n < 0, off > f.size-n:
		return fmt.Errorf("a piece of %d bytes at %d, after %d in a file of %d", n, off, end, f.size)
	case n == 0 && off == f.size:
		f.ended = true
		return nil
	case n == 0 && off == 0 && len(f.data) == 0:
		return nil
	case n == 0 || f.bytes%tarBlock != 0:
		return fmt.Errorf("a piece of %d bytes at %d, after %d bytes of data, which readers take in different ways", n, off, f.bytes)
	}
	f.bytes += n
	f.data = append(f.data, filesystem.Extent{Off: off, Len: n})
	return nil
}

// sparse reads the map of a file of which stored bytes follow, map and all. It is
// nil for a file that is stored whole. What it returns is used again.
func (s *scanner) sparse(ctx context.Context, row *TreeRow, h *tarHeader, stored int64) (*sparseFile, error) {
	p := &s.records.sparse
	old := h.flag == flagSparse
	if !p.any() && !old {
		return nil, nil
	}
	if p.any() && (old || row.Link != "") {
		return nil, errors.New("a map of holes where its type has none")
	}
	if cap(s.holes.data) > scanBuffer/16 {
		s.holes.data = nil
	}
	s.holes = sparseFile{data: s.holes.data[:0]}
	f := &s.holes
	var mapped int64
	var err error
	switch {
	case old:
		err = s.oldSparse(ctx, f, h)
	case p.real.set:
		mapped, err = s.sparseInData(ctx, f, p, stored)
	default:
		err = sparseInRecords(f, p)
	}
	if err == nil && f.bytes != stored-mapped {
		err = fmt.Errorf("it has %d bytes of data, and %d are stored", f.bytes, stored-mapped)
	}
	if err != nil {
		return nil, fmt.Errorf("the map of its holes: %w", err)
	}
	return f, nil
}

func (s *paxSparse) any() bool {
	return s.major.set || s.minor.set || s.real.set || s.size.set || s.count.set || s.name.set || s.list.set || len(s.pieces) > 0
}

// oldSparse reads the map in the header of type S and in the blocks behind it.
func (s *scanner) oldSparse(ctx context.Context, f *sparseFile, h *tarHeader) error {
	var err error
	if f.size, err = field(h.block[oldRealSizeAt:oldRealSizeAt+12], "real size", 0, 1<<63-1); err != nil {
		return err
	}
	more := h.block[oldMoreAt]
	done, err := f.oldPieces(h.block[oldPiecesAt : oldPiecesAt+oldPieces*oldPiece])
	for n := int64(0); err == nil && more != 0; n += tarBlock {
		if more != 1 || done {
			return errors.New("it goes on behind its end")
		}
		if n >= maxSparseMap {
			return fmt.Errorf("it is longer than %d bytes", maxSparseMap)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var b []byte
		if b, err = s.in.take(tarBlock); err != nil {
			return err
		}
		more = b[oldMoreBlocksAt]
		if !block.AllZero(b[oldMoreBlocksAt+1:]) {
			return errors.New("it has something behind it")
		}
		done, err = f.oldPieces(b[:oldMoreBlocksAt])
	}
	return err
}

// oldPieces adds pieces up to the first that is not used; then there is nothing.
func (f *sparseFile) oldPieces(b []byte) (done bool, err error) {
	for ; len(b) > 0; b = b[oldPiece:] {
		if b[12] == 0 {
			if !block.AllZero(b) {
				return true, errors.New("something stands behind its end")
			}
			return true, nil
		}
		off, ok := headerNumber(b[:12])
		n, okLen := headerNumber(b[12:oldPiece])
		if !ok || !okLen {
			return false, fmt.Errorf("the piece %q", b[:oldPiece])
		}
		if err := f.add(off, n); err != nil {
			return false, err
		}
	}
	return false, nil
}

// sparseInData reads the map of version 1.0, which stands before the data.
func (s *scanner) sparseInData(ctx context.Context, f *sparseFile, p *paxSparse, stored int64) (mapped int64, err error) {
	if !p.name.set || p.major.n != 1 || !p.minor.set || p.minor.n != 0 || p.size.set || p.count.set || p.list.set || len(p.pieces) > 0 {
		return 0, errors.New("its records are of more than one version")
	}
	f.size = p.real.n
	number := func() (int64, error) {
		const longest = int64(len("9223372036854775807\n"))
		line, err := s.in.line(min(longest, stored-mapped))
		if err != nil {
			return 0, err
		}
		mapped += int64(len(line)) + 1
		n, ok := decimal(line)
		if !ok || mapped > maxSparseMap {
			return 0, fmt.Errorf("the number %.30q after %d bytes, and %d are the most", line, mapped, maxSparseMap)
		}
		return n, nil
	}
	count, err := number()
	if err != nil {
		return 0, err
	}
	for range count {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		off, err := number()
		if err != nil {
			return 0, err
		}
		n, err := number()
		if err != nil {
			return 0, err
		}
		if err := f.add(off, n); err != nil {
			return 0, err
		}
	}
	pad := padding(mapped)
	return mapped + pad, s.in.zeros(pad)
}

// sparseInRecords reads the map of versions 0.0, a record for each number, and 0.1,
// one for all.
func sparseInRecords(f *sparseFile, p *paxSparse) error {
	pieces := p.pieces
	if !p.size.set || !p.count.set || p.open || p.major.n != 0 || p.list.set == (len(pieces) > 0) {
		return errors.New("its records are of no version, or of more than one")
	}
	f.size = p.size.n
	for rest := p.list.b; len(rest) > 0; {
		var n [2]int64
		for i := range n {
			digits, after, more := bytes.Cut(rest, []byte{','})
			v, ok := decimal(digits)
			if !ok || i == 0 && !more || more && len(after) == 0 {
				return fmt.Errorf("the number %.30q", digits)
			}
			n[i], rest = v, after
		}
		pieces = append(pieces, filesystem.Extent{Off: n[0], Len: n[1]})
	}
	if int64(len(pieces)) != p.count.n {
		return fmt.Errorf("%d pieces, and %d were said", len(pieces), p.count.n)
	}
	for _, d := range pieces {
		if err := f.add(d.Off, d.Len); err != nil {
			return err
		}
	}
	return nil
}
