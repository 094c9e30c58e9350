package archive

import (
	"context"
	"fmt"
	"iter"

	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/layout"
)

// DiffKind is in what two entries differ.
type DiffKind string

// The kinds of differences. Of one entry they come in this order.
const (
	DiffMissing DiffKind = "missing"   // the archive lacks it
	DiffAdded   DiffKind = "added"     // the snapshot lacks it
	DiffOrder   DiffKind = "order"     // the archive's entries are not in order, or one comes twice
	DiffType    DiffKind = "type"      // nothing else is compared then
	DiffLink    DiffKind = "hard link" // of which file it is a further name; nothing else is compared then
	DiffContent DiffKind = "content"
	DiffSize    DiffKind = "size"
	DiffMode    DiffKind = "mode"
	DiffOwner   DiffKind = "owner"
	DiffTime    DiffKind = "mtime"
	DiffTarget  DiffKind = "target" // of a symlink
	DiffDevice  DiffKind = "device"
	DiffXattrs  DiffKind = "xattrs" // ACLs and capabilities too
	DiffHoles   DiffKind = "holes"
)

// Difference is one difference. Snapshot and Archive are what each side has, for
// a person: "0644", "1000:1000", "2026-11-23T04:05:06.000000001Z", "file",
// "sha256 3f2a…" with the whole hash; names in them are quoted. "" is nothing.
type Difference struct {
	Path              string // as of Entry: any bytes
	Kind              DiffKind
	Snapshot, Archive string
}

// DiffOptions says what is compared.
type DiffOptions struct {
	// Coarse leaves out what the predecessor's tars cannot hold: fractions of a
	// second, extended attributes, holes, and that devices and fifos of several names
	// are one: GNU tar stores each name as an entry of its own.
	Coarse bool
}

// DiffTrees compares the snapshot's rows with the archive's, both in the order of
// a tar, and tells found of each difference, in that order, several of one entry
// one after the other. It returns how many entries both sides have.
//
// Of further names of a file only it is compared whose names they are; the
// snapshot's rows say in Links how many there are. Where the archive's entries
// are not in order, those that come too late are missing in their place and told
// of as DiffOrder where they stand. Where one comes twice in a row the last counts, as
// for tar. Rows of a snapshot that are not in order are an error.
//
// An error of either side or of found ends it and is returned as it is; so is the
// cause of ctx's end. Its memory does not grow with the trees, but for the first
// names that the archive lacks while some of their other names are to come.
func DiffTrees(ctx context.Context, snapshot, archive iter.Seq2[*TreeRow, error], o DiffOptions, found func(Difference) error) (entries int64, err error) {
	nextOfSnapshot, stopSnapshot := iter.Pull2(snapshot)
	defer stopSnapshot()
	nextOfArchive, stopArchive := iter.Pull2(archive)
	defer stopArchive()
	d := treeDiff{o: o, found: found, lost: map[string]uint32{}}
	d.snapshot.next, d.archive.next = nextOfSnapshot, nextOfArchive
	d.archive.pull()
	if err := d.advanceBoth(); err != nil {
		return 0, err
	}
	for d.snapshot.row != nil || d.archive.row != nil {
		if ctx.Err() != nil {
			return d.both, context.Cause(ctx)
		}
		if err := d.step(); err != nil {
			return d.both, err
		}
	}
	return d.both, nil
}

// treeDiff compares two sides as it walks along them.
type treeDiff struct {
	o     DiffOptions
	found func(Difference) error

	snapshot diffSide
	archive  diffSide
	times    int               // the archive's row comes
	both     int64             // entries
	lost     map[string]uint32 // first names that the archive lacks: how many names of the file are to come
}

// diffSide is one side and the row it is at; nil: it has ended.
type diffSide struct {
	next  func() (*TreeRow, error, bool)
	row   *TreeRow
	ahead *TreeRow // of the archive: the row behind it
	err   error    // what came in place of ahead
}

// pull takes one row ahead.
func (s *diffSide) pull() {
	var ok bool
	if s.ahead, s.err, ok = s.next(); !ok {
		s.ahead, s.err = nil, nil
	}
}

func (d *treeDiff) advanceBoth() error {
	if err := d.advanceSnapshot(); err != nil {
		return err
	}
	return d.advanceArchive()
}

// step deals with the entry that is first in order.
func (d *treeDiff) step() error {
	s, a := d.snapshot.row, d.archive.row
	order := 0
	switch {
	case a == nil:
		order = -1
	case s == nil:
		order = 1
	default:
		order = layout.ComparePaths(s.Path, a.Path)
	}
	if order < 0 {
		if err := d.missing(s); err != nil {
			return err
		}
		return d.advanceSnapshot()
	}
	if d.times > 1 {
		if err := d.found(Difference{a.Path, DiffOrder, "", fmt.Sprintf("comes %d times", d.times)}); err != nil {
			return err
		}
	}
	if order > 0 {
		if err := d.found(Difference{a.Path, DiffAdded, "", whatIs(a)}); err != nil {
			return err
		}
		return d.advanceArchive()
	}
	d.both++
	if err := d.pair(s, a); err != nil {
		return err
	}
	return d.advanceBoth()
}

func (d *treeDiff) advanceSnapshot() error {
	last, s := d.snapshot.row, &d.snapshot
	s.pull()
	if s.row = s.ahead; s.row == nil || s.err != nil {
		return s.err
	}
	if last != nil && layout.ComparePaths(last.Path, s.row.Path) >= 0 {
		return fmt.Errorf("the snapshot's entries are not in order: %q comes after %q", s.row.Path, last.Path)
	}
	return nil
}

// advanceArchive drops what comes too late, and what tar would replace.
func (d *treeDiff) advanceArchive() error {
	last, a := d.archive.row, &d.archive
	for last != nil && a.err == nil && a.ahead != nil {
		order := layout.ComparePaths(last.Path, a.ahead.Path)
		if order < 0 {
			break
		}
		why := fmt.Sprintf("comes after %q", last.Path)
		if order == 0 {
			why = "comes once more later"
		}
		if err := d.found(Difference{a.ahead.Path, DiffOrder, "", why}); err != nil {
			return err
		}
		a.pull()
	}
	d.times = 0
	for a.row = a.ahead; a.row != nil && a.err == nil; a.row = a.ahead {
		d.times++
		a.pull()
		if a.err != nil || a.ahead == nil || a.ahead.Path != a.row.Path {
			return nil
		}
	}
	return a.err
}

func (d *treeDiff) missing(s *TreeRow) error {
	if s.Link != "" {
		d.isLost(s.Link)
	} else if s.Links > 1 && s.Type != filesystem.Folder {
		d.lost[s.Path] = s.Links - 1
	}
	return d.found(Difference{s.Path, DiffMissing, whatIs(s), ""})
}

// isLost says whether the archive lacks the first name of a file, of which one
// more name has come.
func (d *treeDiff) isLost(first string) bool {
	left, lost := d.lost[first]
	switch {
	case left > 1:
		d.lost[first] = left - 1
	case lost:
		delete(d.lost, first)
	}
	return lost
}

// pair compares two entries of the same path.
func (d *treeDiff) pair(s, a *TreeRow) error {
	lost := s.Link != "" && d.isLost(s.Link)
	switch {
	case d.o.Coarse && s.Link != "" && a.Link == "" && isNode(s.Type):
		// Compared as if it were alone.
	case s.Link != a.Link:
		return d.found(Difference{s.Path, DiffLink, whatIs(s), whatIs(a)})
	case lost:
		return d.found(Difference{s.Path, DiffLink, whatIs(s), whatIs(a) + ", which the archive lacks"})
	case s.Link != "":
		return nil
	}
	if s.Type != a.Type {
		return d.found(Difference{s.Path, DiffType, what(s.Type), whatIs(a)})
	}
	for _, c := range aspects {
		if c.of != nil && !c.of(s.Type) || c.fine && d.o.Coarse || c.same(s, a, d.o) {
			continue
		}
		if err := d.found(Difference{s.Path, c.kind, c.text(s, a, d.o), c.text(a, s, d.o)}); err != nil {
			return err
		}
	}
	return nil
}
