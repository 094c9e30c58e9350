package filesystem

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/runstate"
)

// plainMount is a mount in the mount table. A process that is killed leaves it,
// with its entry in the state file.
type plainMount struct {
	folder  string
	made    bool // the folder, by us
	mounted bool
	keep    bool
	device  uint64 // number of the filesystem that is mounted; 0: not known
	below   uint64 // and of the one that the folder is in
	intent  *runstate.Intent
}

func (m *Mount) mountPlain(ctx context.Context, r MountRequest, driver string) error {
	if r.State == nil || r.Folder == "" {
		return errors.New("a mount in the mount table needs a folder and a state file")
	}
	p := &plainMount{keep: r.Keep}
	held, err := p.claimFolder(r.Folder)
	if err != nil {
		return err
	}
	defer held.Close() // it is locked until the mount shows
	fields := map[string]string{"folder": p.folder, "backing": r.Device, "loop": m.loop.name}
	if p.made {
		fields["made"] = p.folder
	}
	p.intent, err = r.State.Intend(runstate.KindMount, fields)
	if err != nil {
		return errors.Join(err, p.removeFolder())
	}
	m.plain = p // what follows is undone by Close
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	log := openKernelLog(m.loop.number)
	defer log.close()
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err = again0(func() error {
		return unix.Mount(m.loop.name, p.folder, driver, flags, optionText(r))
	})
	switch {
	case errors.Is(err, unix.EPERM):
		return hint.Wrap(fmt.Errorf("mount at %s: %w", p.folder, err), privileges)
	case err != nil:
		return &MountError{Err: err, Words: log.words()}
	}
	p.mounted = true
	if m.root, err = os.OpenFile(p.folder, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := fstat(int(m.root.Fd()), &st); err != nil {
		return err
	}
	p.device = st.Dev
	return nil
}

// claimFolder makes the folder where it is missing, and sees that nothing is in
// it and nothing mounted on it. It stays locked while the returned file is open,
// for two runs would otherwise find the same folder empty.
func (p *plainMount) claimFolder(folder string) (_ *os.File, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("use %s to mount at: %w", folder, err), p.removeFolder())
		}
	}()
	if p.folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(p.folder), 0o755); err != nil {
		return nil, err
	}
	err = os.Mkdir(p.folder, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	p.made = err == nil
	f, err := os.OpenFile(p.folder, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, hint.Wrap(err, anotherFolder)
	}
	if err := p.checkFolder(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const anotherFolder = "give a folder that is empty, or not there yet, with --mount-point"

func (p *plainMount) checkFolder(f *os.File) error {
	err := again0(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		p.made = false // it is the other's now
		return hint.Wrap(errors.New("another run is about to mount there"), anotherFolder)
	}
	if err != nil {
		return fmt.Errorf("lock it: %w", err)
	}
	point, err := isMountPoint(f)
	if err != nil {
		return fmt.Errorf("find out whether something is mounted there: %w", err)
	}
	if point {
		return hint.Wrap(errors.New("something is mounted there already"), anotherFolder)
	}
	if _, err := f.ReadDir(1); err == nil {
		return hint.Wrap(errors.New("it is not empty"), anotherFolder)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	// Whoever held the lock before may have taken the folder away, and be gone.
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(p.folder)
	if err != nil {
		return err
	}
	if !os.SameFile(locked, named) {
		return hint.Wrap(errors.New("another run has just taken it"), anotherFolder)
	}
	var st unix.Stat_t
	if err := fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	p.below = st.Dev
	return nil
}

// isMountPoint looks for an open folder in the mount table: a device number of
// its own not every mount has.
func isMountPoint(f *os.File) (bool, error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return false, err
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	defer table.Close()
	points, err := mountPoints(table)
	return slices.Contains(points, path), err
}

// mountPoints reads a mount table, proc_pid_mountinfo(5): the fifth word of a line
// is where, with octal escapes.
func mountPoints(table io.Reader) ([]string, error) {
	var points []string
	lines := mountLines(table)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 4 {
			points = append(points, unescaped(words[4]))
		}
	}
	return points, lines.Err()
}

func mountLines(table io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20) // the options at the end can be long
	return lines
}

// unescaped undoes the octal escapes of a word of the mount table.
func unescaped(word string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(word)
}
