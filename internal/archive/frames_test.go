package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/codec"
)

// framed is an image as it is stored, with its table.
type framed struct {
	plain, stored []byte
	frames        []codec.Frame
	name          string
}

// frameRows keeps the frames of an image.
type frameRows struct {
	discardRows
	frames []codec.Frame
}

func (r *frameRows) Frame(f codec.Frame) error {
	r.frames = append(r.frames, f)
	return nil
}

func framedImage(t *testing.T, name string, plain []byte) framed {
	t.Helper()
	var stored bytes.Buffer
	rows := &frameRows{}
	writeImage(t, whole(plain), &stored, rows, archive.ImageOptions{Codec: mustCodec(name, 1)})
	return framed{plain, stored.Bytes(), rows.frames, name}
}

// noisyFrames is n frames, of which every third is zero, and some more bytes.
func noisyFrames(n, more int) []byte {
	data := make([]byte, n*codec.FrameSize+more)
	noise := rand.NewChaCha8([32]byte{3})
	for i := range n + 1 {
		if i%3 != 2 {
			noise.Read(data[i*codec.FrameSize : min((i+1)*codec.FrameSize, len(data))])
		}
	}
	return data
}

// table gives frames one by one, and then err.
func table(err error, frames ...codec.Frame) func() (codec.Frame, error) {
	return func() (codec.Frame, error) {
		if len(frames) == 0 {
			return codec.Frame{}, err
		}
		f := frames[0]
		frames = frames[1:]
		return f, nil
	}
}

func (f framed) options() archive.FrameOptions {
	return archive.FrameOptions{Codec: f.name, Image: true, Workers: 3}
}

// readBack is what came of reading.
type readBack struct {
	plain   []byte // zeros stand for what is damaged
	sums    [][32]byte
	damaged []int64 // offsets
	frames  int
	err     error
}

func (f framed) read(ctx context.Context, stored []byte, table func() (codec.Frame, error)) (b readBack) {
	for got, err := range archive.ReadFrames(ctx, bytes.NewReader(stored), table, f.options()) {
		if err != nil {
			b.err = err
			break
		}
		b.frames++
		if got.Damage != nil {
			b.damaged = append(b.damaged, got.PlainOff)
		}
		if got.Damage != nil || got.Plain == nil {
			b.plain = append(b.plain, make([]byte, got.PlainLen)...)
		} else {
			b.plain = append(b.plain, got.Plain...)
		}
		b.sums = append(b.sums, got.Sums...)
	}
	return b
}

func TestReadFrames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lz4", "zstd"} {
		for _, more := range []int{0, 1, blockSize, blockSize + 1} {
			f := framedImage(t, name, noisyFrames(4, more))
			b := f.read(t.Context(), f.stored, table(io.EOF, f.frames...))
			if b.err != nil || len(b.damaged) > 0 || !bytes.Equal(b.plain, f.plain) || len(b.sums) != (len(f.plain)+blockSize-1)/blockSize {
				t.Errorf("%s, %d: %d bytes, %d blocks, damaged %v, %v", name, more, len(b.plain), len(b.sums), b.damaged, b.err)
			}
			got, err := io.ReadAll(archive.PlainReader(archive.ReadFrames(t.Context(), iotest.OneByteReader(bytes.NewReader(f.stored[:f.frames[0].StoredLen])),
				table(io.EOF, f.frames[0]), f.options())))
			if err != nil || !bytes.Equal(got, f.plain[:codec.FrameSize]) {
				t.Errorf("%s: as a stream: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// Damage in the middle of an image, in its bytes or in its table, goes on with the
// next frame.
func TestReadFramesGoesOnBehindDamage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lz4", "zstd"} {
		f := framedImage(t, name, noisyFrames(5, 77))
		stored, frames := slices.Clone(f.stored), slices.Clone(f.frames)
		stored[frames[1].StoredOff+frames[1].StoredLen/2] ^= 1
		frames[2].Hash[0] ^= 1 // of zeros
		clear(stored[frames[4].StoredOff : frames[4].StoredOff+frames[4].StoredLen])
		b := f.read(t.Context(), stored, table(io.EOF, frames...))
		if want := []int64{frames[1].PlainOff, frames[2].PlainOff, frames[4].PlainOff}; b.err != nil || !slices.Equal(b.damaged, want) {
			t.Errorf("%s: damaged at %v, want %v; %v", name, b.damaged, want, b.err)
		}
		for i, fr := range frames {
			if i == 1 || i == 2 || i == 4 {
				continue
			}
			at := fr.PlainOff
			if !bytes.Equal(b.plain[at:at+fr.PlainLen], f.plain[at:at+fr.PlainLen]) {
				t.Errorf("%s: frame %d is not as it was", name, i)
			}
		}
		// As a stream, the first damage ends it.
		r := archive.PlainReader(archive.ReadFrames(t.Context(), bytes.NewReader(stored), table(io.EOF, frames...), f.options()))
		n, err := io.Copy(io.Discard, r)
		damage, ok := errors.AsType[*archive.FrameError](err)
		if n != frames[1].PlainOff || !ok || damage.Frame != frames[1] {
			t.Errorf("%s: as a stream: %d bytes, %v", name, n, err)
		}
		if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
			t.Errorf("%s: once more: %v", name, again)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read of what is closed: %v", err)
		}
	}
}

// A table that nobody could have written is an error, however large its numbers, and
// asks for no memory. What came before it is told first.
func TestReadFramesOfHostileTables(t *testing.T) {
	t.Parallel()
	f := framedImage(t, "lz4", noisyFrames(3, 0))
	for name, change := range map[string]func(*codec.Frame){
		"a gap in the stream":     func(f *codec.Frame) { f.StoredOff++ },
		"an overlap":              func(f *codec.Frame) { f.StoredOff-- },
		"a gap in the contents":   func(f *codec.Frame) { f.PlainOff += blockSize },
		"an overlap in them":      func(f *codec.Frame) { f.PlainOff -= blockSize },
		"beside the blocks":       func(f *codec.Frame) { f.PlainOff++ },
		"no bytes":                func(f *codec.Frame) { f.StoredLen = 0 },
		"fewer than none":         func(f *codec.Frame) { f.StoredLen = -1 },
		"far too many":            func(f *codec.Frame) { f.StoredLen = math.MaxInt64 },
		"too many":                func(f *codec.Frame) { f.StoredLen = 1 << 40 },
		"no contents":             func(f *codec.Frame) { f.PlainLen = 0 },
		"fewer than no contents":  func(f *codec.Frame) { f.PlainLen = math.MinInt64 },
		"too many in it":          func(f *codec.Frame) { f.PlainLen = 1 << 40 },
		"far too many in it":      func(f *codec.Frame) { f.PlainLen = math.MaxInt64 },
		"at the end of numbers":   func(f *codec.Frame) { f.PlainOff = math.MaxInt64 },
		"before the beginning":    func(f *codec.Frame) { f.StoredOff = math.MinInt64 },
		"contents before the one": func(f *codec.Frame) { f.PlainOff = math.MinInt64 },
	} {
		for at := range 2 {
			frames := slices.Clone(f.frames)
			change(&frames[at])
			allowed := at == 0 && strings.HasSuffix(name, "gap in the contents") // the first may be any
			b := f.read(t.Context(), f.stored, table(io.EOF, frames...))
			switch {
			case allowed:
				if b.err == nil {
					t.Errorf("%s at frame %d: the next is not behind it", name, at)
				}
			case b.err == nil || !strings.Contains(b.err.Error(), "no frame of this tool") || b.frames != at || len(b.damaged) > 0:
				t.Errorf("%s at frame %d: %d frames, %v", name, at, b.frames, b.err)
			}
		}
	}
}

// What a frame says it holds and what it does are two things.
func TestReadFramesOfOtherLengths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lz4", "zstd"} {
		f := framedImage(t, name, noisyFrames(2, 0))
		for _, n := range []int64{-blockSize, -1, 1, blockSize, 60 << 20} {
			frames := slices.Clone(f.frames[:1])
			frames[0].PlainLen += n
			b := f.read(t.Context(), f.stored[:frames[0].StoredLen], table(io.EOF, frames...))
			if b.err != nil || len(b.damaged) != 1 {
				t.Errorf("%s, %+d bytes: damaged %v, %v", name, n, b.damaged, b.err)
			}
		}
	}
}

func TestReadFramesOfShorterAndLongerStreams(t *testing.T) {
	t.Parallel()
	f := framedImage(t, "lz4", noisyFrames(3, 5))
	for _, n := range []int{0, 1, len(f.stored) / 2, len(f.stored) - 1} {
		b := f.read(t.Context(), f.stored[:n], table(io.EOF, f.frames...))
		whole := 0
		for _, fr := range f.frames {
			if fr.StoredOff+fr.StoredLen <= int64(n) {
				whole++
			}
		}
		if !errors.Is(b.err, io.ErrUnexpectedEOF) || b.frames != whole || len(b.damaged) > 0 || !strings.Contains(b.err.Error(), fmt.Sprintf("byte %d,", n)) {
			t.Errorf("cut at %d: %d frames of %d, %v", n, b.frames, whole, b.err)
		}
	}
	b := f.read(t.Context(), append(slices.Clone(f.stored), 0), table(io.EOF, f.frames...))
	if b.err == nil || b.frames != len(f.frames) || !strings.Contains(b.err.Error(), "goes on behind its last frame") {
		t.Errorf("a byte more: %d frames, %v", b.frames, b.err)
	}
	// Errors of the stream and of the table are theirs.
	broken := errors.New("broken")
	for got, err := range archive.ReadFrames(t.Context(), io.MultiReader(bytes.NewReader(f.stored[:99]), iotest.ErrReader(broken)), table(io.EOF, f.frames...), f.options()) {
		if got != nil || !errors.Is(err, broken) {
			t.Errorf("a broken stream: %v", err)
		}
	}
	if b := f.read(t.Context(), f.stored, table(broken, f.frames[:2]...)); !errors.Is(b.err, broken) || b.frames != 2 {
		t.Errorf("a broken table: %d frames, %v", b.frames, b.err)
	}
	if b := f.read(t.Context(), nil, table(io.EOF)); b.err != nil || b.frames != 0 {
		t.Errorf("nothing: %v", b.err)
	}
}

// Whoever stops early, or is stopped, leaves no goroutine behind.
func TestReadFramesEndsEarly(t *testing.T) {
	f := framedImage(t, "lz4", noisyFrames(6, 0))
	stop := errors.New("stop")
	for n := range 4 {
		synctest.Test(t, func(t *testing.T) {
			seen := 0
			for range archive.ReadFrames(t.Context(), bytes.NewReader(f.stored), table(io.EOF, f.frames...), f.options()) {
				if seen == n {
					break
				}
				seen++
			}
		})
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var last error
			seen := 0
			for _, err := range archive.ReadFrames(ctx, bytes.NewReader(f.stored), table(io.EOF, f.frames...), f.options()) {
				if last = err; seen == n {
					cancel(stop)
				}
				seen++
			}
			if !errors.Is(last, stop) {
				t.Errorf("stopped at frame %d: %d frames, %v", n, seen, last)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := archive.PlainReader(archive.ReadFrames(t.Context(), bytes.NewReader(f.stored), table(io.EOF, f.frames...), f.options()))
		if _, err := io.CopyN(io.Discard, r, 100); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A reader that is slow holds up the reading: no more frames are ahead than there
// is memory for.
func TestReadFramesIsNoMoreThanItsWorkersAhead(t *testing.T) {
	f := framedImage(t, "lz4", noisyFrames(12, 0))
	given := 0
	rest := table(io.EOF, f.frames...)
	counting := func() (codec.Frame, error) { given++; return rest() }
	synctest.Test(t, func(t *testing.T) {
		seen := 0
		for range archive.ReadFrames(t.Context(), bytes.NewReader(f.stored), counting, f.options()) {
			synctest.Wait()
			seen++
			if ahead := given - seen; ahead > 3+2 {
				t.Errorf("%d frames are ahead of frame %d", ahead, seen)
			}
		}
	})
}

// Whatever bit is flipped, in whatever frame, is found there and nowhere else; or
// changes nothing of the contents, where the form has room for that.
func TestReadFramesFindsFlippedBits(t *testing.T) {
	t.Parallel()
	small := make([]byte, 3*blockSize+100)
	rand.NewChaCha8([32]byte{9}).Read(small[blockSize : 2*blockSize])
	images := map[string]framed{"lz4": framedImage(t, "lz4", small), "zstd": framedImage(t, "zstd", small)}
	rapid.Check(t, func(t *rapid.T) {
		f := images[rapid.SampledFrom([]string{"lz4", "zstd"}).Draw(t, "codec")]
		stored := slices.Clone(f.stored)
		bit := rapid.IntRange(0, len(stored)*8-1).Draw(t, "bit")
		stored[bit/8] ^= 1 << (bit % 8)
		b := f.read(context.Background(), stored, table(io.EOF, f.frames...))
		if b.err != nil || len(b.damaged) == 0 && !bytes.Equal(b.plain, f.plain) {
			t.Errorf("bit %d: damaged %v, %v", bit, b.damaged, b.err)
		}
	})
}
