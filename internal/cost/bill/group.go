package bill

import (
	"context"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"snap-to-s3/internal/hint"
)

// groupReader adds the lines of one row group.
type groupReader struct {
	*parquetFile
	group   *format.RowGroup
	ledger  *ledger
	source  *Source
	first   int64 // row of the file that the group begins with
	columns [fields]*columnReader
	row     row
	known   bool // that who is
	who     int  // in ledger.linked: of the last row of another service
}

// open prepares the columns that the file has.
func (r *groupReader) open() error {
	for f := range fields {
		c := r.schema.column[f]
		if c < 0 {
			continue
		}
		at := r.leaves[c]
		if at.index >= len(r.group.Columns) {
			return fmt.Errorf("column %s is missing: %w", r.schema.name(f), errParquet)
		}
		column, err := newColumnReader(r.parquetFile, at, &r.group.Columns[at.index], r.group.NumRows)
		if err != nil {
			return fmt.Errorf("column %s: %w", r.schema.name(f), err)
		}
		r.columns[f] = column
	}
	return nil
}

// read looks at the usage type of each row, and at the rest only in rows of
// snapshots: pages of other columns that have none are not even unpacked.
func (r *groupReader) read(ctx context.Context, tell func(int64)) error {
	const often = 4096
	pending := int64(0)
	start := r.columns[fieldStart]
	if start == nil {
		start = r.columns[fieldInterval]
	}
	for i := range r.group.NumRows {
		if pending == often {
			if err := ctx.Err(); err != nil {
				return err
			}
			tell(pending)
			pending = 0
		}
		pending++
		s, err := r.columns[fieldUsageType].storage(i)
		if err != nil {
			return r.at(i, fieldUsageType, err)
		}
		if s != notSnapshot {
			err = r.add(i, s)
		} else {
			err = r.other(start, i)
		}
		if err != nil {
			return err
		}
	}
	r.source.Rows += r.group.NumRows
	tell(pending)
	return nil
}

// other is a row of another service, which tells how far the bill of its account
// has come.
func (r *groupReader) other(start *columnReader, i int64) error {
	day, err := start.day(i)
	if err != nil {
		return r.at(i, fieldStart, err)
	}
	if err := r.whose(i); err != nil {
		return err
	}
	who := &r.ledger.linked[r.who]
	if day == noDay || who.within(day) && (day <= who.days[1] || day == who.days[0]) {
		return nil
	}
	kind, err := r.columns[fieldLineType].text(i)
	if err != nil {
		return r.at(i, fieldLineType, err)
	}
	if chargeOf(kind) == chargeUsage {
		who.reach(day)
		r.ledger.saw(who, day, day)
	}
	return nil
}

// whose finds the record of a row's account, if it is not that of the row before.
func (r *groupReader) whose(i int64) error {
	changed := !r.known
	for _, f := range [...]field{fieldPayer, fieldAccount} {
		if c := r.columns[f]; c != nil {
			other, err := c.moved(i)
			if err != nil {
				return r.at(i, f, err)
			}
			changed = changed || other
		}
	}
	if !changed {
		return nil
	}
	for _, f := range [...]field{fieldPayer, fieldAccount} {
		if c := r.columns[f]; c != nil {
			text, err := c.text(i)
			if err != nil {
				return r.at(i, f, err)
			}
			r.row[f] = text
		}
	}
	if _, err := r.ledger.whose(r.row[fieldPayer], r.row[fieldAccount]); err != nil {
		return fmt.Errorf("%s, row %d: %w", r.name, r.first+i+1, err)
	}
	r.known, r.who = true, r.ledger.lastLinked
	return nil
}

func (r *groupReader) add(i int64, s storage) error {
	for f, c := range r.columns {
		if c == nil {
			continue
		}
		text, err := c.text(i)
		if err != nil {
			return r.at(i, field(f), err)
		}
		r.row[f] = text
	}
	err := r.ledger.add(&r.row, s, r.source)
	if bad, ok := errors.AsType[*fieldError](err); ok {
		return hint.Wrap(r.at(i, bad.field, err), "use the file as AWS wrote it, whole")
	}
	if err != nil {
		return fmt.Errorf("%s, row %d: %w", r.name, r.first+i+1, err)
	}
	return nil
}

// at names the file, row and column of an error.
func (r *groupReader) at(i int64, f field, err error) error {
	return fmt.Errorf("%s, row %d, column %s: %w", r.name, r.first+i+1, r.schema.name(f), err)
}

// kind is what the values of a column are, by both ways that a schema has to say so.
func kind(e *format.SchemaElement) valueKind {
	switch t := e.LogicalType.Value.(type) {
	case *format.DecimalType:
		return valueKind{decimal: true, scale: int(t.Scale)}
	case *format.DateType:
		return valueKind{perSecond: -1}
	case *format.TimestampType:
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			return valueKind{perSecond: 1e3}
		case *format.MicroSeconds:
			return valueKind{perSecond: 1e6}
		case *format.NanoSeconds:
			return valueKind{perSecond: 1e9}
		}
	}
	if e.ConvertedType.Valid {
		switch e.ConvertedType.V {
		case deprecated.Decimal:
			return valueKind{decimal: true, scale: int(e.Scale.V)}
		case deprecated.Date:
			return valueKind{perSecond: -1}
		case deprecated.TimestampMillis:
			return valueKind{perSecond: 1e3}
		case deprecated.TimestampMicros:
			return valueKind{perSecond: 1e6}
		}
	}
	return valueKind{}
}
