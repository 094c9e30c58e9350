package layout

import (
	"errors"
	"fmt"
)

// ErrNewer says: a later format than this program knows.
var ErrNewer = errors.New("written in a newer format than this program reads")

func (r *ArchiveRecord) check() error {
	if err := header(r.Format, r.Type, typeArchive); err != nil {
		return err
	}
	if err := filled(map[string]string{
		"tool": r.Tool, "run": r.Run, "key": r.Key, "snapshot": string(r.Snapshot),
		"volume": string(r.Volume), "archive": r.Archive, "kind": string(r.Kind),
		"codec": r.Codec, "entries.key": r.Entries.Key, "entries.sha256": r.Entries.SHA256,
	}); err != nil {
		return err
	}
	if r.PlainSize < 0 || r.StoredSize < 0 || r.FrameSize <= 0 || r.Entries.Size <= 0 || r.Partition < Head {
		return fmt.Errorf("record of %s: a size is not possible", r.Archive)
	}
	if err := r.checkContents(); err != nil {
		return fmt.Errorf("record of %s: %w", r.Archive, err)
	}
	switch encrypted := len(r.Recipients) > 0; {
	case encrypted && r.Digest != "":
		return fmt.Errorf("record of %s: with recipients the digest of the contents may stand in the entries only", r.Archive)
	case !encrypted && r.Digest == "":
		return fmt.Errorf("record of %s: no digest", r.Archive)
	}
	switch r.Absent {
	case "", AbsentListed, AbsentUnknown:
		return nil
	}
	return fmt.Errorf("record of %s: absent is %q", r.Archive, r.Absent)
}

// checkContents makes sure that what is counted is what the kind of archive has.
func (r *ArchiveRecord) checkContents() error {
	switch {
	case r.Kind == Image && r.Blocks != nil && r.Files == nil:
		if b := r.Blocks; b.Data < 0 || b.Zero < 0 || b.Absent < 0 {
			return fmt.Errorf("blocks are %+v", *b)
		}
	case r.Kind == Tar && r.Files != nil && r.Blocks == nil:
		// The root is an entry, so that there is one, and it is a folder.
		if f := r.Files; f.Regular < 0 || f.Folders < 1 || f.Entries < f.Folders || f.Regular > f.Entries-f.Folders || f.Bytes < 0 {
			return fmt.Errorf("files are %+v", *f)
		}
		if r.Partition == Head {
			return errors.New("a tar of the sectors before the first partition")
		}
	default:
		return fmt.Errorf("kind is %q with blocks: %t, files: %t", r.Kind, r.Blocks != nil, r.Files != nil)
	}
	return nil
}

func (r *SnapshotRecord) check() error {
	if err := header(r.Format, r.Type, typeSnapshot); err != nil {
		return err
	}
	if err := filled(map[string]string{
		"tool": r.Tool, "run": r.Run, "key": r.Key, "snapshot.id": string(r.Snapshot.ID),
		"snapshot.volume": string(r.Snapshot.Volume), "snapshot.start": r.Snapshot.Start,
	}); err != nil {
		return err
	}
	for i := range r.Archives {
		a := &r.Archives[i]
		if err := a.check(); err != nil {
			return err
		}
		if a.SHA256 == "" {
			return fmt.Errorf("record of snapshot %s: archive %s has no sha256 of its own record", r.Snapshot.ID, a.Archive)
		}
	}
	if want := Sum(r.Archives); r.Totals != want {
		return fmt.Errorf("record of snapshot %s: totals are %+v, its archives make %+v", r.Snapshot.ID, r.Totals, want)
	}
	if err := r.checkParts(); err != nil {
		return fmt.Errorf("record of snapshot %s: %w", r.Snapshot.ID, err)
	}
	return nil
}

// checkParts makes sure that every part of the disk is in one archive, or named
// as skipped: the record must not commit less than all.
func (r *SnapshotRecord) checkParts() error {
	if r.Geometry == nil {
		if len(r.Archives) != 1 || r.Archives[0].Partition != Whole || r.Choice != nil || len(r.Skipped) > 0 {
			return errors.New("it has no geometry, but something other than one archive of the whole volume")
		}
		return nil
	}
	if err := r.Geometry.Check(); err != nil {
		return err
	}
	told := map[Part]int{}
	for _, a := range r.Archives {
		told[a.Partition]++
	}
	for _, s := range r.Skipped {
		if s.Partition == Head {
			return errors.New("the head is said to be skipped")
		}
		told[s.Partition]++
	}
	for _, p := range r.Geometry.Partitions {
		if p.Role == Extended {
			continue
		}
		if n := told[p.Number]; n != 1 {
			return fmt.Errorf("partition %q is told of %d times, not once", p.Number, n)
		}
		delete(told, p.Number)
		if err := r.checkSizes(p); err != nil {
			return err
		}
	}
	if told[Head] == 1 && r.Geometry.Table != TableNone {
		delete(told, Head)
		if err := r.checkHead(); err != nil {
			return err
		}
	}
	for part := range told {
		return fmt.Errorf("partition %q is told of, but it is not in the geometry", part)
	}
	return nil
}

// checkHead makes sure that the head ends where partitions begin.
func (r *SnapshotRecord) checkHead() error {
	end := r.Geometry.Size
	if all := r.Geometry.Partitions; len(all) > 0 {
		end = all[0].Start
	}
	for _, a := range r.Archives {
		if a.Partition == Head && a.PlainSize > end {
			return fmt.Errorf("the first partition begins at %d, but the head has %d bytes", end, a.PlainSize)
		}
	}
	return nil
}

// checkSizes compares what is told of a partition with where it lies.
func (r *SnapshotRecord) checkSizes(p Partition) error {
	for _, a := range r.Archives {
		if a.Partition == p.Number && a.Kind == Image && a.PlainSize != p.Size {
			return fmt.Errorf("partition %q has %d bytes, its image %d", p.Number, p.Size, a.PlainSize)
		}
	}
	for _, s := range r.Skipped {
		if s.Partition == p.Number && (s.Start != p.Start || s.Size != p.Size || s.Why == "") {
			return fmt.Errorf("partition %q has %d bytes at %d, but %d at %d were skipped for %q", p.Number, p.Size, p.Start, s.Size, s.Start, s.Why)
		}
	}
	return nil
}

func header(format int, got, want string) error {
	if format > FormatVersion {
		return fmt.Errorf("format %d: %w", format, ErrNewer)
	}
	if format < 1 {
		return fmt.Errorf("%w: format is %d", ErrDamaged, format)
	}
	if got != want {
		return fmt.Errorf("%w: type is %q, not %q", ErrDamaged, got, want)
	}
	return nil
}

func filled(members map[string]string) error {
	missing := ""
	for name, value := range members {
		if value == "" && (missing == "" || name < missing) {
			missing = name // the first by name, so that the text is the same each time
		}
	}
	if missing != "" {
		return fmt.Errorf("member %q is missing or empty", missing)
	}
	return nil
}
