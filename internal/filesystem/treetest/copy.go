//go:build linux

package treetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// SparseCopy copies an image into a file, at an offset of it, with its holes. The
// file is made where there is none.
func SparseCopy(t testing.TB, from, into string, at int64) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(into, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := copyData(src, dst, at); err != nil {
		t.Fatalf("copy %s: %v", from, err)
	}
}

func copyData(src, dst *os.File, at int64) error {
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if there, err := dst.Stat(); err != nil || there.Size() < at+st.Size() {
		if err := errors.Join(err, dst.Truncate(at+st.Size())); err != nil {
			return err
		}
	}
	buf := make([]byte, 1<<20)
	for pos := int64(0); pos < st.Size(); {
		from, err := unix.Seek(int(src.Fd()), pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if pos, err = unix.Seek(int(src.Fd()), from, unix.SEEK_HOLE); err != nil {
			return err
		}
		for from < pos {
			n, err := src.ReadAt(buf[:min(int64(len(buf)), pos-from)], from)
			if n == 0 {
				return err
			}
			if _, err := dst.WriteAt(buf[:n], at+from); err != nil {
				return err
			}
			from += int64(n)
		}
	}
	return nil
}

// NeedsRecovery says whether the filesystem of an image has a journal that was
// not played back yet.
func NeedsRecovery(t testing.TB, image string) bool {
	t.Helper()
	switch kindOf(t, image, 0) {
	case "ext4":
		RequirePrograms(t, "dumpe2fs")
		return strings.Contains(run(t, "dumpe2fs", "-h", image), "needs_recovery")
	case "xfs":
		RequirePrograms(t, "xfs_logprint")
		out, err := exec.CommandContext(t.Context(), "xfs_logprint", "-t", image).CombinedOutput()
		if err != nil {
			t.Fatalf("xfs_logprint: %v\n%s", err, out)
		}
		return !bytes.Contains(out, []byte("<CLEAN>"))
	}
	// btrfs: the superblock points at a log tree (log_root, its 96th byte).
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var root [8]byte
	if _, err := f.ReadAt(root[:], 0x10000+96); err != nil {
		t.Fatalf("read the superblock of %s: %v", image, err)
	}
	return binary.LittleEndian.Uint64(root[:]) != 0
}

// Subvolumes makes a btrfs with two subvolumes, a snapshot that cannot be
// written of the first, one within a folder, and files in each. The top is
// mounted.
func Subvolumes(t testing.TB) (image, at string) {
	t.Helper()
	Require(t, "mkfs.btrfs", "btrfs")
	image = Image(t, "btrfs", 128<<20)
	at = Mounted(t, image, 0, "subvolid=5")
	m := &maker{t: t, root: at}
	m.folder("folder")
	for _, name := range [...]string{"@", "@home", "folder/inner"} {
		run(t, "btrfs", "subvolume", "create", m.at(name))
		m.file("in "+name+"\n", name, "file")
	}
	m.must("link", os.Link(m.at("@", "file"), m.at("@", "linked")))
	run(t, "btrfs", "subvolume", "snapshot", "-r", m.at("@"), m.at("snapshot"))
	m.file("since the snapshot\n", "@", "later")
	m.file("top\n", "file")
	return image, at
}
