package filesystem

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"snap-to-s3/internal/hint"
)

// checkContent refuses what the kernel would mount, and show wrongly.
func checkContent(device *os.File, r MountRequest) error {
	switch r.Type {
	case "btrfs":
		id, err := checkBtrfs(device, r)
		if err != nil {
			return err
		}
		return checkBtrfsHost("/sys/fs/btrfs", id)
	case "jfs":
		return checkJFS(device, r)
	}
	return nil
}

// The superblock of btrfs is at 64 KiB; where its fields are says the btrfs
// documentation, "On-disk format".
const (
	btrfsSuperblock = 64 << 10
	btrfsID         = 0x20
	btrfsMagic      = 0x40
	btrfsDevices    = 0x88 // u64
)

// checkBtrfs returns the id of a filesystem that is on this device alone: the
// kernel takes the other parts from wherever it has seen one, and those may be of
// another copy.
func checkBtrfs(device *os.File, r MountRequest) (string, error) {
	var block [btrfsDevices + 8]byte
	if err := readSuperblock(device, r, block[:], btrfsSuperblock); err != nil {
		return "", err
	}
	if string(block[btrfsMagic:][:8]) != "_BHRfS_M" {
		return "", &MountError{Err: errors.New("there is no btrfs superblock")}
	}
	if n := binary.LittleEndian.Uint64(block[btrfsDevices:]); n != 1 {
		return "", &MountError{Err: fmt.Errorf("this btrfs is on %d devices: only one of a single device can be read", n)}
	}
	x := hex.EncodeToString(block[btrfsID:][:16])
	id := strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-")
	if r.UUID != "" && !strings.EqualFold(r.UUID, id) {
		return "", fmt.Errorf("the btrfs there is %s, not %s", id, r.UUID)
	}
	return id, nil
}

// checkBtrfsHost refuses a filesystem whose id is mounted on this machine, in
// whatever namespace, where the kernel tells filesystems apart by their id alone
// (before Linux 6.7, which has temp_fsid).
func checkBtrfsHost(sys, id string) error {
	there := func(name string) (bool, error) {
		_, err := os.Stat(filepath.Join(sys, name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	mounted, err := there(id)
	if err != nil || !mounted {
		return err
	}
	apart, err := there("features/temp_fsid")
	if err != nil || apart {
		return err
	}
	return hint.Wrap(fmt.Errorf("the btrfs %s is mounted on this machine already, and this kernel would mix the two", id),
		"unmount it; where another job of this run has it, use --jobs 1; or run on another machine, or on Linux 6.7 or later")
}

// The superblock of jfs is at 32 KiB (Linux, fs/jfs/jfs_superblock.h).
const (
	jfsSuperblock = 32 << 10
	jfsState      = 40 // u32; 0: cleanly unmounted
)

// checkJFS refuses a jfs that was not unmounted: no kernel replays its journal,
// which is fsck's work, and yet one mounts it read-only.
func checkJFS(device *os.File, r MountRequest) error {
	var block [jfsState + 4]byte
	if err := readSuperblock(device, r, block[:], jfsSuperblock); err != nil {
		return err
	}
	if string(block[:4]) != "JFS1" {
		return &MountError{Err: errors.New("there is no jfs superblock")}
	}
	if binary.LittleEndian.Uint32(block[jfsState:]) != 0 {
		return &MountError{Err: errors.New("this jfs was in use, and no kernel replays its journal: it would show a wrong tree")}
	}
	return nil
}

func readSuperblock(device *os.File, r MountRequest, p []byte, at int64) error {
	if r.Size < at+int64(len(p)) {
		return &MountError{Err: fmt.Errorf("%d bytes are too small for a %s", r.Size, r.Type)}
	}
	if _, err := device.ReadAt(p, r.Offset+at); err != nil {
		return fmt.Errorf("read the superblock: %w", err)
	}
	return nil
}
