package layout

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"strconv"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/snapshot"
)

// Sizes of the entries. Readers refuse what is beyond the maxima, so that no
// object can make them take more memory than these say.
const (
	maxBlocksRow     = 4096    // blocks of one data row
	entriesFrame     = 1 << 20 // 1 MiB of rows close a frame of entries
	maxRow           = 1 << 20 // bytes of one row; a data row has 175 KiB
	maxEntriesFrame  = 4 << 20 // bytes of rows in one frame
	maxTrailer       = 64 << 20
	maxPlain         = 1 << 48 // bytes of an image: 256 TiB, four of the largest volumes
	minFramePlain    = 4 << 20 // plain bytes of an archive's frame; bounds their number
	maxFramePlain    = 1 << 30
	skippableMagic   = 0x184D2A53 // one of zstd's sixteen (RFC 8878, 3.1.2)
	trailerMagic     = "s2s3ENT1"
	trailerHead      = 8                     // magic and length of a skippable frame
	trailerTail      = 8 + len(trailerMagic) // length of the trailer, magic
	minEntriesObject = trailerHead + trailerTail
)

// EntriesHeader is the first row: which archive the entries are of.
type EntriesHeader struct {
	Entries   int         `json:"entries"` // the format version; NewEntriesWriter sets it
	Kind      Kind        `json:"kind"`
	Archive   string      `json:"archive"` // its key
	Snapshot  snapshot.ID `json:"snapshot"`
	Run       string      `json:"run"`
	PlainSize int64       `json:"plain_size"` // bytes of the image
	Codec     string      `json:"codec"`
	BlockSize int64       `json:"block_size"` // bytes; NewEntriesWriter sets it
	FrameSize int64       `json:"frame_size"` // plain bytes of all frames but the last; NewEntriesWriter sets it
}

// BlockRange is a range of blocks.
type BlockRange struct {
	From  int64 `json:"from"`
	Count int64 `json:"count"`
}

// DataRange is a range of data blocks with the SHA-256 of each.
type DataRange struct {
	From int64
	Sums [][sha256.Size]byte
}

// FrameRun is one frame of the archive, or several alike that follow each
// other: frame k of it is First moved by k times its lengths.
type FrameRun struct {
	First codec.Frame
	Count int64
}

// EntriesEnd is the last row: without it the entries are not whole.
type EntriesEnd struct {
	Blocks     Blocks `json:"blocks"`
	Frames     int64  `json:"frames"`
	PlainSize  int64  `json:"plain_size"`
	StoredSize int64  `json:"stored_size"`
	Digest     string `json:"digest"` // of the archive, lower-case hex
}

// Row is one row of entries: exactly one member is set.
type Row struct {
	Header *EntriesHeader
	Absent *BlockRange
	Zero   *BlockRange
	Data   *DataRange
	Frames *FrameRun
	End    *EntriesEnd
}

// at is the frame of the run that holds the plain byte off, if one does.
func (r FrameRun) at(off int64) (codec.Frame, bool) {
	f := r.First
	if off < f.PlainOff || off >= f.PlainOff+r.Count*f.PlainLen {
		return codec.Frame{}, false
	}
	k := (off - f.PlainOff) / f.PlainLen
	f.PlainOff += k * f.PlainLen
	f.StoredOff += k * f.StoredLen
	return f, true
}

// extend adds f to the run if it is one more of the same kind right behind it.
func (r *FrameRun) extend(f codec.Frame) bool {
	a := r.First
	if r.Count == 0 || f.Hash != a.Hash || f.PlainLen != a.PlainLen || f.StoredLen != a.StoredLen {
		return false
	}
	r.Count++
	return true
}

func appendRange(b []byte, name string, r BlockRange) []byte {
	b = append(b, `{"`+name+`":{"from":`...)
	b = strconv.AppendInt(b, r.From, 10)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, r.Count, 10)
	return append(b, "}}\n"...)
}

// appendData takes the sums one behind the other.
func appendData(b []byte, from int64, sums []byte) []byte {
	b = append(b, `{"from":`...)
	b = strconv.AppendInt(b, from, 10)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(len(sums)/sha256.Size), 10)
	b = append(b, `,"sha256":"`...)
	b = base64.StdEncoding.AppendEncode(b, sums)
	return append(b, "\"}\n"...)
}

func appendFrames(b []byte, r FrameRun) []byte {
	f := r.First
	for _, m := range []struct {
		name  string
		value int64
	}{
		{`{"frames":`, r.Count},
		{`,"plain":`, f.PlainOff},
		{`,"plain_size":`, f.PlainLen},
		{`,"stored":`, f.StoredOff},
		{`,"stored_size":`, f.StoredLen},
	} {
		b = append(b, m.name...)
		b = strconv.AppendInt(b, m.value, 10)
	}
	b = append(b, `,"sha256":"`...)
	b = base64.StdEncoding.AppendEncode(b, f.Hash[:])
	return append(b, "\"}\n"...)
}

// rawRow has the members of all kinds of row.
type rawRow struct {
	EntriesHeader
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
}

// parseRow reads one row; known is false for a row of a kind that this program
// does not know. Numbers are within bounds that cannot overflow a sum of two.
func parseRow(line []byte) (row Row, known bool, err error) {
	var raw rawRow
	if err := json.Unmarshal(line, &raw); err != nil {
		return Row{}, false, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	switch {
	case raw.Entries != 0:
		row.Header = &raw.EntriesHeader
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

func (raw rawRow) data() (*DataRange, error) {
	if raw.Count < 0 || raw.Count > maxBlocksRow || int64(len(raw.SHA256)) != raw.Count*sha256.Size || raw.From < 0 {
		return nil, fmt.Errorf("%w: %d data blocks with %d bytes of hashes", ErrDamaged, raw.Count, len(raw.SHA256))
	}
	d := &DataRange{From: raw.From, Sums: make([][sha256.Size]byte, raw.Count)}
	for i := range d.Sums {
		copy(d.Sums[i][:], raw.SHA256[i*sha256.Size:])
	}
	return d, nil
}

func (raw rawRow) frames() (*FrameRun, error) {
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

// tally follows the rows of an image, in the order they are written, and holds
// them to the rules: both tracks (blocks, frames) start at 0 and have no gap.
// It is the same for the writer and for the reader.
type tally struct {
	header EntriesHeader
	blocks Blocks
	next   int64 // block
	frames int64
	plain  int64
	stored int64
	digest hash.Hash
	hash   [sha256.Size]byte // what is hashed next; here so that no frame takes a place on the heap
}

func newTally(h EntriesHeader) (*tally, error) {
	switch {
	case h.Entries > FormatVersion:
		return nil, fmt.Errorf("format %d: %w", h.Entries, ErrNewer)
	case h.Entries < 1, h.BlockSize != block.Size:
		return nil, fmt.Errorf("format %d with blocks of %d bytes", h.Entries, h.BlockSize)
	case h.PlainSize <= 0, h.PlainSize > maxPlain:
		return nil, fmt.Errorf("an image of %d bytes", h.PlainSize)
	case h.FrameSize < minFramePlain, h.FrameSize > maxFramePlain:
		return nil, fmt.Errorf("frames of %d bytes", h.FrameSize)
	}
	return &tally{header: h, digest: sha256.New()}, nil
}

// total is the number of blocks of the image; the last may be short.
func (t *tally) total() int64 { return (t.header.PlainSize + block.Size - 1) / block.Size }

// cover takes the next blocks of the image and adds them to kind.
func (t *tally) cover(kind *int64, from, count int64) error {
	if from != t.next {
		return fmt.Errorf("block %d where block %d was to follow", from, t.next)
	}
	if count < 0 || count > t.total()-from {
		return fmt.Errorf("%d blocks from %d in an image of %d", count, from, t.total())
	}
	t.next += count
	*kind += count
	return nil
}

// run takes the next frames of the archive.
func (t *tally) run(r FrameRun) error {
	f := r.First
	if f.PlainOff != t.plain || f.StoredOff != t.stored {
		return fmt.Errorf("frame at %d (stored %d) where %d (stored %d) was to follow", f.PlainOff, f.StoredOff, t.plain, t.stored)
	}
	rest := t.header.PlainSize - t.plain
	// Only the last frame may be short; that also bounds how many there are.
	if f.PlainLen <= 0 || f.StoredLen <= 0 || r.Count > rest/f.PlainLen ||
		f.PlainLen != min(t.header.FrameSize, rest) {
		return fmt.Errorf("%d frame(s) of %d bytes at %d in an image of %d", r.Count, f.PlainLen, f.PlainOff, t.header.PlainSize)
	}
	t.plain += r.Count * f.PlainLen
	t.stored += r.Count * f.StoredLen
	t.frames += r.Count
	t.hash = f.Hash
	for range r.Count {
		t.digest.Write(t.hash[:])
	}
	return nil
}

// end is what the last row must be, or why it cannot be written yet.
func (t *tally) end() (EntriesEnd, error) {
	if t.next != t.total() || t.plain != t.header.PlainSize {
		return EntriesEnd{}, fmt.Errorf("%d of %d blocks and %d of %d bytes are told of", t.next, t.total(), t.plain, t.header.PlainSize)
	}
	return EntriesEnd{
		Blocks: t.blocks, Frames: t.frames, PlainSize: t.plain, StoredSize: t.stored,
		Digest: hex.EncodeToString(t.digest.Sum(nil)),
	}, nil
}
