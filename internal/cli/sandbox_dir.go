package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"snap-to-s3/internal/hint"
)

// sandboxDir is the prefix of the folders of sandboxes, in the folder for
// temporary files; sandboxLock is in each, locked by flock until its process
// ends, however it ends.
const (
	sandboxDir  = "snap-to-s3-sandbox-"
	sandboxLock = "lock"
)

// newSandboxDir makes a folder and locks it. The lock gets its name only once it
// is locked, since whoever finds an unlocked one takes its sandbox for dead.
func newSandboxDir() (dir string, lock *os.File, err error) {
	if dir, err = os.MkdirTemp("", sandboxDir); err != nil {
		return "", nil, hint.Wrap(fmt.Errorf("make the sandbox's folder: %w", err), "set TMPDIR to a folder that there is, with room for the disks")
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("lock the sandbox's folder: %w", err), os.RemoveAll(dir))
		}
	}()
	unnamed := filepath.Join(dir, sandboxLock+".new")
	if lock, err = os.OpenFile(unnamed, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return "", nil, err
	}
	if err = errors.Join(flock(lock), os.Rename(unnamed, filepath.Join(dir, sandboxLock))); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, lock, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// removeDeadSandboxes removes what sandboxes of this user have left that were
// killed: a disk image and a bucket each. Its loop devices went with the process.
func removeDeadSandboxes() error {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), sandboxDir+"*"))
	if err != nil {
		return fmt.Errorf("look for dead sandboxes: %w", err)
	}
	var errs []error
	for _, dir := range found {
		if err := removeIfDead(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove the dead sandbox %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// removeIfDead leaves alone what is not a folder of this user's with a lock of
// its own: in a folder that all can write to, names prove nothing.
func removeIfDead(dir string) (err error) {
	if !ownFolder(dir) {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, sandboxLock), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // just being made, or gone
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := flock(lock); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil // alive, or being removed
	} else if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func ownFolder(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
