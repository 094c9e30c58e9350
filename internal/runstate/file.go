// Package runstate keeps, on this machine's disk, what a run has created and not
// yet taken away: one file a run, so that what a killed run left can be found
// again. It knows the names of things, not the things: it neither deletes volumes
// nor looks at tags, and no secret is ever given to it.
//
// A file is a log of JSON lines: first the run, then what it intends, each
// written and synced before the call that it announces. It is only ever appended
// to, in one write a line, so that at whatever byte the process dies the file is
// a whole log with at most one torn line at its end. That line's call was not
// made, since Intend had not returned; readers drop it. A file that is rewritten
// would need a rename for the same promise, and with it a moment in which the
// lock is on another file than the name.
//
// The lock is flock's, on the file itself, held from before the file has its name
// until the process ends, however it ends: an unlocked file is a dead run's. Whoever
// takes away what that left holds the lock meanwhile (Take).
package runstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"snap-to-s3/internal/hint"
)

// Header says whose file it is. Args must come without secrets.
type Header struct {
	Run     string    `json:"run"`
	Host    string    `json:"host"`
	Boot    string    `json:"boot"`
	PID     int       `json:"pid"`
	Args    []string  `json:"args,omitempty"`
	Started time.Time `json:"started"`
}

// version of the format; a reader refuses a higher one.
const version = 1

// record is one line. Header is set in the first, N in all others.
type record struct {
	Op      string            `json:"op"`
	Version int               `json:"v,omitempty"`
	Header  *Header           `json:"header,omitempty"`
	N       int64             `json:"n,omitempty"`
	Kind    string            `json:"kind,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Command string            `json:"command,omitempty"`
}

const (
	opRun    = "run"
	opIntend = "intend"
	opUpdate = "update"
	opDone   = "done"
	opStay   = "stay"
)

// maxLine bounds a line, for writers and readers: 1 MiB.
const maxLine = 1 << 20

// suffix of a state file, and of one that is being made.
const (
	suffix    = ".json"
	newSuffix = ".new"
)

// abandoned is the age after which a file that is still being made, and has no
// lock, is litter.
const abandoned = time.Hour

var runForm = regexp.MustCompile(`^[0-9a-z-]{1,64}$`)

// File is the state file of the live run. It is safe for concurrent use.
type File struct {
	path    string
	header  Header
	changed time.Time // of one that was taken: before

	mu   sync.Mutex
	f    *os.File // nil: closed
	size int64    // of the whole lines
	bad  error    // what follows would not be read back
	log  entries
	next int64
}

// Create makes and locks the run's file in dir, which is made where it is
// missing. When it returns the file is on disk.
func Create(dir string, h Header) (*File, error) {
	f, err := create(dir, h)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("create the state file of this run in %s: %w", dir, err), elsewhere)
	}
	return f, nil
}

const elsewhere = "see that there is room and that this user may write there, or set " + StateDirEnv + " to another folder that outlives a restart"

func create(dir string, h Header) (_ *File, err error) {
	if !runForm.MatchString(h.Run) {
		return nil, fmt.Errorf("run id %q is not of 0-9, a-z and -", h.Run)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	clearAbandoned(dir)
	path := filepath.Join(dir, h.Run+suffix)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	// Locked and whole before it has its name, since whoever finds an unlocked
	// file takes its run for dead.
	f, err := lockedNew(filepath.Join(dir, h.Run+newSuffix))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), removeIfThere(f.Name()))
		}
	}()
	s := &File{path: path, header: h, f: f, log: entries{}}
	if err := s.append(record{Op: opRun, Version: version, Header: &h}); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, removeIfThere(path))
	}
	return s, nil
}

// newTries is how often a file is begun again that another run, which took it for
// litter, removed before it was locked.
const newTries = 10

func lockedNew(path string) (*os.File, error) {
	for try := 1; ; try++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && hasName(f, path) {
			return f, nil
		}
		if err := errors.Join(f.Close(), removeIfThere(path)); err != nil {
			return nil, err
		}
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) || try == newTries {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// append writes one line and syncs it. A line that did not fit is taken back, so
// that the log goes on where it ended.
func (f *File) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	switch {
	case len(line) > maxLine:
		return fmt.Errorf("a record of %d bytes is more than %d", len(line), maxLine)
	case f.f == nil:
		return fs.ErrClosed
	case f.bad != nil:
		return f.bad
	}
	if _, err := f.f.Write(line); err != nil {
		if undo := f.f.Truncate(f.size); undo != nil {
			f.bad = fmt.Errorf("%w, and then: %w", err, undo)
			return f.bad
		}
		return err
	}
	if err := f.f.Sync(); err != nil {
		// Whether the line is on disk cannot be known any more, nor that of a
		// later one: Linux reports a write that failed only once.
		f.bad = err
		return err
	}
	f.size += int64(len(line))
	return nil
}

// write appends under the lock and says what it was about.
func (f *File) write(r record) error {
	if err := f.append(r); err != nil {
		return hint.Wrap(fmt.Errorf("write the state file %s: %w", f.path, err), elsewhere)
	}
	return nil
}

// Left returns what the run intended and did not report as done, in the order it
// was intended.
func (f *File) Left() []Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.list()
}

// Close ends the run's state: with nothing left the file is removed, else it
// stays, unlocked, for a later run to find. Only the first call does anything.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	var err error
	if len(f.log) == 0 {
		err = removeIfThere(f.path) // before the lock goes
	}
	err = errors.Join(err, f.f.Close())
	f.f = nil
	if err != nil {
		return fmt.Errorf("close the state file: %w", err)
	}
	return nil
}
