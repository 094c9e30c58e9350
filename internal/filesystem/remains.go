package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/pause"
)

// MountRemains is a mount that a run of this boot may have left in the mount table
// when it was killed, as its state file names it.
type MountRemains struct {
	Folder     string
	Loop       string // the loop device that was mounted
	Backing    string // what that stood on
	FolderMade bool   // the folder was made for it
}

// removeGrace is how long something that is busy is asked for again: what examines
// new mounts holds them for a moment.
const removeGrace = 5 * time.Second

// Mounted tells whether it is there still.
func (r MountRemains) Mounted(ctx context.Context) (bool, error) {
	source, err := mountedAt(r.Folder)
	if err != nil {
		return false, fmt.Errorf("see what is mounted at %s: %w", r.Folder, err)
	}
	if source != r.Loop {
		return false, nil
	}
	return standsOn(ctx, r.Loop, r.Backing)
}

// Remove unmounts what is at Folder if it is the loop device of that run, which
// still stands on Backing, and removes the folder where it was made for it and is
// empty. Anything else that is mounted there by now stays, without an
// error: the run's own mount is gone then. It never unmounts what is in use.
func (r MountRemains) Remove(ctx context.Context) error {
	there, err := r.Mounted(ctx)
	if err != nil {
		return err
	}
	if there {
		err = untilFree(ctx, func() error { return unix.Unmount(r.Folder, unix.UMOUNT_NOFOLLOW) })
		if err != nil && !errors.Is(err, unix.EINVAL) { // somebody was faster
			return hint.Wrap(fmt.Errorf("unmount %s: %w", r.Folder, err), "end what uses it: fuser -vm "+hint.Quote(r.Folder))
		}
		if err := awaitCleared(ctx, r.Loop, r.Backing); err != nil {
			return err
		}
	}
	return r.RemoveFolder()
}

// RemoveFolder removes the folder where it was made for the mount, and is empty and
// no mount point: all there is to do after a restart.
func (r MountRemains) RemoveFolder() error {
	if !r.FolderMade {
		return nil
	}
	err := unix.Rmdir(r.Folder)
	for _, fine := range []error{nil, unix.ENOENT, unix.ENOTEMPTY, unix.ENOTDIR, unix.EBUSY} { // EBUSY: something is mounted there
		if errors.Is(err, fine) {
			return nil
		}
	}
	return fmt.Errorf("remove the folder %s: %w", r.Folder, err)
}

// RemoveLoop detaches a loop device that a killed run may have left, if it still
// stands on backing.
func RemoveLoop(ctx context.Context, loop, backing string) error {
	stands, err := standsOn(ctx, loop, backing)
	if err != nil || !stands {
		return err
	}
	f, err := os.OpenFile(loop, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("detach %s from %s: %w", loop, backing, err)
	}
	err = again0(func() error { return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0) })
	if errors.Is(err, unix.ENXIO) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("detach %s from %s: %w", loop, backing, err)
	}
	return awaitCleared(ctx, loop, backing)
}

// awaitCleared waits until a loop device has let go of what it stands on.
func awaitCleared(ctx context.Context, loop, backing string) error {
	err := untilFree(ctx, func() error {
		stands, err := standsOn(ctx, loop, backing)
		if err == nil && stands {
			err = unix.EBUSY
		}
		return err
	})
	if err != nil {
		return hint.Wrap(fmt.Errorf("%s still stands on %s: %w", loop, backing, err), "end what has it open: lsof "+loop)
	}
	return nil
}

// untilFree makes a call again for a while where something is busy.
func untilFree(ctx context.Context, call func() error) error {
	deadline := time.Now().Add(removeGrace)
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := again0(call)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

var loopForm = regexp.MustCompile(`^/dev/(loop[0-9]+)$`)

// standsOn tells whether a loop device stands on a device or file, by its name or
// its number; its name alone where there is no such file any more.
func standsOn(ctx context.Context, loop, backing string) (bool, error) {
	name := loopForm.FindStringSubmatch(loop)
	if name == nil || backing == "" {
		return false, fmt.Errorf("%q over %q is no loop device of ours", loop, backing)
	}
	text, err := os.ReadFile(filepath.Join("/sys/block", name[1], "loop/backing_file"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return false, nil // it is not set up
	}
	if err != nil {
		return false, fmt.Errorf("see what %s stands on: %w", loop, err)
	}
	if strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), " (deleted)") == backing {
		return true, nil
	}
	loops, err := LoopsOver(ctx, backing)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.Contains(loops, loop), err
}

// mountedAt is the source of what is mounted at a folder, "" where nothing is.
func mountedAt(folder string) (string, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer func() { _ = table.Close() }() // nothing was written
	return sourceAt(table, folder)
}

// sourceAt finds the topmost mount at a folder, which comes last in the table. The
// source is the second word behind the dash (proc_pid_mountinfo(5)).
func sourceAt(table io.Reader, folder string) (source string, err error) {
	lines := mountLines(table)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		dash := slices.Index(words, "-")
		if dash > 4 && dash+2 < len(words) && unescaped(words[4]) == folder {
			source = unescaped(words[dash+2])
		}
	}
	return source, lines.Err()
}
