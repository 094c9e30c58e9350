package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"snap-to-s3/internal/objstore"
)

// flaky is a store whose answers end before they should.
type flaky struct {
	objstore.Store
	// spoil says after how many bytes an answer ends, and how: nil is an io.EOF as if
	// that were all, errHang nothing until the request's context ends. Under 0: it is whole.
	spoil func(n int64, r objstore.Range) (int64, error)

	opens, open, most atomic.Int64
}

var (
	errCut  = errors.New("connection reset")
	errHang = errors.New("hang")
)

func (f *flaky) Open(ctx context.Context, key string, r objstore.Range) (io.ReadCloser, error) {
	body, err := f.Store.Open(ctx, key, r)
	if err != nil {
		return nil, err
	}
	after, how := f.spoil(f.opens.Add(1), r)
	f.most.Store(max(f.most.Load(), f.open.Add(1)))
	end := io.Reader(bytes.NewReader(nil))
	switch {
	case after < 0:
		end, after = body, 0
	case errors.Is(how, errHang):
		end = readerFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	case how != nil:
		end = readerFunc(func([]byte) (int, error) { return 0, how })
	}
	return &flakyBody{Reader: io.MultiReader(io.LimitReader(body, after), end), close: func() error {
		f.open.Add(-1)
		return body.Close()
	}}, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type flakyBody struct {
	io.Reader
	close func() error
}

func (b *flakyBody) Close() error { return b.close() }

// stored is a store with one object.
func stored(t *testing.T, data []byte, class string) (*objstore.Memory, objstore.Info) {
	t.Helper()
	m := objstore.NewMemory(objstore.MemoryOptions{})
	return m, replace(t, m, data, objstore.CreateOptions{StorageClass: class})
}

func replace(t *testing.T, s objstore.Store, data []byte, o objstore.CreateOptions) objstore.Info {
	t.Helper()
	w, err := s.Create(t.Context(), "k", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data) // it never fails
	return data
}

// Wherever answers are cut, what is read is the object, each byte of it once, and a
// request more for each cut.
func TestReaderSurvivesCuts(t *testing.T) {
	t.Parallel()
	data := noise(5000)
	m, info := stored(t, data, "")
	rapid.Check(t, func(t *rapid.T) {
		o := objstore.ReadOptions{
			Streams: rapid.IntRange(0, 5).Draw(t, "streams"), Chunk: rapid.Int64Range(0, 6000).Draw(t, "chunk"),
			Off: rapid.Int64Range(0, 5000).Draw(t, "off"), Tries: 4, Backoff: 1,
		}
		o.Len = rapid.Int64Range(0, 5000-o.Off).Draw(t, "len")
		want := data[o.Off:]
		if o.Len > 0 {
			want = want[:o.Len]
		}
		cuts := rapid.SliceOfN(rapid.Int64Range(0, 700), 1, 4).Draw(t, "cuts")
		how := rapid.SampledFrom([]error{nil, errCut}).Draw(t, "how")
		f := &flaky{Store: m, spoil: func(n int64, r objstore.Range) (int64, error) {
			if n > int64(len(cuts)) || r.Len > 0 && cuts[n-1] >= r.Len {
				return -1, nil
			}
			return cuts[n-1], how
		}}
		r := objstore.NewReader(t.Context(), f, info, o)
		var got []byte
		var err error
		if rapid.Bool().Draw(t, "copy") {
			var b bytes.Buffer
			_, err = io.Copy(&b, r)
			got = b.Bytes()
		} else {
			got, err = io.ReadAll(r)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		}
		crc := objstore.FormatCRC64NVME(crc64nvme.Checksum(data))
		if len(want) < len(data) {
			crc = ""
		}
		if r.CRC64NVME() != crc {
			t.Errorf("CRC64NVME %q, want %q", r.CRC64NVME(), crc)
		}
		if err := r.Close(); err != nil || f.open.Load() != 0 {
			t.Errorf("close: %v, %d answers are open", err, f.open.Load())
		}
	})
}

// Without progress it ends, and says where; a byte at a time is no progress.
func TestReaderGivesUp(t *testing.T) {
	t.Parallel()
	m, info := stored(t, noise(5000), "")
	for _, c := range []struct {
		each  int64
		opens int64
		text  string
	}{
		{0, 4, "read k at byte 0, cut off 4 times: connection reset"},
		{1, 4, "read k at byte 4, cut off 4 times: connection reset"},
	} {
		f := &flaky{Store: m, spoil: func(int64, objstore.Range) (int64, error) { return c.each, errCut }}
		r := objstore.NewReader(t.Context(), f, info, objstore.ReadOptions{Tries: 3, Backoff: 1})
		got, err := io.ReadAll(r)
		if len(got) != 0 || err == nil || err.Error() != c.text || !errors.Is(err, errCut) || f.opens.Load() != c.opens {
			t.Errorf("%d bytes in %d requests, %v; want %q in %d", len(got), f.opens.Load(), err, c.text, c.opens)
		}
		if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
			t.Errorf("the next read: %v, want the same error", again)
		}
		if r.CRC64NVME() != "" {
			t.Error("there is a checksum of what was not read")
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	f := &flaky{Store: m, spoil: func(int64, objstore.Range) (int64, error) { return 0, nil }}
	r := objstore.NewReader(t.Context(), f, info, objstore.ReadOptions{Tries: 1, Backoff: 1})
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("answers that are empty: %v, want io.ErrUnexpectedEOF", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// As long as bytes come, it goes on: tries are counted from the last that helped.
func TestReaderGoesOnWhileThereIsProgress(t *testing.T) {
	t.Parallel()
	data := noise(8 << 20)
	m, info := stored(t, data, "")
	f := &flaky{Store: m, spoil: func(_ int64, r objstore.Range) (int64, error) { return 256 << 10, errCut }}
	r := objstore.NewReader(t.Context(), f, info, objstore.ReadOptions{Tries: 1, Backoff: 1, Streams: 1, Chunk: 8<<20 - 1})
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
	}
}

// What Open refuses is final: it was tried as often as it is worth.
func TestReaderRefused(t *testing.T) {
	t.Parallel()
	data := noise(5000)
	t.Run("replaced between ranges", func(t *testing.T) {
		t.Parallel()
		m, info := stored(t, data, "")
		r := objstore.NewReader(t.Context(), m, info, objstore.ReadOptions{Streams: 1, Chunk: 1000})
		got := make([]byte, 1000)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		replace(t, m, noise(5001), objstore.CreateOptions{IfMatch: info.ETag})
		rest, err := io.ReadAll(r)
		if !errors.Is(err, objstore.ErrChanged) || !strings.Contains(fmt.Sprint(err), "byte ") {
			t.Errorf("%v, want ErrChanged with the byte", err)
		}
		if got = append(got, rest...); !bytes.Equal(got, data[:len(got)]) {
			t.Error("bytes of another object were read")
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the thaw has ended", func(t *testing.T) {
		t.Parallel()
		m, info := stored(t, data, "DEEP_ARCHIVE")
		if err := m.Thaw("k"); err != nil {
			t.Fatal(err)
		}
		other, _ := stored(t, data, "DEEP_ARCHIVE")
		f := &flaky{Store: m}
		f.spoil = func(int64, objstore.Range) (int64, error) { f.Store = other; return 100, errCut }
		r := objstore.NewReader(t.Context(), f, info, objstore.ReadOptions{Backoff: 1})
		if _, err := io.ReadAll(r); !errors.Is(err, objstore.ErrArchived) || f.opens.Load() != 1 {
			t.Errorf("after %d answers: %v, want ErrArchived after one", f.opens.Load(), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("impossible", func(t *testing.T) {
		t.Parallel()
		m, info := stored(t, data, "")
		nameless := info
		nameless.ETag = ""
		for _, c := range []struct {
			info objstore.Info
			o    objstore.ReadOptions
		}{
			{nameless, objstore.ReadOptions{}},
			{info, objstore.ReadOptions{Off: -1}},
			{info, objstore.ReadOptions{Off: 5001}},
			{info, objstore.ReadOptions{Len: 5001}},
			{info, objstore.ReadOptions{Off: 1, Len: 1<<63 - 1}},
			{info, objstore.ReadOptions{Len: -1}},
		} {
			r := objstore.NewReader(t.Context(), m, c.info, c.o)
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%+v: %d, %v", c.o, n, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Close and the end of the context let go of answers that hang. synctest fails the
// test when a goroutine stays.
func TestReaderEnds(t *testing.T) {
	t.Parallel()
	lost := errors.New("the claim is lost")
	for _, how := range []string{"close", "cancel", "close before the first read"} {
		synctest.Test(t, func(t *testing.T) {
			m, info := stored(t, noise(5000), "")
			f := &flaky{Store: m, spoil: func(int64, objstore.Range) (int64, error) { return 10, errHang }}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := objstore.NewReader(ctx, f, info, objstore.ReadOptions{Streams: 3, Chunk: 1000})
			if how == "cancel" {
				go func() {
					synctest.Wait()
					cancel(lost)
				}()
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, lost) {
					t.Errorf("read: %v, want the cause", err)
				}
			}
			if how == "close" {
				f.spoil = func(n int64, _ objstore.Range) (int64, error) {
					if n == 1 {
						return -1, nil
					}
					return 10, errHang
				}
				f.opens.Store(0)
				r = objstore.NewReader(ctx, f, info, objstore.ReadOptions{Streams: 1, Chunk: 1000})
				if _, err := r.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := r.Close(); err != nil || f.open.Load() != 0 {
					t.Errorf("close: %v, %d answers are open", err, f.open.Load())
				}
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read after %s: %d, %v", how, n, err)
			}
		})
	}
}

// As many answers as there may be are under way, and no more, whoever is slow.
func TestReaderStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, info := stored(t, noise(5000), "")
		f := &flaky{Store: m, spoil: func(int64, objstore.Range) (int64, error) { return -1, nil }}
		r := objstore.NewReader(t.Context(), f, info, objstore.ReadOptions{Streams: 3, Chunk: 500})
		if synctest.Wait(); f.opens.Load() != 0 {
			t.Error("there was a request before the first read")
		}
		for i := range int64(10) {
			if _, err := io.ReadFull(r, make([]byte, 500)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if want := min(10, i+4); f.opens.Load() != want {
				t.Errorf("after %d ranges were read, %d were asked for, want %d", i+1, f.opens.Load(), want)
			}
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) || f.most.Load() > 3 {
			t.Errorf("at the end: %d, %v; %d answers at a time", n, err, f.most.Load())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// endless is a store with one object that takes no memory.
type endless struct{ objstore.Store }

func (endless) Open(_ context.Context, _ string, r objstore.Range) (io.ReadCloser, error) {
	fill := readerFunc(func(p []byte) (int, error) { clear(p); return len(p), nil })
	return io.NopCloser(io.LimitReader(fill, r.Len)), nil
}

// Not parallel: it measures what the process allocates.
func TestReaderMemory(t *testing.T) { //nolint:paralleltest // see above
	const streams, chunk = 3, 1 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := objstore.NewReader(t.Context(), endless{}, objstore.Info{Key: "k", Size: 1 << 30, ETag: `"a"`},
		objstore.ReadOptions{Streams: streams, Chunk: chunk})
	n, err := r.WriteTo(io.Discard)
	if err := errors.Join(err, r.Close()); err != nil || n != 1<<30 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > (streams+1)*chunk+2<<20 {
		t.Errorf("%d KiB were allocated for a reader of %d chunks of %d KiB", took>>10, streams+1, chunk>>10)
	}
}
