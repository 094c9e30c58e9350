package layout

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"

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
	maxPlain         = 1 << 48 // bytes of an archive: 256 TiB, four of the largest volumes
	maxNames         = 4096    // bytes of a partition's name, of a filesystem's label
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
	PlainSize int64       `json:"plain_size,omitempty"` // bytes of the image; 0 of a tar: it is not known yet
	Codec     string      `json:"codec"`
	BlockSize int64       `json:"block_size,omitempty"` // bytes, images only; NewEntriesWriter sets it
	FrameSize int64       `json:"frame_size"`           // plain bytes of all frames but the last; NewEntriesWriter sets it
	Name      string      `json:"name,omitempty"`       // of the partition, any bytes
	Label     string      `json:"label,omitempty"`      // of the filesystem, any bytes
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
	Blocks     Blocks `json:"blocks,omitzero"` // images only
	Files      Files  `json:"files,omitzero"`  // tars only
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
	Entry  *TreeEntry
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
