package codec

import (
	"bytes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// fenced returns n bytes with memory that must not be touched right after them
// (atEnd) or right before them.
func fenced(t *testing.T, n int, atEnd bool) []byte {
	t.Helper()
	const page = 64 << 10 // a multiple of every page size
	size := (n + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skipf("no memory map: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	for _, fence := range [][]byte{m[:page], m[page+size:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			t.Skipf("no protected memory: %v", err)
		}
	}
	if atEnd {
		return m[page+size-n : page+size : page+size]
	}
	return m[page : page+n : page+n]
}

// The fast matcher reads without bounds checks: at the edges of memory that it
// may not touch it would crash.
func TestFastMatcherStaysInside(t *testing.T) {
	var c fastMatcher
	g := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 5, 12, 13, 14, 15, 16, 20, 25, 31, 64, 100, 1000, 70_000, 200_000} {
		for _, atEnd := range []bool{true, false} {
			src := fenced(t, n, atEnd)
			dst := fenced(t, lz4.CompressBlockBound(n), true)
			plain := make([]byte, n)
			for round := range 60 {
				for i := range src { // from runs of one byte to noise
					if i > 0 && g.IntN(round+1) == 0 {
						src[i] = src[g.IntN(i)]
					} else {
						src[i] = byte(g.IntN(round*4 + 1))
					}
				}
				stored := c.compress(dst, src)
				got, err := lz4.UncompressBlock(dst[:stored], plain)
				if err != nil || !bytes.Equal(plain[:got], src) {
					t.Fatalf("%d bytes, round %d: %d, %v", n, round, got, err)
				}
			}
		}
	}
}

func BenchmarkFast(b *testing.B) {
	src, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Skipf("nothing to compress: %v", err)
	}
	src = src[:min(len(src), FrameSize)]
	dst := make([]byte, lz4.CompressBlockBound(len(src)))
	var ours fastMatcher
	var theirs lz4.CompressorCCompat
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		for b.Loop() {
			ours.compress(dst, src)
		}
	})
	b.Run("pierrec", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		for b.Loop() {
			if _, err := theirs.CompressBlock(src, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}
