package partition

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/hint"
)

// secret is what somebody called something: no message has it.
const secret = "Payroll"

// ext is a superblock of ext2 with blocks of 1 KiB, for byte 1024.
func ext(size int64) record {
	const inodes = 32
	groups := uint64((size/1024 - 1 + 8191) / 8192)
	return blank(1024).le(4, 0, inodes*groups).le(4, 4, uint64(size/1024)).le(4, 0x10, 3).le(4, 0x14, 1).le(4, 0x20, 8192).le(4, 0x24, 8192).
		le(4, 0x28, inodes).le(2, 0x38, extMagic).le(4, 0x4c, 1).le(2, 0x58, 128).le(4, 0x60, 2).text(0x68, idBytes()).text(0x78, secret)
}

func btrfs(size int64) record {
	r := blank(btrfsSuperSize).text(0x20, idBytes()).le(8, 0x30, btrfsSuper).text(0x40, btrfsMagic).le(8, 0x48, 7).le(8, 0x70, uint64(size)).
		le(8, 0x88, 2).le(4, 0x90, 4096).le(4, 0x94, 16384).le(8, 0xd1, uint64(size)).text(0x12b, secret)
	return r.le(4, 0, uint64(crc32c(r[0x20:])))
}

// lvm is the label of a physical volume, for sector 1.
func lvm() record {
	r := blank(512).text(0, "LABELONE").le(8, 8, 1).le(4, 20, 32).text(24, "LVM2 001").text(32, "abcdefABCDabcdABCDabcdABCD123456")
	return r.le(4, 16, uint64(^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, r[20:])))
}

func fat(size int64) record {
	return blank(512).text(0, "\xeb\x58\x90mkfs.fat").le(2, 11, 512).text(13, "\x08").le(2, 14, 32).text(16, "\x02").text(21, "\xf8").
		le(4, 32, uint64(size/512)).le(4, 36, 16).text(66, "\x29\x01\x02\x03\x04"+secret+"    FAT32   ").text(510, "\x55\xaa")
}

// two is a GPT with two partitions of 16 MiB.
func two(size, sector int64) gptSpec {
	n := 16 * mib / sector
	return gptSpec{size: size, sector: sector, name: secret, parts: map[int][2]int64{3: {mib / sector, mib/sector + n - 1}, 1: {2 * n, 3*n - 1}}}
}

// brief is a table in a line: type, sector, head, and each partition.
func brief(t Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d:", t.Type, t.SectorSize, t.Head())
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, " %d%c %d+%d %s,", p.Number, p.Role[0], p.Start/sector512, p.Length/sector512, p.Content.Type)
	}
	return strings.TrimSuffix(b.String(), ",")
}

const (
	diskSize = 64 * mib
	last     = diskSize/512 - 1
)

func junk() []byte { return record("no header of a partition table\x00") }

func TestTables(t *testing.T) {
	t.Parallel()
	const both = "gpt 512 1048576: 3p 2048+32768 , 1p 65536+32768 "
	mbr := func(entries ...mbrEntry) *image {
		return (&image{size: diskSize}).put(0, mbrSector(0xcafe, entries...))
	}
	linux := func(start, count uint32) mbrEntry { return mbrEntry{kind: 0x83, start: start, count: count} }
	for name, c := range map[string]struct {
		disk *image
		want string
		note string // one of the notes; "": none
	}{
		"gpt":                   {two(diskSize, 512).image(), both, ""},
		"gpt, primary header":   {two(diskSize, 512).image().put(512, junk()), both, "the primary GPT is damaged (no header): its backup at sector 131071 was read"},
		"gpt, primary checksum": {two(diskSize, 512).image().put(512+40, junk()), both, "(wrong checksum of the header)"},
		"gpt, primary entries":  {two(diskSize, 512).image().put(1024+100, junk()), both, "(wrong checksum of the entries)"},
		"gpt, backup header":    {two(diskSize, 512).image().put(last*512, junk()), both, ""},
		"gpt, grown": {
			func() *image { s := two(diskSize, 512); s.old = 60 * mib; return s.image() }(), both,
			"the backup GPT is not at the end of the disk",
		},
		"gpt, grown, primary header": {
			func() *image { s := two(diskSize, 512); s.old = 60 * mib; return s.image().put(512, junk()) }(), both,
			"its backup at sector 122879 was read",
		},
		"gpt, grown, primary entries": {
			func() *image {
				s := two(diskSize, 512)
				s.old = 60 * mib
				return s.image().put(0, blank(512)).put(1024, junk())
			}(),
			"", "neither a GPT nor an MBR at its beginning",
		},
		"gpt, grown, entries, odd MBR": {func() *image {
			s := two(diskSize, 512)
			s.old = 60 * mib
			return s.image().put(0, mbrSector(0, mbrEntry{kind: 0xee, start: 1, count: 1<<32 - 1})).put(1024, junk())
		}(), both, "(wrong checksum of the entries): its backup at sector 122879 was read"},
		"gpt, truncated":       {func() *image { s := two(diskSize, 512); s.old = 99 * mib; return s.image() }(), both, "the GPT is of a larger disk"},
		"gpt 4Kn":              {two(diskSize, 4096).image(), "gpt 4096 1048576: 3p 2048+32768 , 1p 65536+32768 ", ""},
		"gpt 4Kn, primary":     {two(diskSize, 4096).image().put(4096, junk()), "gpt 4096 1048576: 3p 2048+32768 , 1p 65536+32768 ", "its backup at sector 16383"},
		"gpt, large entries":   {func() *image { s := two(diskSize, 512); s.each, s.count = 512, 4; return s.image() }(), both, ""},
		"gpt, no MBR":          {two(diskSize, 512).image().put(0, blank(512)), both, "no protective MBR"},
		"gpt, hybrid":          {two(diskSize, 512).image().put(0, mbrSector(1, linux(65536, 32768), mbrEntry{kind: 0xee, start: 1, count: 2047})), both, "a hybrid"},
		"gpt, replaced by MBR": {two(diskSize, 512).image().put(0, mbrSector(1, linux(4096, 8))), "mbr 512 2097152: 1p 4096+8 ", "the MBR was read, as Linux does"},
		"gpt, contents":        {two(diskSize, 512).image().put(32*mib+1024, ext(16*mib)), "gpt 512 1048576: 3p 2048+32768 , 1p 65536+32768 ext2", ""},
		"gpt, content too large": {
			two(diskSize, 512).image().put(32*mib+1024, ext(17*mib)), both,
			"partition 1: there is a superblock of ext2 with 17408 blocks of 1024 bytes, more than there is room for",
		},
		"gpt, two contents": {
			two(diskSize, 512).image().put(32*mib+1024, ext(16*mib)).put(32*mib+btrfsSuper, btrfs(16*mib)), both,
			"partition 1: there are signs of ext2 and of btrfs",
		},
		"gpt, RAID over a filesystem": {
			two(diskSize, 512).image().put(32*mib+1024, ext(8*mib)).put(48*mib-8192, raid(16*mib-8192)),
			"gpt 512 1048576: 3p 2048+32768 , 1p 65536+32768 linux_raid_member", "",
		},
		"gpt, empty":                     {gptSpec{size: diskSize, sector: 512}.image(), "gpt 512 0:", ""},
		"gpt, empty, beside btrfs":       {gptSpec{size: diskSize, sector: 512}.image().put(btrfsSuper, btrfs(diskSize)), "none 512 0: 0p 0+131072 btrfs", "without partitions"},
		"gpt's backup behind filesystem": {two(diskSize, 512).image().put(0, blank(20000)).put(1024, ext(diskSize)), "none 512 0: 0p 0+131072 ext2", "a backup GPT is left"},

		"mbr":         {mbr(linux(63, 1000), linux(2048, 4096)).put(mib+1024, ext(2*mib)), "mbr 512 32256: 1p 63+1000 , 2p 2048+4096 ext2", ""},
		"mbr, type 0": {mbr(mbrEntry{start: 8, count: 8}), "mbr 512 4096: 1p 8+8 ", ""},
		"mbr 4Kn": {
			mbr(linux(256, 1024)).put(mib+1024, ext(4*mib)),
			"mbr 4096 1048576: 1p 2048+8192 ext2", "",
		},
		"mbr 4Kn or not": {mbr(linux(256, 1024)).put(mib+1024, ext(4*mib)).put(128*1024+1024, ext(mib/2)), "mbr 512 131072: 1p 256+1024 ext2", ""},
		"mbr 4Kn, logical": {
			mbr(mbrEntry{kind: 5, start: 256, count: 4096}).put(mib, mbrSector(0, linux(256, 1024))).put(2*mib+1024, ext(4*mib)),
			"mbr 4096 1048576: 1e 2048+32768 , 5l 4096+8192 ext2", "",
		},
		"mbr, last partition in RAID": {
			mbr(linux(2048, 129024)).put(diskSize-65536, oldRAID(binary.LittleEndian)),
			"mbr 512 1048576: 1p 2048+129024 linux_raid_member", "",
		},
		"mbr, logical in any order": {
			mbr(mbrEntry{kind: 15, start: 2048, count: 8192}).
				put(mib, mbrSector(0, linux(4096, 100), mbrEntry{kind: 5, start: 1000, count: 500})).
				put(mib+1000*512, mbrSector(0, mbrEntry{kind: 5, start: 2000, count: 500})). // nothing but a link
				put(mib+2000*512, mbrSector(0, linux(10, 20), mbrEntry{}, mbrEntry{kind: 7, start: 99999, count: 5})),
			"mbr 512 1048576: 1e 2048+8192 , 6l 4058+20 , 5l 6144+100 ", "",
		},
		"mbr, container without EBR": {mbr(mbrEntry{kind: 5, start: 2048, count: 8192}, linux(1, 5)), "mbr 512 512: 2p 1+5 , 1e 2048+8192 ", "extended partition 1 is empty"},
		"mbr, two containers": {mbr(mbrEntry{kind: 5, start: 2048, count: 100}, mbrEntry{kind: 5, start: 1000, count: 100}).
			put(mib, mbrSector(0, linux(1, 5))).put(1000*512, mbrSector(0, linux(1, 6))), "mbr 512 512000: 2e 1000+100 , 6l 1001+6 , 1e 2048+100 , 5l 2049+5 ", ""},

		"nothing":                           {&image{size: diskSize}, "none 512 0: 0p 0+131072 ", ""},
		"a byte":                            {&image{size: 1}, "none 512 0: 0p 0+0 ", ""},
		"odd size":                          {&image{size: 100_001}, "none 512 0: 0p 0+195 ", ""},
		"unknown":                           {(&image{size: diskSize}).put(0, junk()), "none 512 0: 0p 0+131072 ", ""},
		"boot sector alone":                 {mbr(), "none 512 0: 0p 0+131072 ", ""},
		"whole disk":                        {(&image{size: diskSize}).put(1024, ext(diskSize)), "none 512 0: 0p 0+131072 ext2", ""},
		"whole disk, boot":                  {(&image{size: diskSize}).put(0, mbrSector(1, mbrEntry{boot: 0x33, count: 77})).put(1024, ext(diskSize)), "none 512 0: 0p 0+131072 ext2", ""},
		"whole disk, entries that are none": {mbr(linux(last, 9)).put(1024, ext(diskSize)), "none 512 0: 0p 0+131072 ext2", ""},
		"whole disk, fat":                   {(&image{size: diskSize}).put(0, fat(diskSize)), "none 512 0: 0p 0+131072 vfat", ""},
		"damaged GPT, no MBR":               {(&image{size: diskSize}).put(512, record("EFI PART")), "none 512 0: 0p 0+131072 ", "a GPT that is damaged, and no MBR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(t.Context(), c.disk)
			if c.want == "" {
				wantDamage(t, err, c.note)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, brief(got)); diff != "" {
				t.Error(diff)
			}
			notes := strings.Join(got.Notes, "\n")
			if (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) || strings.Contains(notes, secret) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			if reads := 4 + 4*len(got.Partitions); c.disk.reads > reads && got.Type != MBR {
				t.Errorf("%d reads, more than %d", c.disk.reads, reads)
			}
		})
	}
}

func wantDamage(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), secret) || !strings.Contains(hint.Of(err), "--dd") {
		t.Errorf("got %v (hint %q), want %q and --dd", err, hint.Of(err), text)
	}
}

func TestRefusedTables(t *testing.T) {
	t.Parallel()
	gpt := func(parts map[int][2]int64) *image {
		return gptSpec{size: diskSize, sector: 512, name: secret, parts: parts}.image()
	}
	mbr := func(entries ...mbrEntry) *image {
		return (&image{size: diskSize}).put(0, mbrSector(0xcafe, entries...))
	}
	linux := func(start, count uint32) mbrEntry { return mbrEntry{kind: 0x83, start: start, count: count} }
	link := func(start, count uint32) mbrEntry { return mbrEntry{kind: 5, start: start, count: count} }
	container := func(ebr ...mbrEntry) *image { return mbr(link(2048, 8192)).put(mib, mbrSector(0, ebr...)) }
	long := mbr(link(2048, 100_000))
	for i := range uint32(300) {
		long.put(mib+512*8*int64(i), mbrSector(0, linux(1, 2), link(8*(i+1), 8)))
	}
	for name, c := range map[string]struct {
		disk *image
		want string
	}{
		"no bytes":                  {&image{}, "the disk has 0 bytes"},
		"gpt, both damaged":         {two(diskSize, 512).image().put(512, junk()).put(last*512, junk()), "neither it nor its backup can be read: no header"},
		"gpt, both checksums":       {two(diskSize, 512).image().put(600, junk()).put(last*512+20, junk()), "can be read: wrong checksum of the header"},
		"gpt, cut off":              {func() *image { s := two(diskSize, 512); s.old = 99 * mib; return s.image().put(512, junk()) }(), "neither it nor its backup"},
		"gpt, too many entries":     {gptSpec{size: diskSize, sector: 512, count: 2048}.image(), "2048 entries, where 1 to 1024 can be read"},
		"gpt, entries of odd size":  {gptSpec{size: diskSize, sector: 512, each: 192}.image(), "entries of 192 bytes"},
		"gpt, end before start":     {gpt(map[int][2]int64{2: {100, 99}}), "partition 2 is empty: it begins at sector 100 and ends at 99"},
		"gpt, outside":              {gpt(map[int][2]int64{2: {100, last + 1}}), "partition 2: sectors 100 to 131072 are not on the disk of 131072 sectors"},
		"gpt, far outside":          {gpt(map[int][2]int64{2: {100, -1}}), "partition 2: sectors 100 to 18446744073709551615 are not on the disk"},
		"gpt, overlap":              {gpt(map[int][2]int64{9: {100, 200}, 2: {200, 300}}), "partitions 9 and 2 overlap"},
		"gpt, on the table":         {gpt(map[int][2]int64{1: {33, 300}}), "partition 1: sectors 33 to 300 are where the partition table is"},
		"gpt, on the header":        {gpt(map[int][2]int64{1: {1, 1}}), "are where the partition table is"},
		"gpt, on the backup":        {gpt(map[int][2]int64{1: {100, last - 32}}), "where the backup of the partition table must be"},
		"gpt beside ext":            {two(diskSize, 4096).image().put(1024, ext(diskSize)), "the disk as a whole is ext2, but it has a partition table of type gpt with 2 partitions"},
		"gpt beside btrfs":          {two(diskSize, 512).image().put(btrfsSuper, btrfs(diskSize)), "as a whole is btrfs"},
		"gpt's backup beside btrfs": {two(diskSize, 512).image().put(512, junk()).put(btrfsSuper, btrfs(diskSize)), "as a whole is btrfs"},
		"gpt beside RAID":           {two(diskSize, 512).image().put(diskSize-65536-4096, blank(1)).put(diskSize-65536, oldRAID(binary.LittleEndian)), "as a whole is linux_raid_member"},
		"protective alone":          {mbr(mbrEntry{kind: 0xee, start: 1, count: last}), "the MBR says that there is a GPT"},
		"protective beside ext":     {mbr(mbrEntry{kind: 0xee, start: 1, count: last}).put(1024, ext(diskSize)), "the MBR says that there is a GPT"},
		"backup alone":              {two(diskSize, 512).image().put(0, blank(2*mib)), "a backup GPT at the end of the disk, but neither"},

		"mbr beside ext":       {mbr(linux(2048, 4096)).put(1024, ext(diskSize)), "the disk as a whole is ext2, but it has a partition table of type mbr with 1 partitions"},
		"mbr beside LVM":       {mbr(linux(2048, 4096)).put(512, lvm()), "as a whole is LVM2_member"},
		"mbr beside LUKS":      {mbr(linux(2048, 4096)).put(0, []byte("LUKS\xba\xbe\x00\x01")), "as a whole is crypto_LUKS"},
		"mbr beside FAT":       {mbr(linux(2048, 4096)).put(0, fat(diskSize)[:440]), "as a whole is vfat"},
		"mbr beside swap":      {mbr(linux(2048, 4096)).put(1024, blank(8).le(4, 0, 1).le(4, 4, 100)).put(4086, []byte("SWAPSPACE2")), "as a whole is swap"},
		"mbr, outside":         {mbr(linux(2048, last)), "partition 1: 67108352 bytes at 1048576 are not on the disk of 67108864 bytes"},
		"mbr, overlap":         {mbr(linux(2048, 10), mbrEntry{}, linux(2057, 1)), "partitions 1 and 3 overlap"},
		"mbr, on itself":       {mbr(mbrEntry{}, linux(0, 10)), "partition 2 begins at sector 0"},
		"ebr comes back":       {container(linux(1, 2), link(10, 5)).put(mib+5120, mbrSector(0, linux(1, 2), link(10, 5))), "its chain of EBRs comes back to byte 1053696"},
		"ebr leads to start":   {container(linux(1, 2), link(0, 5)), "comes back to byte 1048576"},
		"ebr leads outside":    {container(linux(1, 2), link(8192, 5)), "leads to byte 5242880, which is not in it"},
		"ebr leads nowhere":    {container(linux(1, 2), link(100, 5)), "there should be an EBR at byte 1099776, but is none"},
		"ebr is something":     {mbr(link(2048, 8192)).put(mib, junk()), "there should be an EBR at byte 1048576"},
		"ebr of two":           {container(linux(1, 2), linux(10, 2)), "the EBR at byte 1048576 tells of more than one partition"},
		"ebr, partition on it": {container(linux(0, 2)), "partition 5: 1024 bytes at 1048576 are not in extended partition 1 behind its EBR"},
		"ebr, outside":         {container(linux(8000, 193)), "partition 5: 98816 bytes at 5144576 are not in extended partition 1"},
		"ebr in a partition":   {container(linux(1, 20), link(10, 5)).put(mib+5120, mbrSector(0, linux(50, 2))), "the EBR of partition 6 lies in partition 5"},
		"logical overlap":      {container(linux(1, 20), link(100, 5)).put(mib+51200, mbrSector(0, linux(1, 2), link(50, 9))).put(mib+25600, mbrSector(0, linux(51, 2))), "overlap"},
		"logical ends behind":  {mbr(link(2048, 100), linux(2100, 5)).put(mib, mbrSector(0, linux(1, 2))), "partitions 1 and 2 overlap"},
		"ebr, endless":         {long, "has more than 256 EBRs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(t.Context(), c.disk)
			wantDamage(t, err, c.want)
			if diff := cmp.Diff(Table{}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whichever read fails, its error comes out, and no wrong next step.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	table := two(diskSize, 512).image()
	if _, err := Read(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	for n := range table.reads {
		m := two(diskSize, 512).image()
		m.fail = n + 1
		if _, err := Read(t.Context(), m); !errors.Is(err, errBroken) || hint.Of(err) != "" {
			t.Errorf("read %d: %v, hint %q", m.fail, err, hint.Of(err))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, two(diskSize, 512).image()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestIsFilesystem(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]bool{
		"ext2": true, "ext3": true, "ext4": true, "xfs": true, "f2fs": true, "vfat": true, "exfat": true, "jfs": true, "reiserfs": true,
		"": false, "swap": false, "LVM2_member": false, "jbd": false, "ntfs": false, "squashfs": false, "btrfs": false,
	} {
		if got := (Partition{Content: Content{Type: c}}).IsFilesystem(); got != want {
			t.Errorf("%q: %t, want %t", c, got, want)
		}
	}
	for devices, want := range map[int]bool{1: true, 2: false} {
		if got := (Partition{Content: Content{Type: "btrfs", Devices: devices}}).IsFilesystem(); got != want {
			t.Errorf("btrfs of %d devices: %t, want %t", devices, got, want)
		}
	}
}
