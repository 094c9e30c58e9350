package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
)

// TableOptions says where a table has its rows.
type TableOptions struct {
	Folder string // of its temporary files; "": os.TempDir
	Memory int64  // bytes for rows; 0: 64 MiB. Less than 1 MiB is not kept to
}

// Table sorts rows that come in any order. It holds them in memory up to a
// bound, and the others in files of Folder that have no name and that nobody else
// can read: some 150 bytes for each row, and twice that if there are very many. It
// starts no goroutine, and is not for several of them at once.
type Table struct {
	rows, links, moved recordSorter
	count              uint64 // rows that were added
	backward           bool   // a link comes before its target in the order of paths
	read               bool
	scratch            []byte
}

// NewTable returns an empty table, which is to be closed.
func NewTable(o TableOptions) *Table {
	folder, memory := cmp.Or(o.Folder, os.TempDir()), cmp.Or(o.Memory, 64<<20)
	return &Table{
		rows:  recordSorter{folder: folder, memory: memory / 8 * 5},
		links: recordSorter{folder: folder, memory: memory / 16 * 3, then: linkedPath},
		moved: recordSorter{folder: folder, memory: memory / 16 * 3, then: rowNumber},
	}
}

// The records of a table's sorters. A row's number, which says when it came, is
// 8 bytes, big-endian, so that it sorts. (The links of one path to one target
// come in that order, too: they were added so.)
//
//	rows   path: number, fields
//	links  target: path (as a key), number
//	moved  path: number, moveLink, path of the file's first name
//	       path: number, moveFile, fields of the file
const (
	numberSize = 8
	moveLink   = 'l'
	moveFile   = 'f'
)

// linkedPath is the path in a record of links.
func linkedPath(content []byte) []byte { return content[:len(content)-numberSize] }

// rowNumber is the number in a record of rows and of moved.
func rowNumber(content []byte) []byte { return content[:numberSize] }

// Add takes a copy of r. Paths come once each, in an archive that is whole; those
// that come more often are all kept.
func (t *Table) Add(r *TreeRow) error {
	if t.read {
		return errors.New("archive: a row is added to a table that was read")
	}
	if strings.IndexByte(r.Path, 0) >= 0 || strings.IndexByte(r.Link, 0) >= 0 {
		return fmt.Errorf("the entry %q: its name or that which it links to has a NUL", r.Path)
	}
	b := appendKey(t.scratch[:0], r.Path)
	b = binary.BigEndian.AppendUint64(b, t.count)
	b = appendRow(b, r)
	if err := t.rows.add(b, len(r.Path)); err != nil {
		return err
	}
	if r.Link != "" {
		b = appendKey(b[:0], r.Link)
		b = appendKey(b, r.Path)
		if bytes.Compare(b[len(r.Link):], b[:len(r.Link)]) < 0 {
			t.backward = true
		}
		b = binary.BigEndian.AppendUint64(b, t.count)
		if err := t.links.add(b, len(r.Link)); err != nil {
			return err
		}
	}
	t.scratch = b
	t.count++
	return nil
}

// Sorted yields the rows in the order of paths; of one path in the order in which
// they were added. Hard links are made canonical: of all names of a file the
// first in order carries what is known of it, and the others link to it. Links to
// names that are not there, or that are links, stay as they are.
//
// It is for one loop, after which nothing can be added. An error ends it, and so
// does the end of ctx.
func (t *Table) Sorted(ctx context.Context) iter.Seq2[*TreeRow, error] {
	return func(yield func(*TreeRow, error) bool) {
		if t.read {
			yield(nil, errors.New("archive: a table is read twice"))
			return
		}
		t.read = true
		err := t.relink(ctx)
		if err == nil {
			err = t.walk(ctx, func(r *TreeRow) bool { return yield(r, nil) })
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// Close gives memory and files back.
func (t *Table) Close() error {
	t.read = true
	return errors.Join(t.rows.close(), t.links.close(), t.moved.close())
}

// walk goes through rows and what is to be changed of them.
func (t *Table) walk(ctx context.Context, visit func(*TreeRow) bool) error {
	rows, err := t.rows.merge()
	if err != nil {
		return err
	}
	moved, err := t.moved.merge()
	if err != nil {
		return err
	}
	for rows.ok {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r, err := decodeRow(rows.key, rows.content[numberSize:])
		if err != nil {
			return err
		}
		if moved.at(rows.key) && bytes.Equal(rowNumber(moved.content), rowNumber(rows.content)) {
			if r, err = move(r, rows.key, moved.content[numberSize:]); err != nil {
				return err
			}
			if err := moved.advance(); err != nil {
				return err
			}
		}
		if !visit(r) {
			return nil
		}
		if err := rows.advance(); err != nil {
			return err
		}
	}
	if moved.ok {
		return fmt.Errorf("archive: the row of %q was lost while sorting", pathOf(moved.key))
	}
	return nil
}

// move makes of a row what it is among the names of its file.
func move(r *TreeRow, key, to []byte) (*TreeRow, error) {
	if len(to) == 0 {
		return nil, fmt.Errorf("the row of %q: %w", r.Path, errDamagedRecord)
	}
	if to[0] == moveFile {
		return decodeRow(key, to[1:])
	}
	r.Link = pathOf(to[1:])
	r.Stored, r.XattrSum, r.Sum, r.Runs, r.Map, r.RunSum = 0, nil, nil, false, nil, nil
	return r, nil
}
