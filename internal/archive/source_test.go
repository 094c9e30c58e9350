package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// volume is a Source in memory. What it has outside its extents is noise that
// nobody should read.
type volume struct {
	data    []byte
	size    int64 // if data is short: bytes past it are zeros
	extents []block.Extent
	listErr error                                      // at the end of the extents
	before  func(ctx context.Context, off int64) error // each read; may be nil
	short   int                                        // bytes withheld from each read, without an error
	open    atomic.Int64                               // reads under way
	most    atomic.Int64
}

var _ block.Source = (*volume)(nil)

func (v *volume) Size() int64 { return max(v.size, int64(len(v.data))) }

func (v *volume) Close() error { return nil }

func (v *volume) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	for now := v.open.Add(1); ; {
		if most := v.most.Load(); now <= most || v.most.CompareAndSwap(most, now) {
			break
		}
	}
	defer v.open.Add(-1)
	if off < 0 || off+int64(len(p)) > v.Size() {
		return 0, fmt.Errorf("read of %d bytes at %d, outside the volume", len(p), off)
	}
	if v.before != nil {
		if err := v.before(ctx, off); err != nil {
			return 0, err
		}
	}
	n := 0
	if off < int64(len(v.data)) {
		n = copy(p, v.data[off:])
	}
	clear(p[n:])
	return len(p) - v.short, nil
}

func (v *volume) Extents(context.Context) iter.Seq2[block.Extent, error] {
	return func(yield func(block.Extent, error) bool) {
		for _, e := range v.extents {
			if !yield(e, nil) {
				return
			}
		}
		if v.listErr != nil {
			yield(block.Extent{}, v.listErr)
		}
	}
}

// whole makes a volume of which every block is present.
func whole(data []byte) *volume {
	return &volume{data: data, extents: []block.Extent{{Off: 0, Len: int64(len(data))}}}
}

// slowRead takes as long as a read of a fresh EBS volume, or until ctx ends.
func slowRead(ctx context.Context, _ int64) error {
	select {
	case <-time.After(15 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rows records what an image is said to be made of, and checks the order.
type rows struct {
	t      fataler
	kinds  []byte     // 'a', 'z' or 'd' for each block
	sums   [][32]byte // for each block; zero value where it is not data
	frames []codec.Frame
	calls  []string
	fail   map[string]error // by call
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

var _ archive.ImageRows = (*rows)(nil)

func (r *rows) add(kind byte, from, count int64, sums [][32]byte) error {
	r.t.Helper()
	if from != int64(len(r.kinds)) || count <= 0 {
		r.t.Fatalf("row %c of %d blocks from %d, after block %d", kind, count, from, len(r.kinds))
	}
	r.calls = append(r.calls, fmt.Sprintf("%c%d+%d", kind, from, count))
	r.kinds = append(r.kinds, slices.Repeat([]byte{kind}, int(count))...)
	if sums == nil {
		sums = make([][32]byte, count)
	}
	r.sums = append(r.sums, sums...)
	return r.fail[string(kind)]
}

func (r *rows) Absent(from, count int64) error { return r.add('a', from, count, nil) }
func (r *rows) Zero(from, count int64) error   { return r.add('z', from, count, nil) }
func (r *rows) Data(from int64, sums [][32]byte) error {
	if len(sums) > archive.MaxRowBlocks {
		r.t.Fatalf("%d blocks in a data row", len(sums))
	}
	return r.add('d', from, int64(len(sums)), slices.Clone(sums))
}

func (r *rows) Frame(f codec.Frame) error {
	var plain, stored int64
	if n := len(r.frames); n > 0 {
		plain, stored = r.frames[n-1].PlainOff+r.frames[n-1].PlainLen, r.frames[n-1].StoredOff+r.frames[n-1].StoredLen
	}
	if f.PlainOff != plain || f.StoredOff != stored || f.PlainLen <= 0 || f.StoredLen <= 0 {
		r.t.Fatalf("frame %+v, after plain %d and stored %d", f, plain, stored)
	}
	r.frames = append(r.frames, f)
	return r.fail["frame"]
}

func mustCodec(name string, level int) codec.Codec {
	c, err := codec.New(name, level)
	if err != nil {
		panic(err)
	}
	return c
}

// expected is the reference: what an image with these kinds of blocks reads
// back as, and all that is said of it.
type expected struct {
	plain  []byte
	kinds  []byte
	sums   [][32]byte // of data blocks
	hashes [][32]byte // of frames
	digest [32]byte
}

func expect(v *volume) expected {
	e := expected{plain: make([]byte, v.Size())}
	blocks := int((v.Size() + block.Size - 1) / block.Size)
	present := make([]bool, blocks)
	for _, x := range v.extents {
		for i := range present {
			start := int64(i) * block.Size
			present[i] = present[i] || start < x.Off+x.Len && x.Off < start+block.Size
		}
	}
	var frame, digest []byte
	for i := range blocks {
		b := e.plain[i*block.Size : min((i+1)*block.Size, len(e.plain))]
		if present[i] {
			copy(b, v.data[i*block.Size:])
		}
		sum, kind := sha256.Sum256(b), byte('d')
		switch {
		case !present[i]:
			kind = 'a'
		case bytes.Equal(b, make([]byte, len(b))):
			kind = 'z'
		}
		e.kinds = append(e.kinds, kind)
		frame = append(frame, sum[:]...)
		if kind != 'd' {
			sum = [32]byte{}
		}
		e.sums = append(e.sums, sum)
		if i%8 == 7 || i == blocks-1 {
			e.hashes = append(e.hashes, sha256.Sum256(frame))
			digest = append(digest, e.hashes[len(e.hashes)-1][:]...)
			frame = nil
		}
	}
	e.digest = sha256.Sum256(digest)
	return e
}

// calls are the rows that say this in the fewest ranges.
func (e expected) calls() []string {
	var all []string
	for from := 0; from < len(e.kinds); {
		n := 1
		for from+n < len(e.kinds) && e.kinds[from+n] == e.kinds[from] && (e.kinds[from] != 'd' || n < archive.MaxRowBlocks) {
			n++
		}
		all = append(all, fmt.Sprintf("%c%d+%d", e.kinds[from], from, n))
		from += n
	}
	return all
}

// discardRows counts.
type discardRows struct{ frames, blocks int64 }

func (d *discardRows) Absent(_, n int64) error          { d.blocks += n; return nil }
func (d *discardRows) Zero(_, n int64) error            { d.blocks += n; return nil }
func (d *discardRows) Data(_ int64, s [][32]byte) error { d.blocks += int64(len(s)); return nil }
func (d *discardRows) Frame(codec.Frame) error          { d.frames++; return nil }

var _ io.Writer = writerFunc(nil)

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func writeImage(t *testing.T, v block.Source, w io.Writer, r archive.ImageRows, o archive.ImageOptions) archive.ImageResult {
	t.Helper()
	res, err := archive.WriteImage(t.Context(), v, w, r, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
