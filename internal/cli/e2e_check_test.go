package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/snapshot"
)

// How an archive is proven here: from the disk image alone it is computed what
// must stand in the bucket, by docs/format.md and not by the code that wrote it.

const (
	checkBlock = 512 << 10 // a block of docs/format.md
	checkFrame = 4 << 20   // plain bytes of a frame
)

// subject is a snapshot of a test; all that it leaves to the sandbox's choice is
// its id.
type subject struct{ awssim.SnapshotSpec }

// add makes a snapshot that holds an image file, its device as long as the file.
func (w *world) add(spec awssim.SnapshotSpec) subject {
	w.t.Helper()
	if spec.Image != "" && spec.SizeBytes == 0 {
		info, err := os.Stat(spec.Image)
		if err != nil {
			w.t.Fatal(err)
		}
		spec.SizeBytes = info.Size()
	}
	if spec.SizeGiB == 0 {
		spec.SizeGiB = (spec.SizeBytes + 1<<30 - 1) >> 30
	}
	if spec.VolumeID == "" {
		spec.VolumeID = "vol-0a1b2c3d4e5f60718"
	}
	if spec.Start.IsZero() {
		spec.Start = time.Date(2017, 1, 1, 1, 0, 0, 678e6, time.FixedZone("", 3600))
	}
	spec.ID = w.snapshot(spec)
	return subject{spec}
}

// key is where the archive must stand (docs/format.md, "Keys"), for a
// description that a key can hold as it is.
func (s subject) key(codecName string) string {
	text := ""
	if s.Description != "" {
		text = " - " + s.Description
	}
	return s.prefix() + text + ".img." + codecName
}

func (s subject) prefix() string {
	return s.VolumeID + "/" + s.Start.UTC().Format("2006-01-02T15:04:05") + "+00:00 " + s.ID
}

// bucketView gives an object's bytes, and whether there is one.
type bucketView func(key string) ([]byte, bool)

func (w *world) view(key string) ([]byte, bool) {
	w.t.Helper()
	o, ok := w.sim.Object(testBucket, key)
	if !ok {
		return nil, false
	}
	r := o.Open()
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return data, true
}

// isArchived proves that the bucket holds the subject's disk under key, whole
// and described as docs/format.md has it, and returns the archive record.
func (w *world) isArchived(s subject, key string) layout.ArchiveRecord {
	w.t.Helper()
	w.isDisk(key, s.Image)
	rec := checkArchive(w.t, w.view, s, key)
	o, _ := w.sim.Object(testBucket, key)
	if o.ChecksumAlgorithm != "CRC64NVME" || o.ChecksumType != "FULL_OBJECT" || o.Checksum != rec.CRC64NVME {
		w.t.Errorf("S3 has the checksum %s %s %s, the record %s", o.ChecksumAlgorithm, o.ChecksumType, o.Checksum, rec.CRC64NVME)
	}
	want := map[string]string{
		"snapshot-starttime":   s.Start.UTC().Format("2006-01-02T15:04:05") + "+00:00",
		"snapshot-snapshotid":  s.ID,
		"snapshot-volumesize":  fmt.Sprint(s.SizeGiB),
		"snapshot-volumeid":    s.VolumeID,
		"snapshot-description": o.Metadata["snapshot-description"],
		"uncompressed-size":    fmt.Sprint(s.SizeBytes),
		"snap-to-s3-format":    "1",
		"snap-to-s3-run":       rec.Run,
	}
	if diff := cmp.Diff(want, o.Metadata); diff != "" {
		w.t.Errorf("metadata of %s (-want +got):\n%s", key, diff)
	}
	if got := layout.Description(o.Metadata); !strings.HasPrefix(s.Description, got) || len(s.Description) < 200 && got != s.Description {
		w.t.Errorf("metadata has the description %q, want %q", got, s.Description)
	}
	return rec
}

// checkArchive holds archive, entries and both records to the image.
func checkArchive(t *testing.T, view bucketView, s subject, key string) layout.ArchiveRecord {
	t.Helper()
	stored, ok := view(key)
	if !ok {
		t.Fatalf("no archive %q", key)
	}
	recordKey := "manifests/" + key + ".json"
	rec, err := layout.DecodeArchiveRecord(sealed(t, view, recordKey))
	if err != nil {
		t.Fatal(err)
	}
	entries, ok := view("manifests/" + key + ".entries")
	if !ok {
		t.Fatalf("no entries of %q", key)
	}
	disk := hashDisk(t, s.Image)
	sum := sha256.Sum256(entries)
	want := layout.ArchiveRecord{
		Format: 1, Type: "archive", Tool: rec.Tool, Run: rec.Run, Key: recordKey, Snapshot: snapshot.ID(s.ID), Volume: snapshot.VolumeID(s.VolumeID),
		Archive: key, Kind: "img", PlainSize: disk.size, StoredSize: int64(len(stored)),
		Codec: strings.TrimPrefix(filepath.Ext(key), "."), Level: rec.Level, FrameSize: checkFrame,
		CRC64NVME: crc64Text(stored), Digest: disk.digest(),
		Blocks:  &layout.Blocks{Data: disk.data, Zero: int64(len(disk.sums)) - disk.data},
		Entries: layout.EntriesRef{Key: "manifests/" + key + ".entries", Size: int64(len(entries)), SHA256: hex.EncodeToString(sum[:])},
		SHA256:  rec.SHA256,
	}
	// Whether zeros were read or absent is a matter of the source.
	sumUp := cmp.Transformer("blocks", func(b layout.Blocks) [2]int64 { return [2]int64{b.Data, b.Zero + b.Absent} })
	if diff := cmp.Diff(want, rec, sumUp, cmpopts.IgnoreFields(layout.ArchiveRecord{}, "Absent")); diff != "" {
		t.Errorf("archive record (-want +got):\n%s", diff)
	}
	checkEntries(t, rec, entries, stored, disk)

	whole, err := layout.DecodeSnapshotRecord(sealed(t, view, "manifests/"+s.prefix()+".image."+rec.Codec+".json"))
	if err != nil {
		t.Fatal(err)
	}
	tags := s.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	wantWhole := layout.SnapshotInfo{
		ID: snapshot.ID(s.ID), Volume: snapshot.VolumeID(s.VolumeID), Size: s.SizeGiB << 30, FullSize: whole.Snapshot.FullSize,
		Start: s.Start.UTC().Format("2006-01-02T15:04:05") + "+00:00", Description: s.Description, Encrypted: s.Encrypted, Tags: tags,
	}
	if diff := cmp.Diff(wantWhole, whole.Snapshot); diff != "" {
		t.Errorf("snapshot record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]layout.ArchiveRecord{rec}, whole.Archives); diff != "" {
		t.Errorf("the snapshot record has another archive record (-own +repeated):\n%s", diff)
	}
	return rec
}

// sealed returns a record after the check that docs/format.md gives for a shell.
func sealed(t *testing.T, view bucketView, key string) []byte {
	t.Helper()
	data, ok := view(key)
	if !ok {
		t.Fatalf("no record %q", key)
	}
	if len(data) < 83 {
		t.Fatalf("record %q has %d bytes", key, len(data))
	}
	body, seal := data[:len(data)-83], string(data[len(data)-83:])
	if want := fmt.Sprintf(",\n  \"sha256\": \"%x\"\n}\n", sha256.Sum256(body)); seal != want {
		t.Errorf("record %q ends with %q, want %q", key, seal, want)
	}
	return data
}

// diskHashes is what is to be known of a disk image.
type diskHashes struct {
	size int64
	sums [][32]byte // of each block
	void []bool     // whether it is all zero
	data int64      // blocks that are not all zero
	zero [32]byte   // hash of a full block of zeros
	file string
}

func hashDisk(t *testing.T, image string) diskHashes {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zeros := make([]byte, checkBlock)
	d := diskHashes{zero: sha256.Sum256(zeros), file: image}
	for buf := make([]byte, checkBlock); ; {
		n, err := io.ReadFull(f, buf)
		if n == 0 {
			return d
		}
		d.size += int64(n)
		sum := d.zero
		isZero := bytes.Equal(buf[:n], zeros[:n])
		switch {
		case !isZero:
			d.data++
			sum = sha256.Sum256(buf[:n])
		case n < checkBlock:
			sum = sha256.Sum256(buf[:n])
		}
		d.sums, d.void = append(d.sums, sum), append(d.void, isZero)
		if err != nil {
			return d
		}
	}
}

// frame is the hash of the frame that begins at a plain offset.
func (d diskHashes) frame(off int64) [32]byte {
	h := sha256.New()
	from := off / checkBlock
	for _, sum := range d.sums[from:min(from+checkFrame/checkBlock, int64(len(d.sums)))] {
		h.Write(sum[:])
	}
	return [32]byte(h.Sum(nil))
}

func (d diskHashes) digest() string {
	h := sha256.New()
	for off := int64(0); off < d.size; off += checkFrame {
		sum := d.frame(off)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkEntries reads the entries row by row: each block stands there once with
// its right hash, each frame where it is in the object.
func checkEntries(t *testing.T, rec layout.ArchiveRecord, entries, stored []byte, disk diskHashes) {
	t.Helper()
	var block, plain, at int64
	var frames []codec.Frame
	blank := func(r *layout.BlockRange) {
		for i := range r.Count {
			if n := block + i; n < int64(len(disk.void)) && !disk.void[n] {
				t.Errorf("entries: block %d is said to be zeros", n)
			}
		}
		block += r.Count
	}
	for row, err := range layout.ReadEntries(bytes.NewReader(entries)) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case row.Absent != nil:
			blank(row.Absent)
		case row.Zero != nil:
			blank(row.Zero)
		case row.Data != nil:
			for i, sum := range row.Data.Sums {
				if disk.sums[block+int64(i)] != sum {
					t.Errorf("entries: another hash of block %d", block+int64(i))
				}
			}
			block += int64(len(row.Data.Sums))
		case row.Frames != nil:
			for range row.Frames.Count {
				f := row.Frames.First
				f.PlainOff, f.StoredOff = plain, at
				if f.Hash != disk.frame(plain) {
					t.Errorf("entries: another hash of the frame at %d", plain)
				}
				frames = append(frames, f)
				plain, at = plain+f.PlainLen, at+f.StoredLen
			}
		}
	}
	if block != int64(len(disk.sums)) || plain != disk.size || at != int64(len(stored)) {
		t.Errorf("entries cover %d of %d blocks, %d of %d bytes, %d of %d stored bytes",
			block, len(disk.sums), plain, disk.size, at, len(stored))
	}
	checkFrames(t, rec.Codec, frames, entries, stored, disk)
}

// checkFrames decodes some frames by their place alone, and finds them by the
// trailer.
func checkFrames(t *testing.T, codecName string, frames []codec.Frame, entries, stored []byte, disk diskHashes) {
	t.Helper()
	index, err := layout.OpenEntries(bytes.NewReader(entries), int64(len(entries)))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(disk.file)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	for i := 0; i < len(frames); i += max(1, (len(frames)-1)/4) {
		want := frames[i]
		got, err := index.FrameAt(want.PlainOff + want.PlainLen/2)
		if err != nil || got != want {
			t.Errorf("frame %d by the trailer: %+v, %v, want %+v", i, got, err, want)
		}
		r, err := codec.NewReader(codecName, bytes.NewReader(stored[want.StoredOff:want.StoredOff+want.StoredLen]))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Errorf("decode frame %d alone: %v", i, err)
		}
		part := make([]byte, want.PlainLen)
		if _, err := image.ReadAt(part, want.PlainOff); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(plain, part) {
			t.Errorf("frame %d alone is not bytes %d to %d of the disk", i, want.PlainOff, want.PlainOff+want.PlainLen)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// crc64Text is the CRC-64/NVME as S3 writes it, by the standard library: its
// polynomial, reflected (Rocksoft model in the NVM Express specification).
func crc64Text(data []byte) string {
	sum := crc64.Checksum(data, crc64.MakeTable(0x9a6c9329ac4bc9b5))
	var b [8]byte
	for i := range b {
		b[i] = byte(sum >> (56 - 8*i))
	}
	return base64.StdEncoding.EncodeToString(b[:])
}
