package layout

import (
	"fmt"
	"math/bits"
	"sort"
	"strconv"
)

// TableType is the type of a partition table.
type TableType string

// The values of TableType.
const (
	TableGPT  TableType = "gpt"
	TableMBR  TableType = "mbr"
	TableNone TableType = "none" // the disk is one filesystem, or the like
)

// Role is what a partition is in its table.
type Role string

// The values of Role. A disk without a table is one primary partition.
const (
	Primary  Role = "primary"
	Extended Role = "extended" // a container of logical partitions
	Logical  Role = "logical"
)

// Geometry is the partition table of a disk, and what was found in each
// partition. With the archive of the head it is enough to make the table again:
// the backup GPT, and the EBRs of logical partitions, lie outside of all archives.
type Geometry struct {
	SectorSize int64       `json:"sector_size"` // bytes
	Size       int64       `json:"size"`        // bytes
	Table      TableType   `json:"table"`
	DiskID     string      `json:"disk_id,omitempty"`
	GPT        *GPT        `json:"gpt,omitempty"`
	Partitions []Partition `json:"partitions"` // ascending by start; those of an extended one behind it
}

// GPT is what the primary header says, in sectors where it does not say bytes.
type GPT struct {
	FirstUsable  int64 `json:"first_usable"`
	LastUsable   int64 `json:"last_usable"`
	Entries      int64 `json:"entries"`    // room for so many
	EntrySize    int64 `json:"entry_size"` // bytes
	EntriesLBA   int64 `json:"entries_lba"`
	AlternateLBA int64 `json:"alternate_lba"` // of the backup header
}

// Partition is one partition. It has no name and no label: these are in entries.
type Partition struct {
	Number      Part     `json:"number,omitzero"` // Whole on a disk without a table
	Role        Role     `json:"role"`
	Start       int64    `json:"start"` // bytes
	Size        int64    `json:"size"`  // bytes
	Type        string   `json:"type,omitempty"`
	UUID        string   `json:"uuid,omitempty"`
	Attributes  Bits     `json:"attributes,omitzero"` // GPT: of the entry; MBR: the boot flag
	EBR         int64    `json:"ebr,omitempty"`       // bytes: where a logical partition is told of
	Content     string   `json:"content"`
	ContentUUID string   `json:"content_uuid,omitempty"`
	BlockSize   int64    `json:"block_size,omitempty"` // bytes
	Features    []string `json:"features,omitempty"`
}

// Bits is 64 bits, in JSON a hexadecimal string: no JSON number is sure to hold
// them all.
type Bits uint64

// MarshalText writes "0x" and the digits.
func (b Bits) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte("0x"), uint64(b), 16), nil
}

// UnmarshalText reads what MarshalText writes.
func (b *Bits) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 0, 64)
	if err != nil {
		return fmt.Errorf("attributes of a partition: %w", err)
	}
	*b = Bits(n)
	return nil
}

// Check says why a table cannot be made again from this, if so: a record with it
// is neither written nor read.
func (g *Geometry) Check() error {
	switch {
	case g.SectorSize < 512 || g.SectorSize > 64<<10 || bits.OnesCount64(uint64(g.SectorSize)) != 1:
		return fmt.Errorf("geometry: sectors of %d bytes", g.SectorSize)
	case g.Size <= 0 || g.Size > maxPlain:
		return fmt.Errorf("geometry: a disk of %d bytes", g.Size)
	case g.Table != TableGPT && g.Table != TableMBR && g.Table != TableNone:
		return fmt.Errorf("geometry: table is %q", g.Table)
	case (g.GPT != nil) != (g.Table == TableGPT):
		return fmt.Errorf("geometry: member \"gpt\" does not go with a table of type %s", g.Table)
	}
	if g.GPT != nil {
		if err := g.GPT.check(); err != nil {
			return err
		}
	}
	if g.Table == TableNone {
		return g.checkBare()
	}
	return g.checkPartitions()
}

// check holds the header to what the UEFI specification has of it (5.3.2), and
// to sizes that a disk can have.
func (g *GPT) check() error {
	const most = maxPlain / 512
	for _, lba := range []int64{g.FirstUsable, g.LastUsable, g.EntriesLBA, g.AlternateLBA} {
		if lba <= 0 || lba > most {
			return fmt.Errorf("geometry: gpt: %d is no number of a sector", lba)
		}
	}
	if g.FirstUsable > g.LastUsable || g.Entries <= 0 || g.Entries > 1<<20 ||
		g.EntrySize < 128 || g.EntrySize > 64<<10 || bits.OnesCount64(uint64(g.EntrySize)) != 1 {
		return fmt.Errorf("geometry: gpt: sectors %d to %d, %d entries of %d bytes",
			g.FirstUsable, g.LastUsable, g.Entries, g.EntrySize)
	}
	return nil
}

// checkBare is for a disk without a table.
func (g *Geometry) checkBare() error {
	if len(g.Partitions) != 1 {
		return fmt.Errorf("geometry: %d partitions without a table", len(g.Partitions))
	}
	if p := g.Partitions[0]; p.Number != Whole || p.Role != Primary || p.Start != 0 || p.Size != g.Size || p.EBR != 0 {
		return fmt.Errorf("geometry: without a table, but there is a partition %q of %d bytes at %d", p.Number, p.Size, p.Start)
	}
	return nil
}

// checkPartitions makes sure that they lie one behind the other, logical ones in
// the extended one before them.
func (g *Geometry) checkPartitions() error {
	var end, outer int64 // of the last partition, and of the last that is not logical
	var container Partition
	seen := map[Part]bool{}
	for _, p := range g.Partitions {
		if p.Number <= Whole || seen[p.Number] || g.GPT != nil && int64(p.Number) > g.GPT.Entries {
			return fmt.Errorf("geometry: partition %d: the number is not possible, or there are two", p.Number)
		}
		seen[p.Number] = true
		if p.Start%g.SectorSize != 0 || p.Size%g.SectorSize != 0 || p.Size <= 0 || p.Start <= 0 || p.Start > g.Size-p.Size {
			return fmt.Errorf("geometry: partition %d: %d bytes at %d on a disk of %d", p.Number, p.Size, p.Start, g.Size)
		}
		from, limit := outer, g.Size
		switch {
		case p.Role == Logical && g.Table == TableMBR:
			from, limit = end, container.Start+container.Size
			if p.EBR < container.Start || p.EBR%g.SectorSize != 0 || p.EBR > p.Start-g.SectorSize {
				return fmt.Errorf("geometry: partition %d: its EBR is at %d, outside of the extended partition's room before it", p.Number, p.EBR)
			}
		case p.Role == Primary && p.EBR == 0:
			outer = p.Start + p.Size
		case p.Role == Extended && p.EBR == 0 && g.Table == TableMBR:
			container, outer = p, p.Start+p.Size
		default:
			return fmt.Errorf("geometry: partition %d: role %q with an EBR at %d in a table of type %s", p.Number, p.Role, p.EBR, g.Table)
		}
		if p.Start < from || p.Start+p.Size > limit {
			return fmt.Errorf("geometry: partition %d: %d bytes at %d, where the room is from %d to %d", p.Number, p.Size, p.Start, from, limit)
		}
		end = p.Start
		if p.Role != Extended {
			end += p.Size
		}
	}
	return g.checkEBRs()
}

// checkEBRs makes sure that none lies in a partition or on another, where making
// it again would overwrite something. They need not be in the order of the disk.
func (g *Geometry) checkEBRs() error {
	var filled []Partition
	for _, p := range g.Partitions {
		if p.Role != Extended {
			filled = append(filled, p)
		}
	}
	seen := map[int64]bool{}
	for _, p := range filled {
		if p.EBR == 0 {
			continue
		}
		i := sort.Search(len(filled), func(i int) bool { return filled[i].Start > p.EBR }) - 1
		if seen[p.EBR] || i >= 0 && p.EBR < filled[i].Start+filled[i].Size {
			return fmt.Errorf("geometry: partition %d: its EBR is at %d, where something else is", p.Number, p.EBR)
		}
		seen[p.EBR] = true
	}
	return nil
}
