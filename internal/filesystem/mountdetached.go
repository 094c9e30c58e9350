package filesystem

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errNoFsopen: the kernel has no fsopen (before 5.2), or refuses it (containers).
var errNoFsopen = errors.New("no detached mounts")

// mountDetached makes a mount that is in no mount table, fsopen(2) and fsmount(2).
func (m *Mount) mountDetached(r MountRequest, driver string) error {
	config, err := again(func() (int, error) { return unix.Fsopen(driver, unix.FSOPEN_CLOEXEC) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return errNoFsopen
	}
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer closeFD(config)
	log := openKernelLog(m.loop.number)
	defer log.close()
	if err := configureMount(config, m.loop.name, r); err != nil {
		return &MountError{Err: err, Words: append(contextWords(config), log.words()...)}
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := again(func() (int, error) { return unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, attributes) })
	if err != nil {
		return &MountError{Err: err, Words: append(contextWords(config), log.words()...)}
	}
	m.detached = os.NewFile(uintptr(fd), "the mount of "+r.Device)
	// The mount's own descriptor only names the root: it cannot be read.
	root, err := openat(fd, ".", unix.O_DIRECTORY)
	if err != nil {
		return &MountError{Err: fmt.Errorf("open the root folder: %w", err), Words: log.words()}
	}
	m.root = os.NewFile(uintptr(root), "the root folder of "+r.Device)
	return nil
}

// configureMount gives the filesystem its source and options and has the kernel read
// it.
func configureMount(config int, source string, r MountRequest) error {
	set := func(key string, call func() error) error {
		if err := again0(call); err != nil {
			return fmt.Errorf("option %s: %w", key, err)
		}
		return nil
	}
	if err := set("source", func() error { return unix.FsconfigSetString(config, "source", source) }); err != nil {
		return err
	}
	if err := set("ro", func() error { return unix.FsconfigSetFlag(config, "ro") }); err != nil {
		return err
	}
	for _, o := range options(r) {
		err := set(o.key, func() error {
			if o.value == "" {
				return unix.FsconfigSetFlag(config, o.key)
			}
			return unix.FsconfigSetString(config, o.key, o.value)
		})
		if err != nil {
			return err
		}
	}
	return again0(func() error { return unix.FsconfigCreate(config) })
}
