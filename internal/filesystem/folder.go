package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// folder is an open folder and the names in it. It stays open while an item of
// it is under way.
type folder struct {
	path  string
	name  string  // in parent
	above *folder // until it is open
	uses  atomic.Int32

	ready chan struct{} // closed when the rest is known
	fd    int
	stat  unix.Stat_t
	names []name
	err   error

	partial bool // there may be more names
}

// name is one entry of a listing.
type name struct {
	text  string
	inode uint64
	kind  uint8 // DT_REG …, DT_UNKNOWN
	ahead *folder
}

// newFolder has one use, its maker's.
func newFolder(above *folder, text string) *folder {
	f := &folder{name: text, above: above, ready: make(chan struct{}), fd: -1}
	f.uses.Store(1)
	if above != nil {
		above.uses.Add(1)
		f.path = join(above.path, text)
	}
	return f
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

func (f *folder) retain() *folder {
	f.uses.Add(1)
	return f
}

func (f *folder) release() {
	if f.uses.Add(-1) > 0 {
		return
	}
	if f.fd >= 0 {
		closeFD(f.fd)
	}
	if f.above != nil { // it was never opened
		f.above.release()
	}
}

// open opens the folder and lists it, ahead of its turn only the first names.
func (f *folder) open(root int, most int, buf []byte) {
	dir, text := root, "."
	if f.above != nil {
		dir, text = f.above.fd, f.name
	}
	f.fd, f.err = openat(dir, text, unix.O_DIRECTORY)
	if f.above != nil {
		f.above.release()
		f.above = nil
	}
	if f.err != nil {
		f.fd, f.err = -1, fmt.Errorf("open: %w", f.err)
		return
	}
	if f.err = fstat(f.fd, &f.stat); f.err == nil {
		f.read(most, buf)
	}
}

// read reads names until there are most of them, or none left. Of a folder that
// cannot be read to its end nothing is kept: half a listing must not look like a
// whole one.
func (f *folder) read(most int, buf []byte) {
	for f.partial = true; f.partial && len(f.names) < most; {
		n, err := again(func() (int, error) { return unix.Getdents(f.fd, buf) })
		if err == nil && n > 0 {
			f.names, err = appendNames(f.names, buf[:n])
		}
		if err != nil {
			f.names, f.partial, f.err = nil, false, fmt.Errorf("list: %w", err)
			return
		}
		f.partial = n > 0
	}
	if !f.partial {
		slices.SortFunc(f.names, func(a, b name) int { return strings.Compare(a.text, b.text) })
	}
}

// appendNames parses what getdents64(2) gives: inode u64, offset i64, length of
// the record u16, type u8, name with a NUL behind it.
func appendNames(names []name, b []byte) ([]name, error) {
	const fixed = 19
	for len(b) > 0 {
		if len(b) < fixed {
			return nil, errors.New("the kernel gave half a record")
		}
		length := int(binary.NativeEndian.Uint16(b[16:]))
		if length <= fixed || length > len(b) {
			return nil, fmt.Errorf("the kernel gave a record of %d bytes", length)
		}
		text, _, _ := bytes.Cut(b[fixed:length], []byte{0})
		switch string(text) {
		case ".", "..":
		case "":
			return nil, errors.New("an entry has no name")
		default:
			if bytes.IndexByte(text, '/') >= 0 {
				return nil, fmt.Errorf("an entry has the name %q", text)
			}
			names = append(names, name{text: string(text), inode: binary.NativeEndian.Uint64(b), kind: b[18]})
		}
		b = b[length:]
	}
	return names, nil
}

// How far listings are made ahead of their turn, since each takes a read or two
// of a device that answers one after 10 to 20 ms.
const (
	siblingsAhead = 32      // folders of one folder
	namesAhead    = 100_000 // names held by all of them; 5 MiB
	namesEach     = 20_000  // names of one of them
	listers       = 16      // listings under way
	listBuffer    = 64 << 10
)

// listed waits until a folder is listed, whole. begun: it was begun ahead of its
// turn.
func (w *walker) listed(ctx context.Context, f *folder, begun bool) error {
	if !begun {
		w.list(f, math.MaxInt)
	}
	if err := w.flushUnless(ctx, f.ready); err != nil {
		return err
	}
	if begun {
		w.held.Add(-int64(len(f.names)))
	}
	if !f.partial {
		return nil
	}
	rest := make(chan struct{})
	w.helpers.Go(func() {
		defer close(rest)
		f.read(math.MaxInt, make([]byte, listBuffer))
	})
	return w.flushUnless(ctx, rest)
}

func (w *walker) list(f *folder, most int) {
	f.retain()
	w.helpers.Go(func() {
		defer f.release()
		buf := <-w.listing
		if buf == nil {
			buf = make([]byte, listBuffer)
		}
		f.open(w.root, most, buf)
		if most == namesEach {
			w.held.Add(int64(len(f.names)))
		}
		close(f.ready) // from here on names are the scout's
		w.listing <- buf
	})
}

// listAhead begins the listing of the next folders among names.
func (w *walker) listAhead(f *folder, names []name) {
	begun := 0
	for i := range names[:min(len(names), 8*siblingsAhead)] {
		if begun == siblingsAhead || w.held.Load() > namesAhead {
			return
		}
		n := &names[i]
		if n.kind != unix.DT_DIR {
			continue
		}
		begun++
		if n.ahead == nil {
			n.ahead = newFolder(f, n.text)
			w.list(n.ahead, namesEach)
		}
	}
}
