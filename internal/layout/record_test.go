package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/snapshot"
)

func sampleArchive() ArchiveRecord {
	n := Name{Snapshot: sample(), Kind: Image, Codec: "zstd"}
	return ArchiveRecord{
		Tool: "snap-to-s3 0.1.0", Run: "20261123T101112Z-0123abcd", Key: n.ArchiveRecordKey(),
		Snapshot: n.Snapshot.ID, Volume: n.Snapshot.VolumeID, Archive: n.ArchiveKey(), Kind: Image,
		PlainSize: 8 << 30, StoredSize: 1234567890, Codec: "zstd", Level: 1, FrameSize: 4 << 20,
		CRC64NVME: "rosUhgp5mIg=", Digest: strings.Repeat("5e", 32), Blocks: &Blocks{Data: 6144, Zero: 10240},
		Entries: EntriesRef{Key: n.EntriesKey(), Size: 321098, SHA256: strings.Repeat("e7", 32)},
	}
}

func sampleSnapshot(t testing.TB) SnapshotRecord {
	a := sampleArchive()
	if _, err := EncodeRecord(&a); err != nil {
		t.Fatal(err)
	}
	n := Name{Snapshot: sample(), Kind: Image, Codec: "zstd"}
	return SnapshotRecord{
		Tool: a.Tool, Run: a.Run, Key: n.SnapshotRecordKey(), Snapshot: Describe(n.Snapshot),
		Archives: []ArchiveRecord{a}, Totals: Sum([]ArchiveRecord{a}),
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	archive := sampleArchive()
	data, err := EncodeRecord(&archive)
	if err != nil {
		t.Fatal(err)
	}
	gotArchive, err := DecodeArchiveRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(archive, gotArchive); diff != "" {
		t.Errorf("archive record (-want +got):\n%s", diff)
	}

	snap := sampleSnapshot(t)
	if data, err = EncodeRecord(&snap); err != nil {
		t.Fatal(err)
	}
	gotSnap, err := DecodeSnapshotRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snap, gotSnap); diff != "" {
		t.Errorf("snapshot record (-want +got):\n%s", diff)
	}
	if gotSnap.Archives[0].SHA256 != archive.SHA256 {
		t.Errorf("the snapshot record repeats seal %q, the archive record ends with %q", gotSnap.Archives[0].SHA256, archive.SHA256)
	}
}

// The seal is over all bytes but the last 83: `head -c -83 record | sha256sum`.
func TestSeal(t *testing.T) {
	r := sampleArchive()
	data, err := EncodeRecord(&r)
	if err != nil {
		t.Fatal(err)
	}
	body := data[:len(data)-83]
	want := fmt.Sprintf("%s,\n  \"sha256\": \"%x\"\n}\n", body, sha256.Sum256(body))
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// reseal puts a right seal under edited bytes.
func reseal(data []byte) []byte {
	body := data[:len(data)-sealSize]
	sum := sha256.Sum256(body)
	return []byte(string(body) + sealHead + hex.EncodeToString(sum[:]) + sealTail)
}

func TestDecodeRecord(t *testing.T) {
	r := sampleArchive()
	good, err := EncodeRecord(&r)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("no %q in the record", old)
		}
		return reseal(bytes.Replace(good, []byte(old), []byte(new), 1))
	}
	tests := []struct {
		name string
		data []byte
		is   error
		text string // "": no error
	}{
		{"unknown members", edit(`"format": 1,`, `"format": 1, "geometry": {"sector": 512},`), nil, ""},
		{"empty", nil, ErrDamaged, "archive record: damaged: only 0 bytes long"},
		{"cut", good[:len(good)-1], ErrDamaged, "archive record: damaged: it does not end with its sha256: cut off, or edited"},
		{"one byte changed", bytes.Replace(good, []byte(`"zstd"`), []byte(`"lz4d"`), 1), ErrDamaged, "archive record: damaged: its bytes have another sha256 than the one it ends with"},
		{"newer", edit(`"format": 1,`, `"format": 2,`), ErrNewer, "archive record: format 2: written in a newer format than this program reads"},
		{"of a snapshot", edit(`"type": "archive"`, `"type": "snapshot"`), ErrDamaged, `archive record: damaged: type is "snapshot", not "archive"`},
		{"no run", edit(`"run": "20261123T101112Z-0123abcd"`, `"run": ""`), nil, `archive record: member "run" is missing or empty`},
		{"negative size", edit(`"plain_size": 8589934592`, `"plain_size": -1`), nil, "archive record: record of " + r.Archive + ": a size is not possible"},
		{"no digest", edit(`"digest"`, `"digesd"`), nil, "archive record: record of " + r.Archive + ": no digest"},
		{"two values", reseal(append([]byte("{}{"), good[1:]...)), ErrDamaged, "archive record: damaged: something follows the record"},
		{"too long", make([]byte, MaxRecord+1), ErrDamaged, "archive record: damaged: longer than 16777216 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeArchiveRecord(tt.data)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.text || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %q, want %q that is %v", got, tt.text, tt.is)
			}
		})
	}
}

// A record that would not tell enough, or too much, is not written.
func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(*ArchiveRecord, *SnapshotRecord)
	}{
		{"no entries", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Entries = EntriesRef{} }},
		{"digest beside recipients", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Recipients = []string{"0123"} }},
		{"absent neither listed nor unknown", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Absent = "maybe" }},
		{"image without blocks", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Blocks = nil }},
		{"image with files", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Files = &Files{Entries: 1, Folders: 1} }},
		{"negative blocks", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Blocks.Zero = -1 }},
		{"tar with blocks", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Kind = Tar }},
		{"tar without a root", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Kind, a.Blocks, a.Files = Tar, nil, &Files{Entries: 1} }},
		{"more files than entries", func(a *ArchiveRecord, _ *SnapshotRecord) {
			a.Kind, a.Blocks, a.Files = Tar, nil, &Files{Entries: 2, Regular: 2, Folders: 1}
		}},
		{"tar of the head", func(a *ArchiveRecord, _ *SnapshotRecord) {
			a.Kind, a.Blocks, a.Files, a.Partition = Tar, nil, &Files{Entries: 1, Folders: 1}, Head
		}},
		{"no kind", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Kind = "zip" }},
		{"no such part", func(a *ArchiveRecord, _ *SnapshotRecord) { a.Partition = -2 }},
		{"nothing archived", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Archives, s.Totals = nil, RecordTotals{} }},
		{"a partition without a geometry", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Archives[0].Partition = 1 }},
		{"a choice without a geometry", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Choice = &Choice{} }},
		{"something skipped without a geometry", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Skipped = []Skipped{{Partition: 1, Size: 1, Why: "swap"}} }},
		{"archive without its own record", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Archives[0].SHA256 = "" }},
		{"wrong totals", func(_ *ArchiveRecord, s *SnapshotRecord) { s.Totals.StoredSize++ }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, s := sampleArchive(), sampleSnapshot(t)
			tt.edit(&a, &s)
			_, errA := EncodeRecord(&a)
			_, errS := EncodeRecord(&s)
			if (errA == nil) == (errS == nil) {
				t.Errorf("errors %v and %v, want exactly one", errA, errS)
			}
		})
	}
}

func TestRecordsOfAnyContents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 1<<60)
		text := rapid.StringN(1, 50, -1)
		a := sampleArchive()
		a.Run, a.Archive, a.Key = text.Draw(t, "run"), text.Draw(t, "archive"), text.Draw(t, "key")
		a.PlainSize, a.StoredSize = size.Draw(t, "plain"), size.Draw(t, "stored")
		a.Partition = Part(rapid.IntRange(-1, 1<<20).Draw(t, "partition"))
		a.Absent = rapid.SampledFrom([]Absent{"", AbsentListed, AbsentUnknown}).Draw(t, "absent")
		if rapid.Bool().Draw(t, "encrypted") {
			a.Recipients, a.Digest = []string{text.Draw(t, "recipient")}, ""
		}
		data, err := EncodeRecord(&a)
		if err != nil {
			t.Fatalf("encode %+v: %v", a, err)
		}
		got, err := DecodeArchiveRecord(data)
		if err != nil {
			t.Fatalf("decode %s: %v", data, err)
		}
		if diff := cmp.Diff(a, got); diff != "" {
			t.Fatalf("archive record (-want +got):\n%s", diff)
		}
		a.Partition = Whole
		if _, err := EncodeRecord(&a); err != nil {
			t.Fatal(err)
		}
		s := SnapshotRecord{
			Tool: "t", Run: "r", Key: text.Draw(t, "key"), Archives: []ArchiveRecord{a}, Totals: Sum([]ArchiveRecord{a}),
			Snapshot: Describe(snapshot.Snapshot{
				ID: "snap-1", VolumeID: "vol-1", Description: text.Draw(t, "description"),
				Tags: rapid.MapOfN(text, text, 0, 50).Draw(t, "tags"),
			}),
		}
		if data, err = EncodeRecord(&s); err != nil {
			t.Fatalf("encode %+v: %v", s, err)
		}
		gotS, err := DecodeSnapshotRecord(data)
		if err != nil {
			t.Fatalf("decode %s: %v", data, err)
		}
		if diff := cmp.Diff(s, gotS); diff != "" {
			t.Fatalf("snapshot record (-want +got):\n%s", diff)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	a := sampleArchive()
	data, err := EncodeRecord(&a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:len(data)-sealSize])
	s := sampleSnapshot(f)
	if data, err = EncodeRecord(&s); err != nil {
		f.Fatal(err)
	}
	f.Add(data[:len(data)-sealSize])
	s = sampleTrees(f)
	if data, err = EncodeRecord(&s); err != nil {
		f.Fatal(err)
	}
	f.Add(data[:len(data)-sealSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		sealed := reseal(append(body, make([]byte, sealSize)...))
		if r, err := DecodeArchiveRecord(sealed); err == nil {
			if again, err := EncodeRecord(&r); err != nil {
				t.Errorf("%+v was read, but is refused: %v\n%s", r, err, again)
			}
		}
		if r, err := DecodeSnapshotRecord(sealed); err == nil {
			if again, err := EncodeRecord(&r); err != nil {
				t.Errorf("%+v was read, but is refused: %v\n%s", r, err, again)
			}
		}
		if _, err := DecodeArchiveRecord(body); err == nil {
			t.Errorf("read without a seal: %q", body)
		}
	})
}
