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
	if r.PlainSize < 0 || r.StoredSize < 0 || r.FrameSize <= 0 || r.Entries.Size <= 0 || r.Partition < 0 {
		return fmt.Errorf("record of %s: a size is not possible", r.Archive)
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
