package workflow_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/catalog"
	"snap-to-s3/internal/encrypt"
	"snap-to-s3/internal/filesystem"
	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// damage is a difference as a test expects it, without the words for a person.
type damage struct {
	Kind, Path string
	Part       layout.Part
	Off, Len   int64
}

func damages(all []workflow.Difference) []damage {
	var got []damage
	for _, d := range all {
		got = append(got, damage{d.Kind, d.Path, d.Part, d.Off, d.Len})
	}
	slices.SortFunc(got, func(a, b damage) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Off, b.Off), cmp.Compare(a.Kind, b.Kind))
	})
	return got
}

// worldOf has one snapshot of an image.
func worldOf(t *testing.T, image string) *world {
	t.Helper()
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 1, image, make([]byte, info.Size()))
	t.Cleanup(func() { noLoops(t, image) })
	return w
}

func noLoops(t *testing.T, image string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		over, err := filesystem.LoopsOver(ctx, image)
		if err == nil && len(over) == 0 {
			return
		}
		select {
		case <-tick.C: // one goes when all have closed it, such as who only looked at it
		case <-ctx.Done():
			t.Errorf("loop devices left over %s: %v, %v", image, over, err)
			return
		}
	}
}

// withTrees stores files, and gives the kernel its time.
func withTrees(m *workflow.Migrator) {
	trees(m)
	m.Cleanup = time.Minute
}

// migrated is a world whose snapshot was archived.
func (w *world) migrated(change ...func(*workflow.Migrator)) *world {
	w.t.Helper()
	if r := w.quickRun(change...).do(w.t.Context(), named(first)); r.err != nil || r.sum.Migrated != 1 {
		w.t.Fatalf("%+v, %v", r.sum, r.err)
	}
	w.empty()
	return w
}

// same validates and wants no difference.
func (w *world) same(change ...func(*workflow.Migrator)) *run {
	w.t.Helper()
	r := w.quickRun(change...).validate(w.t.Context(), named(first))
	if r.err != nil || r.sum.Validated != 1 || len(r.report.differences) > 0 || len(r.report.lefts()) > 0 {
		w.t.Errorf("no difference was made, and validate says %v, %+v: %v", r.err, r.sum, r.report.differences)
	}
	if got := w.cat.Tags(first)[tag]; got != catalog.Validated {
		w.t.Errorf("tagged %q", got)
	}
	return r
}

// differs validates and wants just these differences.
func (w *world) differs(want []damage, change ...func(*workflow.Migrator)) []workflow.Difference {
	w.t.Helper()
	r := w.quickRun(change...).validate(w.t.Context(), named(first))
	if !errors.Is(r.err, workflow.ErrDifferent) || r.sum.Failed != 1 || r.sum.Validated != 0 {
		w.t.Errorf("validate says %v, %+v", r.err, r.sum)
	}
	if diff := gocmp.Diff(want, damages(r.report.differences)); diff != "" {
		w.t.Errorf("differences (-want +got):\n%s", diff)
	}
	if f := r.report.finished; len(f) != 1 || f[0].Differences != int64(len(r.report.differences)) {
		w.t.Errorf("the snapshot came out with %+v", f)
	}
	w.tagged(catalog.Migrated)
	return r.report.differences
}

// tagged wants the snapshot to have the value and nothing of a run to be left.
func (w *world) tagged(value string) {
	w.t.Helper()
	if diff := gocmp.Diff(map[string]string{tag: value, "Name": "web"}, w.cat.Tags(first)); diff != "" {
		w.t.Errorf("tags (-want +got):\n%s", diff)
	}
	w.empty()
}

// verification is what came of a verification.
type verification struct {
	verdicts
	sum workflow.VerifySummary
	err error
}

func (v *verification) String() string {
	return fmt.Sprintf("%v, %+v, %d differences: %v", v.err, v.sum, len(v.differences), v.differences)
}

func verifyAll(t *testing.T, s objstore.Store, change ...func(*workflow.Verifier)) *verification {
	t.Helper()
	return verifyThese(t, s, workflow.VerifySubject{All: true}, change...)
}

func verifyThese(t *testing.T, s objstore.Store, sub workflow.VerifySubject, change ...func(*workflow.Verifier)) *verification {
	t.Helper()
	got := &verification{}
	v := &workflow.Verifier{Store: s, Bucket: bucket, Report: got, Log: slog.New(slog.DiscardHandler), Depth: workflow.Whole}
	for _, c := range change {
		c(v)
	}
	got.sum, got.err = v.Verify(t.Context(), sub)
	told := int64(0)
	for _, a := range got.verified {
		told += a.Differences
		if (a.Differences > 0) != errors.Is(a.Err, workflow.ErrDifferent) {
			t.Errorf("%s has %d differences and the error %v", a.Key, a.Differences, a.Err)
		}
	}
	if told != int64(len(got.differences)) {
		t.Errorf("%d differences were told, the verdicts count %d", len(got.differences), told)
	}
	return got
}

// bodies is a store that gives other bytes than were written, and says nothing of
// it: what a HEAD tells stays as it was, but for the size.
type bodies struct {
	*objstore.Memory
	as map[string][]byte
}

func (b bodies) Open(ctx context.Context, key string, g objstore.Range) (io.ReadCloser, error) {
	data, ok := b.as[key]
	if !ok {
		return b.Memory.Open(ctx, key, g)
	}
	if g.Off > int64(len(data)) {
		return nil, fmt.Errorf("open %s at byte %d of %d", key, g.Off, len(data))
	}
	if data = data[g.Off:]; g.Len > 0 {
		data = data[:min(g.Len, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(data)), ctx.Err()
}

func (b bodies) Stat(ctx context.Context, key string) (objstore.Info, error) {
	info, err := b.Memory.Stat(ctx, key)
	if data, ok := b.as[key]; ok && err == nil {
		info.Size = int64(len(data))
	}
	return info, err
}

// putObject stores data with the metadata of info; over is the ETag of what it replaces.
func putObject(ctx context.Context, s objstore.Store, key string, data []byte, info objstore.Info, over string) (objstore.Info, error) {
	w, err := s.Create(ctx, key, objstore.CreateOptions{Metadata: maps.Clone(info.Metadata), Streams: 1, IfMatch: over, SizeBound: int64(len(data)), StorageClass: info.StorageClass})
	if err != nil {
		return objstore.Info{}, err
	}
	if _, err := w.Write(data); err != nil {
		return objstore.Info{}, errors.Join(err, w.Abort(ctx))
	}
	return w.Commit(ctx)
}

// replaceIn stores other bytes under a key, as somebody would who may write to the
// bucket: the metadata stays.
func replaceIn(t *testing.T, s objstore.Store, key string, data []byte) {
	t.Helper()
	info, err := s.Stat(t.Context(), key)
	if err == nil {
		_, err = putObject(t.Context(), s, key, data, info, info.ETag)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resealIn stores a record, with a seal that is right, in place of one that stands.
func resealIn(t *testing.T, s objstore.Store, key string, rec layout.Record) {
	t.Helper()
	body, err := layout.EncodeRecord(rec)
	if err != nil {
		t.Fatal(err)
	}
	replaceIn(t, s, key, body)
}

// copyStore is a store with the same objects, but for those that are left out.
func (w *world) copyStore(without ...string) *objstore.Memory {
	w.t.Helper()
	to := objstore.NewMemory(objstore.MemoryOptions{Limits: objstore.Limits{MinPart: 256 << 10, Floor: 1 << 20}})
	for _, key := range w.store.Keys() {
		if slices.Contains(without, key) {
			continue
		}
		info, err := w.store.Stat(w.t.Context(), key)
		if err == nil {
			_, err = putObject(w.t.Context(), to, key, w.object(key), info, "")
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return to
}

// damageKeys is a GnuPG home of the test's with one key pair.
type damageKeys struct {
	dir string
	gpg *encrypt.GPG
	to  []encrypt.Recipient
}

func newDamageKeys(t *testing.T) *damageKeys {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	dir, err := os.MkdirTemp("/tmp", "g") //nolint:usetesting // the path of a socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	k := &damageKeys{dir: dir}
	t.Cleanup(func() {
		if out, err := k.command("gpgconf", "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("gpgconf --kill all: %v: %s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if k.gpg, err = encrypt.Find(t.Context(), encrypt.Options{Env: k.env()}); err != nil {
		if errors.Is(err, encrypt.ErrNoGPG) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	k.addKey(t, "ann")
	if k.to, err = k.gpg.Recipients(t.Context(), []string{"ann"}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *damageKeys) env() []string { return append(os.Environ(), "GNUPGHOME="+k.dir) }

func (k *damageKeys) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = k.env()
	return cmd
}

func (k *damageKeys) addKey(t *testing.T, user string) {
	t.Helper()
	out, err := k.command("gpg", "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "",
		"--quick-generate-key", user, "future-default", "default", "never").CombinedOutput()
	if err != nil {
		t.Fatalf("gpg --quick-generate-key: %v: %s", err, out)
	}
}

// sealing encrypts, and opens what is encrypted.
func (k *damageKeys) sealing(m *workflow.Migrator) { m.GPG, m.Recipients = k.gpg, k.to }

func (k *damageKeys) opening(m *workflow.Migrator) { m.GPG = k.gpg }

func (k *damageKeys) verifying(v *workflow.Verifier) { v.GPG = k.gpg }

// changed is a copy of a disk on whose filesystem at start f changes something, as
// if nothing but that had happened: the times of the folders stay.
func changed(t *testing.T, image string, start int64, f func(at string)) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "changed.img")
	treetest.SparseCopy(t, image, other, 0)
	at := treetest.Mounted(t, other, start)
	times := folderTimes(t, at)
	f(at)
	for path, when := range times {
		if _, err := os.Lstat(path); err == nil {
			setTime(t, path, when)
		}
	}
	treetest.Unmount(t, at)
	noLoops(t, other)
	return other
}

// smallDisk has noise, zeros, and noise that ends within a block.
func smallDisk(t *testing.T) (path string, disk []byte) {
	t.Helper()
	_, disk = writeDisk(t)
	disk = disk[512<<10 : 5<<19+100]
	return writeFile(t, disk), disk
}

// noiseDisk is a disk of n bytes that does not compress.
func noiseDisk(t *testing.T, n int) (path string, disk []byte) {
	t.Helper()
	disk = make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{7}).Read(disk); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, disk), disk
}

func writeFile(t *testing.T, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
