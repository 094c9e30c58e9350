package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"snap-to-s3/internal/objstore"
)

// discard reads each part as a socket would, and forgets it.
type discard struct{}

func (discard) Put(_ context.Context, p objstore.Part) (objstore.Info, error) {
	_, err := io.Copy(io.Discard, p.Body)
	return objstore.Info{}, err
}

func (discard) Begin(context.Context) (string, error) { return "id", nil }

func (discard) UploadPart(_ context.Context, p objstore.Part) (string, error) {
	_, err := io.Copy(io.Discard, p.Body)
	return "etag", err
}

func (discard) Complete(context.Context, objstore.Whole) (objstore.Info, error) {
	return objstore.Info{}, nil
}

func (discard) Abort(context.Context) error { return nil }

// BenchmarkAssembler is what cutting a stream into parts costs by itself: one
// copy and two checksums.
func BenchmarkAssembler(b *testing.B) {
	for _, streams := range []int{1, 4} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			const total = 1 << 30
			frame := make([]byte, 3<<20)
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				w, err := objstore.NewWriter(b.Context(), discard{}, "key",
					objstore.CreateOptions{Streams: streams}, objstore.S3Limits())
				if err != nil {
					b.Fatal(err)
				}
				for left := total; left > 0; left -= len(frame) {
					if _, err := w.Write(frame[:min(left, len(frame))]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := w.Commit(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReader is what reading by ranges costs beside one plain Open.
func BenchmarkReader(b *testing.B) {
	const total = 1 << 30
	info := objstore.Info{Key: "k", Size: total, ETag: `"a"`}
	b.Run("open", func(b *testing.B) {
		b.SetBytes(total)
		b.ReportAllocs()
		buffer := make([]byte, 1<<20)
		for b.Loop() {
			r, err := endless{}.Open(b.Context(), "k", objstore.Range{Len: total})
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buffer); err != nil || n != total {
				b.Fatal(n, err)
			}
		}
	})
	for _, streams := range []int{1, 4} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				r := objstore.NewReader(b.Context(), endless{}, info, objstore.ReadOptions{Streams: streams})
				n, err := io.Copy(io.Discard, r)
				if err := errors.Join(err, r.Close()); err != nil || n != total {
					b.Fatal(n, err)
				}
			}
		})
	}
}
