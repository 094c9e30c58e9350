package bill

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"snap-to-s3/internal/hint"
)

// part is one file to be read.
type part struct {
	Input
	assembly int // files of one assembly, by its manifest, are parts of one delivery
}

// assemblies is how many different ones there are.
func assemblies(parts []part) int {
	seen := map[int]bool{}
	for _, p := range parts {
		seen[p.assembly] = true
	}
	return len(seen)
}

// reading is a file while it is read.
type reading struct {
	part
	ledger *ledger
	source Source
	raw    *counted
	text   *bufio.Reader // of raw
	bytes  atomic.Int64  // read
	told   int64         // of them, to the ledger
	close  func()
}

// read adds one file, whatever it is by its content. A manifest adds nothing: it
// is returned as the files that it names.
func (l *ledger) read(ctx context.Context, p part) ([]part, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.assembly = p.assembly
	f, err := p.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("read bill %s: %w", p.Name, err)
	}
	r := &reading{part: p, ledger: l, source: Source{Name: p.Name}, close: sync.OnceFunc(func() { f.Close() })}
	defer r.close()
	r.raw = &counted{r: f, n: &r.bytes}
	r.text = bufio.NewReaderSize(r.raw, chunkSize)
	head, err := r.text.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read bill %s: %w", p.Name, err)
	}
	switch {
	case string(head) == magic, string(head) == "PK\x03\x04", string(head) == "PK\x05\x06":
		err = r.readRandom(ctx, string(head))
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		err = r.readGzip(ctx)
	case bytes.HasPrefix(bytes.TrimLeft(head, "\xef\xbb\xbf \r\n\t"), []byte("{")):
		return l.readManifest(ctx, p, r.text)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		err = hint.Wrap(fmt.Errorf("%s, line 1: %w", p.Name, errNotUTF8), "a spreadsheet has saved it as UTF-16: use the file as AWS wrote it")
	default:
		r.source.Format = "CSV"
		err = r.readText(ctx, r.text)
	}
	if err != nil {
		return nil, err
	}
	l.tell(max(0, p.Size-r.told), 0) // Parquet is not read whole
	l.sources, l.assemblies = append(l.sources, r.source), append(l.assemblies, p.assembly)
	return nil, nil
}

// tell adds rows to the progress, and the bytes since the last call.
func (r *reading) tell(rows int64) {
	n := r.bytes.Load()
	if r.Size >= 0 {
		n = min(n, r.Size) // what was only looked at is not counted twice
	}
	r.ledger.tell(n-r.told, rows)
	r.told = n
}

func (r *reading) readGzip(ctx context.Context) error {
	z, err := gzip.NewReader(r.text)
	if err != nil {
		return hint.Wrap(fmt.Errorf("%s: read gzip header: %w", r.Name, err), "it was not downloaded whole: do that again")
	}
	r.source.Format = "CSV, gzip"
	return r.readText(ctx, unpacked{z, r.raw})
}

// readText reads a CSV out of a goroutine that reads ahead, and unpacks. That
// has ended on return, unless it waits for an input that cannot be interrupted.
func (r *reading) readText(ctx context.Context, text io.Reader) error {
	a := readAhead(ctx, text)
	err := r.ledger.readCSV(r.Name, a, &r.source, r.tell)
	a.end()
	r.close()
	if !r.endless {
		a.wait()
	}
	return err
}

// readRandom reads what needs random access: Parquet and zip.
func (r *reading) readRandom(ctx context.Context, head string) error {
	var at ReaderAt
	var err error
	size := r.Size
	if r.OpenAt != nil && size >= 0 {
		at, err = r.OpenAt(ctx)
	} else {
		at, size, err = spool(ctx, r.Name, r.text)
	}
	if err != nil {
		return fmt.Errorf("read bill %s: %w", r.Name, err)
	}
	defer at.Close()
	file := countedAt{at, &r.bytes}
	if head != magic {
		return r.readZip(ctx, file, size)
	}
	r.source.Format = "Parquet"
	return r.ledger.readParquet(ctx, &parquetFile{name: r.Name, file: file, size: size}, &r.source, r.tell)
}

// readZip reads the one CSV of a zip.
func (r *reading) readZip(ctx context.Context, file io.ReaderAt, size int64) error {
	z, err := zip.NewReader(file, size)
	if err != nil {
		return hint.Wrap(fmt.Errorf("%s: read zip: %w", r.Name, err), "it was not downloaded whole: do that again")
	}
	z.RegisterDecompressor(zip.Deflate, flate.NewReader)
	var found []*zip.File
	for _, f := range z.File {
		switch {
		case f.Name == "[Content_Types].xml":
			return hint.Wrap(fmt.Errorf("%s is a spreadsheet", r.Name), "use the file as AWS wrote it")
		case strings.EqualFold(path.Ext(f.Name), ".csv"):
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		err := fmt.Errorf("%s: a zip with %d CSV files", r.Name, len(found))
		return hint.Wrap(err, "AWS's have one: unpack it, and name the files")
	}
	f, err := found[0].Open()
	if err != nil {
		return fmt.Errorf("%s: read %q of the zip: %w", r.Name, found[0].Name, err)
	}
	defer f.Close()
	r.source.Format = "CSV, zip"
	a := readAhead(ctx, unpacked{Reader: f})
	err = r.ledger.readCSV(r.Name, a, &r.source, r.tell)
	a.end()
	a.wait() // the zip is on a disk of this host, or reads end with ctx
	return err
}

// readManifest is a manifest that only its content gives away.
func (l *ledger) readManifest(ctx context.Context, p part, r io.Reader) ([]part, error) {
	m, err := parseManifest(p.Name, r)
	if err != nil {
		return nil, err
	}
	parts, err := m.parts(ctx, p.Input, p.assembly)
	if errors.Is(err, errNothingBeside) {
		err = hint.Wrap(err, "give the path of the manifest, not its content")
	}
	return parts, err
}
