package filesystem

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
)

// Tree is the files below a folder that nobody changes while it is read. Walks
// of it may run at the same time.
type Tree struct {
	// Root is the folder, open. It must stay open while a walk goes on.
	Root *os.File
	// Subvolumes says that a folder of another device below Root is a btrfs
	// subvolume. Without it such a folder is an error: something is mounted there.
	Subvolumes bool
	// Stall ends a walk when nothing has been answered for so long. 0: an hour.
	Stall time.Duration
}

// Walk yields the tree: the root, then depth first, the names of each folder in
// the order of their bytes, so that two walks of equal trees are equal. It reads
// ahead in many folders and files at once, as a cold volume answers each read
// after 10 to 20 ms, in the order of inodes within a batch.
//
// With a *PathError the entry has its Path alone, and the walk goes on; any other
// error is the last. Memory: 10 MiB, and what a folder's names take, about 60
// bytes each. It returns soon after ctx ends, unless the kernel holds it up: then
// within ten seconds, and leaves the call that hangs behind.
func (t *Tree) Walk(ctx context.Context) iter.Seq2[*Entry, error] {
	return t.walk(ctx, true)
}

// The shape of a walk.
const (
	batchItems   = 16       // names that one goroutine looks at, in the order of their inodes
	batchesAhead = 48       // so many batches may be under way or wait for their turn
	workers      = 32       // batches under way: reads in flight
	smallFile    = 16 << 10 // bytes: such files are read with the rest
	defaultStall = time.Hour
	grace        = 10 * time.Second // for calls of the kernel to return once nobody waits for them
)

// walker is one walk. The scout goes through the folders in order and cuts their
// names into batches; workers look at these out of order; the caller's own
// goroutine takes them in order again.
type walker struct {
	t      *Tree
	root   int
	device uint64 // of the root
	xfs    bool   // it is one
	full   bool   // xattrs, holes and content, too

	order chan *batch // in order; closed at the end
	jobs  chan *batch // the same ones

	filling  *batch // by the scout
	spare    sync.Pool
	listing  chan []byte  // what listings under way read into; nil: not yet made
	held     atomic.Int64 // names listed ahead
	helpers  sync.WaitGroup
	answered atomic.Int64 // calls that have returned; a walk that stalls has no more of them
	failed   error        // by the scout, before it closes order
	given    *batch       // taken from order and not looked at to its end
}

// batch is some neighbours in the order of the walk.
type batch struct {
	items [batchItems]item
	n     int
	arena []byte     // for the content of small files
	room  [1024]byte // to read xattrs into
	done  chan struct{}
}

type item struct {
	in    *folder // where name is
	name  name
	self  *folder // the entry is this folder
	entry Entry
	err   error
}

func (t *Tree) walk(ctx context.Context, full bool) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		w := &walker{
			t: t, root: int(t.Root.Fd()), full: full,
			order: make(chan *batch, batchesAhead), jobs: make(chan *batch, batchesAhead),
			listing: make(chan []byte, listers),
		}
		for range listers {
			w.listing <- nil
		}
		var st unix.Stat_t
		if err := fstat(w.root, &st); err != nil {
			yield(nil, fmt.Errorf("stat the root: %w", err))
			return
		}
		w.device = st.Dev
		var fs unix.Statfs_t
		if err := unix.Fstatfs(w.root, &fs); err != nil {
			yield(nil, fmt.Errorf("ask for the type of the filesystem: %w", err))
			return
		}
		w.xfs = fs.Type == unix.XFS_SUPER_MAGIC
		inner, cancel := context.WithCancelCause(ctx)
		w.start(inner)
		err := w.deliver(inner, yield)
		cancel(nil)
		w.end()
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

func (w *walker) start(ctx context.Context) {
	w.helpers.Go(func() {
		defer close(w.order)
		defer close(w.jobs)
		w.failed = w.scout(ctx)
	})
	for range workers {
		w.helpers.Go(func() {
			for b := range w.jobs {
				if ctx.Err() == nil {
					w.examine(b)
				}
				close(b.done)
			}
		})
	}
}

var errEnough = errors.New("the caller has seen enough")

// deliver hands out what the workers found, in order.
func (w *walker) deliver(ctx context.Context, yield func(*Entry, error) bool) error {
	for {
		b, ok, err := wait(ctx, w, w.order)
		if err != nil {
			return err
		}
		if !ok {
			return w.failed
		}
		if _, _, err := wait(ctx, w, b.done); err != nil {
			w.given = b
			return err
		}
		for i := range b.n {
			it := &b.items[i]
			more := yield(&it.entry, it.err)
			it.letGo()
			if !more {
				b.abandon()
				return errEnough
			}
		}
		w.recycle(b)
	}
}

// wait receives from c. It is an error when the walk stalls.
func wait[T any](ctx context.Context, w *walker, c <-chan T) (v T, ok bool, err error) {
	select {
	case v, ok = <-c:
		return v, ok, nil
	default:
	}
	limit := w.t.Stall
	if limit == 0 {
		limit = defaultStall
	}
	for {
		before := w.answered.Load()
		timer := time.NewTimer(limit)
		select {
		case v, ok = <-c:
			timer.Stop()
			return v, ok, nil
		case <-ctx.Done():
			timer.Stop()
			return v, false, context.Cause(ctx)
		case <-timer.C:
			if w.answered.Load() == before {
				return v, false, hint.Wrap(fmt.Errorf("the filesystem has given nothing for %s", limit),
					"look at dmesg and at the volume's status, then run the command again")
			}
		}
	}
}

// end waits for all goroutines, but not for a call that the kernel does not
// answer.
func (w *walker) end() {
	ended := make(chan struct{})
	go func() {
		if w.given != nil {
			<-w.given.done
			w.given.abandon()
		}
		for b := range w.order {
			<-b.done
			b.abandon()
		}
		w.helpers.Wait()
		close(ended)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

func (w *walker) newBatch() *batch {
	if b, ok := w.spare.Get().(*batch); ok {
		b.done = make(chan struct{})
		return b
	}
	return &batch{done: make(chan struct{})}
}

func (w *walker) recycle(b *batch) {
	clear(b.items[:b.n])
	b.n, b.arena = 0, b.arena[:0]
	w.spare.Put(b)
}

// letGo gives back what an item holds open.
func (it *item) letGo() {
	if it.in != nil {
		it.in.release()
	}
	if it.self != nil {
		it.self.release()
	}
	if it.entry.file != nil {
		it.entry.file.Release()
	}
	it.in, it.self, it.entry.file = nil, nil, nil
}

func (b *batch) abandon() {
	for i := range b.n {
		b.items[i].letGo()
	}
}

// scout goes through the whole tree, in order.
func (w *walker) scout(ctx context.Context) error {
	if err := w.folder(ctx, newFolder(nil, ""), false); err != nil {
		return err
	}
	return w.flush(ctx)
}

func (w *walker) folder(ctx context.Context, f *folder, begun bool) error {
	defer f.release()
	if err := w.listed(ctx, f, begun); err != nil {
		return err
	}
	if err := w.add(ctx, item{self: f.retain()}); err != nil {
		return err
	}
	names := f.names // none where it could not be read: the item tells
	f.names = nil
	defer func() { // those that were begun and are not wanted
		for _, n := range names {
			if n.ahead != nil {
				n.ahead.release()
			}
		}
	}()
	w.listAhead(f, names)
	for i := range names {
		n := &names[i]
		if n.kind == unix.DT_UNKNOWN && w.isFolder(f, n.text) {
			n.kind = unix.DT_DIR
		}
		if n.kind != unix.DT_DIR {
			if err := w.add(ctx, item{in: f.retain(), name: *n}); err != nil {
				return err
			}
			continue
		}
		sub, begun := n.ahead, n.ahead != nil
		if !begun {
			sub = newFolder(f, n.text)
		}
		n.ahead = nil
		w.listAhead(f, names[i+1:])
		if err := w.folder(ctx, sub, begun); err != nil {
			return err
		}
	}
	return nil
}

// isFolder asks for the type of a name that the listing does not tell the type
// of. Where it cannot be told a worker meets the same error.
func (w *walker) isFolder(f *folder, text string) bool {
	var st unix.Stat_t
	return fstatat(f.fd, text, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (w *walker) add(ctx context.Context, it item) error {
	if w.filling == nil {
		w.filling = w.newBatch()
	}
	b := w.filling
	b.items[b.n] = it
	if b.n++; b.n == batchItems {
		return w.flush(ctx)
	}
	return nil
}

// flush sends the batch on. Its place in the order is taken first, so that no
// more of them are under way than order has places.
func (w *walker) flush(ctx context.Context) error {
	b := w.filling
	w.filling = nil
	if b == nil {
		return nil
	}
	select {
	case w.order <- b:
	case <-ctx.Done():
		close(b.done)
		b.abandon()
		return context.Cause(ctx)
	}
	w.jobs <- b // has room for all that order has
	return nil
}

// flushUnless waits for done. What is gathered goes on first: it could be waited
// for.
func (w *walker) flushUnless(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	select {
	case <-done:
		w.answered.Add(1)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
