package runstate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Run is what a state file tells.
type Run struct {
	Path   string
	Header Header
	Left   []Entry
	Live   bool  // its process holds the lock
	Err    error // the file could not be read, or only in part; the rest holds
}

// Read reads a state file, also while its run is alive. Where a line is damaged
// it returns what the others tell, and an error that names the first such line.
func Read(path string) (Run, error) {
	run := Run{Path: path, Live: Locked(path)}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		run.Err = fmt.Errorf("read the state file: %w", err)
		return run, run.Err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := trusted(f); err == nil {
		run.Header, run.Left, err = parse(f)
		run.Err = err
	} else {
		run.Err = err
	}
	if run.Err != nil {
		run.Err = fmt.Errorf("read the state file %s: %w", path, run.Err)
	}
	return run, run.Err
}

// List reads all state files in dir, in the order of their names, which is that
// of their start. A folder that is not there has none. A file that cannot be read
// is listed with its error.
func List(dir string) ([]Run, error) {
	items, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the state files: %w", err)
	}
	var runs []Run
	for _, item := range items {
		name, ok := strings.CutSuffix(item.Name(), suffix)
		if !ok || !runForm.MatchString(name) {
			continue
		}
		run, err := Read(filepath.Join(dir, item.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its run ended meanwhile
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// Locked tells whether the run of a state file is alive. In doubt it is.
func Locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer func() { _ = f.Close() }() // nothing was written
	// A shared lock, so that two who ask at once do not take each other for the
	// run. It ends with the Close.
	return flock(f, syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// parse reads a log. Its memory is bound by what is open at a time.
func parse(r io.Reader) (Header, []Entry, error) {
	header, log, err := parseLog(r)
	return header, log.list(), err
}

func parseLog(r io.Reader) (Header, entries, error) {
	var header Header
	var damage error
	log := entries{}
	lines := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			if n == 1 {
				damage = errors.New("it is empty")
			}
			return header, log, damage // what stands behind the last line end is torn
		}
		var rec record
		if err == nil {
			err = json.Unmarshal(line, &rec)
		}
		switch {
		case err != nil:
		case n > 1:
			err = log.apply(rec)
		case rec.Op != opRun || rec.Header == nil:
			err = errors.New("it does not name its run")
		case rec.Version > version:
			return header, nil, fmt.Errorf("it is of version %d, written by a later release", rec.Version)
		default:
			header = *rec.Header
		}
		if err != nil && damage == nil {
			damage = fmt.Errorf("line %d is damaged: %w", n, err)
		}
		if errors.Is(err, errIO) {
			return header, log, damage
		}
	}
}

var errIO = errors.New("read error")

// readLine returns the next whole line, io.EOF when there is none. A line beyond
// maxLine is passed over, with an error.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case err == nil && long:
			return nil, fmt.Errorf("it has more than %d bytes", maxLine)
		case err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("%w: %w", errIO, err)
		}
	}
}
