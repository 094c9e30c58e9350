package layout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// ReadEntries yields the rows of entries from their first byte on, in bounded
// memory. It checks that they are whole and free of gaps; rows of a kind that
// it does not know are left aside. It ends after the first error; entries that
// end too early are ErrDamaged.
func ReadEntries(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxEntriesFrame))
		if err != nil {
			yield(Row{}, fmt.Errorf("read entries: %w", err))
			return
		}
		defer dec.Close()
		lines := bufio.NewScanner(dec)
		lines.Buffer(nil, maxRow)
		var c checker
		for lines.Scan() {
			row, known, err := parseRow(lines.Bytes())
			if err == nil && known {
				err = c.check(row)
			}
			if err != nil {
				yield(Row{}, fmt.Errorf("read entries: %w", err))
				return
			}
			if known && !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Row{}, fmt.Errorf("read entries: %w", err))
		} else if !c.ended {
			yield(Row{}, fmt.Errorf("read entries: %w: they end before their last row", ErrDamaged))
		}
	}
}

// checker holds the rows of whole entries to the rules of docs/format.md.
type checker struct {
	tally *tally
	ended bool
}

func (c *checker) check(row Row) error {
	if (row.Header != nil) != (c.tally == nil) || c.ended {
		return fmt.Errorf("%w: a header row is not at the start, or something follows the last row", ErrDamaged)
	}
	if row.Header != nil {
		t, err := newTally(*row.Header)
		if err != nil && !errors.Is(err, ErrNewer) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		c.tally = t
		return err
	}
	var err error
	switch t := c.tally; {
	case row.Absent != nil:
		err = t.cover(&t.blocks.Absent, row.Absent.From, row.Absent.Count)
	case row.Zero != nil:
		err = t.cover(&t.blocks.Zero, row.Zero.From, row.Zero.Count)
	case row.Data != nil:
		err = t.cover(&t.blocks.Data, row.Data.From, int64(len(row.Data.Sums)))
	case row.Entry != nil:
		err = t.entry(row.Entry)
	case row.Frames != nil:
		err = t.run(*row.Frames)
	case row.End != nil:
		c.ended = true
		var want EntriesEnd
		if want, err = t.end(); err == nil && *row.End != want {
			err = fmt.Errorf("the last row says %+v, the rows before it %+v", *row.End, want)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
