package layout

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPartsInJSON(t *testing.T) {
	type record struct {
		Part Part `json:"part,omitzero"`
	}
	for part, want := range map[Part]string{Whole: `{}`, Head: `{"part":0}`, 1: `{"part":1}`, 128: `{"part":128}`} {
		got, err := json.Marshal(record{part})
		if err != nil || string(got) != want {
			t.Errorf("%d is %s, %v, want %s", part, got, err, want)
		}
		var again record
		if err := json.Unmarshal([]byte(want), &again); err != nil || again.Part != part {
			t.Errorf("%s is %d, %v, want %d", want, again.Part, err, part)
		}
	}
	for _, text := range []string{`{"part":-1}`, `{"part":1.5}`, `{"part":"1"}`, `{"part":9223372036854775808}`} {
		var r record
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("%s was read as %d", text, r.Part)
		}
	}
	if text, err := json.Marshal(record{-2}); err == nil {
		t.Errorf("-2 was written as %s", text)
	}
}

func TestBitsInJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Bits(rapid.Uint64().Draw(t, "bits"))
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Bits
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Fatalf("%s came back as %d, %v, want %d", text, got, err, want)
		}
	})
	var b Bits
	for _, text := range []string{`""`, `"0x"`, `"0x10000000000000000"`, `4`, `"-1"`} {
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s was read as %d", text, b)
		}
	}
}

const mib = 1 << 20

// gptDisk is like the root disk of a cloud image.
func gptDisk() *Geometry {
	return &Geometry{
		SectorSize: 512, Size: 4096 * mib, Table: TableGPT, DiskID: "b0d5f1ee-3c4b-4b7a-9f6d-2d1c5a7e9f00",
		GPT: &GPT{FirstUsable: 34, LastUsable: 8388574, Entries: 128, EntrySize: 128, EntriesLBA: 2, AlternateLBA: 8388607},
		Partitions: []Partition{
			{
				Number: 14, Role: Primary, Start: 1 * mib, Size: 1 * mib, Type: "21686148-6449-6e6f-744e-656564454649",
				UUID: "11111111-0000-4000-8000-000000000014", Attributes: 1<<63 | 4,
			},
			{
				Number: 1, Role: Primary, Start: 2 * mib, Size: 3000 * mib, Type: "0fc63daf-8483-4772-8e79-3d69d8477de4",
				UUID: "11111111-0000-4000-8000-000000000001", Content: "ext4",
				ContentUUID: "22222222-0000-4000-8000-000000000001", BlockSize: 4096, Features: []string{"64bit", "extent"},
			},
			{
				Number: 2, Role: Primary, Start: 3002 * mib, Size: 1000 * mib, Type: "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
				UUID: "11111111-0000-4000-8000-000000000002", Content: "swap",
			},
		},
	}
}

// mbrDisk has two logical partitions in an extended one, and one behind it.
func mbrDisk() *Geometry {
	return &Geometry{
		SectorSize: 512, Size: 100 * mib, Table: TableMBR, DiskID: "0badcafe",
		Partitions: []Partition{
			{Number: 1, Role: Primary, Start: 1 * mib, Size: 9 * mib, Type: "0x83", UUID: "0badcafe-01", Attributes: 0x80, Content: "xfs"},
			{Number: 2, Role: Extended, Start: 10 * mib, Size: 50 * mib, Type: "0x05", UUID: "0badcafe-02"},
			{Number: 5, Role: Logical, EBR: 10 * mib, Start: 11 * mib, Size: 20 * mib, Type: "0x83", UUID: "0badcafe-05", Content: "ext4"},
			{Number: 6, Role: Logical, EBR: 31 * mib, Start: 32 * mib, Size: 28 * mib, Type: "0x8e", UUID: "0badcafe-06", Content: "LVM2_member"},
			{Number: 3, Role: Primary, Start: 60 * mib, Size: 40 * mib, Type: "0x83", UUID: "0badcafe-03"},
		},
	}
}

func bareDisk() *Geometry {
	return &Geometry{
		SectorSize: 512, Size: 8 * mib, Table: TableNone,
		Partitions: []Partition{{Role: Primary, Size: 8 * mib, Content: "ext4"}},
	}
}

// archiveOf is an archive of a part of a disk.
func archiveOf(t testing.TB, kind Kind, part Part, size int64) ArchiveRecord {
	a := sampleArchive()
	n := Name{Snapshot: sample(), Kind: kind, Codec: "zstd", Partition: part}
	a.Kind, a.Partition, a.PlainSize = kind, part, size
	a.Key, a.Archive, a.Entries.Key = n.ArchiveRecordKey(), n.ArchiveKey(), n.EntriesKey()
	if kind == Tar {
		a.Blocks, a.Files = nil, &Files{Entries: 12, Regular: 7, Folders: 3, Bytes: 12345}
	}
	if _, err := EncodeRecord(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// sampleTrees is the record of a snapshot of gptDisk.
func sampleTrees(t testing.TB) SnapshotRecord {
	s := sampleSnapshot(t)
	s.Key = Name{Snapshot: sample(), Kind: Tar, Codec: "zstd"}.SnapshotRecordKey()
	s.Geometry = gptDisk()
	s.Choice = &Choice{Raw: []int{14}, Skip: []int{}}
	s.Skipped = []Skipped{{Partition: 2, Start: 3002 * mib, Size: 1000 * mib, Why: "swap"}}
	s.Archives = []ArchiveRecord{archiveOf(t, Image, Head, 1*mib), archiveOf(t, Image, 14, 1*mib), archiveOf(t, Tar, 1, 7777*512)}
	s.Totals = Sum(s.Archives)
	return s
}

func TestTreesRoundTrip(t *testing.T) {
	s := sampleTrees(t)
	data, err := EncodeRecord(&s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeSnapshotRecord(data)
	if diff := cmp.Diff(s, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, want := range []string{`"attributes": "0x8000000000000004"`, `"raw": [` + "\n      14\n    ]", `"partition": 0,`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q in\n%s", want, data)
		}
	}
}

// Lists of the same numbers are the same in a record, and never null.
func TestChoiceInRecords(t *testing.T) {
	s := sampleTrees(t)
	given := &Choice{Raw: []int{14, 3, 14}}
	s.Choice = given
	if _, err := EncodeRecord(&s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Choice{Raw: []int{3, 14}, Skip: []int{}}, s.Choice); diff != "" {
		t.Errorf("choice (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Choice{Raw: []int{14, 3, 14}}, given); diff != "" {
		t.Errorf("what the caller gave was changed (-want +got):\n%s", diff)
	}
}

// A disk with nothing to archive is archived by its record alone.
func TestNothingToArchive(t *testing.T) {
	s := sampleTrees(t)
	s.Geometry = &Geometry{SectorSize: 512, Size: 8 * mib, Table: TableNone, Partitions: []Partition{{Role: Primary, Size: 8 * mib, Content: "swap"}}}
	s.Skipped = []Skipped{{Size: 8 * mib, Why: "swap"}}
	s.Choice, s.Archives, s.Totals = nil, nil, RecordTotals{}
	data, err := EncodeRecord(&s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeSnapshotRecord(data)
	if diff := cmp.Diff(s, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A record that does not tell of all parts of the disk, once each, commits nothing.
func TestTreesRefused(t *testing.T) {
	tests := []struct {
		name string
		edit func(t *testing.T, s *SnapshotRecord)
		text string // "": fine
	}{
		{"as it is", func(*testing.T, *SnapshotRecord) {}, ""},
		{"without the head", func(_ *testing.T, s *SnapshotRecord) { s.Archives = s.Archives[1:] }, ""},
		{"partition in no archive", func(_ *testing.T, s *SnapshotRecord) { s.Archives = s.Archives[:2] }, `partition "1" is told of 0 times, not once`},
		{"partition not skipped", func(_ *testing.T, s *SnapshotRecord) { s.Skipped = nil }, `partition "2" is told of 0 times, not once`},
		{"archived and skipped", func(t *testing.T, s *SnapshotRecord) {
			s.Archives = append(s.Archives, archiveOf(t, Image, 2, 1000*mib))
		}, `partition "2" is told of 2 times, not once`},
		{"two heads", func(_ *testing.T, s *SnapshotRecord) { s.Archives[1] = s.Archives[0] }, `partition "14" is told of 0 times`},
		{"partition that is not there", func(t *testing.T, s *SnapshotRecord) {
			s.Archives = append(s.Archives, archiveOf(t, Tar, 3, 512))
		}, `partition "3" is told of, but it is not in the geometry`},
		{"whole disk beside a table", func(t *testing.T, s *SnapshotRecord) {
			s.Archives = append(s.Archives, archiveOf(t, Image, Whole, 4096*mib))
		}, `partition "" is told of, but it is not in the geometry`},
		{"short image", func(t *testing.T, s *SnapshotRecord) { s.Archives[1] = archiveOf(t, Image, 14, 1*mib-512) }, `partition "14" has 1048576 bytes, its image 1048064`},
		{"long head", func(t *testing.T, s *SnapshotRecord) { s.Archives[0] = archiveOf(t, Image, Head, 2*mib) }, "the first partition begins at 1048576, but the head has 2097152 bytes"},
		{"head skipped", func(_ *testing.T, s *SnapshotRecord) {
			s.Skipped = append(s.Skipped, Skipped{Partition: Head, Size: 1, Why: "swap"})
		}, "the head is said to be skipped"},
		{"skipped elsewhere", func(_ *testing.T, s *SnapshotRecord) { s.Skipped[0].Start++ }, `were skipped for "swap"`},
		{"skipped for nothing", func(_ *testing.T, s *SnapshotRecord) { s.Skipped[0].Why = "" }, `were skipped for ""`},
		{"head of a bare disk", func(t *testing.T, s *SnapshotRecord) {
			s.Geometry, s.Skipped = bareDisk(), nil
			s.Archives = []ArchiveRecord{archiveOf(t, Image, Head, mib), archiveOf(t, Tar, Whole, 512)}
		}, `partition "0" is told of, but it is not in the geometry`},
		{"bare disk", func(t *testing.T, s *SnapshotRecord) {
			s.Geometry, s.Skipped, s.Archives = bareDisk(), nil, []ArchiveRecord{archiveOf(t, Tar, Whole, 512)}
		}, ""},
		{"logical partitions", func(t *testing.T, s *SnapshotRecord) {
			s.Geometry, s.Skipped = mbrDisk(), nil
			s.Archives = []ArchiveRecord{
				archiveOf(t, Image, Head, mib), archiveOf(t, Tar, 1, 512), archiveOf(t, Tar, 5, 512),
				archiveOf(t, Image, 6, 28*mib), archiveOf(t, Image, 3, 40*mib),
			}
		}, ""},
		{"an extended partition is archived", func(t *testing.T, s *SnapshotRecord) {
			s.Geometry = mbrDisk()
			s.Skipped = nil
			s.Archives = []ArchiveRecord{
				archiveOf(t, Tar, 1, 512), archiveOf(t, Image, 2, 50*mib), archiveOf(t, Tar, 5, 512),
				archiveOf(t, Image, 6, 28*mib), archiveOf(t, Image, 3, 40*mib),
			}
		}, `partition "2" is told of, but it is not in the geometry`},
		{"impossible geometry", func(_ *testing.T, s *SnapshotRecord) { s.Geometry.Size = mib }, "geometry: partition 14: 1048576 bytes at 1048576 on a disk of 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sampleTrees(t)
			tt.edit(t, &s)
			s.Totals = Sum(s.Archives)
			_, err := EncodeRecord(&s)
			if tt.text == "" && err != nil || tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
}

func TestCheckGeometry(t *testing.T) {
	tests := []struct {
		name string
		of   func() *Geometry
		edit func(*Geometry)
		text string // "": fine
	}{
		{"gpt", gptDisk, func(*Geometry) {}, ""},
		{"mbr", mbrDisk, func(*Geometry) {}, ""},
		{"bare", bareDisk, func(*Geometry) {}, ""},
		{"empty table", gptDisk, func(g *Geometry) { g.Partitions = nil }, ""},
		{"4096 bytes in a sector", gptDisk, func(g *Geometry) { g.SectorSize = 4096 }, ""},
		{"no sector size", gptDisk, func(g *Geometry) { g.SectorSize = 0 }, "sectors of 0 bytes"},
		{"odd sector size", gptDisk, func(g *Geometry) { g.SectorSize = 520 }, "sectors of 520 bytes"},
		{"no size", gptDisk, func(g *Geometry) { g.Size = 0 }, "a disk of 0 bytes"},
		{"unknown table", gptDisk, func(g *Geometry) { g.Table = "apm" }, `table is "apm"`},
		{"gpt of an mbr", gptDisk, func(g *Geometry) { g.Table = TableMBR }, `member "gpt" does not go with a table of type mbr`},
		{"no gpt", gptDisk, func(g *Geometry) { g.GPT = nil }, `member "gpt" does not go with a table of type gpt`},
		{"no backup", gptDisk, func(g *Geometry) { g.GPT.AlternateLBA = 0 }, "0 is no number of a sector"},
		{"sector beyond measure", gptDisk, func(g *Geometry) { g.GPT.EntriesLBA = 1 << 62 }, "is no number of a sector"},
		{"odd entries", gptDisk, func(g *Geometry) { g.GPT.EntrySize = 100 }, "128 entries of 100 bytes"},
		{"usable backwards", gptDisk, func(g *Geometry) { g.GPT.LastUsable = 33 }, "sectors 34 to 33"},
		{"more partitions than entries", gptDisk, func(g *Geometry) { g.Partitions[0].Number = 129 }, "partition 129: the number is not possible"},
		{"number twice", gptDisk, func(g *Geometry) { g.Partitions[0].Number = 2 }, "partition 2: the number is not possible, or there are two"},
		{"no number", gptDisk, func(g *Geometry) { g.Partitions[0].Number = Whole }, "partition 0: the number"},
		{"head", gptDisk, func(g *Geometry) { g.Partitions[0].Number = Head }, "partition -1: the number"},
		{"between sectors", gptDisk, func(g *Geometry) { g.Partitions[0].Size-- }, "partition 14: 1048575 bytes at 1048576"},
		{"empty", gptDisk, func(g *Geometry) { g.Partitions[0].Size = 0 }, "partition 14: 0 bytes"},
		{"at the table", gptDisk, func(g *Geometry) { g.Partitions[0].Start = 0 }, "partition 14: 1048576 bytes at 0"},
		{"overflow", gptDisk, func(g *Geometry) { g.Partitions[2].Size = 1<<63 - 512 }, "partition 2: "},
		{"overlap", gptDisk, func(g *Geometry) { g.Partitions[1].Start -= 512 }, "partition 1: 3145728000 bytes at 2096640, where the room is from 2097152"},
		{"descending", gptDisk, func(g *Geometry) { p := g.Partitions; p[0], p[1] = p[1], p[0] }, "partition 14: 1048576 bytes at 1048576, where the room is from"},
		{"logical in a gpt", gptDisk, func(g *Geometry) { g.Partitions[1].Role = Logical }, `role "logical"`},
		{"extended in a gpt", gptDisk, func(g *Geometry) { g.Partitions[1].Role = Extended }, `role "extended"`},
		{"no role", gptDisk, func(g *Geometry) { g.Partitions[1].Role = "" }, `role ""`},
		{"EBR of a primary one", mbrDisk, func(g *Geometry) { g.Partitions[0].EBR = 512 }, `role "primary" with an EBR at 512`},
		{"logical outside", mbrDisk, func(g *Geometry) { g.Partitions[3].Size += mib }, "partition 6: 30408704 bytes at 33554432, where the room is"},
		{"logical without a container", mbrDisk, func(g *Geometry) { g.Partitions = g.Partitions[2:] }, "partition 5: 20971520 bytes at 11534336, where the room is from 0 to 0"},
		{"EBR outside", mbrDisk, func(g *Geometry) { g.Partitions[3].EBR = 61 * mib }, "partition 6: its EBR is at 63963136, outside"},
		{"EBR in its partition", mbrDisk, func(g *Geometry) { g.Partitions[2].EBR = 12 * mib }, "partition 5: its EBR is at 12582912"},
		{"EBR in the one before", mbrDisk, func(g *Geometry) { g.Partitions[3].EBR = 20 * mib }, "partition 6: its EBR is at 20971520, where something else is"},
		{"two in one EBR", mbrDisk, func(g *Geometry) { g.Partitions[3].EBR = 10 * mib }, "partition 6: its EBR is at 10485760, where something else is"},
		{"logical ones in another order", mbrDisk, func(g *Geometry) {
			p := g.Partitions
			p[2].EBR, p[3].EBR, p[2].Number, p[3].Number = 10*mib+512, 10*mib, 6, 5
		}, ""},
		{"logical ones overlap", mbrDisk, func(g *Geometry) { g.Partitions[2].Size = 22 * mib }, "partition 6: "},
		{"behind the extended one", mbrDisk, func(g *Geometry) { g.Partitions[4].Start = 40 * mib }, "partition 3: 41943040 bytes at 41943040, where the room is from 62914560"},
		{"bare with a number", bareDisk, func(g *Geometry) { g.Partitions[0].Number = 1 }, "without a table"},
		{"bare, not all of it", bareDisk, func(g *Geometry) { g.Partitions[0].Size = mib }, "without a table"},
		{"bare, none", bareDisk, func(g *Geometry) { g.Partitions = nil }, "0 partitions without a table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := tt.of()
			tt.edit(g)
			err := g.Check()
			if tt.text == "" && err != nil || tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
}
