package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"snap-to-s3/internal/block"
)

// manyHoles is the size of all holes of a file, in bytes, above which its zeros
// are not hashed: a file of 1 EiB may be nothing but a hole.
const manyHoles = 1 << 30

// contentSum is the SHA-256 of a file's content. Data is given in ascending
// order; what lies between is zero.
type contentSum struct {
	size int64 // of the file
	hash hash.Hash
	at   int64
	runs *runs // of a file with many holes
	sum  [32]byte
	done bool // sum is there
}

func newContentSum(size, holes int64) *contentSum {
	s := &contentSum{size: size}
	if holes > manyHoles {
		s.hash = sha256.New()
		s.runs = &runs{hash: s.hash}
	}
	return s
}

func (s *contentSum) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	if s.runs != nil {
		s.runs.write(p, off)
		return
	}
	if off == 0 && int64(len(p)) == s.size { // most files
		s.sum, s.done = sha256.Sum256(p), true
		return
	}
	if s.hash == nil {
		s.hash = sha256.New()
	}
	s.zeros(off)
	s.hash.Write(p)
	s.at = off + int64(len(p))
}

func (s *contentSum) zeros(to int64) {
	for s.at < to {
		var none [32 << 10]byte
		n := min(to-s.at, int64(len(none)))
		s.hash.Write(none[:n])
		s.at += n
	}
}

func (s *contentSum) end() *[32]byte {
	if s.done {
		return &s.sum
	}
	if s.hash == nil { // nothing but a hole, or nothing at all
		s.hash = sha256.New()
	}
	if s.runs != nil {
		s.runs.end(s.size)
	} else {
		s.zeros(s.size)
	}
	s.hash.Sum(s.sum[:0])
	return &s.sum
}

// runs hashes what is not zero, in the form of docs/format.md: of each maximal
// run of blocks of 4 KiB that are not all zero its offset, its bytes and its
// length, and then the size of the file. Where holes are does not matter to it.
type runs struct {
	hash  hash.Hash
	from  int64  // of the run
	to    int64  // its end; from: there is none
	block []byte // the beginning of a block that is not whole yet
	at    int64  // where block begins
}

const runBlock = 4 << 10

func (r *runs) write(p []byte, off int64) {
	for len(p) > 0 {
		start := off - off%runBlock
		if len(r.block) > 0 && start != r.at {
			r.fill(runBlock)
			r.flush()
		}
		if len(r.block) == 0 {
			r.at = start
		}
		r.fill(off - r.at)
		n := min(len(p), runBlock-len(r.block))
		r.block = append(r.block, p[:n]...)
		p, off = p[n:], off+int64(n)
		if len(r.block) == runBlock {
			r.flush()
		}
	}
}

// fill makes the block n bytes long: what was not given is a hole.
func (r *runs) fill(n int64) {
	r.block = append(r.block, make([]byte, max(n-int64(len(r.block)), 0))...)
}

func (r *runs) flush() {
	b, at := r.block, r.at
	r.block = r.block[:0]
	if block.AllZero(b) {
		return
	}
	if at != r.to || r.from == r.to {
		r.endRun()
		r.from = at
		r.number(at)
	}
	r.hash.Write(b)
	r.to = at + int64(len(b))
}

func (r *runs) endRun() {
	if r.from != r.to {
		r.number(r.to - r.from)
	}
	r.from, r.to = 0, 0
}

func (r *runs) end(size int64) {
	if len(r.block) > 0 {
		r.fill(min(runBlock, size-r.at))
		r.flush()
	}
	r.endRun()
	r.number(size)
}

func (r *runs) number(n int64) {
	r.hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}
