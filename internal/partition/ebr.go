package partition

import (
	"bytes"
	"context"
	"fmt"
)

// maxLogical is how many EBRs of a disk are followed. Linux has room for 255
// partitions on a disk.
const maxLogical = 256

// addLogical follows the chain of EBRs in an extended partition, from its first
// sector on. Each has one entry for its partition, and one that leads on.
func (d *disk) addLogical(ctx context.Context, t *Table, container Partition, next *int) error {
	seen := map[int64]bool{}
	for at := container.Start; ; {
		switch {
		case at < container.Start || at > container.end()-t.SectorSize:
			return damaged("extended partition %d: its chain of EBRs leads to byte %d, which is not in it", container.Number, at)
		case seen[at]:
			return damaged("extended partition %d: its chain of EBRs comes back to byte %d", container.Number, at)
		case len(seen) == maxLogical:
			return damaged("extended partition %d has more than %d EBRs", container.Number, maxLogical)
		}
		seen[at] = true
		sector, err := d.read(ctx, at, sector512)
		if err != nil {
			return err
		}
		ebr := parseBootSector(sector)
		if !ebr.signed {
			if at == container.Start && bytes.Count(sector, []byte{0}) == len(sector) {
				t.Notes = append(t.Notes, fmt.Sprintf("extended partition %d is empty", container.Number))
				return nil
			}
			return damaged("extended partition %d: there should be an EBR at byte %d, but is none", container.Number, at)
		}
		link, err := t.addFromEBR(ebr, at, container, next)
		if err != nil || link == 0 {
			return err
		}
		at = container.Start + link
	}
}

// addFromEBR adds the partition that an EBR tells of, if any, and returns how far
// from the container's start the next EBR is, or 0. Linux looks for them in all
// four entries, and so it is not for us to say that one in a strange place is not
// meant (Linux, block/partitions/msdos.c).
func (t *Table) addFromEBR(ebr bootSector, at int64, container Partition, next *int) (link int64, err error) {
	found := false
	for i, e := range ebr.entries {
		if !e.used() {
			continue
		}
		if e.extended() {
			if link != 0 {
				continue // Linux follows the first
			}
			link = int64(e.start) * t.SectorSize
			if link == 0 {
				return 0, damaged("extended partition %d: its chain of EBRs comes back to byte %d", container.Number, container.Start)
			}
			continue
		}
		p := t.mbrPartition(*next, e, at)
		inside := p.Start > at && p.end() <= container.end()
		switch {
		case !inside && i >= 2:
			continue // garbage, as Linux takes it
		case !inside:
			return 0, damaged("partition %d: %d bytes at %d are not in extended partition %d behind its EBR", p.Number, p.Length, p.Start, container.Number)
		case found:
			return 0, damaged("extended partition %d: the EBR at byte %d tells of more than one partition", container.Number, at)
		}
		found = true
		p.Role, p.EBR = Logical, at
		t.Partitions = append(t.Partitions, p)
		*next++
	}
	return link, nil
}
