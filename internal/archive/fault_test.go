package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// The tests here run in bubbles: time is fake, and a goroutine that is left
// behind fails the test.

var errBoom = errors.New("boom")

func zeros(size int64) *volume {
	return &volume{size: size, extents: []block.Extent{{Off: 0, Len: size}}}
}

func noise(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i*i>>3 + i)
	}
	return p
}

// With 15 ms a read, as on a fresh EBS volume, many reads in flight are at least
// 12 times as fast as one at a time.
func TestLatencyIsHidden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := zeros(256 << 20)
		v.before = slowRead
		start := time.Now()
		writeImage(t, v, io.Discard, &discardRows{}, archive.ImageOptions{Codec: mustCodec("zstd", 1), Workers: 2})
		oneAtATime := time.Duration(v.size/block.Size) * 15 * time.Millisecond
		if took := time.Since(start); took > oneAtATime/12 {
			t.Errorf("%v, against %v one at a time: %.1f times", took, oneAtATime, float64(oneAtATime)/float64(took))
		}
		if v.most.Load() != 32 {
			t.Errorf("at most %d reads in flight, want 32", v.most.Load())
		}
	})
}

// Reads that answer in any order, and some very late, only cost time.
func TestReadsOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := whole(noise(10*codec.FrameSize + 1000))
		v.before = func(_ context.Context, off int64) error {
			n := off / block.Size
			time.Sleep(time.Duration(n*7%50) * time.Millisecond)
			if n%11 == 0 {
				time.Sleep(3 * time.Second)
			}
			return nil
		}
		var b bytes.Buffer
		r := &rows{t: t}
		res := writeImage(t, v, &b, r, archive.ImageOptions{Codec: mustCodec("lz4", 1), Workers: 3})
		check(t, v, "lz4", b.Bytes(), r, res)
	})
}

func TestFirstErrorEndsIt(t *testing.T) {
	t.Parallel()
	size := int64(12*codec.FrameSize + 5)
	at := int64(7*codec.FrameSize + 3*block.Size)
	failAt := func(err error) func(context.Context, int64) error {
		return func(_ context.Context, off int64) error {
			time.Sleep(time.Millisecond)
			if off == at {
				return err
			}
			return nil
		}
	}
	for name, x := range map[string]struct {
		volume *volume
		want   string
		is     error
	}{
		"read":            {&volume{before: failAt(errBoom)}, "read 524288 bytes at offset 30932992: boom", errBoom},
		"read with place": {&volume{before: failAt(&block.ReadError{Name: "/dev/sdf", Off: at + 4096, Err: syscall.EIO})}, "read /dev/sdf at offset 30937088: input/output error", syscall.EIO},
		"early end":       {&volume{before: failAt(io.EOF)}, "read 524288 bytes at offset 30932992: only 0 bytes came: unexpected EOF", io.ErrUnexpectedEOF},
		"short, no error": {&volume{short: 1}, "only 524287 bytes came: unexpected EOF", io.ErrUnexpectedEOF},
		"list of extents": {&volume{listErr: errBoom}, "list the extents: boom", errBoom},
		"overlap":         {&volume{extents: []block.Extent{{Off: 0, Len: 10}, {Off: 9, Len: 10}}}, "list the extents: extent of 10 bytes at 9, after 10 in a volume of 50331653", nil},
		"outside":         {&volume{extents: []block.Extent{{Off: size - 1, Len: 2}}}, "list the extents: extent of 2 bytes at 50331652, after 0 in a volume of 50331653", nil},
		"negative":        {&volume{extents: []block.Extent{{Off: -1, Len: 2}}}, "list the extents: extent of 2 bytes at -1, after 0 in a volume of 50331653", nil},
		"overflow":        {&volume{extents: []block.Extent{{Off: 5, Len: 1<<63 - 1}}}, "list the extents: extent of 9223372036854775807 bytes at 5, after 0 in a volume of 50331653", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := zeros(size)
				v.before, v.short, v.listErr = x.volume.before, x.volume.short, x.volume.listErr
				if x.volume.extents != nil {
					v.extents = x.volume.extents
				}
				res, err := archive.WriteImage(t.Context(), v, io.Discard, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1), Workers: 2})
				if err == nil || !strings.HasSuffix(err.Error(), x.want) || x.is != nil && !errors.Is(err, x.is) || res != (archive.ImageResult{}) {
					t.Errorf("got %+v, %v; want %s", res, err, x.want)
				}
			})
		})
	}
}

// The first error is the one that is told, even when others follow from it.
func TestWriterErrorIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 1, 5} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			w := writerFunc(func(p []byte) (int, error) {
				if n++; n > after {
					return 0, errBoom
				}
				return len(p), nil
			})
			v := whole(noise(8 * codec.FrameSize))
			if _, err := archive.WriteImage(t.Context(), v, w, &discardRows{}, archive.ImageOptions{Codec: mustCodec("zstd", 1)}); err != errBoom {
				t.Errorf("after %d frames: got %v", after, err)
			}
		})
	}
	short := writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil })
	if _, err := archive.WriteImage(t.Context(), zeros(5), short, &discardRows{}, archive.ImageOptions{Codec: mustCodec("zstd", 1)}); err != io.ErrShortWrite {
		t.Errorf("short write: got %v", err)
	}
}

func TestRowsErrorIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"a", "z", "d", "frame"} {
		synctest.Test(t, func(t *testing.T) {
			v := &volume{data: noise(3 * codec.FrameSize), size: 6 * codec.FrameSize, extents: []block.Extent{{Off: codec.FrameSize, Len: 3 * codec.FrameSize}}}
			r := &rows{t: t, fail: map[string]error{call: errBoom}}
			if _, err := archive.WriteImage(t.Context(), v, io.Discard, r, archive.ImageOptions{Codec: mustCodec("lz4", 1)}); err != errBoom {
				t.Errorf("%s: got %v", call, err)
			}
		})
	}
}

// At whatever moment it is stopped, it returns the cause soon, with nothing left
// running.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, absent := range []bool{false, true} {
		for after := time.Duration(0); after < 200*time.Millisecond; after += 13 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				v := zeros(400 << 20)
				v.before = slowRead
				if absent {
					v.extents[0].Off, v.extents[0].Len = 300<<20, 100<<20
				}
				start := time.Now()
				time.AfterFunc(after, func() { cancel(errBoom) })
				_, err := archive.WriteImage(ctx, v, io.Discard, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1), Workers: 2, Reads: 8})
				if took := time.Since(start); err != errBoom || took != after {
					t.Errorf("stopped after %v: %v after %v", after, err, took)
				}
				if v.open.Load() != 0 {
					t.Errorf("%d reads still under way", v.open.Load())
				}
			})
		}
	}
}

func TestCancelInARunOfAbsentFrames(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	w := writerFunc(func(p []byte) (int, error) {
		if n++; n == 1000 {
			cancel(errBoom)
		}
		return len(p), nil
	})
	if _, err := archive.WriteImage(ctx, &volume{size: 2 << 40}, w, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1)}); err != errBoom || n > 2000 {
		t.Errorf("%v after %d frames", err, n)
	}
}

func TestSlowWriterHoldsTheReadersBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written atomic.Int64
		v := zeros(400 << 20)
		v.before = func(_ context.Context, off int64) error {
			if ahead := off - written.Load(); ahead > 64<<20 {
				t.Errorf("reading at %d, %d bytes ahead of the writer", off, ahead)
			}
			return nil
		}
		w := writerFunc(func(p []byte) (int, error) {
			time.Sleep(time.Second)
			written.Add(codec.FrameSize)
			return len(p), nil
		})
		writeImage(t, v, w, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1), Workers: 2, Reads: 1})
	})
}

func TestEmptyVolume(t *testing.T) {
	t.Parallel()
	if _, err := archive.WriteImage(t.Context(), &volume{}, io.Discard, &discardRows{}, archive.ImageOptions{Codec: mustCodec("lz4", 1)}); err == nil {
		t.Error("an archive of nothing")
	}
}
