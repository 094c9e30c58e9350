package archive

import (
	"bytes"
	"context"
	"crypto/sha256"

	"snap-to-s3/internal/block"
	"snap-to-s3/internal/codec"
)

// zeroFrame is a frame of zeros, ready made.
type zeroFrame struct {
	stored []byte
	hash   [32]byte // as a frame
}

func newZeroFrame(ctx context.Context, r *ring, c codec.Codec) (_ zeroFrame, err error) {
	if c.Name() == "" { // nothing is stored
		return zeroFrame{}, nil
	}
	plain, err := r.plain.get(ctx)
	if err != nil {
		return zeroFrame{}, err
	}
	defer r.plain.put(plain)
	e, err := c.NewEncoder()
	if err != nil {
		return zeroFrame{}, err
	}
	stored, err := r.stored.get(ctx)
	if err != nil {
		return zeroFrame{}, err
	}
	defer r.stored.put(stored)
	clear(plain)
	frame, err := e.AppendFrame(stored[:0], plain)
	if err != nil {
		return zeroFrame{}, err
	}
	z := zeroFrame{stored: bytes.Clone(frame)}
	sum := zeroSum()
	all := sha256.New()
	for range frameBlocks {
		all.Write(sum[:])
	}
	all.Sum(z.hash[:0])
	return z, e.Close()
}

// zeroSum is the hash of a whole block of zeros.
func zeroSum() [32]byte { return sha256.Sum256(make([]byte, block.Size)) }
