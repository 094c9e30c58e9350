package runstate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// ErrLive says that a state file is locked: its run is alive, or another one is
// just taking away what it left.
var ErrLive = errors.New("its run is alive")

// takeTries is how often a lock is asked for: whoever only looks whether a run is
// alive holds it for a moment.
const (
	takeTries = 5
	takePause = 20 * time.Millisecond
)

// Take locks the state file of a dead run, so that nobody else takes away what it
// left, and continues its log: what is taken away is struck from it thing by
// thing, and whoever is killed meanwhile leaves the rest. Close ends it as the run
// itself would have.
//
// A locked file is ErrLive, one that is gone fs.ErrNotExist. A file that cannot be
// read whole is not taken, and not changed: it needs a person.
func Take(path string) (_ *File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("take the state file: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("take the state file %s: %w", path, errors.Join(err, f.Close()))
		}
	}()
	if err := trusted(f); err != nil {
		return nil, err
	}
	if err := lockDead(f); err != nil {
		return nil, err
	}
	// Whoever held the lock before may have removed the file, whose name is nobody's
	// then: names of runs are never used again.
	if !hasName(f, path) {
		return nil, fs.ErrNotExist
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &File{path: path, f: f, changed: info.ModTime()}
	if err := s.resume(); err != nil {
		return nil, err
	}
	return s, nil
}

func lockDead(f *os.File) error {
	pause := time.NewTicker(takePause)
	defer pause.Stop()
	for try := 1; ; try++ {
		err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock it: %w", err)
		case try == takeTries:
			return ErrLive
		}
		<-pause.C
	}
}

// resume reads the log that is there. A torn last line, whose call was never made,
// is cut off: what is appended must begin a line of its own.
func (f *File) resume() error {
	header, log, err := parseLog(f.f)
	if err != nil {
		return err
	}
	whole, err := lastLineEnd(f.f)
	if err != nil {
		return err
	}
	if err := f.f.Truncate(whole); err != nil {
		return err
	}
	f.header, f.log, f.size = header, log, whole
	for n := range log {
		f.next = max(f.next, n)
	}
	return nil
}

// lastLineEnd is the size of a file up to the end of its last whole line, which is
// at most a line of maxLine before its end.
func lastLineEnd(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	from := max(0, size-maxLine-1)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return from + int64(bytes.LastIndexByte(tail, '\n')+1), nil
}

// Header says whose file it is.
func (f *File) Header() Header { return f.header }

// Changed is when a file that was taken was last written before, by this machine's
// clock: the run was alive until then at least. It is zero for one's own.
func (f *File) Changed() time.Time { return f.changed }

// Open returns what is left as intents, in the order they were intended, so that
// each can be struck or given a reason.
func (f *File) Open() []*Intent {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*Intent
	for _, n := range f.log.numbers() {
		all = append(all, &Intent{file: f, n: n})
	}
	return all
}

// Entry is what the file tells of the thing; of one that is done it is empty.
func (i *Intent) Entry() Entry {
	i.file.mu.Lock()
	defer i.file.mu.Unlock()
	e := i.file.log[i.n]
	if e == nil {
		return Entry{}
	}
	return e.copied()
}
