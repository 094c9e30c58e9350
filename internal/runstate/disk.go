package runstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// makeDir makes dir, for this user alone, and refuses one that another user could
// change under us.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
			return err
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
	}
	owner, self := uid(info), os.Geteuid()
	if self != 0 && owner != self && owner != 0 {
		return fmt.Errorf("%s belongs to user %d", dir, owner)
	}
	return nil
}

// trusted refuses a state file that somebody else may have written: what it names
// is taken away by later runs.
func trusted(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	if owner := uid(info); owner != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d", owner)
	}
	return nil
}

func uid(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// clearAbandoned removes what runs left that died while they made their file: it
// is unlocked. They had not begun to work. What cannot be removed does no harm.
func clearAbandoned(dir string) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, item := range items {
		name, ok := strings.CutSuffix(item.Name(), newSuffix)
		info, err := item.Info()
		if !ok || err != nil || !runForm.MatchString(name) || !info.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(dir, item.Name())
		switch {
		case !strings.HasPrefix(name, machineIDFile):
			removeUnlocked(path)
		case time.Since(info.ModTime()) > abandoned:
			_ = os.Remove(path)
		}
	}
}

// removeUnlocked removes a file under its lock, so that nobody else gets that
// meanwhile; lockedNew begins again then.
func removeUnlocked(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // nothing was written
	if trusted(f) == nil && flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil && hasName(f, path) {
		_ = os.Remove(path)
	}
}

// hasName tells whether a path still names an open file.
func hasName(f *os.File, path string) bool {
	named, err := os.Lstat(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(info, named)
}

// syncDir makes the names in dir last. File systems that do not sync folders say
// so with EINVAL.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
