package bill

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	maxPage       = 32 << 20 // unpacked; writers make pages of 1 MiB
	maxPageValues = 8 << 20
	maxPageHeader = 1 << 20 // it may hold the smallest and largest text
	minPageHeader = 1 << 10
)

// columnReader reads the values of one column chunk by row, forward only. It
// holds one page, and the dictionary: at most a few times maxPage each.
type columnReader struct {
	leaf
	file       io.ReaderAt
	codec      format.CompressionCodec
	kind       valueKind
	at, end    int64 // in the file: the next page, and what is after the last
	left       int64 // rows after this page
	first, n   int64 // rows of this page
	page       values
	dictionary *values
	packed     []byte
	unpacked   []byte
	header     format.PageHeader
	lastIn     *values // where moved found a value, and its number there
	lastAt     int
}

func newColumnReader(p *parquetFile, at leaf, chunk *format.ColumnChunk, rows int64) (*columnReader, error) {
	m := &chunk.MetaData
	c := &columnReader{leaf: at, file: p.file, codec: m.Codec, kind: kind(at.element), at: m.DataPageOffset, left: rows}
	if d := m.DictionaryPageOffset; d > 0 && d < c.at {
		c.at = d
	}
	switch {
	case chunk.FilePath != "":
		return nil, errors.New("it is in another file")
	case m.Type != at.element.Type.V:
		return nil, fmt.Errorf("it is of another type than the schema says: %w", errParquet)
	case m.NumValues != rows:
		return nil, fmt.Errorf("it has %d values in %d rows: %w", m.NumValues, rows, errParquet)
	case c.at < 4 || m.TotalCompressedSize < 0 || c.at > p.size || m.TotalCompressedSize > p.size-c.at:
		return nil, fmt.Errorf("it is not within the file: %w", errParquet)
	}
	c.end = c.at + m.TotalCompressedSize
	c.kind.physical = m.Type
	c.kind.width = width(m.Type, at.element)
	if c.kind.width < 0 {
		return nil, fmt.Errorf("values of type %s are none of a bill's", m.Type)
	}
	return c, nil
}

// seek makes the page with a row the one that is held, passing over others
// without unpacking them. It returns the row within the page.
func (c *columnReader) seek(row int64) (int, error) {
	for row >= c.first+c.n {
		if err := c.next(row); err != nil {
			return 0, err
		}
	}
	return int(row - c.first), nil
}

// next goes to the next page, and unpacks it if it has the row.
func (c *columnReader) next(row int64) error {
	h, size, err := c.readHeader()
	if err != nil {
		return err
	}
	body := c.at + int64(size)
	after := body + int64(h.CompressedPageSize)
	if h.CompressedPageSize < 0 || after > c.end || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPage || h.CompressedPageSize > maxPage {
		return fmt.Errorf("a page of %d bytes, %d unpacked: %w", h.CompressedPageSize, h.UncompressedPageSize, errParquet)
	}
	c.at = after
	if h.Type == format.DictionaryPage {
		return c.readDictionary(h, body)
	}
	n, err := pageValues(h)
	if err != nil {
		return err
	}
	if n < 0 { // an index page
		return nil
	}
	if int64(n) > c.left || n > maxPageValues {
		return fmt.Errorf("a page of %d rows: %w", n, errParquet)
	}
	c.first += c.n
	c.n, c.left = int64(n), c.left-int64(n)
	if row >= c.first+c.n {
		return nil
	}
	return c.readPage(h, body, n)
}

func (c *columnReader) readHeader() (*format.PageHeader, int, error) {
	if c.at >= c.end {
		return nil, 0, fmt.Errorf("it has fewer values than rows: %w", errParquet)
	}
	for room := int64(minPageHeader); ; room *= 8 {
		b := slices.Grow(c.packed[:0], int(room))[:min(room, c.end-c.at)]
		c.packed = b
		if _, err := c.file.ReadAt(b, c.at); err != nil {
			return nil, 0, fmt.Errorf("read page header: %w", err)
		}
		n, err := oversee(b)
		if errors.Is(err, errThriftShort) && room < maxPageHeader && room < c.end-c.at {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("a page header's %w", err)
		}
		c.header = format.PageHeader{}
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), b[:n], &c.header); err != nil {
			return nil, 0, fmt.Errorf("decode page header: %w: %w", errParquet, err)
		}
		return &c.header, n, nil
	}
}

// pageValues is how many rows a page of data has; -1 for a page without data.
func pageValues(h *format.PageHeader) (int32, error) {
	n := int32(-1)
	switch {
	case h.Type == format.DataPage && h.DataPageHeader.Valid:
		n = h.DataPageHeader.V.NumValues
	case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
		n = h.DataPageHeaderV2.V.NumValues
	case h.Type == format.IndexPage:
		return -1, nil
	}
	if n < 0 {
		return 0, fmt.Errorf("a page header: %w", errParquet)
	}
	return n, nil
}

// load reads a page's bytes and checks them.
func (c *columnReader) load(h *format.PageHeader, at int64) ([]byte, error) {
	size := int(h.CompressedPageSize)
	c.packed = slices.Grow(c.packed[:0], size)[:size]
	if _, err := c.file.ReadAt(c.packed, at); err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	if h.CRC != 0 && crc32.ChecksumIEEE(c.packed) != uint32(h.CRC) {
		return nil, fmt.Errorf("a page's checksum differs: %w", errParquet)
	}
	return c.packed, nil
}

// unpack undoes a page's compression; the result has the size that its header says.
func (c *columnReader) unpack(b []byte, size int) ([]byte, error) {
	if size < 0 {
		return nil, errParquet
	}
	c.unpacked = slices.Grow(c.unpacked[:0], size)[:0]
	var err error
	switch c.codec {
	case format.Uncompressed:
		c.unpacked = append(c.unpacked, b...)
	case format.Snappy:
		var n int
		if n, err = snappy.DecodedLen(b); err == nil && n != size {
			return nil, fmt.Errorf("a page of %d bytes that says %d: %w", n, size, errParquet)
		}
		if err == nil {
			c.unpacked, err = snappy.Decode(c.unpacked[:size], b)
		}
	case format.Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			c.unpacked, err = readBounded(c.unpacked, z, size)
		}
	case format.Zstd:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage)); err == nil {
			c.unpacked, err = readBounded(c.unpacked, z, size)
			z.Close()
		}
	default:
		return nil, fmt.Errorf("pages compressed by %s are not read; AWS compresses by snappy", c.codec)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack page: %w: %w", errParquet, err)
	}
	if len(c.unpacked) != size {
		return nil, fmt.Errorf("a page of %d bytes that says %d: %w", len(c.unpacked), size, errParquet)
	}
	return c.unpacked, nil
}

// readBounded reads up to one byte more than size.
func readBounded(b []byte, r io.Reader, size int) ([]byte, error) {
	b = slices.Grow(b[:0], size+1)
	n, err := io.ReadFull(r, b[:size+1])
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil // whether it is too short is seen by its length
	}
	return b[:n], err
}

func (c *columnReader) readDictionary(h *format.PageHeader, at int64) error {
	if !h.DictionaryPageHeader.Valid || c.dictionary != nil {
		return fmt.Errorf("its dictionary: %w", errParquet)
	}
	d := &h.DictionaryPageHeader.V
	if d.NumValues < 0 || d.NumValues > maxPageValues {
		return fmt.Errorf("a dictionary of %d values: %w", d.NumValues, errParquet)
	}
	if d.Encoding != format.Plain && d.Encoding != plainDictionary {
		return fmt.Errorf("a dictionary in encoding %s is not read", d.Encoding)
	}
	b, err := c.load(h, at)
	if err == nil {
		b, err = c.unpack(b, int(h.UncompressedPageSize))
	}
	if err != nil {
		return err
	}
	c.dictionary = &values{kind: c.kind}
	return c.dictionary.plain(bytes.Clone(b), int(d.NumValues))
}

func (c *columnReader) readPage(h *format.PageHeader, at int64, n int32) error {
	b, err := c.load(h, at)
	if err != nil {
		return err
	}
	var levels []byte
	var encoding format.Encoding
	if h.Type == format.DataPageV2 {
		v := &h.DataPageHeaderV2.V
		d, r := v.DefinitionLevelsByteLength, v.RepetitionLevelsByteLength
		if d < 0 || r < 0 || int64(d)+int64(r) > int64(len(b)) {
			return fmt.Errorf("a page's levels: %w", errParquet)
		}
		encoding, levels = v.Encoding, b[r:r+d]
		if b = b[r+d:]; !v.IsCompressed.Valid || v.IsCompressed.V {
			if b, err = c.unpack(b, int(h.UncompressedPageSize-r-d)); err != nil {
				return err
			}
		}
		if !c.optional {
			levels = nil
		}
	} else {
		encoding = h.DataPageHeader.V.Encoding
		if b, err = c.unpack(b, int(h.UncompressedPageSize)); err != nil {
			return err
		}
		if c.optional {
			if e := h.DataPageHeader.V.DefinitionLevelEncoding; e != format.RLE {
				return fmt.Errorf("levels in encoding %s are not read", e)
			}
			if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
				return fmt.Errorf("a page's levels: %w", errParquet)
			}
			end := 4 + int(binary.LittleEndian.Uint32(b))
			levels, b = b[4:end], b[end:]
		}
	}
	c.page.kind = c.kind
	return c.page.data(b, levels, int(n), c.optional, encoding, c.dictionary)
}

// width is how many bytes a value has; 0 if each has its own; -1 for types that
// no column of ours has.
func width(t format.Type, e *format.SchemaElement) int {
	switch t {
	case format.ByteArray:
		return 0
	case format.Int32, format.Float:
		return 4
	case format.Int64, format.Double:
		return 8
	case format.Int96:
		return 12
	case format.FixedLenByteArray:
		if n := e.TypeLength; n.Valid && n.V > 0 && n.V <= math.MaxInt16 {
			return int(n.V)
		}
	}
	return -1
}
