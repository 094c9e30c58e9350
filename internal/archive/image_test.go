package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

const blockSize = block.Size

// drawVolume makes a volume of up to three frames: blocks are absent, zero,
// noise, or zero with one byte that is not.
func drawVolume(t *rapid.T) *volume {
	blocks := rapid.IntRange(1, 24).Draw(t, "blocks")
	tail := rapid.SampledFrom([]int{blockSize, blockSize, 1, 7, 8, 9, 512, 4096, blockSize - 1}).Draw(t, "tail")
	v := &volume{data: make([]byte, (blocks-1)*blockSize+tail)}
	noise := rand.NewChaCha8([32]byte{byte(blocks)})
	noise.Read(v.data)
	for i := 0; i < blocks; {
		kind := rapid.SampledFrom([]string{"absent", "zero", "noise", "byte"}).Draw(t, "kind")
		n := min(rapid.SampledFrom([]int{1, 1, 2, 3, 8, 9, 16}).Draw(t, "count"), blocks-i)
		from, to := i*blockSize, min((i+n)*blockSize, len(v.data))
		i += n
		if kind == "absent" {
			continue
		}
		if kind != "noise" {
			clear(v.data[from:to])
		}
		if kind == "byte" {
			v.data[rapid.IntRange(from, to-1).Draw(t, "at")] = 1
		}
		// An extent need not know blocks: it covers some of the first and the last.
		cut := 0
		if to-from > blockSize {
			cut = rapid.IntRange(0, blockSize-1).Draw(t, "cut")
		}
		v.extents = append(v.extents, block.Extent{Off: int64(from + cut), Len: int64(to - from - cut)})
	}
	return v
}

func TestWriteImageProperty(t *testing.T) {
	t.Parallel()
	codecs := []codec.Codec{mustCodec("lz4", 1), mustCodec("zstd", 1), mustCodec("lz4", 3)}
	rapid.Check(t, func(t *rapid.T) {
		v := drawVolume(t)
		o := archive.ImageOptions{
			Codec:   rapid.SampledFrom(codecs).Draw(t, "codec"),
			Workers: rapid.IntRange(1, 4).Draw(t, "workers"),
			Reads:   rapid.SampledFrom([]int{1, 3, 32}).Draw(t, "reads"),
		}
		last := int64(0)
		o.Progress = func(n int64) {
			if n <= last {
				t.Fatalf("progress %d after %d", n, last)
			}
			last = n
		}
		var stored bytes.Buffer
		r := &rows{t: t}
		got, err := archive.WriteImage(t.Context(), v, &stored, r, o)
		if err != nil {
			t.Fatal(err)
		}
		if last != v.Size() {
			t.Fatalf("progress ends at %d of %d", last, v.Size())
		}
		check(t, v, o.Codec.Name(), stored.Bytes(), r, got)
	})
}

func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, v *volume, codecName string, stored []byte, r *rows, got archive.ImageResult,
) {
	t.Helper()
	want := expect(v)
	var plain bytes.Buffer
	if n, err := archive.ReadImage(context.Background(), bytes.NewReader(stored), codecName, &plain); err != nil || n != v.Size() || !bytes.Equal(plain.Bytes(), want.plain) {
		t.Fatalf("reads back as %d bytes, %v; want %d", n, err, v.Size())
	}
	if d := cmp.Diff(want.calls(), r.calls); d != "" {
		t.Fatalf("rows: -want +got\n%s", d)
	}
	if d := cmp.Diff(want.sums, r.sums); d != "" {
		t.Fatalf("hashes of blocks: %s", d)
	}
	if len(r.frames) != len(want.hashes) {
		t.Fatalf("%d frames, want %d", len(r.frames), len(want.hashes))
	}
	for i, f := range r.frames {
		alone, err := codec.NewReader(codecName, bytes.NewReader(stored[f.StoredOff:][:f.StoredLen]))
		if err != nil {
			t.Fatalf("%v", err)
		}
		p, err := io.ReadAll(alone)
		if err != nil || !bytes.Equal(p, want.plain[f.PlainOff:][:f.PlainLen]) || f.Hash != want.hashes[i] || f.PlainOff != int64(i)*codec.FrameSize {
			t.Fatalf("frame %d alone, %+v: %d bytes, %v", i, f, len(p), err)
		}
		alone.Close()
	}
	end := r.frames[len(r.frames)-1]
	sum := archive.ImageResult{Plain: v.Size(), Stored: int64(len(stored)), Digest: want.digest}
	sum.DataBlocks = int64(bytes.Count(want.kinds, []byte("d")))
	sum.ZeroBlocks = int64(bytes.Count(want.kinds, []byte("z")))
	sum.AbsentBlocks = int64(bytes.Count(want.kinds, []byte("a")))
	if got != sum || end.PlainOff+end.PlainLen != v.Size() || end.StoredOff+end.StoredLen != int64(len(stored)) {
		t.Fatalf("got %+v, want %+v; last frame %+v", got, sum, end)
	}
}

// More than MaxRowBlocks of data and of zeros: rows are cut and merged at the
// right places, and buffers go round many times.
func TestLongRows(t *testing.T) {
	t.Parallel()
	const blocks = 2*archive.MaxRowBlocks + 900
	v := &volume{size: blocks * blockSize, extents: []block.Extent{{Off: 0, Len: (blocks - 100) * blockSize}}}
	v.data = bytes.Repeat([]byte{1}, 1) // one block of data, then zeros
	r := &rows{t: t}
	writeImage(t, v, io.Discard, r, archive.ImageOptions{Codec: mustCodec("zstd", 1)})
	want := []string{"d0+1", fmt.Sprintf("z1+%d", blocks-101), fmt.Sprintf("a%d+100", blocks-100)}
	if d := cmp.Diff(want, r.calls); d != "" {
		t.Error(d)
	}
	var m recordCalls
	merged := archive.NewRowMerger(&m)
	for i := range int64(blocks) {
		if err := archive.MergeData(merged, i, [32]byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.FlushRows(merged); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(recordCalls{"d0+4096 0000", "d4096+4096 0010", "d8192+900 0020"}, m); d != "" {
		t.Error(d)
	}
}

type recordCalls []string

func (m *recordCalls) Absent(int64, int64) error { panic("not called") }
func (m *recordCalls) Zero(int64, int64) error   { panic("not called") }
func (m *recordCalls) Frame(codec.Frame) error   { panic("not called") }
func (m *recordCalls) Data(from int64, sums [][32]byte) error {
	*m = append(*m, fmt.Sprintf("d%d+%d %x", from, len(sums), sums[0][:2]))
	return nil
}

// The stream does not depend on how it was made.
func TestSameBytesWhateverTheWorkers(t *testing.T) {
	t.Parallel()
	data := make([]byte, 9*codec.FrameSize+77777)
	rand.NewChaCha8([32]byte{}).Read(data[:5*codec.FrameSize])
	for i := range data {
		data[i] &= 0x0f
	}
	var first []byte
	for _, o := range []archive.ImageOptions{{Workers: 1, Reads: 1}, {Workers: 5, Reads: 2}, {Workers: 2, Reads: 32}, {}} {
		o.Codec = mustCodec("zstd", 3)
		var b bytes.Buffer
		writeImage(t, whole(data), &b, &discardRows{}, o)
		if first == nil {
			first = b.Bytes()
		}
		if !bytes.Equal(first, b.Bytes()) {
			t.Errorf("%d workers, %d reads: another stream", o.Workers, o.Reads)
		}
	}
}

// A volume of 2 TiB with a few blocks of data takes little time, and memory
// that does not grow with it.
func TestSparse2TiB(t *testing.T) {
	for _, c := range []codec.Codec{mustCodec("lz4", 1), mustCodec("zstd", 1)} {
		v := &volume{size: 2 << 40, data: []byte{1}, extents: []block.Extent{{Off: 0, Len: 1}, {Off: 1 << 40, Len: 100}, {Off: 2<<40 - 5, Len: 5}}}
		var d discardRows
		var stored int64
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := writeImage(t, v, writerFunc(func(p []byte) (int, error) { stored += int64(len(p)); return len(p), nil }), &d, archive.ImageOptions{Codec: c, Workers: 2})
		runtime.ReadMemStats(&after)
		if d.blocks != 2<<40/blockSize || d.frames != 2<<40/codec.FrameSize || res.DataBlocks != 1 || res.ZeroBlocks != 2 || res.Stored != stored {
			t.Errorf("%s: %+v, rows %+v", c.Name(), res, d)
		}
		if float64(stored) > c.ZeroShare()*(2<<40)+codec.FrameSize {
			t.Errorf("%s: %d bytes stored, over the share of zeros", c.Name(), stored)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 60<<20 {
			t.Errorf("%s: %d bytes allocated in all", c.Name(), n)
		}
	}
}

// All buffers are used again: what is allocated in all stays within the bound
// that ring states.
func TestMemoryIsBounded(t *testing.T) {
	data := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	v := whole(data)
	v.size = 512 << 20
	v.extents[0].Len = v.size
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	writeImage(t, v, io.Discard, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1), Workers: 2})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 48<<20 {
		t.Errorf("%d bytes allocated in all, want at most 44 MiB of buffers and a little", n)
	}
	if v.most.Load() > 32 {
		t.Errorf("%d reads at once", v.most.Load())
	}
}

func TestReadImageErrors(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	writeImage(t, whole(make([]byte, 100)), &b, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1)})
	if _, err := archive.ReadImage(t.Context(), bytes.NewReader(b.Bytes()[:b.Len()-1]), "lz4", io.Discard); err == nil {
		t.Error("a cut stream was read")
	}
	if _, err := archive.ReadImage(t.Context(), &b, "gzip", io.Discard); err == nil {
		t.Error("gzip was read")
	}
}
