package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"strings"

	"snap-to-s3/internal/block"
)

// tally follows the rows of entries, in the order they are written, and holds
// them to the rules: frames, and the blocks of an image, start at 0 and have no
// gap; the entries of a tar are a tree in its order. It is the same for the
// writer and for the reader.
type tally struct {
	header EntriesHeader
	blocks Blocks
	next   int64 // block
	tree   tree
	frames int64
	plain  int64
	stored int64
	short  bool // the last frame was not full, so that no other may follow
	digest hash.Hash
	hash   [sha256.Size]byte // what is hashed next; here so that no frame takes a place on the heap
}

func newTally(h EntriesHeader) (*tally, error) {
	switch {
	case h.Entries > FormatVersion:
		return nil, fmt.Errorf("format %d: %w", h.Entries, ErrNewer)
	case h.Entries < 1:
		return nil, fmt.Errorf("format %d", h.Entries)
	case h.Kind != Image && h.Kind != Tar:
		return nil, fmt.Errorf("kind is %q", h.Kind)
	case h.Kind == Image && h.BlockSize != block.Size:
		return nil, fmt.Errorf("format %d with blocks of %d bytes", h.Entries, h.BlockSize)
	case h.Kind == Image && (h.PlainSize <= 0 || h.PlainSize > maxPlain):
		return nil, fmt.Errorf("an image of %d bytes", h.PlainSize)
	case h.Kind == Tar && (h.BlockSize != 0 || h.PlainSize != 0):
		return nil, fmt.Errorf("a tar with a size known before, of %d bytes in blocks of %d", h.PlainSize, h.BlockSize)
	case h.FrameSize < minFramePlain, h.FrameSize > maxFramePlain:
		return nil, fmt.Errorf("frames of %d bytes", h.FrameSize)
	case len(h.Name) > maxNames, len(h.Label) > maxNames:
		return nil, fmt.Errorf("a name of %d and a label of %d bytes", len(h.Name), len(h.Label))
	}
	return &tally{header: h, digest: sha256.New()}, nil
}

// total is the number of blocks of the image; the last may be short.
func (t *tally) total() int64 { return (t.header.PlainSize + block.Size - 1) / block.Size }

// cover takes the next blocks of the image and adds them to kind.
func (t *tally) cover(kind *int64, from, count int64) error {
	if t.header.Kind != Image {
		return errors.New("blocks of an image among the entries of a tar")
	}
	if from != t.next {
		return fmt.Errorf("block %d where block %d was to follow", from, t.next)
	}
	if count < 0 || count > t.total()-from {
		return fmt.Errorf("%d blocks from %d in an image of %d", count, from, t.total())
	}
	t.next += count
	*kind += count
	return nil
}

// entry takes the next entry of the tar.
func (t *tally) entry(e *TreeEntry) error {
	err := e.check()
	switch {
	case t.header.Kind != Tar:
		return errors.New("an entry of a tar among the blocks of an image")
	case err == nil:
		err = t.tree.add(e)
	}
	if err != nil {
		return fmt.Errorf("entry %s: %w", quoted(e.Path), err)
	}
	return nil
}

// run takes the next frames of the archive.
func (t *tally) run(r FrameRun) error {
	f := r.First
	if f.PlainOff != t.plain || f.StoredOff != t.stored {
		return fmt.Errorf("frame at %d (stored %d) where %d (stored %d) was to follow", f.PlainOff, f.StoredOff, t.plain, t.stored)
	}
	size := t.header.PlainSize
	if t.header.Kind == Tar {
		size = maxPlain
	}
	rest := size - t.plain
	if t.short || f.PlainLen <= 0 || f.PlainLen > t.header.FrameSize || f.StoredLen <= 0 || r.Count > rest/f.PlainLen {
		return fmt.Errorf("%d frame(s) of %d bytes at %d in an %s of %d", r.Count, f.PlainLen, f.PlainOff, t.what(), size)
	}
	// Only the last frame may be short; that also bounds how many there are.
	if t.short = f.PlainLen < t.header.FrameSize; t.short && (r.Count > 1 || t.header.Kind == Image && f.PlainLen != rest) {
		return fmt.Errorf("%d frame(s) of %d bytes at %d in an %s of %d", r.Count, f.PlainLen, f.PlainOff, t.what(), size)
	}
	t.plain += r.Count * f.PlainLen
	t.stored += r.Count * f.StoredLen
	t.frames += r.Count
	t.hash = f.Hash
	for range r.Count {
		t.digest.Write(t.hash[:])
	}
	return nil
}

func (t *tally) what() string {
	if t.header.Kind == Tar {
		return "archive"
	}
	return "image"
}

// end is what the last row must be, or why it cannot be written yet.
func (t *tally) end() (EntriesEnd, error) {
	if t.header.Kind == Tar {
		if err := t.tree.end(t.plain); err != nil {
			return EntriesEnd{}, err
		}
	} else if t.next != t.total() || t.plain != t.header.PlainSize {
		return EntriesEnd{}, fmt.Errorf("%d of %d blocks and %d of %d bytes are told of", t.next, t.total(), t.plain, t.header.PlainSize)
	}
	return EntriesEnd{
		Blocks: t.blocks, Files: t.tree.files, Frames: t.frames, PlainSize: t.plain, StoredSize: t.stored,
		Digest: hex.EncodeToString(t.digest.Sum(nil)),
	}, nil
}

// tree follows the entries of a tar.
type tree struct {
	files  Files
	last   string // path of the last entry
	folder bool   // it is a folder
	at     int64  // of its header
}

// add takes the next entry. Paths ascend, and each folder comes before what is
// in it: so no entry can lead out of the tree, by a symlink or otherwise.
func (r *tree) add(e *TreeEntry) error {
	switch {
	case r.files.Entries == 0 && (e.Path != "" || e.Type != Folder):
		return errors.New("it is the first, and not the root folder")
	case r.files.Entries == 0:
	case ComparePaths(r.last, e.Path) >= 0:
		return fmt.Errorf("it follows %s, but does not come behind it", quoted(r.last))
	case !r.inFolder(e.Path):
		return fmt.Errorf("it follows %s, but the folder that it is in did not come before it", quoted(r.last))
	case e.At <= r.at:
		return fmt.Errorf("its header is at %d, not behind %d", e.At, r.at)
	}
	r.last, r.folder, r.at = e.Path, e.Type == Folder, e.At
	r.files.Entries++
	switch e.Type {
	case Folder:
		r.files.Folders++
	case File:
		r.files.Regular++
		if r.files.Bytes > math.MaxInt64-e.Size { // two files of nothing but holes suffice
			r.files.Bytes = math.MaxInt64
		} else {
			r.files.Bytes += e.Size
		}
	}
	return nil
}

// inFolder says whether the folder of path is that of the last entry, one above
// it, or that entry itself.
func (r *tree) inFolder(path string) bool {
	parent := path[:max(strings.LastIndexByte(path, '/'), 0)]
	if parent == r.last {
		return r.folder
	}
	return parent == "" || strings.HasPrefix(r.last, parent) && r.last[len(parent)] == '/'
}

func (r *tree) end(plain int64) error {
	if r.files.Entries == 0 {
		return errors.New("no entry, not even the root, is told of")
	}
	if plain%tarBlock != 0 || r.at > plain-tarBlock {
		return fmt.Errorf("frames of %d bytes are told of, and a header at %d", plain, r.at)
	}
	return nil
}
