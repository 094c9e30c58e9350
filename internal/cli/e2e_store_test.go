package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore/objstoretest"
)

// noisy adds a snapshot of bytes that nothing compresses.
func (w *world) noisy(size int64, spec awssim.SnapshotSpec) subject {
	w.t.Helper()
	spec.Image = filepath.Join(w.dir, fmt.Sprintf("noise-%d", size))
	if _, err := os.Stat(spec.Image); err != nil {
		noise(w.t, spec.Image, size)
	}
	if spec.Tags == nil {
		spec.Tags = tagged()
	}
	return w.add(spec)
}

func TestParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags string
		codec string
		size  int64
		want  []int64 // bytes of each part but the last; nil: put whole
	}{
		{"--part-size 8MiB --upload-streams 4", "zstd", 40 << 20, []int64{8 << 20, 8 << 20, 8 << 20, 8 << 20, 8 << 20}},
		{"--part-size 5MiB --compression lz4 --upload-streams 2", "lz4", 12 << 20, []int64{5 << 20, 5 << 20}},
		{"", "zstd", 12 << 20, []int64{8 << 20}},
		{"", "zstd", 1 << 20, nil},
	} {
		w := newWorld(t, awssim.Config{})
		s := w.noisy(c.size, awssim.SnapshotSpec{})
		w.ok(slices.Concat([]string{"migrate", "--dd", "--all", "--bucket", testBucket}, strings.Fields(c.flags))...)
		rec := w.isArchived(s, s.key(c.codec))
		o, _ := w.sim.Object(testBucket, s.key(c.codec))
		want := c.want
		if want != nil {
			rest := rec.StoredSize
			for _, n := range want {
				rest -= n
			}
			want = append(want, rest)
		}
		if diff := cmp.Diff(want, o.Parts); diff != "" {
			t.Errorf("%q: parts (-want +got):\n%s", c.flags, diff)
		}
		w.nothingLeft()
	}
}

// TestSpool wants parts over 64 MiB to wait in files: while one is uploaded
// the process has such a file open, and its memory stays below two parts.
func TestSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(140<<20, awssim.SnapshotSpec{})
	spool := filepath.Join(w.dir, "spool")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	var pid atomic.Int64
	var spooled atomic.Int64
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action == "UploadPart" {
			fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid.Load()))
			if err != nil {
				return awssim.Fault{}
			}
			for _, fd := range fds {
				// A descriptor can be closed between the two looks.
				if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, spool+"/") {
					spooled.Add(1)
				}
			}
		}
		return awssim.Fault{}
	})
	var out bytes.Buffer
	cmd := w.command("migrate", "--dd", "--all", "--bucket", testBucket, "--part-size", "65MiB", "--spool", spool)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid.Store(int64(cmd.Process.Pid))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if spooled.Load() == 0 {
		t.Errorf("no file under %s was open during an upload", spool)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
	w.isArchived(s, s.key("zstd"))
	w.nothingLeft()
}

func TestStorageClasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	for _, class := range storageClasses() {
		s := w.noisy(1<<20, awssim.SnapshotSpec{})
		w.ok("migrate", "--dd", s.ID, "--bucket", testBucket, "--storage-class", class)
		w.isArchived(s, s.key("zstd"))
		for _, o := range w.objects() {
			if !strings.Contains(o.Key, s.ID) {
				continue
			}
			want := "STANDARD"
			if o.Key == s.key("zstd") {
				want = class
			}
			if o.StorageClass != want {
				t.Errorf("--storage-class %s: %s is in %s, want %s", class, o.Key, o.StorageClass, want)
			}
		}
	}
	w.nothingLeft()
}

func TestEncryptionOfTheBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	const key = "aaaabbbb-cccc-dddd-eeee-ffff00001111"
	w.sim.AddKMSKey(awssim.KMSKey{ID: key})
	arn := "arn:aws:kms:us-east-1:111122223333:key/" + key
	own := "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-0000000000f3" // the account's key for S3
	for flags, want := range map[string][2]string{
		"--sse":                                 {"AES256", ""},
		"--sse AES256":                          {"AES256", ""},
		"--sse aes256":                          {"AES256", ""},
		"--sse aws:kms":                         {"aws:kms", own},
		"--sse aws:kms --sse-kms-key-id " + key: {"aws:kms", arn},
		"--sse aws:kms --sse-kms-key-id " + arn: {"aws:kms", arn},
	} {
		s := w.noisy(1<<20, awssim.SnapshotSpec{})
		w.sim.ResetCalls()
		w.ok(slices.Concat([]string{"migrate", "--dd", s.ID, "--bucket", testBucket}, strings.Fields(flags))...)
		n := 0
		for _, o := range w.objects() {
			if strings.Contains(o.Key, s.ID) {
				if n++; o.Encryption != want[0] || o.KMSKey != want[1] {
					t.Errorf("%s: %s has %q %q, want %q", flags, o.Key, o.Encryption, o.KMSKey, want)
				}
			}
		}
		if n != 4 {
			t.Errorf("%s: %d objects, want 4", flags, n)
		}
		for _, c := range w.sim.Calls() {
			if c.Action == "PutObject" && !strings.Contains(c.Summary, "server-side-encryption="+want[0]) {
				t.Errorf("%s: not asked for in %s", flags, c)
			}
		}
	}
	w.nothingLeft()
}

// TestJobs wants four snapshots to be worked on at once: the first four volumes
// are only made once all four were asked for.
func TestJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	var all []subject
	for range 6 {
		all = append(all, w.noisy(2<<20, awssim.SnapshotSpec{}))
	}
	met, asked := make(chan struct{}), map[string]bool{}
	var mu sync.Mutex
	w.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action != "CreateVolume" {
			return awssim.Fault{}
		}
		mu.Lock()
		before := len(asked)
		asked[c.Summary] = true // a call that is repeated is the same one
		if before == 3 && len(asked) == 4 {
			close(met)
		}
		wait := len(asked) <= 4
		mu.Unlock()
		if wait {
			select {
			case <-met:
			case <-time.After(20 * time.Second):
				t.Errorf("four volumes were never asked for at once")
			}
		}
		return awssim.Fault{}
	})
	r := w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--jobs", "4")
	if !strings.Contains(r.stdout, "6 migrated, 0 kept, 0 failed, 0 skipped") {
		t.Errorf("summary: %s", r.stdout)
	}
	for _, s := range all {
		w.isArchived(s, s.key("zstd"))
		w.isMigrated(s)
	}
	w.nothingLeft()
}

// TestAStoreOfSomebodyElse migrates into versitygw, an S3 server that shares no
// code with us, named in both ways.
func TestAStoreOfSomebodyElse(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	server := w.versitygw()
	folder := filepath.Join(server.Dir, testBucket)
	view := func(key string) ([]byte, bool) {
		data, err := os.ReadFile(filepath.Join(folder, key))
		return data, err == nil
	}
	for _, c := range []struct {
		flags, env []string
		size       int64
		codec      string
	}{
		{[]string{"--endpoint-url", server.Endpoint, "--part-size", "5MiB", "--upload-streams", "3"}, nil, 20 << 20, "zstd"},
		{[]string{"--compression", "lz4"}, []string{"AWS_ENDPOINT_URL_S3=" + server.Endpoint}, 1<<20 + 512, "lz4"},
	} {
		w.extra = c.env
		s := w.noisy(c.size, awssim.SnapshotSpec{Description: "über die Straße"})
		r := w.ok(slices.Concat([]string{"migrate", "--dd", s.ID, "--bucket", testBucket, "--output", "json"}, c.flags)...)
		key := s.key(c.codec)
		rec := checkArchive(t, view, s, key)
		stored, err := os.Open(filepath.Join(folder, key))
		if err != nil {
			t.Fatal(err)
		}
		decodesTo(t, c.codec, stored, s.Image)
		if err := stored.Close(); err != nil {
			t.Error(err)
		}
		var o jsonObject
		for line := range strings.Lines(r.stdout) {
			if strings.Contains(line, `"role":"archive"`) {
				if err := json.Unmarshal([]byte(line), &o); err != nil {
					t.Fatal(err)
				}
			}
		}
		if o.Key != key || o.CRC64NVME != rec.CRC64NVME || o.Size != rec.StoredSize {
			t.Errorf("the store has %+v, the record %+v", o, rec)
		}
		w.isMigrated(s)
		if err := w.sim.SetTags(s.ID, s.Tags); err != nil {
			t.Fatal(err)
		}
		again := w.ok(slices.Concat([]string{"migrate", "--dd", s.ID, "--bucket", testBucket}, c.flags)...)
		if !strings.Contains(again.stdout, "1 kept") {
			t.Errorf("again: %s", again.stdout)
		}
		if !strings.Contains(again.stderr, "for want of a price: the store at this endpoint") {
			t.Errorf("it was priced as Amazon's: %s", again.stderr)
		}
	}
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects went to the wrong store", n)
	}
	w.nothingLeft()
}

// versitygw starts one that takes the sandbox's credentials: a run has only one
// pair for EC2 and S3.
func (w *world) versitygw() objstoretest.Versitygw {
	w.t.Helper()
	program, err := exec.LookPath("versitygw")
	if p := os.Getenv("SNAP_TO_S3_VERSITYGW"); p != "" {
		program, err = p, nil
	}
	if cache, e := os.UserCacheDir(); err != nil && e == nil {
		program, err = exec.LookPath(filepath.Join(cache, "snap-to-s3", "versitygw-v1.8.0", "versitygw"))
	}
	if err != nil {
		w.t.Skip("versitygw is not installed: set SNAP_TO_S3_VERSITYGW, or put it in the PATH")
	}
	env := map[string]string{}
	for _, kv := range w.sim.Env() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	script := filepath.Join(w.dir, "versitygw")
	text := fmt.Sprintf("#!/bin/sh\nROOT_ACCESS_KEY=%s ROOT_SECRET_KEY=%s exec %s \"$@\"\n",
		env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], strconv.Quote(program))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.t.Setenv("SNAP_TO_S3_VERSITYGW", script)
	return objstoretest.StartVersitygw(w.t, objstoretest.VersitygwOptions{Buckets: []string{testBucket}})
}
