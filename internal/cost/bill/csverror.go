package bill

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"snap-to-s3/internal/hint"
)

// at names the file and line of an error.
func (c *csvReader) at(err error) error {
	where := fmt.Errorf("%s, line %d: %w", c.name, c.line, err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		where = fmt.Errorf("%s ends in the middle, after line %d: %w", c.name, c.line, err)
		return hint.Wrap(where, "it was not downloaded whole: do that again, and compare its size with that in the bucket")
	case errors.Is(err, errDamaged):
		return hint.Wrap(where, "download it again, and compare its size with that in the bucket")
	}
	return where
}

// cut is an error of cutting records: one about a record names the column that
// it is too long at, or that its quote is open in.
func (c *csvReader) cut(rec []byte, err error) error {
	switch {
	case errors.Is(err, errLongLine):
		err = c.in(c.columnAt(rec[:maxLine]), fmt.Errorf("the line %w", err))
	case errors.Is(err, errQuote):
		err = c.in(c.columnAt(rec), err)
	default:
		return c.at(err)
	}
	return hint.Wrap(err, "no line of a bill is that long: is a quote missing, or is it another kind of file?")
}

// columnAt is the column that the end of rec is in, or the one that an error is in.
func (c *csvReader) columnAt(rec []byte) int {
	last := 0
	column, err := c.split(rec, func(column int, _ []byte) bool {
		last = column
		return true
	})
	if err != nil {
		return column
	}
	return last
}

// in names the file, line and column of an error.
func (c *csvReader) in(column int, err error) error {
	return fmt.Errorf("%s, line %d, column %s: %w", c.name, c.line, c.columnName(column), err)
}

// columnName is a column's name, or its number where it has none.
func (c *csvReader) columnName(column int) string {
	if c.schema != nil && column >= 0 && column < len(c.schema.names) {
		return c.schema.names[column]
	}
	return strconv.Itoa(column + 1)
}

// ragged is a line with another number of fields than the header.
func (c *csvReader) ragged(n int) error {
	want := len(c.schema.names)
	err := c.in(min(n, want), fmt.Errorf("the line has %d fields, the header %d", n, want))
	return hint.Wrap(err, "a line was cut or joined: use the file as AWS wrote it, whole")
}

// notUTF8 finds the column that is not.
func (c *csvReader) notUTF8(rec []byte) error {
	bad := 0
	for bad < len(rec) {
		r, size := utf8.DecodeRune(rec[bad:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		bad += size
	}
	err := c.in(c.columnAt(rec[:bad]), fmt.Errorf("byte %d %w", bad+1, errNotUTF8))
	return hint.Wrap(err, "bills are UTF-8; a spreadsheet may have saved it otherwise: use the file as AWS wrote it")
}
