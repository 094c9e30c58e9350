package codec_test

import (
	"bytes"
	"io"
	"testing"

	"snap-to-s3/internal/codec"
)

func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), uint16(1), []byte(""))
	f.Add(uint8(1), uint16(300), []byte("abcabcabcabcabd"))
	f.Add(uint8(3), uint16(4000), bytes.Repeat([]byte{0}, 100))
	f.Add(uint8(4), uint16(77), []byte{1, 2, 3, 250, 1, 2, 3, 251})
	all := levels()
	f.Fuzz(func(t *testing.T, which uint8, times uint16, seed []byte) {
		c := all[int(which)%len(all)]
		plain := bytes.Repeat(seed, int(times)%2000)
		plain = append(plain, seed...)
		if len(plain) > codec.FrameSize {
			plain = plain[:codec.FrameSize]
		}
		for i := 0; i < len(plain); i += 997 { // repeats that differ here and there
			plain[i] ^= byte(i / 997)
		}
		half := len(plain) / 2
		stored := encode(t, c, plain[:half], plain[half:])
		if got, err := decode(c.Name(), bytes.NewReader(stored)); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s: got %d bytes and %v, want %d", label(c), len(got), err, len(plain))
		}
	})
}

// Any input gives bytes or an error: no panic, no end.
func FuzzReader(f *testing.F) {
	for _, c := range levels() {
		f.Add(c.Name() == "lz4", encode(f, c, []byte("some text, some text, some text")))
	}
	f.Fuzz(func(t *testing.T, isLZ4 bool, stream []byte) {
		name := "zstd"
		if isLZ4 {
			name = "lz4"
		}
		d, err := codec.NewReader(name, bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(d, 64<<20)); err == nil && len(stream) == 0 {
			t.Error("an empty stream was taken as an archive")
		}
	})
}
