package codec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"

	"snap-to-s3/internal/codec"
)

// levels are the ones that differ in kind; every level is in the ratio tests.
func levels() []codec.Codec {
	var all []codec.Codec
	for _, l := range []struct {
		name  string
		level int
	}{{"lz4", 1}, {"lz4", 2}, {"lz4", 3}, {"lz4", 9}, {"zstd", 1}, {"zstd", 3}, {"zstd", 7}, {"zstd", 19}} {
		c, err := codec.New(l.name, l.level)
		if err != nil {
			panic(err)
		}
		all = append(all, c)
	}
	return all
}

// formats has one level of each: there is one reader for all.
func formats() []codec.Codec { return []codec.Codec{levels()[0], levels()[4]} }

func label(c codec.Codec) string { return fmt.Sprintf("%s-%d", c.Name(), c.Level()) }

func encode(t testing.TB, c codec.Codec, chunks ...[]byte) []byte {
	t.Helper()
	e, err := c.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out []byte
	for _, p := range chunks {
		before := len(out)
		if out, err = e.AppendFrame(out, p); err != nil {
			t.Fatalf("%s: frame of %d bytes: %v", label(c), len(p), err)
		}
		if n := len(out) - before; n > c.Bound(len(p)) {
			t.Errorf("%s: a frame of %d bytes takes %d, over its bound %d", label(c), len(p), n, c.Bound(len(p)))
		}
	}
	return out
}

func decode(name string, r io.Reader) ([]byte, error) {
	d, err := codec.NewReader(name, r)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(d)
	return p, errors.Join(err, d.Close())
}

// shapesFor cuts shapes short where the level is slow.
func shapesFor(level int) map[string][]byte {
	s := shapes()
	if level > 9 {
		for name, p := range s {
			s[name] = p[:min(len(p), 600_000)]
		}
	}
	return s
}

// shapes are inputs that encoders treat differently.
func shapes() map[string][]byte {
	random := make([]byte, codec.FrameSize)
	g := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(random); i += 8 {
		binary.LittleEndian.PutUint64(random[i:], g.Uint64())
	}
	runs := make([]byte, 0, codec.FrameSize)
	for len(runs) < codec.FrameSize-400 {
		runs = append(runs, bytes.Repeat([]byte{byte(g.Uint32())}, 1+g.IntN(300))...)
	}
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, "), 20000)
	for range 3000 {
		text[g.IntN(len(text))] = byte(g.Uint32())
	}
	s := map[string][]byte{
		"random": random, "runs": runs, "text": text, "zeros": make([]byte, codec.FrameSize),
		"period 3":      bytes.Repeat([]byte("abc"), 1<<20),
		"period 70000":  bytes.Repeat(random[:70000], 20),
		"zeros, random": append(make([]byte, 1<<20), random[:1<<20]...),
	}
	for n := range 40 {
		s[fmt.Sprintf("%d same bytes", n)] = bytes.Repeat([]byte{7}, n)
		s[fmt.Sprintf("%d random bytes", n)] = random[:n]
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		e, err := c.NewEncoder()
		if err != nil {
			t.Fatal(err)
		}
		for name, plain := range shapesFor(c.Level()) {
			frame, err := e.AppendFrame([]byte("before"), plain)
			if err != nil || !bytes.HasPrefix(frame, []byte("before")) {
				t.Fatalf("%s, %s: prefix %q, %v", label(c), name, frame[:6], err)
			}
			got, err := decode(c.Name(), bytes.NewReader(frame[6:]))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, %s: got %d bytes and %v, want %d", label(c), name, len(got), err, len(plain))
			}
			if again := encode(t, c, plain); !bytes.Equal(again, frame[6:]) {
				t.Errorf("%s, %s: a fresh encoder writes another frame", label(c), name)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFrameSaysLengthAndChecksum(t *testing.T) {
	t.Parallel()
	plain := shapes()["text"]
	for _, c := range levels() {
		f := encode(t, c, plain)
		if c.Name() == "lz4" { // lz4_Frame_format.md: flags 3 and 2, block size code 7, then the size
			if f[4]&0b1100 != 0b1100 || f[4]&0b100000 == 0 || f[5] != 7<<4 || binary.LittleEndian.Uint64(f[6:]) != uint64(len(plain)) {
				t.Errorf("%s: header % x", label(c), f[:15])
			}
			continue
		}
		// RFC 8878, 3.1.1.1: bit 2 checksum, bit 5 single segment, bits 7-6 = 2: a size of 4 bytes
		at := 6 - int(f[4]>>5&1)
		if f[4]&0b100 == 0 || f[4]>>6 != 2 || binary.LittleEndian.Uint32(f[at:]) != uint32(len(plain)) {
			t.Errorf("%s: header % x", label(c), f[:12])
		}
	}
}

func TestReaderContract(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		plain := shapes()["runs"][:100000]
		stored := encode(t, c, plain[:30000], nil, plain[30000:])
		for name, r := range map[string]io.Reader{
			"one byte": iotest.OneByteReader(bytes.NewReader(stored)),
			"data+err": iotest.DataErrReader(bytes.NewReader(stored)),
			"half":     iotest.HalfReader(bytes.NewReader(stored)),
		} {
			if got, err := decode(c.Name(), r); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, %s: %d bytes, %v", label(c), name, len(got), err)
			}
		}
		d, err := codec.NewReader(c.Name(), bytes.NewReader(stored))
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(d, plain); err != nil {
			t.Errorf("%s: %v", label(c), err)
		}
		boom := errors.New("boom")
		if _, err := decode(c.Name(), io.MultiReader(bytes.NewReader(stored[:50]), iotest.ErrReader(boom))); !errors.Is(err, boom) {
			t.Errorf("%s: got %v, want the reader's own error", label(c), err)
		}
	}
}

func TestReaderSkipsSkippableFrames(t *testing.T) {
	t.Parallel()
	skip := []byte{0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}
	for _, c := range levels() {
		a, b := encode(t, c, []byte("one ")), encode(t, c, []byte("two"))
		stream := bytes.Join([][]byte{skip, a, skip, skip, b, skip}, nil)
		if got, err := decode(c.Name(), bytes.NewReader(stream)); err != nil || string(got) != "one two" {
			t.Errorf("%s: %q, %v", label(c), got, err)
		}
	}
}

func TestTruncatedStreamIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range formats() {
		first := encode(t, c, shapes()["runs"][:1000])
		stream := append(bytes.Clone(first), encode(t, c, shapes()["random"][:100])...)
		for n := range stream {
			if n == len(first) {
				continue // a whole stream of one frame
			}
			if _, err := decode(c.Name(), bytes.NewReader(stream[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: cut at %d of %d: got %v", label(c), n, len(stream), err)
			}
		}
	}
}

// A flipped bit is found, or was in one that the format ignores.
func TestFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range formats() {
		plain := shapes()["text"][:300]
		stream := encode(t, c, plain)
		missed := 0
		for bit := range len(stream) * 8 {
			bad := bytes.Clone(stream)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := decode(c.Name(), bytes.NewReader(bad))
			if err == nil && !bytes.Equal(got, plain) {
				// Without the checksum flag there is nothing to find it by; the
				// last bytes are then left over, which is an error too.
				t.Errorf("%s: bit %d flipped: wrong bytes without an error", label(c), bit)
			}
			if err == nil {
				missed++
			}
		}
		if missed > 9 { // zstd: the unused bit, and 8 of the window size
			t.Errorf("%s: %d flipped bits made no difference", label(c), missed)
		}
	}
}

func TestNotAFrame(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		good := encode(t, c, []byte("good"))
		for name, stream := range map[string][]byte{"text": []byte("this is no archive"), "garbage after": append(bytes.Clone(good), "garbage"...)} {
			if _, err := decode(c.Name(), bytes.NewReader(stream)); err == nil {
				t.Errorf("%s: %s: no error", label(c), name)
			}
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		level int
		want  string
	}{
		{"lz4", 0, "lz4 level 0 is out of range: 1 to 9"},
		{"lz4", 10, "lz4 level 10 is out of range: 1 to 9"},
		{"zstd", 20, "zstd level 20 is out of range: 1 to 19"},
		{"gzip", 1, `unknown compression "gzip": lz4 or zstd`},
	} {
		if _, err := codec.New(x.name, x.level); err == nil || err.Error() != x.want {
			t.Errorf("New(%q, %d): got %v, want %s", x.name, x.level, err, x.want)
		}
	}
	if _, err := codec.NewReader("gzip", nil); err == nil {
		t.Error("a reader for gzip")
	}
}

func TestFrameTooLarge(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		e, err := c.NewEncoder()
		if err != nil {
			t.Fatal(err)
		}
		dst, err := e.AppendFrame([]byte("kept"), make([]byte, codec.FrameSize+1))
		if err == nil || string(dst) != "kept" {
			t.Errorf("%s: %q, %v", label(c), dst, err)
		}
		e.Close()
	}
}

func TestZeroShareHolds(t *testing.T) {
	t.Parallel()
	for _, c := range levels() {
		n := len(encode(t, c, make([]byte, codec.FrameSize)))
		if share := float64(n) / codec.FrameSize; share > c.ZeroShare() {
			t.Errorf("%s: zeros take %.6f, over the stated %.6f", label(c), share, c.ZeroShare())
		}
	}
}

// With room in dst a frame costs no memory.
func TestEncoderDoesNotAllocate(t *testing.T) {
	plain := shapes()["runs"]
	for _, c := range levels() {
		if c.Level() > 3 {
			continue // the same code, slower
		}
		e, err := c.NewEncoder()
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 0, c.Bound(len(plain)))
		var before, after runtime.MemStats
		if _, err := e.AppendFrame(dst, plain); err != nil { // sets up its tables
			t.Fatal(err)
		}
		runtime.ReadMemStats(&before)
		for range 4 {
			if _, err := e.AppendFrame(dst, plain); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated for four frames", label(c), n)
		}
		e.Close()
	}
}
