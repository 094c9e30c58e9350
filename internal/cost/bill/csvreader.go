package bill

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"snap-to-s3/internal/hint"
)

// csvReader adds a CSV's lines to a ledger.
type csvReader struct {
	*scanner
	name    string
	schema  *schema
	ledger  *ledger
	source  *Source
	wanted  []field // by column
	columns []int   // their columns, ascending
	start   field   // that tells when a line begins
	early   int     // how many of them are looked at in lines of anything
	row     row
}

// readCSV reads all of a CSV. What it reports as progress is up to its caller, by tell.
func (l *ledger) readCSV(name string, r io.Reader, src *Source, tell func(rows int64)) error {
	c := &csvReader{scanner: newScanner(r), name: name, ledger: l, source: src}
	header, err := c.header()
	if err != nil {
		return err
	}
	pending := int64(0)
	for {
		rec, quotes, err := c.record()
		if errors.Is(err, io.EOF) {
			tell(pending)
			return nil
		}
		if err != nil {
			return c.cut(rec, err)
		}
		if len(rec) == len(header) && bytes.Equal(rec, header) {
			continue // files of one report, one after another
		}
		if err := c.count(rec, quotes); err != nil {
			return err
		}
		src.Rows++
		if pending++; pending == 4096 {
			tell(pending)
			pending = 0
		}
	}
}

func (c *csvReader) header() ([]byte, error) {
	rec, _, err := c.record()
	if errors.Is(err, io.EOF) {
		return nil, hint.Wrap(fmt.Errorf("%s is empty", c.name), "was it downloaded whole? compare its size with that in the bucket")
	}
	if err != nil {
		return nil, c.cut(rec, err)
	}
	header := bytes.Clone(rec)
	rec = bytes.TrimPrefix(rec, []byte("\xef\xbb\xbf"))
	var names []string
	column, err := c.split(rec, func(_ int, text []byte) bool {
		names = append(names, string(text))
		return len(names) <= maxColumns
	})
	switch {
	case !utf8.Valid(rec):
		return nil, hint.Wrap(c.at(errNotUTF8), "bills are UTF-8; a spreadsheet may have saved it otherwise: use the file as AWS wrote it")
	case err != nil:
		return nil, c.in(column, err)
	case len(names) > maxColumns:
		return nil, c.at(fmt.Errorf("more than %d columns", maxColumns))
	}
	if c.schema, err = newSchema(names); err != nil {
		return nil, c.at(err)
	}
	c.source.Format = c.schema.family.String() + ", " + c.source.Format
	c.plan()
	return header, nil
}

// plan sorts the wanted columns.
func (c *csvReader) plan() {
	if c.start = fieldStart; c.schema.column[fieldStart] < 0 {
		c.start = fieldInterval
	}
	for f := range fields {
		if c.schema.column[f] >= 0 {
			c.wanted = append(c.wanted, f)
		}
	}
	slices.SortFunc(c.wanted, func(a, b field) int { return c.schema.column[a] - c.schema.column[b] })
	for i, f := range c.wanted {
		c.columns = append(c.columns, c.schema.column[f])
		switch f {
		case fieldUsageType, fieldLineType, fieldPayer, fieldAccount, c.start:
			c.early = i + 1
		}
	}
}

// count adds one record.
func (c *csvReader) count(rec []byte, quotes int) error {
	if !utf8.Valid(rec) {
		return c.notUTF8(rec)
	}
	if quotes > 0 {
		return c.countQuoted(rec)
	}
	if n := bytes.Count(rec, []byte(",")) + 1; n != len(c.schema.names) {
		return c.ragged(n)
	}
	taken := c.take(rec, 0, 0, c.early)
	s := storageOf(c.row[fieldUsageType])
	if s == notSnapshot {
		return c.other()
	}
	c.take(rec[taken:], c.columns[c.early-1], c.early, len(c.wanted))
	return c.add(s)
}

// take reads the wanted columns from the i-th to the n-th out of the fields of a
// record without quotes, of which the first is in the given column. It returns
// where the last field it took begins.
func (c *csvReader) take(rec []byte, column, i, n int) int {
	at := 0
	for ; i < n; i++ {
		for ; column < c.columns[i]; column++ {
			at += bytes.IndexByte(rec[at:], ',') + 1
		}
		text := rec[at:]
		if end := bytes.IndexByte(text, ','); end >= 0 {
			text = text[:end]
		}
		c.row[c.wanted[i]] = text
	}
	return at
}

func (c *csvReader) countQuoted(rec []byte) error {
	i, n := 0, 0
	column, err := c.split(rec, func(column int, text []byte) bool {
		if n = column + 1; i < len(c.columns) && c.columns[i] == column {
			c.row[c.wanted[i]] = text
			i++
		}
		return true
	})
	if err != nil {
		return c.in(column, err)
	}
	if n != len(c.schema.names) {
		return c.ragged(n)
	}
	s := storageOf(c.row[fieldUsageType])
	if s == notSnapshot {
		return c.other()
	}
	return c.add(s)
}

func (c *csvReader) other() error {
	if err := c.ledger.other(&c.row, c.start); err != nil {
		return c.at(err)
	}
	return nil
}

func (c *csvReader) add(s storage) error {
	err := c.ledger.add(&c.row, s, c.source)
	if bad, ok := errors.AsType[*fieldError](err); ok {
		return hint.Wrap(c.in(c.schema.column[bad.field], err), "use the file as AWS wrote it, whole")
	}
	if err != nil {
		return c.at(err)
	}
	return nil
}
