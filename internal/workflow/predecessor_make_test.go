package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// oldArchive is an archive as the predecessor leaves it.
type oldArchive struct {
	key      string
	metadata map[string]string
	body     []byte
}

// oldArchives has the predecessor's programs make the archives of a disk or a
// folder; keys are for those that are encrypted, nil where none is. The
// snapshot is the first of a world.
func oldArchives(t *testing.T, source string, keys *damageKeys, args ...string) []oldArchive {
	t.Helper()
	treetest.Require(t, "bash", "tar", "lz4", "zstd", "sfdisk", "losetup", "blkid")
	out := t.TempDir()
	args = append([]string{
		"../../scripts/make-predecessor-archives.sh",
		"--volume", "vol-00000001", "--snapshot", string(first), "--start", "2026-01-02T03:04:05Z", "--description", "nightly",
	}, append(args, source, out)...)
	cmd := exec.CommandContext(t.Context(), "bash", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMPDIR="+t.TempDir())
	if keys != nil {
		cmd.Env = append(cmd.Env, "GNUPGHOME="+keys.dir)
	}
	if messages, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, messages)
	}
	var all []oldArchive
	for n := 1; ; n++ {
		stem := filepath.Join(out, strconv.Itoa(n))
		key, err := os.ReadFile(stem + ".key")
		if errors.Is(err, os.ErrNotExist) {
			return all
		}
		body, errBody := os.ReadFile(stem + ".object")
		data, errData := os.ReadFile(stem + ".metadata")
		a := oldArchive{key: string(key), body: body}
		if err := errors.Join(err, errBody, errData, json.Unmarshal(data, &a.metadata)); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
}

// putOld stores archives as they are. What stands there is replaced.
func (w *world) putOld(all ...oldArchive) {
	w.t.Helper()
	for _, a := range all {
		w.putAs(a.key, string(a.body), a.metadata)
	}
}

// unlisted is a bucket that these credentials may not list. It counts what is
// asked for by name.
type unlisted struct {
	*objstore.Memory
	heads atomic.Int64
}

func (*unlisted) List(context.Context, string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, objstore.ErrForbidden) }
}

func (u *unlisted) Stat(ctx context.Context, key string) (objstore.Info, error) {
	u.heads.Add(1)
	return u.Memory.Stat(ctx, key)
}

// oldRun is a run that validates what it finds in the store.
func (w *world) oldRun(store objstore.Store, change ...func(*workflow.Migrator)) *run {
	w.t.Helper()
	r := w.quickRun(append(change, func(m *workflow.Migrator) { m.Store, m.Trees = store, true })...)
	r.validate(w.t.Context(), named(first))
	w.empty()
	return r
}

// why is what the run says of its snapshot.
func (r *run) why() error {
	r.w.t.Helper()
	if f := r.report.finished; len(f) == 1 {
		return f[0].Err
	}
	r.w.t.Fatalf("%v: %+v", r.err, r.report.finished)
	return nil
}

// proven wants the run to have found no difference.
func (r *run) proven() {
	r.w.t.Helper()
	if r.err != nil || r.sum.Validated != 1 || len(r.report.differences) > 0 {
		r.w.t.Errorf("%v\n%+v\ndifferences %v", r.err, r.sum, r.report.differences)
	}
}

// kinds are the differences that were found, each as "path: kind", or as its kind
// alone, in order.
func (r *run) kinds() []string {
	var all []string
	for _, d := range r.report.differences {
		text := d.Kind
		if d.HasPath {
			text = d.Path + ": " + d.Kind
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// oldDisk has two partitions of files, one of which each world gets for itself.
func oldDisk(t *testing.T) (image string) {
	t.Helper()
	const mib = 1 << 20
	image, _ = treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 12 * mib, Holds: "ext4"},
		{Number: 2, Length: 12 * mib, Holds: "ext4"},
	}})
	return image
}

// oldWorld has a snapshot of a copy of the disk.
func oldWorld(t *testing.T, image string) *world {
	t.Helper()
	own := filepath.Join(t.TempDir(), "disk.img")
	treetest.SparseCopy(t, image, own, 0)
	return worldOf(t, own)
}
