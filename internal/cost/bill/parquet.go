package bill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"snap-to-s3/internal/hint"
)

const (
	maxFooter   = 64 << 20
	rowsPerByte = 64 // of a whole file; a row of a bill takes ten bytes and more
	magic       = "PAR1"
)

var errParquet = errors.New("the file is damaged")

// parquetFile is a Parquet file (https://parquet.apache.org/docs/file-format/).
// Its metadata is decoded by parquet-go; its pages by us, since a reader of bills
// wants a tenth of the columns and, of most of those, a few rows, and must not
// make room for whatever a damaged page says it holds.
type parquetFile struct {
	name   string
	file   io.ReaderAt
	size   int64
	meta   format.FileMetaData
	schema *schema
	leaves []leaf // by column of the schema; those that we can read
}

// leaf is a column at the top of the schema.
type leaf struct {
	index    int // among the chunks of a row group; -1: it has others inside
	element  *format.SchemaElement
	optional bool
}

// readParquet adds a Parquet file's lines. What panics in libraries on damaged
// input becomes an error here.
func (l *ledger) readParquet(ctx context.Context, p *parquetFile, src *Source, tell func(int64)) (err error) {
	defer func() {
		if trouble := recover(); trouble != nil {
			err = fmt.Errorf("%s: %w: %v", p.name, errParquet, trouble)
		}
		if errors.Is(err, errParquet) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errThriftShort) || errors.Is(err, errThrift) {
			err = hint.Wrap(err, "download it again, and compare its size with that in the bucket")
		}
	}()
	if err := p.open(); err != nil {
		return fmt.Errorf("read Parquet file %s: %w", p.name, err)
	}
	src.Format = p.schema.family.String() + ", " + src.Format
	return p.read(ctx, l, src, tell)
}

func (p *parquetFile) open() error {
	var end [8]byte
	if p.size < int64(len(magic)+len(end)) {
		return fmt.Errorf("it is cut short: %w", io.ErrUnexpectedEOF)
	}
	if _, err := p.file.ReadAt(end[:], p.size-int64(len(end))); err != nil {
		return fmt.Errorf("read its end: %w", err)
	}
	if string(end[4:]) != magic {
		return fmt.Errorf("it does not end as Parquet does: %w", io.ErrUnexpectedEOF)
	}
	n := int64(binary.LittleEndian.Uint32(end[:4]))
	at := p.size - int64(len(end)) - n
	switch {
	case at < int64(len(magic)):
		return fmt.Errorf("its footer is larger than the file: %w", errParquet)
	case n > maxFooter:
		return errThriftLarge
	}
	footer := make([]byte, n)
	if _, err := p.file.ReadAt(footer, at); err != nil {
		return fmt.Errorf("read its footer: %w", err)
	}
	used, err := oversee(footer)
	if err != nil {
		return fmt.Errorf("its footer's %w", err)
	}
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer[:used], &p.meta); err != nil {
		return fmt.Errorf("decode its footer: %w: %w", errParquet, err)
	}
	if p.meta.EncryptionAlgorithm.Value != nil {
		return errors.New("it is encrypted")
	}
	return p.openSchema()
}

// openSchema finds the columns by name. Those with others inside, such as maps
// of tags, are not looked into.
func (p *parquetFile) openSchema() error {
	elements := p.meta.Schema
	if len(elements) == 0 || !elements[0].NumChildren.Valid {
		return fmt.Errorf("it has no schema: %w", errParquet)
	}
	var names []string
	index := 0
	for i := 1; i < len(elements); {
		e := &elements[i]
		end, leaves := subtree(elements, i)
		if end < 0 {
			return fmt.Errorf("its schema's tree: %w", errParquet)
		}
		one := leaf{index: -1, element: e}
		if e.Type.Valid && !e.NumChildren.Valid && (!e.RepetitionType.Valid || e.RepetitionType.V != format.Repeated) {
			one.index = index
			one.optional = e.RepetitionType.Valid && e.RepetitionType.V == format.Optional
		}
		names = append(names, e.Name)
		p.leaves = append(p.leaves, one)
		index += leaves
		i = end
	}
	var err error
	if p.schema, err = newSchema(names); err != nil {
		return err
	}
	for f := range fields {
		if c := p.schema.column[f]; c >= 0 && p.leaves[c].index < 0 {
			return fmt.Errorf("column %s is no plain column", p.schema.name(f))
		}
	}
	return p.checkRows()
}

// subtree is where the elements after element i and those below it begin, and how many
// leaves it has; -1 if the schema ends before.
func subtree(elements []format.SchemaElement, i int) (end, leaves int) {
	for open := 1; open > 0; i++ {
		if i >= len(elements) {
			return -1, 0
		}
		open--
		e := &elements[i]
		if !e.NumChildren.Valid || e.NumChildren.V == 0 {
			leaves++
			continue
		}
		if e.NumChildren.V < 0 || int(e.NumChildren.V) > len(elements) {
			return -1, 0
		}
		open += int(e.NumChildren.V)
	}
	return i, leaves
}

// checkRows refuses counts of rows that no file of this size can have: a page
// of a few bytes may say that it has millions of them.
func (p *parquetFile) checkRows() error {
	total := int64(0)
	for i := range p.meta.RowGroups {
		n := p.meta.RowGroups[i].NumRows
		if n < 0 || n > p.size*rowsPerByte || total > p.size*rowsPerByte-n {
			return fmt.Errorf("it cannot have as many rows as it says: %w", errParquet)
		}
		total += n
	}
	return nil
}

// read goes through the row groups.
func (p *parquetFile) read(ctx context.Context, l *ledger, src *Source, tell func(int64)) error {
	first := int64(0)
	for g := range p.meta.RowGroups {
		group := &p.meta.RowGroups[g]
		r := &groupReader{parquetFile: p, group: group, ledger: l, source: src, first: first}
		if err := r.open(); err != nil {
			return fmt.Errorf("%s, row group %d, %w", p.name, g+1, err)
		}
		if err := r.read(ctx, tell); err != nil {
			return err
		}
		first += group.NumRows
	}
	return nil
}
