//go:build linux

package treetest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	. "snap-to-s3/internal/filesystem/treetest"
)

func TestDirtyImagesNeedTheirJournal(t *testing.T) {
	for fs, without := range map[string]string{"ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay"} {
		t.Run(fs, func(t *testing.T) {
			image, want := Dirty(t, fs)
			at := Mounted(t, image, 0, "ro", without)
			if d := Diff(want, Read(t, at, ReadOptions{}), DiffOptions{}); len(d) == 0 {
				t.Error("it reads the same without its journal")
			} else {
				t.Logf("without the journal %d differences, as %s", len(d), d[0])
			}
			Unmount(t, at)
			if !NeedsRecovery(t, image) {
				t.Fatal("reading took the journal away")
			}
			at = Mounted(t, image, 0, "ro")
			if d := Diff(want, Read(t, at, ReadOptions{}), DiffOptions{}); len(d) > 0 {
				t.Errorf("recovered twice, differently: %q", d)
			}
		})
	}
}

// Each subvolume is a filesystem of its own with the same inode numbers, so that
// hard links must be told by more than those.
func TestSubvolumes(t *testing.T) {
	_, at := Subvolumes(t)
	got := map[string]string{}
	for _, r := range Read(t, at, ReadOptions{}) {
		got[r.Path] = r.Type
		if r.Link != "" {
			got[r.Path] += " as " + r.Link
		}
	}
	want := map[string]string{
		".": Folder, "@": Folder, "@home": Folder, "folder": Folder, "folder/inner": Folder, "snapshot": Folder,
		"@/file": File, "@/linked": "file as @/file", "@/later": File, "@home/file": File, "file": File,
		"folder/inner/file": File, "snapshot/file": File, "snapshot/linked": "file as snapshot/file",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(at, "snapshot", "new"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to the snapshot: %v, want EROFS", err)
	}
}

func TestNothingIsLeftMounted(t *testing.T) {
	var image, loop string
	t.Run("mounted", func(t *testing.T) {
		image = Image(t, "ext4", 16<<20)
		at := Mounted(t, image, 0, "ro")
		if n := len(Loops(t, image)); n != 1 {
			t.Errorf("%d loops while mounted", n)
		}
		if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("write: %v, want EROFS", err)
		}
	})
	t.Run("loop", func(t *testing.T) {
		Require(t)
		loop = filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(loop, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		Loop(t, loop, 512)
		if n := len(Loops(t, loop)); n != 1 {
			t.Errorf("%d loops while attached", n)
		}
	})
	for _, i := range [...]string{image, loop} {
		if l := Loops(t, i); len(l) > 0 {
			t.Errorf("left: %v", l)
		}
	}
}
