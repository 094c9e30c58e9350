package partition

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sfdiskTable is what sfdisk --json says.
type sfdiskTable struct {
	Label, ID  string
	FirstLBA   int64
	LastLBA    int64
	SectorSize int64
	Partitions []struct {
		Node, Type, UUID, Name string
		Start, Size            int64
		Bootable               bool
		Attrs                  string
	}
}

// Tables that sfdisk makes are what it says they are.
func TestTableAsSfdisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size, sector int64
		script       string
	}{
		"gpt":           {64 * mib, 512, "label: gpt\nsize=4MiB, name=\"first\"\nsize=8MiB, type=U, name=\"\u00e4\u20ac\U0001f600 / \", attrs=\"RequiredPartition,LegacyBIOSBootable,GUID:63\"\n"},
		"gpt by number": {64 * mib, 512, "label: gpt\nfirst-lba: 34\n15: size=4MiB\n1: size=8MiB\n14: start=34, size=100\n128: size=1MiB\n"},
		"gpt of a few":  {64 * mib, 512, "label: gpt\ntable-length: 4\nsize=4MiB\n"},
		"gpt of many":   {64 * mib, 512, "label: gpt\ntable-length: 512\n400: size=4MiB\n"},
		"gpt moved":     {64 * mib, 512, ""}, // by sgdisk
		"gpt empty":     {64 * mib, 512, "label: gpt\n"},
		"gpt 4Kn":       {64 * mib, 4096, "label: gpt\nsize=4MiB, name=\"first\"\nsize=8MiB\n"},
		"mbr":           {64 * mib, 512, "label: dos\nlabel-id: 0x0badcafe\nsize=4MiB, bootable\n3: size=8MiB, type=82\n"},
		"mbr logical": {128 * mib, 512, "label: dos\nsize=4MiB\n2: size=60MiB, type=5\n5: size=4MiB\n6: size=8MiB, bootable\n7: size=4MiB, type=8e\n" +
			"3: start=150000, size=20000\n"},
		"mbr logical, lba":    {128 * mib, 512, "label: dos\n1: size=60MiB, type=f\n5: size=4MiB\n6: size=8MiB\n"},
		"mbr of linux":        {128 * mib, 512, "label: dos\n4: size=60MiB, type=85\n5: size=4MiB\n"},
		"mbr many":            {128 * mib, 512, "label: dos\n1: type=5\n" + strings.Repeat("size=1MiB\n", 40)},
		"mbr empty container": {64 * mib, 512, "label: dos\n1: type=5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := imageFile(t, c.size)
			device := file
			if c.sector != 512 { // sfdisk asks the device
				device = loop(t, file, "--sector-size", fmt.Sprint(c.sector))
			}
			if name == "gpt moved" {
				run(t, "", "sgdisk", "-j", "100", "-n", "1:2048:4095", device)
			} else {
				run(t, c.script, "sfdisk", "--no-reread", "--no-tell-kernel", "--quiet", device)
			}
			var says struct{ PartitionTable sfdiskTable }
			if err := json.Unmarshal([]byte(run(t, "", "sfdisk", "--json", device)), &says); err != nil {
				t.Fatal(err)
			}
			got := readFile(t, file)
			want := fromSfdisk(t, says.PartitionTable)
			want.Size, want.GPT = c.size, got.GPT
			if len(got.Notes) > 0 {
				t.Errorf("notes of a table that is as it should be: %v", got.Notes)
			}
			if err := arrange(want.Partitions, c.sector); err != nil {
				t.Fatal(err)
			}
			for i, p := range got.Partitions { // sfdisk does not say
				want.Partitions[i].EBR = p.EBR
				if (p.EBR != 0) != (p.Role == Logical) {
					t.Errorf("partition %d: EBR %d", p.Number, p.EBR)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			checkHeader(t, got, says.PartitionTable)
		})
	}
}

func checkHeader(t *testing.T, got Table, says sfdiskTable) {
	t.Helper()
	if got.Type != GPT {
		return
	}
	h := *got.GPT
	if h.FirstUsable != says.FirstLBA || h.LastUsable != says.LastLBA || h.AlternateLBA != got.Size/got.SectorSize-1 ||
		h.EntrySize != 128 || h.Entries < 4 || h.EntriesLBA < 2 {
		t.Errorf("header %+v, sfdisk says %+v", h, says)
	}
}

func fromSfdisk(t *testing.T, s sfdiskTable) Table {
	t.Helper()
	table := Table{Type: GPT, SectorSize: s.SectorSize, DiskID: strings.ToLower(s.ID)}
	if s.Label == "dos" {
		table.Type, table.DiskID = MBR, strings.TrimPrefix(s.ID, "0x")
	}
	for _, p := range s.Partitions {
		node := regexp.MustCompile(`(\d+)$`).FindString(path.Base(p.Node))
		number, err := strconv.Atoi(node)
		if err != nil {
			t.Fatal(err)
		}
		q := Partition{
			Number: number, Role: Primary, Start: p.Start * s.SectorSize, Length: p.Size * s.SectorSize,
			Type: strings.ToLower(p.Type), UUID: strings.ToLower(p.UUID), Name: p.Name,
		}
		if s.Label == "dos" {
			q.Type = fmt.Sprintf("0x%02s", p.Type)
			q.UUID = fmt.Sprintf("%s-%02x", table.DiskID, number)
			switch {
			case p.Type == "5" || p.Type == "f" || p.Type == "85":
				q.Role = Extended
			case number > 4:
				q.Role = Logical
			}
			if p.Bootable {
				q.Attributes = 0x80
			}
		}
		for attr, bit := range map[string]uint64{"RequiredPartition": 1, "LegacyBIOSBootable": 4, "GUID:63": 1 << 63} {
			if strings.Contains(p.Attrs, attr) {
				q.Attributes |= bit
			}
		}
		table.Partitions = append(table.Partitions, q)
	}
	return table
}
