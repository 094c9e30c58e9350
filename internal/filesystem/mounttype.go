package filesystem

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/hint"
)

// ErrUnsupported is a type of filesystem that cannot be mounted here.
var ErrUnsupported = errors.New("it cannot be mounted here")

// known are the types that are safe to mount: those whose journal the kernel
// replays itself, or that have none. (jfs is looked at first.)
var known = [...]string{"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "jfs", "reiserfs"}

// Supported returns nil if this kernel can mount the type, by blkid's word. Asking
// loads the kernel's module for it. If it cannot, errors.Is(err, ErrUnsupported);
// any other error is that it could not be told.
func Supported(typ string) error {
	_, err := driverOf(typ)
	return err
}

// driverOf is the kernel's name for what mounts the type. ext4's reads its
// predecessors, whose own are gone from most kernels.
func driverOf(typ string) (string, error) {
	if !slices.Contains(known[:], typ) {
		return "", fmt.Errorf("filesystem %q: %w: it is none of %s", typ, ErrUnsupported, strings.Join(known[:], ", "))
	}
	drivers := []string{typ}
	if typ == "ext2" || typ == "ext3" {
		drivers = []string{"ext4", typ}
	}
	for _, driver := range drivers {
		has, err := kernelHas(driver)
		if err != nil {
			return "", fmt.Errorf("ask the kernel for %s: %w", driver, err)
		}
		if has {
			return driver, nil
		}
	}
	return "", fmt.Errorf("filesystem %s: %w: this kernel does not have it", typ, ErrUnsupported)
}

// kernelHas asks by fsopen. Where that is not to be had, /proc/filesystems lists
// what is loaded, and mount(2) loads what is not: it looks for the type before
// the source, and of a source below /dev/null nothing is ever mounted.
func kernelHas(driver string) (bool, error) {
	fd, err := again(func() (int, error) { return unix.Fsopen(driver, unix.FSOPEN_CLOEXEC) })
	switch {
	case err == nil:
		closeFD(fd)
		return true, nil
	case errors.Is(err, unix.ENODEV):
		return false, nil
	case !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM):
		return false, err
	case listed(driver):
		return true, nil
	}
	err = again0(func() error { return unix.Mount("/dev/null/none", "/", driver, unix.MS_RDONLY, "") })
	switch {
	case errors.Is(err, unix.ENODEV):
		return false, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOTBLK), errors.Is(err, unix.ENOENT): // of the source
		return true, nil
	case err == nil:
		return false, errors.New("it mounts what is not there")
	}
	return false, hint.Wrap(err, privileges)
}

// listed looks into the kernel's list, proc_filesystems(5). One that cannot be
// read lists nothing.
func listed(name string) bool {
	text, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 0 && words[len(words)-1] == name {
			return true
		}
	}
	return false
}

// option of a mount. One without a value is a flag.
type option struct{ key, value string }

// options besides "ro", as the Linux admin guide tells of each filesystem. None
// that leaves the journal aside: what that shows is not the tree.
func options(r MountRequest) []option {
	switch r.Type {
	case "ext2", "ext3", "ext4":
		// The superblock may say panic, and would take this machine down.
		return []option{{"errors", "continue"}}
	case "xfs":
		// The original, or another copy, may be mounted on this machine.
		return []option{{"nouuid", ""}}
	case "btrfs":
		if r.Default {
			return nil
		}
		// The top of all subvolumes, whatever the default is set to.
		return []option{{"subvolid", "5"}}
	case "vfat":
		// Names in UTF-8, times as they stand, and modes that do not follow the
		// umask of whoever runs this.
		return []option{{"utf8", "1"}, {"tz", "UTC"}, {"umask", "0022"}}
	case "exfat":
		return []option{{"iocharset", "utf8"}, {"umask", "0022"}}
	}
	return nil
}

// optionText is options as mount(2) takes them.
func optionText(r MountRequest) string {
	var words []string
	for _, o := range options(r) {
		if o.value == "" {
			words = append(words, o.key)
		} else {
			words = append(words, o.key+"="+o.value)
		}
	}
	return strings.Join(words, ",")
}
