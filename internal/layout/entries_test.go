package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

const blocksPerFrame = codec.FrameSize / block.Size

func entriesOf(size int64) EntriesHeader {
	return EntriesHeader{Kind: Image, Archive: "vol-1/x.img.zstd", Snapshot: "snap-1", Run: "r-1", PlainSize: size, Codec: "zstd"}
}

// image is a made-up image: what each block is, and how long its frames are.
type image struct {
	size   int64
	kinds  []byte // 'a', 'z' or 'd' of each block
	sums   [][32]byte
	frames []codec.Frame
}

func newImage(size int64, kind func(block int64) byte) *image {
	im := &image{size: size}
	zeros := sha256.Sum256(make([]byte, block.Size))
	for n := int64(0); n*block.Size < size; n++ {
		k := kind(n)
		sum := zeros
		if k == 'd' {
			sum = sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
		}
		im.kinds, im.sums = append(im.kinds, k), append(im.sums, sum)
	}
	var stored int64
	for off := int64(0); off < size; off += codec.FrameSize {
		f := codec.Frame{PlainOff: off, PlainLen: min(codec.FrameSize, size-off), StoredOff: stored, StoredLen: 400}
		first := off / block.Size
		h := sha256.New()
		for n := first; n < min(first+blocksPerFrame, int64(len(im.kinds))); n++ {
			h.Write(im.sums[n][:])
			if im.kinds[n] == 'd' {
				f.StoredLen += 1000 + n%7
			}
		}
		f.Hash = [32]byte(h.Sum(nil))
		stored += f.StoredLen
		im.frames = append(im.frames, f)
	}
	return im
}

// write tells w of the image frame by frame, as the archive's writer does.
func (im *image) write(t testing.TB, w *EntriesWriter) {
	t.Helper()
	for i, f := range im.frames {
		for n := int64(i) * blocksPerFrame; n < min(int64(i+1)*blocksPerFrame, int64(len(im.kinds))); n++ {
			var err error
			switch im.kinds[n] {
			case 'a':
				err = w.Absent(n, 1)
			case 'z':
				err = w.Zero(n, 1)
			default:
				err = w.Data(n, im.sums[n:n+1])
			}
			if err != nil {
				t.Fatalf("block %d: %v", n, err)
			}
		}
		if err := w.Frame(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// digest is the archive's digest as docs/format.md defines it.
func (im *image) digest() string {
	h := sha256.New()
	for _, f := range im.frames {
		h.Write(f.Hash[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read is the inverse of write.
func read(t testing.TB, r io.Reader) (*image, EntriesEnd) {
	t.Helper()
	im, end := &image{}, EntriesEnd{}
	add := func(r *BlockRange, kind byte) {
		if r != nil {
			im.kinds = append(im.kinds, bytes.Repeat([]byte{kind}, int(r.Count))...)
			im.sums = append(im.sums, make([][32]byte, r.Count)...)
		}
	}
	for row, err := range ReadEntries(r) {
		if err != nil {
			t.Fatal(err)
		}
		add(row.Absent, 'a')
		add(row.Zero, 'z')
		switch {
		case row.Header != nil:
			im.size = row.Header.PlainSize
		case row.Data != nil:
			im.kinds = append(im.kinds, bytes.Repeat([]byte{'d'}, len(row.Data.Sums))...)
			im.sums = append(im.sums, row.Data.Sums...)
		case row.Frames != nil:
			for k := range row.Frames.Count {
				f, ok := row.Frames.at(row.Frames.First.PlainOff + k*row.Frames.First.PlainLen)
				if !ok {
					t.Fatalf("frame %d of %+v is not in its run", k, *row.Frames)
				}
				im.frames = append(im.frames, f)
			}
		case row.End != nil:
			end = *row.End
		}
	}
	return im, end
}

func TestEntriesRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Int64Range(1, 40*codec.FrameSize).Draw(rt, "size")
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		last, left := byte('a'), 0
		im := newImage(size, func(int64) byte {
			if left--; left < 0 {
				last, left = "azd"[rnd.IntN(3)], rnd.IntN(20)
			}
			return last
		})
		var b bytes.Buffer
		w := NewEntriesWriter(&b, entriesOf(size))
		im.write(t, w)
		got, end := read(t, bytes.NewReader(b.Bytes()))
		if got.size != size || !bytes.Equal(got.kinds, im.kinds) {
			rt.Fatalf("%d bytes of %q came back as %d of %q", size, im.kinds, got.size, got.kinds)
		}
		if diff := cmp.Diff(im.frames, got.frames); diff != "" {
			rt.Fatalf("frames (-want +got):\n%s", diff)
		}
		for n, kind := range im.kinds {
			if kind == 'd' && im.sums[n] != got.sums[n] {
				rt.Fatalf("hash of block %d came back as another", n)
			}
		}
		last0 := im.frames[len(im.frames)-1]
		want := EntriesEnd{
			Blocks: Blocks{
				Data: int64(bytes.Count(im.kinds, []byte("d"))), Zero: int64(bytes.Count(im.kinds, []byte("z"))),
				Absent: int64(bytes.Count(im.kinds, []byte("a"))),
			},
			Frames: int64(len(im.frames)), PlainSize: size, StoredSize: last0.StoredOff + last0.StoredLen, Digest: im.digest(),
		}
		if diff := cmp.Diff(want, end); diff != "" {
			rt.Fatalf("last row (-want +got):\n%s", diff)
		}
	})
}

// large is entries of several frames: 40 GiB of data and holes.
func large(t testing.TB) (*image, []byte) {
	im := newImage(40<<30, func(n int64) byte {
		if n%1000 < 100 {
			return 'z'
		}
		return 'd'
	})
	var b bytes.Buffer
	im.write(t, NewEntriesWriter(&b, entriesOf(im.size)))
	return im, b.Bytes()
}

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

// Any frame is found from the tail: two reads once, then one for each.
func TestFindFrame(t *testing.T) {
	im, data := large(t)
	r := &countingReaderAt{data: data}
	x, err := OpenEntries(r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if len(x.index) < 3 {
		t.Fatalf("only %d frames of entries: the test shows nothing", len(x.index))
	}
	for i, want := range im.frames {
		if i%97 != 0 && i != len(im.frames)-1 {
			continue
		}
		r.reads = 0
		for _, off := range []int64{want.PlainOff, want.PlainOff + want.PlainLen - 1} {
			got, err := x.FrameAt(off)
			if err != nil || got != want {
				t.Fatalf("frame at %d: %+v, %v, want %+v", off, got, err, want)
			}
		}
		if r.reads != 2 {
			t.Errorf("%d reads for 2 frames", r.reads)
		}
	}
	if f, err := x.FrameAt(im.size); !errors.Is(err, io.EOF) {
		t.Errorf("frame behind the image: %+v, %v, want io.EOF", f, err)
	}
	if f, err := x.FrameAt(-1); err == nil {
		t.Errorf("frame before the image: %+v", f)
	}
}

type countingReaderAt struct {
	data  []byte
	reads int
}

func (r *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	r.reads++
	return bytes.NewReader(r.data).ReadAt(p, off)
}

// An empty volume of 2 TiB costs a few rows and next to no memory.
func TestEntriesOfEmptyVolume(t *testing.T) {
	const size = 2 << 40
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var b bytes.Buffer
	w := NewEntriesWriter(&b, entriesOf(size))
	f := codec.Frame{PlainLen: codec.FrameSize, StoredLen: 417, Hash: sha256.Sum256([]byte("zero frame"))}
	for ; f.PlainOff < size; f.PlainOff, f.StoredOff = f.PlainOff+f.PlainLen, f.StoredOff+f.StoredLen {
		if err := w.Absent(f.PlainOff/block.Size, blocksPerFrame); err != nil {
			t.Fatal(err)
		}
		if err := w.Frame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes were allocated, want at most 16 MiB", n)
	}
	if b.Len() > 1000 {
		t.Errorf("the object has %d bytes, want at most 1,000", b.Len())
	}
	x, err := OpenEntries(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.FrameAt(size - 1)
	want := codec.Frame{PlainOff: size - codec.FrameSize, PlainLen: codec.FrameSize, StoredOff: f.StoredOff - 417, StoredLen: 417, Hash: f.Hash}
	if err != nil || got != want {
		t.Errorf("last frame: %+v, %v, want %+v", got, err, want)
	}
}

// What cannot be true of an image is refused before it is written.
func TestEntriesWriterRefuses(t *testing.T) {
	hash := [32]byte{1}
	tests := []struct {
		name string
		do   func(*EntriesWriter) error
		text string
	}{
		{"gap", func(w *EntriesWriter) error { return w.Zero(1, 1) }, "block 1 where block 0 was to follow"},
		{"too many", func(w *EntriesWriter) error { return w.Absent(0, 18) }, "18 blocks from 0 in an image of 17"},
		{"negative", func(w *EntriesWriter) error { return w.Absent(0, -1) }, "-1 blocks from 0 in an image of 17"},
		{"data behind the end", func(w *EntriesWriter) error { return w.Data(0, make([][32]byte, 18)) }, "18 blocks from 0 in an image of 17"},
		{"short frame", func(w *EntriesWriter) error {
			return w.Frame(codec.Frame{PlainLen: 1 << 20, StoredLen: 1, Hash: hash})
		}, "1 frame(s) of 1048576 bytes at 0 in an image of 8912896"},
		{"frame gap", func(w *EntriesWriter) error {
			return w.Frame(codec.Frame{PlainOff: 4 << 20, PlainLen: 4 << 20, StoredLen: 1, Hash: hash})
		}, "frame at 4194304 (stored 0) where 0 (stored 0) was to follow"},
		{"stored gap", func(w *EntriesWriter) error {
			return w.Frame(codec.Frame{StoredOff: 5, PlainLen: 4 << 20, StoredLen: 1, Hash: hash})
		}, "frame at 0 (stored 5) where 0 (stored 0) was to follow"},
		{"not whole", (*EntriesWriter).Close, "0 of 17 blocks and 0 of 8912896 bytes are told of"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			w := NewEntriesWriter(&b, entriesOf(17*block.Size))
			err := tt.do(w)
			if want := "entries of vol-1/x.img.zstd: " + tt.text; err == nil || err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
			if again := w.Close(); again == nil {
				t.Error("closed after an error")
			}
			for _, err := range ReadEntries(&b) {
				if err == nil {
					t.Error("rows came out of it")
				}
			}
		})
	}
	for name, h := range map[string]EntriesHeader{"no size": entriesOf(0), "a tar": {Kind: Tar, PlainSize: 1}} {
		if err := NewEntriesWriter(io.Discard, h).Zero(0, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	broken := NewEntriesWriter(failingWriter{}, entriesOf(block.Size))
	if err := errors.Join(broken.Zero(0, 1), broken.Frame(codec.Frame{PlainLen: block.Size, StoredLen: 9})); err != nil {
		t.Fatal(err)
	}
	if err := broken.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("close over a broken writer: %v, want %v", err, io.ErrClosedPipe)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Data that is told of in one call is cut into frames a reader takes.
func TestEntriesOfManyBlocksAtOnce(t *testing.T) {
	im := newImage(64<<30, func(int64) byte { return 'd' })
	var b bytes.Buffer
	w := NewEntriesWriter(&b, entriesOf(im.size))
	if err := w.Data(0, im.sums); err != nil {
		t.Fatal(err)
	}
	for _, f := range im.frames {
		if err := w.Frame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := read(t, bytes.NewReader(b.Bytes()))
	if !slices.Equal(im.sums, got.sums) || !slices.Equal(im.frames, got.frames) {
		t.Error("the rows came back changed")
	}
	x, err := OpenEntries(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := x.FrameAt(33 << 30); err != nil || f != im.frames[33<<30/codec.FrameSize] {
		t.Errorf("frame at 33 GiB: %+v, %v", f, err)
	}
}

// zstd and jq read entries as they are; the trailer does not disturb them.
func TestEntriesByHand(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("needs the zstd program")
	}
	im, data := large(t)
	cmd := exec.CommandContext(t.Context(), "zstd", "-d", "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	var blocks int64
	for _, line := range lines {
		var row struct {
			Count  int64
			SHA256 string
			Zero   struct{ Count int64 }
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("row %q: %v", line, err)
		}
		if sums, err := base64.StdEncoding.DecodeString(row.SHA256); err != nil || row.Count*32 != int64(len(sums)) && row.Count > 0 {
			t.Fatalf("row %q: %d bytes of hashes, %v", line, len(sums), err)
		}
		blocks += row.Count + row.Zero.Count
	}
	if blocks != int64(len(im.kinds)) {
		t.Errorf("%d blocks, want %d", blocks, len(im.kinds))
	}
}

// pack makes entries out of rows as they are, to see what a reader makes of them.
func pack(t testing.TB, rows string) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return enc.EncodeAll([]byte(rows), nil)
}
