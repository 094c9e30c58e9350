package partition

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"snap-to-s3/internal/block"
)

const mib = 1 << 20

// image is a disk in memory that is zero where nothing was put. It counts reads.
type image struct {
	size  int64
	parts []piece
	reads int
	bytes int64
	fail  int // the read that fails; 0: none
}

type piece struct {
	off  int64
	data []byte
}

var errBroken = errors.New("broken disk")

func (m *image) put(off int64, data []byte) *image {
	m.parts = append(m.parts, piece{off, data})
	return m
}

func (m *image) Size() int64  { return m.size }
func (m *image) Close() error { return nil }

func (m *image) Extents(context.Context) iter.Seq2[block.Extent, error] {
	return func(yield func(block.Extent, error) bool) { yield(block.Extent{Len: m.size}, nil) }
}

func (m *image) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	m.reads++
	m.bytes += int64(len(p))
	if m.reads == m.fail {
		return 0, errBroken
	}
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	if off < 0 || off+int64(len(p)) > m.size {
		return 0, io.EOF
	}
	clear(p)
	for _, q := range m.parts {
		from, to := max(off, q.off), min(off+int64(len(p)), q.off+int64(len(q.data)))
		if from < to {
			copy(p[from-off:to-off], q.data[from-q.off:])
		}
	}
	return len(p), nil
}

// gptSpec makes a GPT by hand, so that it can be wrong in any way.
type gptSpec struct {
	size, sector int64
	parts        map[int][2]int64 // number: first and last sector
	name         string           // of each of them
	count, each  int64
	old          int64 // the size of the disk when it was made; 0: size
}

// guidBytes is 00112233-4455-6677-8899-aabbccddeeff on a disk.
func guidBytes() []byte {
	return []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
}

func (s gptSpec) image() *image {
	if s.count == 0 {
		s.count = 128
	}
	if s.each == 0 {
		s.each = 128
	}
	if s.old == 0 {
		s.old = s.size
	}
	le := binary.LittleEndian
	entries := make([]byte, s.count*s.each)
	for n, p := range s.parts {
		e := entries[int64(n-1)*s.each:]
		copy(e, guidBytes())
		copy(e[16:], guidBytes())
		e[16] = byte(n)
		le.PutUint64(e[32:], uint64(p[0]))
		le.PutUint64(e[40:], uint64(p[1]))
		le.PutUint64(e[48:], 1<<63|4)
		for i, u := range utf16.Encode([]rune(s.name)) {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	room := (int64(len(entries)) + s.sector - 1) / s.sector
	last := s.old/s.sector - 1
	header := func(my, alternate, at int64) []byte {
		h := make([]byte, s.sector)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c")
		for off, v := range map[int]int64{24: my, 32: alternate, 40: 2 + room, 48: last - room - 1, 72: at} {
			le.PutUint64(h[off:], uint64(v))
		}
		copy(h[56:], guidBytes())
		le.PutUint32(h[80:], uint32(s.count))
		le.PutUint32(h[84:], uint32(s.each))
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	m := &image{size: s.size}
	m.put(0, mbrSector(0, mbrEntry{kind: 0xee, start: 1, count: uint32(min(last, 1<<32-1))}))
	m.put(s.sector, header(1, last, 2)).put(2*s.sector, entries)
	m.put((last-room)*s.sector, entries).put(last*s.sector, header(last, 1, last-room))
	return m
}

// mbrSector is an MBR or EBR.
func mbrSector(id uint32, entries ...mbrEntry) []byte {
	p := make([]byte, 512)
	binary.LittleEndian.PutUint32(p[440:], id)
	for i, e := range entries {
		q := p[446+16*i:]
		q[0], q[4] = e.boot, e.kind
		binary.LittleEndian.PutUint32(q[8:], e.start)
		binary.LittleEndian.PutUint32(q[12:], e.count)
	}
	p[510], p[511] = 0x55, 0xaa
	return p
}

// run runs a program of the system, and skips the test without it.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("the %s program is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// imageFile makes a sparse file.
func imageFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeAt(t *testing.T, path string, off int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, off); err != nil {
		t.Fatal(err)
	}
}

// save writes an image into a sparse file.
func (m *image) save(t *testing.T) string {
	t.Helper()
	path := imageFile(t, m.size)
	for _, p := range m.parts {
		writeAt(t, path, p.off, p.data)
	}
	return path
}

func readFile(t *testing.T, path string) Table {
	t.Helper()
	f, err := block.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := Read(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
