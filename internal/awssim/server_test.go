package awssim_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
)

func TestFolders(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]string{"own": "", "given": t.TempDir()} {
		s, err := awssim.Start(awssim.Config{Dir: given})
		if err != nil {
			t.Fatal(err)
		}
		s.AddBucket(awssim.Bucket{Name: "demo"})
		box := sandbox{s, t}
		if err := box.put("k", noise(1<<20)); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(box.env("SNAP_TO_S3_DEV_ROOT"))
		for range 2 { // closing twice is closing once
			if err := s.Close(); err != nil {
				t.Errorf("%s: close: %v", name, err)
			}
		}
		_, err = os.Stat(dir)
		if gone := errors.Is(err, fs.ErrNotExist); gone != (given == "") {
			t.Errorf("%s: the folder is gone: %v", name, gone)
		}
		if given == "" {
			continue
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left in it: %v, %v", name, left, err)
		}
	}
}

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	if s, err := awssim.Start(awssim.Config{Naming: "scsi"}); err == nil {
		t.Errorf("an unknown naming was taken: %v", s.Close())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := awssim.Start(awssim.Config{Dir: file}); err == nil {
		t.Errorf("a folder that is a file was taken: %v", s.Close())
	}
}

func TestCredentialEnv(t *testing.T) {
	t.Parallel()
	s := start(t, awssim.Config{})
	c := s.TemporaryCredential(time.Hour)
	want := []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.Token}
	if got := c.Env(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	c.Token = ""
	if got := c.Env(); len(got) != 2 {
		t.Errorf("without a token: %v", got)
	}
}

// A part that is sent again replaces the one before, bytes and file.
func TestPartSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, awssim.Config{Dir: dir, MinPartSize: testPart})
	m := s.begin("k")
	for range 2 {
		m.parts, m.body = nil, nil
		m.part(1, testPart)
		m.part(2, testPart)
	}
	if _, err := m.complete(); err != nil {
		t.Fatal(err)
	}
	if got := s.read("k"); string(got) != string(m.body) {
		t.Errorf("%d bytes of %d", len(got), len(m.body))
	}
	files, err := os.ReadDir(filepath.Join(dir, "objects"))
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
	if got := s.send(ask{method: "DELETE", path: "/demo/k"}); got.status != 204 {
		t.Errorf("delete: %+v", got)
	}
	if files, err = os.ReadDir(filepath.Join(dir, "objects")); err != nil || len(files) != 0 {
		t.Errorf("files of a deleted object %v, %v", files, err)
	}
}

// Bodies go to files: memory does not grow with them.
func TestLargeBodiesAreNotHeld(t *testing.T) {
	s := start(t, awssim.Config{})
	part := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if got := s.send(ask{method: "PUT", path: "/demo/" + key, body: part, payload: "UNSIGNED-PAYLOAD"}); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("96 MiB put, the heap has grown by %d bytes", grown)
	}
}
