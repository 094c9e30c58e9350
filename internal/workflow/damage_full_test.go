package workflow_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/codec"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/workflow"
)

// The table of what is in the predecessor's tar does not fit where temporary files
// go: that is no difference, and says where there must be room.
func TestFullTemporaryFolderIsNoDifference(t *testing.T) {
	image := fileDisk(t, "ext4", 16<<20, func(string) {})
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, 0); err != nil {
			t.Error(err)
		}
	})
	w := worldOf(t, image)
	key := layout.PredecessorKeys(w.name(first).Snapshot, layout.PredecessorKey{Kind: layout.Tar, Codec: "lz4"})[0]
	w.putAs(key, string(longTar(t, 80_000)), map[string]string{})
	if err := w.cat.SetTags(t.Context(), first, map[string]string{tag: catalog.Migrated}); err != nil {
		t.Fatal(err)
	}
	leakFree(t)
	t.Setenv("TMPDIR", folder)
	r := w.quickRun(func(m *workflow.Migrator) { m.Trees, m.Cleanup = true, time.Minute }).validate(t.Context(), named(first))
	if errors.Is(r.err, workflow.ErrDifferent) || len(r.report.differences) > 0 || !errors.Is(r.err, unix.ENOSPC) || !strings.Contains(hint.Of(r.why()), "TMPDIR") {
		t.Errorf("%v, hint %q: %v", errs(r), hint.Of(r.why()), r.report.differences)
	}
	w.tagged(catalog.Migrated)
}

// longTar is a compressed tar of n files with long names.
func longTar(t *testing.T, n int) []byte {
	t.Helper()
	var stored []byte
	code := must(codec.New("lz4", 1))
	enc := must(code.NewEncoder())
	defer enc.Close()
	var plain bytes.Buffer
	flush := func() {
		for plain.Len() > 0 {
			stored = must(enc.AppendFrame(stored, plain.Next(codec.FrameSize)))
		}
	}
	w := tar.NewWriter(&plain)
	write := func(h *tar.Header) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if plain.Len() >= codec.FrameSize {
			flush()
		}
	}
	write(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, Format: tar.FormatGNU})
	for i := range n {
		name := fmt.Sprintf("./%s/%s/%d", strings.Repeat("a", 250), strings.Repeat("b", 250), i)
		write(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatGNU})
	}
	if err := w.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	flush()
	return stored
}
