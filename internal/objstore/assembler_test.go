package objstore_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/crc64nvme"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/objstore"
)

// recorder is an uploader that keeps what it is given and waits where a test
// wants it to.
type recorder struct {
	hold chan struct{} // unless nil, each part waits for a receive or its context
	fail func(objstore.Part) error

	mu       sync.Mutex
	got      map[int][]byte
	whole    objstore.Whole
	aborted  int
	inFlight atomic.Int64
	most     atomic.Int64
}

func (r *recorder) Put(ctx context.Context, p objstore.Part) (objstore.Info, error) {
	_, err := r.UploadPart(ctx, p)
	return objstore.Info{Size: p.Size}, err
}

func (r *recorder) Begin(context.Context) (string, error) { return "id", nil }

func (r *recorder) UploadPart(ctx context.Context, p objstore.Part) (string, error) {
	r.most.Store(max(r.most.Load(), r.inFlight.Add(1)))
	defer r.inFlight.Add(-1)
	if r.fail != nil {
		if err := r.fail(p); err != nil {
			return "", err
		}
	}
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	data, err := io.ReadAll(p.Body)
	if err != nil {
		return "", err
	}
	if crc64nvme.Checksum(data) != p.CRC64NVME || int64(len(data)) != p.Size {
		return "", errors.New("the part is not what it says")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.got == nil {
		r.got = map[int][]byte{}
	}
	r.got[p.Number] = data
	return "etag", nil
}

func (r *recorder) Complete(_ context.Context, w objstore.Whole) (objstore.Info, error) {
	r.whole = w
	return objstore.Info{Size: w.Size}, nil
}

func (r *recorder) Abort(context.Context) error {
	r.aborted++
	return nil
}

func newWriter(t *testing.T, up objstore.Uploader, o objstore.CreateOptions, l objstore.Limits) objstore.Writer {
	t.Helper()
	w, err := objstore.NewWriter(t.Context(), up, "key", o, l)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// At most Streams parts are under way, and all of them are when the writer is fast.
func TestStreamsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{hold: make(chan struct{})}
		w := newWriter(t, r, objstore.CreateOptions{Streams: 3, PartSize: 10}, objstore.Limits{MinPart: 1})
		go func() {
			for range 10 {
				synctest.Wait()
				r.hold <- struct{}{}
			}
		}()
		if _, err := w.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.most.Load() != 3 || len(r.whole.Parts) != 10 || r.whole.Size != 100 {
			t.Errorf("%d parts at once, %d in all, %d bytes; want 3, 10, 100", r.most.Load(), len(r.whole.Parts), r.whole.Size)
		}
		for i, p := range r.whole.Parts {
			if p.Number != i+1 {
				t.Fatalf("parts complete in order %v", r.whole.Parts)
			}
		}
	})
}

// A part that fails ends the others; Write and Commit say why, and Abort still
// takes back the upload. synctest fails the test when a goroutine stays.
func TestPartFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("store gone")
		r := &recorder{hold: make(chan struct{}), fail: func(p objstore.Part) error {
			if p.Number == 2 {
				return gone
			}
			return nil
		}}
		w := newWriter(t, r, objstore.CreateOptions{Streams: 4, PartSize: 10}, objstore.Limits{MinPart: 1})
		if _, err := w.Write(make([]byte, 35)); err != nil && !errors.Is(err, gone) {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, err := w.Write([]byte("x")); !errors.Is(err, gone) || n != 0 {
			t.Errorf("write after a failed part: %d, %v", n, err)
		}
		if _, err := w.Commit(t.Context()); !errors.Is(err, gone) {
			t.Errorf("commit after a failed part: %v", err)
		}
		if err := w.Abort(t.Context()); err != nil || r.aborted != 1 {
			t.Errorf("abort: %v, %d calls", err, r.aborted)
		}
	})
}

func TestAbortEndsAWriteThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{hold: make(chan struct{})}
		w := newWriter(t, r, objstore.CreateOptions{PartSize: 10}, objstore.Limits{MinPart: 1})
		wrote := make(chan error)
		go func() {
			_, err := w.Write(make([]byte, 100))
			wrote <- err
		}()
		synctest.Wait()
		if err := w.Abort(t.Context()); err != nil || r.aborted != 1 {
			t.Errorf("abort: %v, %d calls", err, r.aborted)
		}
		if err := <-wrote; err == nil {
			t.Error("the write that was waiting says it succeeded")
		}
	})
}

func TestCommitObeysItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{hold: make(chan struct{})}
		w := newWriter(t, r, objstore.CreateOptions{Streams: 9, PartSize: 10}, objstore.Limits{MinPart: 1})
		if _, err := w.Write(make([]byte, 35)); err != nil {
			t.Fatal(err)
		}
		late := errors.New("out of time")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			synctest.Wait()
			cancel(late)
		}()
		if _, err := w.Commit(ctx); !errors.Is(err, late) {
			t.Errorf("commit: %v, want the cause of its context", err)
		}
		if err := w.Abort(t.Context()); err != nil || r.aborted != 1 {
			t.Errorf("abort: %v, %d calls", err, r.aborted)
		}
	})
}

func TestPartsGrowPastTheBound(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	limits := objstore.Limits{MinPart: 1, Floor: 4, MaxPart: 1 << 20, MaxParts: 20, MaxObject: 1 << 20}
	w := newWriter(t, r, objstore.CreateOptions{SizeBound: 18 * 4}, limits)
	data := []byte(strings.Repeat("0123456789abcdefg", 10))
	if _, err := w.Write(data[:18*4]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data[18*4:]); err == nil {
		t.Error("20 parts of 4 took 170 bytes: 18 x 4 + 8 + 16 are 96")
	} else if want := "--part-size"; !strings.Contains(hint.Of(err), want) {
		t.Errorf("%v has hint %q, want one with %s", err, hint.Of(err), want)
	}

	w = newWriter(t, r, objstore.CreateOptions{SizeBound: 18 * 4}, limits)
	if _, err := w.Write(data[:96]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for _, p := range r.whole.Parts {
		sizes = append(sizes, p.Size)
	}
	want := []int64{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 16}
	if diff := cmp.Diff(want, sizes); diff != "" {
		t.Errorf("part sizes (-want +got):\n%s", diff)
	}
}

func TestFixedPartsRunOut(t *testing.T) {
	t.Parallel()
	limits := objstore.Limits{MinPart: 1, MaxParts: 3}
	w := newWriter(t, &recorder{}, objstore.CreateOptions{PartSize: 4}, limits)
	n, err := w.Write(make([]byte, 13))
	const want = "write key: the object does not fit into 3 parts of 4 bytes"
	if n != 12 || err == nil || err.Error() != want || !strings.Contains(hint.Of(err), "--part-size") {
		t.Errorf("wrote %d, %v, hint %q; want 12, %s", n, err, hint.Of(err), want)
	}
}

func TestObjectLimit(t *testing.T) {
	t.Parallel()
	w := newWriter(t, &recorder{}, objstore.CreateOptions{PartSize: 4}, objstore.Limits{MinPart: 1, MaxObject: 8})
	if n, err := w.Write(make([]byte, 9)); err == nil || n != 8 {
		t.Errorf("wrote %d bytes, %v, to a store whose objects have at most 8", n, err)
	}
}

// Parts over 64 MiB are in files that nothing has to remove.
func TestSpoolIsUnlinked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &recorder{}
	part := 64*mib + 1
	w := newWriter(t, r, objstore.CreateOptions{PartSize: part, SpoolDir: dir}, objstore.S3Limits())
	piece := []byte(strings.Repeat("x", 1<<20))
	for range 66 {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the spool folder has %v, %v", names, err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.whole.Parts) != 2 || int64(len(r.got[1])) != part || r.whole.Size != 66*mib {
		t.Errorf("parts %v of %d bytes", r.whole.Parts, r.whole.Size)
	}
}

func TestSpoolFolderMissing(t *testing.T) {
	t.Parallel()
	w := newWriter(t, &recorder{}, objstore.CreateOptions{PartSize: 65 * mib, SpoolDir: "/nonexistent/spool"}, objstore.S3Limits())
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/spool") {
		t.Errorf("write without a spool folder: %v", err)
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
}

// A wrong checksum in the store's answer must not pass for success.
func TestStoreTellsAnotherCRC(t *testing.T) {
	t.Parallel()
	w := newWriter(t, liar{&recorder{}}, objstore.CreateOptions{}, objstore.S3Limits())
	if _, err := w.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("commit: %v", err)
	}
}

type liar struct{ *recorder }

func (l liar) Put(ctx context.Context, p objstore.Part) (objstore.Info, error) {
	info, err := l.recorder.Put(ctx, p)
	info.CRC64NVME = objstore.FormatCRC64NVME(p.CRC64NVME + 1)
	return info, err
}

func TestFormatCRC64NVME(t *testing.T) {
	t.Parallel()
	// The check value of CRC-64/NVME, over "123456789" (CRC catalogue of the
	// reveng project): ae8b14860a799888.
	if got, want := objstore.FormatCRC64NVME(crc64nvme.Checksum([]byte("123456789"))), "rosUhgp5mIg="; got != want {
		t.Errorf("CRC of 123456789: %s, want %s", got, want)
	}
}

// BeforeCommit stands between the last part and the request that shows the object.
func TestBeforeCommit(t *testing.T) {
	t.Parallel()
	lost := errors.New("the claim is lost")
	for _, c := range []struct {
		name   string
		bytes  int
		parts  int // in the store when it is called
		refuse error
	}{
		{"empty", 0, 0, nil},
		{"one request", 10, 0, nil},
		{"parts", 35, 4, nil},
		{"empty, refused", 0, 0, lost},
		{"one request, refused", 10, 0, lost},
		{"parts, refused", 35, 4, lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			type ctxKey struct{}
			ctx := context.WithValue(t.Context(), ctxKey{}, "of commit")
			var had []int
			w := newWriter(t, r, objstore.CreateOptions{
				Streams: 3, PartSize: 10,
				BeforeCommit: func(ctx context.Context) error {
					if ctx.Value(ctxKey{}) != "of commit" {
						t.Error("it is called with another context than Commit's")
					}
					if r.whole.Size != 0 {
						t.Error("it is called after the object was completed")
					}
					had = append(had, len(r.got))
					return c.refuse
				},
			}, objstore.Limits{MinPart: 1})
			if _, err := w.Write(make([]byte, c.bytes)); err != nil {
				t.Fatal(err)
			}
			_, err := w.Commit(ctx)
			if err != c.refuse {
				t.Errorf("commit: %v, want %v as it is", err, c.refuse)
			}
			if diff := cmp.Diff([]int{c.parts}, had); diff != "" {
				t.Errorf("parts in the store at each call (-want +got):\n%s", diff)
			}
			shown := r.whole.Size != 0 || c.parts == 0 && len(r.got) != 0
			if shown != (c.refuse == nil) {
				t.Errorf("the object is shown: %v, after %v", shown, c.refuse)
			}
			if c.refuse == nil {
				return
			}
			if err := w.Abort(t.Context()); err != nil || r.aborted != min(1, c.parts) {
				t.Errorf("abort: %v, %d calls", err, r.aborted)
			}
		})
	}
}

// A run that ends while BeforeCommit looks must not store what it was to drop.
func TestBeforeCommitOutlivesTheRun(t *testing.T) {
	t.Parallel()
	gone := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &recorder{}
	w, err := objstore.NewWriter(ctx, r, "key", objstore.CreateOptions{
		BeforeCommit: func(context.Context) error { cancel(gone); return nil },
	}, objstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, gone) || len(r.got) != 0 {
		t.Errorf("commit: %v, and %d puts", err, len(r.got))
	}
}
