package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	"snap-to-s3/internal/codec"
)

// headerRow is the first row. Names that are not UTF-8, which JSON cannot hold,
// have members of their own.
type headerRow struct {
	EntriesHeader
	NameB64  []byte `json:"name_b64,omitempty"`
	LabelB64 []byte `json:"label_b64,omitempty"`
}

func newHeaderRow(h EntriesHeader) headerRow {
	r := headerRow{EntriesHeader: h}
	if !utf8.ValidString(h.Name) {
		r.Name, r.NameB64 = "", []byte(h.Name)
	}
	if !utf8.ValidString(h.Label) {
		r.Label, r.LabelB64 = "", []byte(h.Label)
	}
	return r
}

func (r *headerRow) header() *EntriesHeader {
	h := r.EntriesHeader
	if r.NameB64 != nil {
		h.Name = string(r.NameB64)
	}
	if r.LabelB64 != nil {
		h.Label = string(r.LabelB64)
	}
	return &h
}

// rawRow has the members of all kinds of row but those of entries of a tar, of
// which it has what tells them from others.
type rawRow struct {
	headerRow
	Absent     *BlockRange `json:"absent"`
	Zero       *BlockRange `json:"zero"`
	From       int64       `json:"from"`
	Count      int64       `json:"count"`
	SHA256     []byte      `json:"sha256"`
	Frames     int64       `json:"frames"`
	Plain      int64       `json:"plain"`
	Stored     int64       `json:"stored"`
	StoredSize int64       `json:"stored_size"`
	End        *EntriesEnd `json:"end"`

	Path    *string `json:"path"`
	PathB64 []byte  `json:"path_b64"`
}

// parseRow reads one row; known is false for a row of a kind that this program
// does not know. Numbers are within bounds that cannot overflow a sum of two.
func parseRow(line []byte) (row Row, known bool, err error) {
	// Entries as they are written are known without looking at them twice.
	if bytes.HasPrefix(line, []byte(`{"path":`)) || bytes.HasPrefix(line, []byte(`{"path_b64":`)) {
		row.Entry, err = parseEntry(line)
		return row, true, err
	}
	var raw rawRow
	if err := json.Unmarshal(line, &raw); err != nil {
		return Row{}, false, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	switch {
	case raw.Entries != 0:
		row.Header = raw.header()
	case raw.Absent != nil:
		row.Absent, err = raw.Absent, raw.Absent.check()
	case raw.Zero != nil:
		row.Zero, err = raw.Zero, raw.Zero.check()
	case raw.End != nil:
		row.End = raw.End
	case raw.Frames != 0:
		row.Frames, err = raw.frames()
	case raw.Count != 0:
		row.Data, err = raw.data()
	case raw.Path != nil || raw.PathB64 != nil:
		row.Entry, err = parseEntry(line)
	default:
		return Row{}, false, nil
	}
	return row, true, err
}

func (r BlockRange) check() error {
	if r.From < 0 || r.Count <= 0 || r.From > maxPlain || r.Count > maxPlain {
		return fmt.Errorf("%w: %d blocks from %d", ErrDamaged, r.Count, r.From)
	}
	return nil
}

func (raw *rawRow) data() (*DataRange, error) {
	if raw.Count < 0 || raw.Count > maxBlocksRow || int64(len(raw.SHA256)) != raw.Count*sha256.Size || raw.From < 0 {
		return nil, fmt.Errorf("%w: %d data blocks with %d bytes of hashes", ErrDamaged, raw.Count, len(raw.SHA256))
	}
	d := &DataRange{From: raw.From, Sums: make([][sha256.Size]byte, raw.Count)}
	for i := range d.Sums {
		copy(d.Sums[i][:], raw.SHA256[i*sha256.Size:])
	}
	return d, nil
}

func (raw *rawRow) frames() (*FrameRun, error) {
	r := &FrameRun{Count: raw.Frames, First: codec.Frame{
		PlainOff: raw.Plain, PlainLen: raw.PlainSize,
		StoredOff: raw.Stored, StoredLen: raw.StoredSize,
	}}
	f := r.First
	if len(raw.SHA256) != sha256.Size || r.Count < 0 || f.PlainOff < 0 || f.StoredOff < 0 ||
		f.PlainLen <= 0 || f.PlainLen > maxFramePlain || f.StoredLen <= 0 || f.StoredLen > 2*maxFramePlain ||
		f.PlainOff > maxPlain || f.StoredOff > 2*maxPlain ||
		r.Count > maxPlain/f.PlainLen || r.Count > math.MaxInt64/4/f.StoredLen {
		return nil, fmt.Errorf("%w: a frame row with impossible numbers: %d frames of %d and %d bytes", ErrDamaged, r.Count, f.PlainLen, f.StoredLen)
	}
	copy(r.First.Hash[:], raw.SHA256)
	return r, nil
}
