package archive

import (
	"bytes"
	"context"
	"slices"
)

// relink finds the files whose first name in order is not the one that other
// names link to, and what that changes of each of their names.
func (t *Table) relink(ctx context.Context) error {
	if !t.backward {
		return nil
	}
	links, err := t.links.merge()
	if err != nil {
		return err
	}
	rows, err := t.rows.merge()
	if err != nil {
		return err
	}
	for links.ok {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		target := slices.Clone(links.key)
		if bytes.Compare(linkedPath(links.content), target) < 0 {
			err = t.relinkFile(links, rows, target)
		} else {
			err = skip(links, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func skip(m *merger, key []byte) error {
	for m.at(key) {
		if err := m.advance(); err != nil {
			return err
		}
	}
	return nil
}

// relinkFile makes the first of the names that link to target the one that they
// all link to, if target is a file's name and not a link itself.
func (t *Table) relinkFile(links, rows *merger, target []byte) error {
	row, err := rowOf(rows, target)
	if err != nil {
		return err
	}
	if row == nil {
		return skip(links, target)
	}
	number, fields := row[:numberSize], row[numberSize:]
	file, err := decodeRow(target, fields)
	if err != nil {
		return err
	}
	if file.Link != "" {
		return skip(links, target)
	}
	first := slices.Clone(linkedPath(links.content))
	if err := t.addMove(target, number, moveLink, first); err != nil {
		return err
	}
	for links.at(target) {
		path := linkedPath(links.content)
		number := links.content[len(path):]
		if bytes.Equal(path, first) {
			err = t.addMove(path, number, moveFile, fields)
		} else {
			err = t.addMove(path, number, moveLink, first)
		}
		if err != nil {
			return err
		}
		if err := links.advance(); err != nil {
			return err
		}
	}
	return nil
}

// rowOf goes on to the rows of a path and returns a copy of the last one's
// content: it replaces those before. nil: there is none.
func rowOf(rows *merger, path []byte) ([]byte, error) {
	var content []byte
	for rows.ok {
		order := bytes.Compare(rows.key, path)
		if order > 0 {
			break
		}
		if order == 0 {
			content = append(content[:0], rows.content...)
		}
		if err := rows.advance(); err != nil {
			return nil, err
		}
	}
	return content, nil
}

func (t *Table) addMove(path, number []byte, kind byte, to []byte) error {
	b := append(append(t.scratch[:0], path...), number...)
	t.scratch = append(append(b, kind), to...)
	return t.moved.add(t.scratch, len(path))
}
