package layout

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
)

// place is where one frame of entries lies in the object, and what its rows
// begin with.
type place struct {
	at, size  int64
	plainSize int64 // bytes of rows
	block     int64 // images
	offset    int64 // plain byte of the archive
	path      string
	named     bool // tars: path is of its first entry; false: it has none
}

// indexRow is a row of the trailer. Block is there in all rows of an image, and
// in none of a tar.
type indexRow struct {
	At        int64   `json:"at"`
	Size      int64   `json:"size"`
	PlainSize int64   `json:"plain_size"`
	Block     *int64  `json:"block"`
	Path      *string `json:"path"`
	PathB64   []byte  `json:"path_b64"`
	Offset    int64   `json:"offset"`
}

// maxIndexPath is how much of a path the trailer holds, so that nobody can make
// a tree for which it grows beyond its bound.
const maxIndexPath = 512

func indexPath(path string) string { return path[:min(len(path), maxIndexPath)] }

func appendPlace(b []byte, k Kind, p *place) []byte {
	b = append(b, `{"at":`...)
	b = strconv.AppendInt(b, p.at, 10)
	b = appendNumber(b, "size", p.size)
	b = appendNumber(b, "plain_size", p.plainSize)
	switch {
	case k == Image:
		b = appendNumber(b, "block", p.block)
	case p.named && p.path == "":
		b = appendName(append(b, ','), "path", rootPath)
	case p.named:
		b = appendName(append(b, ','), "path", p.path)
	}
	b = appendNumber(b, "offset", p.offset)
	return append(b, "}\n"...)
}

// trailer writes the skippable frame that places the others.
func (e *EntriesWriter) trailer() error {
	if err := e.enc.Close(); err != nil {
		return e.fail(err)
	}
	b := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	b = append(b, 0, 0, 0, 0) // length of what follows, below
	for i := range e.index {
		b = appendPlace(b, e.tally.header.Kind, &e.index[i])
	}
	length := len(b) + trailerTail
	if length > maxTrailer {
		return e.fail(fmt.Errorf("a trailer of %d bytes is more than a reader takes", length))
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(length-trailerHead))
	b = binary.LittleEndian.AppendUint64(b, uint64(length))
	return e.write(append(b, trailerMagic...))
}

// parseIndex reads the rows of a trailer that begins at byte end of the object.
func parseIndex(b []byte, end int64) (Kind, []place, error) {
	var (
		kind  Kind
		index []place
		prev  place
		path  string // of the last row with one
	)
	for line := range bytes.Lines(b) {
		p, k, err := parsePlace(line)
		if err != nil {
			return "", nil, err
		}
		if len(index) == 0 {
			kind = k
		}
		if k != kind || p.at != prev.at+prev.size || p.size <= 0 || p.size > end-p.at ||
			p.plainSize <= 0 || p.plainSize > maxEntriesFrame || p.block < prev.block || p.offset < prev.offset ||
			p.named && ComparePaths(p.path, path) < 0 {
			return "", nil, fmt.Errorf("%w: trailer: impossible place of frame %d", ErrDamaged, len(index))
		}
		if p.named {
			path = p.path
		}
		index, prev = append(index, p), p
	}
	if len(index) == 0 || prev.at+prev.size != end || index[0].block != 0 || index[0].offset != 0 {
		return "", nil, fmt.Errorf("%w: trailer: its frames do not fill the object", ErrDamaged)
	}
	return kind, index, nil
}

func parsePlace(line []byte) (place, Kind, error) {
	var row indexRow
	if err := json.Unmarshal(line, &row); err != nil {
		return place{}, "", fmt.Errorf("%w: trailer: %v", ErrDamaged, err)
	}
	p := place{at: row.At, size: row.Size, plainSize: row.PlainSize, offset: row.Offset}
	if row.Block != nil {
		p.block = *row.Block
		return p, Image, nil
	}
	if row.Path == nil && row.PathB64 == nil {
		return p, Tar, nil
	}
	path, err := textOf("path", row.Path, row.PathB64)
	switch {
	case err != nil:
		return place{}, "", fmt.Errorf("trailer: %w", err)
	case path == "" || len(path) > maxIndexPath:
		return place{}, "", fmt.Errorf("%w: trailer: a path of %d bytes", ErrDamaged, len(path))
	case path == rootPath:
		path = ""
	}
	p.path, p.named = path, true
	return p, Tar, nil
}
