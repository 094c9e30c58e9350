package workflow_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snap-to-s3/internal/filesystem/treetest"
)

const xfsSize = 320 << 20 // mkfs.xfs makes none below 300 MiB

// A volume is not taken away below a loop device: the kernel may be slow to end a
// mount that has failed, or somebody else's loop device stands there.
func TestVolumeInUseIsLeftAndNamed(t *testing.T) {
	treetest.Require(t, "mkfs.xfs")
	image := filepath.Join(t.TempDir(), "disk.img")
	blank, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := blank.Truncate(xfsSize); err != nil {
		t.Fatal(err)
	}
	if err := blank.Close(); err != nil {
		t.Fatal(err)
	}
	// No kernel of today mounts it, and it is known by its superblock.
	treetest.Format(t, "xfs", image, "-m", "crc=0")
	w := newWorld(t, 1, image, make([]byte, 64<<20))
	loop := treetest.Loop(t, image, 512)
	r := w.newRun(trees).do(t.Context(), all())
	if r.err == nil || len(r.report.lefts()) != 1 || !strings.Contains(r.report.lefts()[0].Error(), loop) {
		t.Errorf("%v, left %v, want %s named", r.err, r.report.lefts(), loop)
	}
	left := w.left()
	if len(left) != 1 || !strings.Contains(left[0].Command, "delete-volume") || !strings.Contains(left[0].Reason, loop) {
		t.Errorf("the state file has %+v", left)
	}
	if len(w.live) != 1 {
		t.Errorf("%d volumes, want the one that is in use", len(w.live))
	}
}
