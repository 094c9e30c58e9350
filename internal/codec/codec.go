// Package codec turns up to 4 MiB of bytes into one standard lz4 or zstd frame
// that needs no other frame to be read, and reads any concatenation of such
// frames back. `lz4 -d` and `zstd -d` read the same streams.
//
// It owns the frames and their levels. It refuses to know what is in them, to
// start goroutines for the writing side, and to read dictionaries.
package codec

import (
	"fmt"
	"slices"
	"strings"
)

// Encoder makes frames. It holds its working memory from frame to frame and is
// not safe for concurrent use: one for each worker.
type Encoder interface {
	// AppendFrame appends one whole frame with src, its length and its checksum
	// to dst. src is at most FrameSize long, and may be empty. It allocates
	// only if dst has less than Codec.Bound(len(src)) room. On an error dst is
	// returned as it was.
	AppendFrame(dst, src []byte) ([]byte, error)
	// Close gives the working memory back. The encoder cannot be used again.
	Close() error
}

// Codec is a compression with its level. Copies share the working memory of
// closed encoders, so make one for a run, not one for a snapshot. It is safe
// for concurrent use.
type Codec struct {
	format
	level int
	impl  implementation
}

// format is what a codec is at any level: a row of formats.
type format struct {
	name     string
	min, max int // levels
	open     func(level int) implementation
}

// implementation is how one format is written at one level.
type implementation struct {
	note      string
	zeroShare float64 // stored bytes for a byte of zeros, rounded up
	encoder   func() (Encoder, error)
	bound     func(n int) int
}

// formats lists what can be written. A new codec is a row here and a file.
func formats() []format {
	return []format{
		{name: "lz4", min: 1, max: 9, open: openLZ4},
		{name: "zstd", min: 1, max: 19, open: openZstd},
	}
}

// New returns the codec of that name ("lz4", "zstd") at that level.
func New(name string, level int) (Codec, error) {
	f, err := lookup(name)
	if err != nil {
		return Codec{}, err
	}
	if level < f.min || level > f.max {
		return Codec{}, fmt.Errorf("%s level %d is out of range: %d to %d", name, level, f.min, f.max)
	}
	return Codec{format: f, level: level, impl: f.open(level)}, nil
}

func lookup(name string) (format, error) {
	all := formats()
	i := slices.IndexFunc(all, func(f format) bool { return f.name == name })
	if i < 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.name)
		}
		return format{}, fmt.Errorf("unknown compression %q: %s", name, strings.Join(names, " or "))
	}
	return all[i], nil
}

// Name is the format: "lz4" or "zstd".
func (c Codec) Name() string { return c.name }

// Level is the level that was asked for.
func (c Codec) Level() int { return c.level }

// Note is one line for the user when this build cannot write that level itself
// and takes its nearest; else "".
func (c Codec) Note() string { return c.impl.note }

// NewEncoder returns an encoder for one worker.
func (c Codec) NewEncoder() (Encoder, error) { return c.impl.encoder() }

// Bound is the most bytes that a frame of n plain bytes can take.
func (c Codec) Bound(n int) int { return c.impl.bound(n) }

// ZeroShare is an upper bound of what the codec makes of zeros, in stored bytes
// for each plain one: with it a caller knows the size of an archive's empty part.
func (c Codec) ZeroShare() float64 { return c.impl.zeroShare }

func checkFrameSize(src []byte) error {
	if len(src) > FrameSize {
		return fmt.Errorf("frame of %d bytes: at most %d", len(src), FrameSize)
	}
	return nil
}
