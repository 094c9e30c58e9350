package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"runtime"
	"time"

	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/hint"
)

// Tree is files in the order of a tar: filesystem.Tree is one.
type Tree interface {
	// Walk yields the root, then depth first, names in byte order. An entry that
	// cannot be read comes with a *filesystem.PathError.
	Walk(ctx context.Context) iter.Seq2[*filesystem.Entry, error]
}

// TreeRow is what is learned of one entry while it is written.
type TreeRow struct {
	filesystem.Entry           // without Content, Data and Xattrs
	Link             string    // path of the entry that is the same file; "" of a first name
	At               int64     // offset of its first header block in the plain stream
	Stored           int64     // bytes of data in the stream, of a sparse file
	XattrSum         *[32]byte // nil: it has no xattrs
	Sum              *[32]byte // of the content of a regular file; nil for others and for links
	Runs             bool      // Sum is over runs of blocks that are not zero
	Map              *[32]byte // of a sparse file: hash of where its data lie; nil: stored whole
	RunSum           *[32]byte // of a file stored whole and larger than 1 GiB: Sum as it would be over runs; ScanTree alone fills it in
}

// mapSum is the hash of where the data of a sparse file lie: offset and length of
// each piece, in bytes, as u64, little-endian.
func mapSum(data []filesystem.Extent) *[32]byte {
	h := sha256.New()
	for _, d := range data {
		h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(d.Off)), uint64(d.Len)))
	}
	return (*[32]byte)(h.Sum(nil))
}

// TreeRows takes what is learned of a tree while it is written. The calls come
// from one goroutine: entries in the order of the tree, and frames in theirs. An
// error ends the writing.
type TreeRows interface {
	Entry(r *TreeRow) error
	// Frame is a frame that w has taken.
	Frame(f codec.Frame) error
}

// TreeOptions says how a tree is written.
type TreeOptions struct {
	Codec   codec.Codec
	Workers int // goroutines that compress; 0: one a core
	Reads   int // reads of up to 512 KiB in flight, of files that are not small; 0: 32
	// Stall ends the writing when no read was answered for so long. 0: an hour.
	Stall time.Duration
	// Progress is told how far it is, from one goroutine: plain bytes and
	// entries so far, and the path of the last one. It may be nil.
	Progress func(plainBytes, entries int64, path string)
	// Skipped is told of entries that a tar cannot hold: sockets. It may be nil.
	Skipped func(path string)
}

// TreeResult is what was written.
type TreeResult struct {
	Plain, Stored             int64    // bytes of the tar, and of the stream
	Digest                    [32]byte // SHA-256 over the hashes of all frames
	Entries, Regular, Folders int64
	Bytes                     int64 // of contents of regular files, each file once
}

// unreadableFor is how long it is looked for more entries that cannot be read
// once one was found: what is written in that time is thrown away.
const unreadableFor = time.Minute

// WriteTree writes a tree to w as a PAX tar stream in frames of 4 MiB, and its
// rows to rows.
//
// Names, files and frames are read and made in goroutines, all of which have
// ended when it returns, but for reads that the kernel does not answer. Its
// memory is that of ring and of the tree's walk. Entries that cannot be read are
// a *filesystem.UnreadableError; other errors as for WriteImage.
func WriteTree(ctx context.Context, tree Tree, w io.Writer, rows TreeRows, o TreeOptions) (TreeResult, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Reads <= 0 {
		o.Reads = defaultReads
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64, string) {}
	}
	if o.Skipped == nil {
		o.Skipped = func(string) {}
	}
	if o.Stall == 0 {
		o.Stall = time.Hour
	}
	p := newTreePipeline(newRing(o.Codec, o.Reads, o.Workers), o)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	wait := p.start(ctx, tree, fail)
	out := treeSequencer{frameWriter: newFrameWriter(w, rows), rows: rows, progress: o.Progress}
	if err := out.run(ctx, p); err != nil {
		fail(err)
	}
	wait()
	if err := p.unreadable.err(); err != nil { // what else went wrong was an echo of it
		return TreeResult{}, err
	}
	if ctx.Err() != nil {
		return TreeResult{}, context.Cause(ctx)
	}
	return out.result(p.layer), nil
}

// treeSequencer writes the frames and rows of a tree in order.
type treeSequencer struct {
	frameWriter
	rows     TreeRows
	progress func(int64, int64, string)
	entries  int64
	last     string
}

func (s *treeSequencer) run(ctx context.Context, p *treePipeline) error {
	for {
		c, ok, err := receive(ctx, p.order)
		if !ok {
			return err
		}
		if err := p.await(ctx, c.done); err != nil {
			return err
		}
		if err := s.write(c.stored, c.size, c.hash); err != nil {
			return err
		}
		p.memory.stored.put(c.stored)
		for _, r := range c.rows {
			if err := s.rows.Entry(r); err != nil {
				return err
			}
			s.entries++
			s.last = r.Path
		}
		s.progress(s.plain, s.entries, s.last)
	}
}

func (s *treeSequencer) result(l *layer) TreeResult {
	r := TreeResult{
		Plain: s.plain, Stored: s.stored, Entries: s.entries,
		Regular: l.regular, Folders: l.folders, Bytes: l.bytes,
	}
	s.digest.Sum(r.Digest[:0])
	return r
}

// await waits for done, and no longer than it takes to see that reads have
// stopped being answered: the kernel waits for a device that hangs for ever.
func (p *treePipeline) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	for {
		before := p.answered.Load()
		timer := time.NewTimer(p.o.Stall)
		select {
		case <-done:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
			if p.answered.Load() == before {
				return hint.Wrap(fmt.Errorf("no read of a file was answered for %s", p.o.Stall),
					"look at dmesg and at the volume's status, then run the command again")
			}
		}
	}
}
