package workflow

import (
	"slices"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/partition"
)

// treeRows turns what the archive tells of a tree into rows of entries.
type treeRows struct{ out *layout.EntriesWriter }

func (r treeRows) Frame(f codec.Frame) error { return r.out.Frame(f) }

func (r treeRows) Entry(t *archive.TreeRow) error { return r.out.Entry(entryOf(t)) }

// entryOf is an entry as the entries object has it.
func entryOf(t *archive.TreeRow) layout.TreeEntry {
	e := layout.TreeEntry{
		Path: t.Path, Type: entryType(t), Mode: t.Mode, UID: t.UID, GID: t.GID,
		MTime: layout.Timestamp{Sec: t.Sec, Nsec: t.Nsec},
		Link:  t.Target, Major: t.Major, Minor: t.Minor,
		Xattrs: t.XattrSum, SHA256: t.Sum, Runs: t.Runs, At: t.At, Subvolume: t.Subvolume,
	}
	switch {
	case t.Link != "":
		e = layout.TreeEntry{
			Path: t.Path, Type: layout.HardLink, Mode: t.Mode, UID: t.UID, GID: t.GID,
			MTime: e.MTime, Link: t.Link, At: t.At,
		}
	case t.Type == filesystem.Regular:
		e.Size, e.Sparse, e.Data = t.Size, t.Sparse, t.Stored
	}
	return e
}

func entryType(t *archive.TreeRow) layout.EntryType {
	switch t.Type {
	case filesystem.Folder:
		return layout.Folder
	case filesystem.Symlink:
		return layout.Symlink
	case filesystem.CharDevice:
		return layout.CharDevice
	case filesystem.BlockDevice:
		return layout.BlockDevice
	case filesystem.Fifo:
		return layout.Fifo
	}
	return layout.File
}

func sameChoice(a, b *layout.Choice) bool {
	if a == nil {
		a = &layout.Choice{}
	}
	if b == nil {
		b = &layout.Choice{}
	}
	return slices.Equal(a.Raw, b.Raw) && slices.Equal(a.Skip, b.Skip)
}

// geometryOf is a disk's table as its record has it: without names and labels,
// which are secrets where there are recipients.
func geometryOf(t partition.Table) *layout.Geometry {
	g := &layout.Geometry{
		SectorSize: t.SectorSize, Size: t.Size, Table: layout.TableType(t.Type), DiskID: t.DiskID,
		Partitions: []layout.Partition{},
	}
	if h := t.GPT; h != nil {
		g.GPT = &layout.GPT{
			FirstUsable: h.FirstUsable, LastUsable: h.LastUsable, Entries: h.Entries, EntrySize: h.EntrySize,
			EntriesLBA: h.EntriesLBA, AlternateLBA: h.AlternateLBA,
		}
	}
	for _, p := range t.Partitions {
		g.Partitions = append(g.Partitions, layout.Partition{
			Number: layout.Part(p.Number), Role: layout.Role(p.Role), Start: p.Start, Size: p.Length, Type: p.Type,
			UUID: p.UUID, Attributes: layout.Bits(p.Attributes), EBR: p.EBR,
			Content: p.Content.Type, ContentUUID: plainID(p.Content.UUID), BlockSize: p.Content.BlockSize, Features: p.Content.Features,
		})
	}
	return g
}

// plainID is an id as a record may hold it. Some are text that stands on the disk,
// and could be anything, a secret too.
func plainID(id string) string {
	for _, c := range []byte(id) {
		letter := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && c != '-' || len(id) > 64 {
			return ""
		}
	}
	return id
}
