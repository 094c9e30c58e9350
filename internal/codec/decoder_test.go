package codec_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"

	"snap-to-s3/internal/codec"
)

// What an encoder makes is decoded frame by frame, and nothing else is taken for
// it: a frame that is longer or shorter than it should be, cut, or has a bit of
// its contents flipped.
func TestDecodeFrame(t *testing.T) {
	t.Parallel()
	plain := make([]byte, 100_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range plain[:50_000] {
		plain[i] = byte(rng.Uint32())
	}
	for _, name := range []string{"lz4", "zstd"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := codec.New(name, 1)
			if err != nil {
				t.Fatal(err)
			}
			e, err := c.NewEncoder()
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			d, err := codec.NewDecoder(name)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			for _, n := range []int{0, 1, 99_999, 100_000} {
				frame, err := e.AppendFrame(nil, plain[:n])
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, n)
				if err := d.DecodeFrame(got, frame); err != nil || !bytes.Equal(got, plain[:n]) {
					t.Fatalf("%d bytes: %v, equal: %t", n, err, bytes.Equal(got, plain[:n]))
				}
				for _, size := range []int{n - 1, n + 1} {
					if size >= 0 && d.DecodeFrame(make([]byte, size), frame) == nil {
						t.Errorf("a frame of %d bytes was taken for one of %d", n, size)
					}
				}
				if d.DecodeFrame(make([]byte, n), frame[:len(frame)-1]) == nil {
					t.Errorf("a frame of %d bytes that lacks its last byte was taken", n)
				}
			}
			frame, err := e.AppendFrame(nil, plain)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(plain))
			for range 200 {
				bit := rng.IntN(len(frame) * 8)
				frame[bit/8] ^= 1 << (bit % 8)
				if err := d.DecodeFrame(got, frame); err == nil && !bytes.Equal(got, plain) {
					t.Errorf("bit %d flipped: other contents, and no error", bit)
				}
				frame[bit/8] ^= 1 << (bit % 8)
			}
			if err := d.DecodeFrame(got, frame); err != nil {
				t.Errorf("after errors the decoder does not go on: %v", err)
			}
		})
	}
}

// Frames of other programs have other headers, and several blocks.
func TestDecodeForeignFrame(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("the quick brown fox "), 50_000)
	var frame bytes.Buffer
	w := lz4.NewWriter(&frame)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := codec.NewDecoder("lz4")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 {
		got := make([]byte, len(plain))
		if err := d.DecodeFrame(got, frame.Bytes()); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%v, equal: %t", err, bytes.Equal(got, plain))
		}
	}
}
