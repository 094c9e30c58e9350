// Package partition reads what a disk is made of: its partition table, and by
// the superblocks what each partition holds. It only reads, a few blocks of each
// partition, and asks neither the kernel nor a program: kernels without a parser
// for the table, disks with sectors of 4096 bytes and damaged tables are read all
// the same. It refuses whatever can be read in two ways, since the wrong one of
// them would be archived as if it were all there is.
package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/hint"
)

// TableType is the type of a partition table.
type TableType string

// The values of TableType.
const (
	GPT     TableType = "gpt"
	MBR     TableType = "mbr"
	NoTable TableType = "none" // the disk is one filesystem, or the like
)

// Role is what a partition is in its table.
type Role string

// The values of Role. A disk without a table is one primary partition.
const (
	Primary  Role = "primary"
	Extended Role = "extended" // a container of logical partitions, never of a filesystem
	Logical  Role = "logical"
)

// Table is a disk: its partition table, and what the partitions hold.
type Table struct {
	Type TableType
	// SectorSize is 512 or 4096 bytes: what the table counts in. Without a table
	// it is 512.
	SectorSize int64
	Size       int64      // bytes of the disk
	DiskID     string     // GPT: a GUID, lower case; MBR: 8 hex digits; "" without a table
	GPT        *GPTHeader // of a GPT alone
	Notes      []string   // what a person should know; no names or labels in them
	// Partitions are ascending by Start, logical ones behind the extended one that
	// they are in. Without a table it is one, the whole disk. A GPT may have none.
	Partitions []Partition
}

// GPTHeader is what the primary header says, and with the partitions is enough to
// make it again. Where only the backup could be read, it is what the primary must
// have said.
type GPTHeader struct {
	FirstUsable, LastUsable int64 // sectors
	Entries                 int64 // room for so many
	EntrySize               int64 // bytes
	EntriesLBA              int64
	AlternateLBA            int64 // of the backup header
}

// Partition is one of a table.
type Partition struct {
	// Number is Linux's: the entry in a GPT, 1 to 4 in an MBR and from 5 on for
	// logical partitions in the order of their chain. 0 is a disk without a table.
	Number        int
	Role          Role
	Start, Length int64   // bytes
	EBR           int64   // bytes: where a logical partition's EBR begins; else 0
	Type          string  // GPT: the type's GUID, lower case; MBR: "0x83"
	UUID          string  // PARTUUID as Linux shows it
	Name          string  // GPT: any text, and nothing for messages
	Attributes    uint64  // GPT: of the entry; MBR: the boot flag, 0x80
	Content       Content // of an extended partition: nothing
}

// Content is what a probe found in a partition.
type Content struct {
	// Type is blkid's word; "" where nothing known was found, or more than one
	// thing, which a note then says.
	Type        string
	UUID, Label string   // as blkid shows them; nothing of a label in messages
	BlockSize   int64    // bytes: of a filesystem, or a page of swap
	Used, Files int64    // bytes and inodes in use as the superblock has them, which may be behind; -1: not known
	Features    []string // sorted
	Devices     int      // of a btrfs: how many it has
	Dirty       bool     // ext and btrfs: a journal or log waits to be replayed
}

// Head is how many bytes lie before the first partition: the table, a boot
// loader. It is 0 without a table and without partitions.
func (t Table) Head() int64 {
	if t.Type == NoTable || len(t.Partitions) == 0 {
		return 0
	}
	return t.Partitions[0].Start
}

// IsFilesystem tells whether it is a filesystem that some Linux can mount and
// whose files a tar holds. This kernel need not have it.
func (p Partition) IsFilesystem() bool {
	switch p.Content.Type {
	case "ext2", "ext3", "ext4", "xfs", "f2fs", "vfat", "exfat", "jfs", "reiserfs":
		return true
	case "btrfs":
		return p.Content.Devices == 1 // else a part of its files is on another disk
	}
	return false
}

// damage is something on the disk that is not as it must be. It names numbers,
// types and sizes, never what a person called something.
type damage struct{ text string }

func (d *damage) Error() string { return d.text }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }

func isDamage(err error) bool {
	_, ok := errors.AsType[*damage](err)
	return ok
}

// Read reads the table of a disk and looks into each partition: about two reads
// of block.Size for each. A table that is damaged, or stands beside a filesystem
// on the same disk so that both could be meant, is an error.
func Read(ctx context.Context, src block.Source) (Table, error) {
	d := &disk{src: src, size: src.Size()}
	t, err := d.table(ctx)
	if isDamage(err) {
		err = hint.Wrap(err, "archive the whole volume as one image (--dd), which needs no partitions")
	}
	if err != nil {
		return Table{}, fmt.Errorf("read the partitions: %w", err)
	}
	return t, nil
}

func (d *disk) table(ctx context.Context) (Table, error) {
	if d.size <= 0 {
		return Table{}, damaged("the disk has %d bytes", d.size)
	}
	whole, err := d.scan(ctx, 0, d.size)
	if err != nil {
		return Table{}, err
	}
	first, err := d.read(ctx, 0, min(sector512, d.size))
	if err != nil {
		return Table{}, err
	}
	boot := parseBootSector(first)
	gpt, err := d.readGPT(ctx, boot)
	if err != nil {
		return Table{}, err
	}
	t, err := d.readTable(ctx, boot, gpt, whole)
	if err != nil {
		return Table{}, err
	}
	if t.Type == GPT && len(t.Partitions) == 0 && whole.found != nil {
		t = Table{Type: NoTable, Notes: append(t.Notes, "there is a GPT without partitions on the disk, too")}
	}
	if t.Type == NoTable {
		return d.bare(whole, t.Notes), nil
	}
	return t, whole.outside(t.Partitions).conflict(t)
}

// readTable reads the table that Linux would read, if there is one; the type is
// NoTable otherwise. It is not an error of a table that it stands beside a
// filesystem.
func (d *disk) readTable(ctx context.Context, boot bootSector, gpt gptTable, whole scan) (Table, error) {
	none := Table{Type: NoTable}
	switch {
	case boot.isTable() && !boot.protective():
		t, err := d.readMBR(ctx, boot)
		if err == nil && gpt.header != nil {
			t.Notes = append(t.Notes, "there is a GPT, too, but no entry of type 0xee in the MBR leads to it: the MBR was read, as Linux does")
		}
		if isDamage(err) && whole.found != nil && gpt.header == nil { // code, not entries
			return none, nil
		}
		return t, err
	case gpt.header == nil && boot.protective():
		return none, damaged("the MBR says that there is a GPT, but neither it nor its backup can be read: %s", gpt.why)
	case gpt.header == nil:
		if gpt.signed {
			none.Notes = append(none.Notes, "there is a GPT that is damaged, and no MBR that leads to it: "+gpt.why)
		}
		return none, nil
	case !gpt.primary && !boot.protective() && whole.found != nil:
		// What makes a filesystem often leaves the end of the disk as it was.
		none.Notes = append(none.Notes, "a backup GPT is left at the end of the disk: it is not used")
		return none, nil
	case !gpt.primary && !boot.protective():
		return none, damaged("there is a backup GPT at the end of the disk, but neither a GPT nor an MBR at its beginning: it may be left from another use")
	}
	return d.decodeGPT(ctx, boot, gpt)
}

// bare is a disk without a table.
func (d *disk) bare(whole scan, notes []string) Table {
	p := Partition{Role: Primary, Length: d.size}
	var more []string
	p.Content, more = whole.content("the disk")
	return Table{
		Type: NoTable, SectorSize: sector512, Size: d.size,
		Notes: append(notes, more...), Partitions: []Partition{p},
	}
}

// fill looks into the partitions.
func (d *disk) fill(ctx context.Context, t *Table) error {
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.Role == Extended {
			continue
		}
		s, err := d.scan(ctx, p.Start, p.Length)
		if err != nil {
			return err
		}
		var notes []string
		p.Content, notes = s.content(fmt.Sprintf("partition %d", p.Number))
		t.Notes = append(t.Notes, notes...)
	}
	return nil
}

// arrange sorts the partitions by their place and makes sure that each byte is
// in one of them at most: what is in two cannot be restored into both.
func arrange(parts []Partition, sector int64) error {
	slices.SortStableFunc(parts, func(a, b Partition) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	var outer, inner *Partition // the last of the table itself, and the last that holds something
	for i := range parts {
		p := &parts[i]
		if p.Role != Logical {
			if outer != nil && p.Start < outer.end() {
				return damaged("partitions %d and %d overlap", outer.Number, p.Number)
			}
			outer = p
		}
		if p.Role != Extended {
			if inner != nil && p.Start < inner.end() {
				return damaged("partitions %d and %d overlap", inner.Number, p.Number)
			}
			inner = p
		}
	}
	return checkEBRs(parts, sector)
}

// checkEBRs makes sure that no EBR lies in a partition that holds something.
func checkEBRs(parts []Partition, sector int64) error {
	for _, e := range parts {
		if e.Role != Logical {
			continue
		}
		for _, p := range parts {
			if p.Role != Extended && e.EBR < p.end() && e.EBR+sector > p.Start {
				return damaged("the EBR of partition %d lies in partition %d", e.Number, p.Number)
			}
		}
	}
	return nil
}

func (p Partition) end() int64 { return p.Start + p.Length }
