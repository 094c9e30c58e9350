package slowdisktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The environment makes of this test's binary a server: of an image, at a
// folder, until that is unmounted. scripts/bench-tree.sh runs it so.
const (
	imageEnv   = "SLOWDISK_IMAGE"
	folderEnv  = "SLOWDISK_AT"
	latencyEnv = "SLOWDISK_LATENCY"
)

func TestMain(m *testing.M) {
	image := os.Getenv(imageEnv)
	if image == "" {
		os.Exit(m.Run())
	}
	if err := serve(image); err != nil {
		fmt.Fprintln(os.Stderr, "slow disk:", err)
		os.Exit(1)
	}
}

func serve(image string) error {
	latency, err := time.ParseDuration(os.Getenv(latencyEnv))
	if err != nil {
		return err
	}
	d, err := Serve(image, os.Getenv(folderEnv), latency)
	if err != nil {
		return err
	}
	return d.Wait()
}

// The bytes are the image's; each block is slow once, and all of them at once.
func TestFirstReadsAreSlow(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this kernel has no FUSE")
	}
	content := make([]byte, 32*block+777)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content) // never fails
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	const latency = 300 * time.Millisecond
	d, err := Serve(image, at, latency)
	if errors.Is(err, unix.EPERM) {
		t.Skip("this container may not mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(at, 0), d.Wait()); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(filepath.Join(at, Name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			got := make([]byte, block)
			if _, err := f.ReadAt(got, int64(i)*block); err != nil || !bytes.Equal(got, content[i*block:][:block]) {
				t.Errorf("block %d is not the image's (%v)", i, err)
			}
		})
	}
	all.Wait()
	if took := time.Since(start); took < latency || took > 20*latency {
		t.Errorf("32 blocks at once took %s", took)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	got := make([]byte, 4096)
	if _, err := f.ReadAt(got, 5*block+100); err != nil || !bytes.Equal(got, content[5*block+100:][:4096]) {
		t.Errorf("read again: %v", err)
	}
	if took := time.Since(start); took >= latency {
		t.Errorf("the second read took %s", took)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes in all, want %d (%v)", len(got), len(content), err)
	}
}
