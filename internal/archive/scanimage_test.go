package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"snap-to-s3/internal/archive"
	"snap-to-s3/internal/block"
)

// someImage has blocks that are zero and others, and a last one of so many bytes.
func someImage(blocks, last int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	plain := make([]byte, blocks*block.Size+last)
	for i := range blocks + 1 {
		if i%3 != 1 && i*block.Size < len(plain) {
			plain[i*block.Size+random.IntN(min(block.Size, len(plain)-i*block.Size))] = byte(i%250 + 1)
		}
	}
	return plain
}

func TestScanImage(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {4, 512}, {8, 0}, {16, 0}, {16, 1}, {37, 77777}} {
		plain := someImage(size[0], size[1])
		for _, workers := range []int{0, 1, 3} {
			next := int64(0)
			got, err := archive.ScanImage(t.Context(), iotest.HalfReader(bytes.NewReader(plain)), archive.ImageScanOptions{Workers: workers}, func(from int64, sums [][32]byte, zero []bool) error {
				if from != next || len(sums) == 0 || len(sums) > 8 || len(zero) != len(sums) {
					t.Fatalf("%d blocks from %d, after %d", len(sums), from, next)
				}
				for i := range sums {
					b := plain[(from+int64(i))*block.Size:]
					b = b[:min(len(b), block.Size)]
					if sums[i] != sha256.Sum256(b) || zero[i] != bytes.Equal(b, make([]byte, len(b))) {
						t.Errorf("block %d of %d: another hash, or zero is %t", from+int64(i), len(plain), zero[i])
					}
				}
				next += int64(len(sums))
				return nil
			})
			if err != nil || got != int64(len(plain)) || next != (got+block.Size-1)/block.Size {
				t.Errorf("%d bytes and %d blocks of %d bytes: %v", got, next, len(plain), err)
			}
		}
	}
}

// Each error is the one that is returned, and leaves no goroutine: synctest would say.
func TestScanImageErrors(t *testing.T) { synctest.Test(t, scanImageErrors) }

func scanImageErrors(t *testing.T) {
	plain := someImage(64, 0)
	calls := 0
	visit := func(int64, [][32]byte, []bool) error { calls++; return nil }
	for _, cause := range []error{errBoom, io.ErrUnexpectedEOF} {
		for _, n := range []int{0, 100, len(plain)} {
			r := io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(cause))
			if _, err := archive.ScanImage(t.Context(), r, archive.ImageScanOptions{}, visit); !errors.Is(err, cause) {
				t.Errorf("reader at %d: %v, want %v", n, err, cause)
			}
		}
	}
	if _, err := archive.ScanImage(t.Context(), bytes.NewReader(plain), archive.ImageScanOptions{}, func(int64, [][32]byte, []bool) error { return errBoom }); err != errBoom {
		t.Errorf("visit: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r := io.TeeReader(bytes.NewReader(plain), writerFunc(func(p []byte) (int, error) {
		cancel(errBoom)
		return len(p), nil
	}))
	if _, err := archive.ScanImage(ctx, r, archive.ImageScanOptions{}, visit); err != errBoom {
		t.Errorf("context: %v", err)
	}
}
