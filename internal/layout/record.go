package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"snap-to-s3/internal/snapshot"
)

// MaxRecord is more than any record has bytes: a reader may stop there.
const MaxRecord = 16 << 20

// The values of the member "type" of a record.
const (
	typeArchive  = "archive"
	typeSnapshot = "snapshot"
)

// Absent says how much is known of the blocks that an encrypted snapshot lacks.
// A volume made from it shows noise there.
type Absent string

// The values of Absent. Empty: the snapshot is not encrypted, absent blocks are
// zeros.
const (
	AbsentListed  Absent = "listed"  // they are marked in the entries and stored as zeros
	AbsentUnknown Absent = "unknown" // they could not be told, and are stored as they were read
)

// Blocks counts the blocks of an image by what is known of them.
type Blocks struct {
	Data   int64 `json:"data"`
	Zero   int64 `json:"zero"`
	Absent int64 `json:"absent"`
}

// Files counts what is in a tar. Bytes is of the contents of regular files: holes
// count, a file with several names counts once, and beyond the largest int64 it
// stays there.
type Files struct {
	Entries int64 `json:"entries"` // all of them, the root too
	Regular int64 `json:"regular"`
	Folders int64 `json:"folders"`
	Bytes   int64 `json:"bytes"`
}

// EntriesRef names the entries of an archive. Size and SHA-256 are of the
// object as it is stored.
type EntriesRef struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// ArchiveRecord says that an archive is whole, and what it is. It holds nothing
// that gpg recipients are there to hide.
type ArchiveRecord struct {
	Format     int               `json:"format"`
	Type       string            `json:"type"`
	Tool       string            `json:"tool"` // name and version of the program that wrote it
	Run        string            `json:"run"`
	Key        string            `json:"key"` // of this record
	Snapshot   snapshot.ID       `json:"snapshot"`
	Volume     snapshot.VolumeID `json:"volume"`
	Archive    string            `json:"archive"` // key of the archive
	Kind       Kind              `json:"kind"`
	Partition  Part              `json:"partition,omitzero"`
	PlainSize  int64             `json:"plain_size"`  // bytes
	StoredSize int64             `json:"stored_size"` // bytes
	Codec      string            `json:"codec"`
	Level      int               `json:"level"`
	FrameSize  int64             `json:"frame_size"` // plain bytes of a frame
	Recipients []string          `json:"recipients,omitempty"`
	CRC64NVME  string            `json:"crc64nvme,omitempty"` // Base64, as S3 gives it
	Digest     string            `json:"digest,omitempty"`    // lower-case hex; empty with recipients
	Blocks     *Blocks           `json:"blocks,omitempty"`    // images only
	Files      *Files            `json:"files,omitempty"`     // tars only
	Absent     Absent            `json:"absent,omitempty"`
	Entries    EntriesRef        `json:"entries"`
	SHA256     string            `json:"sha256"` // lower-case hex; EncodeRecord sets it
}

// SnapshotInfo is what EC2 told of the snapshot when it was archived.
type SnapshotInfo struct {
	ID          snapshot.ID       `json:"id"`
	Volume      snapshot.VolumeID `json:"volume"`
	Size        int64             `json:"size"`                // bytes
	FullSize    int64             `json:"full_size,omitempty"` // bytes
	Start       string            `json:"start"`               // as in the key
	Description string            `json:"description"`
	Encrypted   bool              `json:"encrypted"`
	Tags        map[string]string `json:"tags"` // all of them, unchanged
}

// Choice is what the user said of partitions, by number.
type Choice struct {
	Raw  []int `json:"raw"`  // to be archived as they are
	Skip []int `json:"skip"` // not to be archived
}

// Skipped is a partition that is in no archive.
type Skipped struct {
	Partition Part   `json:"partition,omitzero"`
	Start     int64  `json:"start"` // bytes
	Size      int64  `json:"size"`  // bytes
	Why       string `json:"why"`   // for a person
}

// RecordTotals sums up the archives of a snapshot, in bytes.
type RecordTotals struct {
	Archives   int   `json:"archives"`
	PlainSize  int64 `json:"plain_size"`
	StoredSize int64 `json:"stored_size"`
}

// SnapshotRecord is the commit: with it, and not before, a snapshot is archived.
type SnapshotRecord struct {
	Format   int             `json:"format"`
	Type     string          `json:"type"`
	Tool     string          `json:"tool"`
	Run      string          `json:"run"`
	Key      string          `json:"key"` // of this record
	Snapshot SnapshotInfo    `json:"snapshot"`
	Choice   *Choice         `json:"choice,omitempty"`   // these three where partitions are archived one by one
	Geometry *Geometry       `json:"geometry,omitempty"` // without it there is one archive, of the whole volume
	Skipped  []Skipped       `json:"skipped,omitempty"`
	Archives []ArchiveRecord `json:"archives"` // each as its own record has it, sha256 included
	Totals   RecordTotals    `json:"totals"`
	SHA256   string          `json:"sha256"` // lower-case hex; EncodeRecord sets it
}

// Describe is a snapshot as its record has it.
func Describe(s snapshot.Snapshot) SnapshotInfo {
	return SnapshotInfo{
		ID: s.ID, Volume: s.VolumeID, Size: s.Size, FullSize: s.FullSize, Start: Time(s.Start),
		Description: s.Description, Encrypted: s.Encrypted, Tags: s.Tags,
	}
}

// Sum adds up archives.
func Sum(archives []ArchiveRecord) RecordTotals {
	var t RecordTotals
	for _, a := range archives {
		t.Archives++
		t.PlainSize += a.PlainSize
		t.StoredSize += a.StoredSize
	}
	return t
}

// Record is an ArchiveRecord or a SnapshotRecord.
type Record interface {
	seal(digest string)
	check() error
}

func (r *ArchiveRecord) seal(digest string) {
	r.Format, r.Type, r.SHA256 = FormatVersion, typeArchive, digest
}

func (r *SnapshotRecord) seal(digest string) {
	r.Format, r.Type, r.SHA256 = FormatVersion, typeSnapshot, digest
	if g := r.Geometry; g != nil && g.Partitions == nil {
		whole := *g
		whole.Partitions = []Partition{}
		r.Geometry = &whole
	}
	if r.Archives == nil { // "[]", not "null": a disk may have nothing to archive
		r.Archives = []ArchiveRecord{}
	}
	if r.Snapshot.Tags == nil {
		r.Snapshot.Tags = map[string]string{}
	}
	if c := r.Choice; c != nil {
		r.Choice = &Choice{Raw: numbers(c.Raw), Skip: numbers(c.Skip)}
	}
}

// numbers makes lists of the same numbers the same list: never nil, ascending.
func numbers(list []int) []int {
	list = append([]int{}, list...)
	slices.Sort(list)
	return slices.Compact(list)
}

// The end of every record's bytes: its seal and nothing behind it.
const (
	sealHead = ",\n  \"sha256\": \""
	sealTail = "\"\n}\n"
	sealSize = len(sealHead) + 2*sha256.Size + len(sealTail)
)

// EncodeRecord returns the bytes of a record, and sets its Format, Type and
// SHA256. A record that would not tell enough to restore by is an error.
func EncodeRecord(r Record) ([]byte, error) {
	r.seal("")
	if err := r.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	body, ok := bytes.CutSuffix(b.Bytes(), []byte(sealHead+sealTail))
	if !ok {
		panic("layout: the last member of a record is not its sha256")
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	r.seal(digest)
	return append(body, sealHead+digest+sealTail...), nil
}

// DecodeArchiveRecord reads what EncodeRecord wrote and checks that it is
// unchanged. Members it does not know are left aside.
func DecodeArchiveRecord(data []byte) (ArchiveRecord, error) {
	var r ArchiveRecord
	if err := decode(data, &r); err != nil {
		return ArchiveRecord{}, fmt.Errorf("archive record: %w", err)
	}
	return r, nil
}

// DecodeSnapshotRecord is DecodeArchiveRecord for the record of a snapshot.
func DecodeSnapshotRecord(data []byte) (SnapshotRecord, error) {
	var r SnapshotRecord
	if err := decode(data, &r); err != nil {
		return SnapshotRecord{}, fmt.Errorf("snapshot record: %w", err)
	}
	return r, nil
}

// ErrDamaged says: the bytes are not what was written: cut, changed, or never a
// record or entries of this tool.
var ErrDamaged = errors.New("damaged")

func decode(data []byte, r Record) error {
	if len(data) > MaxRecord {
		return fmt.Errorf("%w: longer than %d bytes", ErrDamaged, int64(MaxRecord))
	}
	if len(data) < sealSize {
		return fmt.Errorf("%w: only %d bytes long", ErrDamaged, len(data))
	}
	body, seal := data[:len(data)-sealSize], string(data[len(data)-sealSize:])
	digest := seal[len(sealHead) : len(sealHead)+2*sha256.Size]
	if seal != sealHead+digest+sealTail {
		return fmt.Errorf("%w: it does not end with its sha256: cut off, or edited", ErrDamaged)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != digest {
		return fmt.Errorf("%w: its bytes have another sha256 than the one it ends with", ErrDamaged)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(r); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the record", ErrDamaged)
	}
	return r.check()
}
