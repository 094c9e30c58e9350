package objstore_test

import (
	"context"
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
