package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/runstate"
)

// state is what stands in the bucket, by key and ETag.
func (w *world) state() map[string]string {
	all := map[string]string{}
	for _, o := range w.objects() {
		all[o.Key] = o.ETag + " of " + o.Metadata["snap-to-s3-run"]
	}
	return all
}

// again makes the snapshot wait to be migrated once more.
func (w *world) again(s subject) {
	w.t.Helper()
	if err := w.sim.SetTags(s.ID, s.Tags); err != nil {
		w.t.Fatal(err)
	}
	w.sim.ResetCalls()
}

func (w *world) called(action string) (n int) {
	for _, c := range w.sim.Calls() {
		if c.Action == action {
			n++
		}
	}
	return n
}

// put stores an object as another tool would. It sets the environment, so that
// its test cannot be parallel.
func (w *world) put(key string, data []byte, metadata map[string]string) {
	w.t.Helper()
	for _, kv := range w.sim.Env() {
		name, value, _ := strings.Cut(kv, "=")
		w.t.Setenv(name, value)
	}
	w.t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	w.t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	ctx := context.Background()
	session, err := aws.Load(ctx, aws.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := s3.New(session, testBucket, s3.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	options := objstore.CreateOptions{Metadata: metadata}
	if info, err := store.Stat(ctx, key); err == nil {
		options.IfMatch = info.ETag
	}
	obj, err := store.Create(ctx, key, options)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := obj.Write(data); err != nil {
		w.t.Fatal(err)
	}
	if _, err := obj.Commit(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// says wants an error, on either stream, and a hint below it.
func (r result) says(t *testing.T, code int, text, hint string) {
	t.Helper()
	all := r.stdout + r.stderr
	if r.code != code || !strings.Contains(all, text) || !strings.Contains(all, "hint: ") && !strings.Contains(all, `"hint":`) || !strings.Contains(all, hint) {
		t.Errorf("exit code %d, want %d, with %q and the hint %q; got:\n%s", r.code, code, text, hint, all)
	}
}

// A whole archive that may not be read is not to be replaced: the right is named that
// is missing, and before a volume is made where the store names it.
func TestARerunThatMayNotRead(t *testing.T) {
	t.Parallel()
	for name, named := range map[string]bool{"named": true, "without a name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			s := w.noisy(1<<20, awssim.SnapshotSpec{})
			migrate := []string{"migrate", "--dd", "--all", "--bucket", testBucket}
			w.ok(migrate...)
			before := w.state()
			w.again(s)
			if named {
				w.sim.DenyActions([]string{"s3:GetObject"})
			} else {
				w.sim.SetFault(func(c awssim.Call) awssim.Fault {
					if c.Action == "GetObject" || c.Action == "HeadObject" {
						return awssim.Fault{Before: &awssim.Error{Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}}
					}
					return awssim.Fault{}
				})
			}
			r := w.run(migrate...)
			r.says(t, exitFailed, "s3:GetObject is n", "allow s3:GetObject on "+testBucket+"/*")
			if strings.Contains(r.stdout+r.stderr, "--overwrite") {
				t.Error("it offers to replace a whole archive")
			}
			if n := w.called("CreateVolume"); named && n > 0 {
				t.Errorf("%d volumes were made first", n)
			}
			if diff := cmp.Diff(before, w.state()); diff != "" {
				t.Errorf("the bucket changed (-before +after):\n%s", diff)
			}
			w.sim.DenyActions(nil)
			w.sim.SetFault(nil)
			if r := w.ok(migrate...); !strings.Contains(r.stdout, "0 migrated, 1 kept") {
				t.Error("with the right it was not kept")
			}
		})
	}
}

func TestARerunKeepsWhatIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(2<<20, awssim.SnapshotSpec{})
	migrate := []string{"migrate", "--dd", "--all", "--bucket", testBucket}
	w.ok(migrate...)
	before := w.state()
	w.again(s)
	r := w.ok(migrate...)
	if !strings.Contains(r.stdout, "0 migrated, 1 kept") || w.called("CreateVolume")+w.called("PutObject") != 0 {
		t.Errorf("the second run did not keep what was there")
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("the bucket changed (-before +after):\n%s", diff)
	}
	w.isMigrated(s)
	if r := w.ok(migrate...); !strings.Contains(r.stderr, "nothing to do") {
		t.Errorf("a third run: %s", r.stderr)
	}

	w.again(s)
	r = w.ok(append(migrate, "--overwrite")...)
	if !strings.Contains(r.stdout, "1 migrated, 0 kept") {
		t.Errorf("--overwrite: %s", r.stdout)
	}
	for key, was := range w.state() {
		if was == before[key] {
			t.Errorf("--overwrite left %s", key)
		}
	}
	w.isArchived(s, s.key("zstd"))
	// Another codec is another archive, beside the first.
	w.again(s)
	w.ok(append(migrate, "--compression", "lz4")...)
	w.isArchived(s, s.key("lz4"))
	w.isArchived(s, s.key("zstd"))
	w.nothingLeft()
}

// TestARerunCompletes cuts the first run at each of its objects. What counts is
// what the second run makes of it.
func TestARerunCompletes(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{ // end of the key that cannot be written
		".image.zstd.json", ".img.zstd.json", ".img.zstd.entries", ".img.zstd",
	} {
		w := newWorld(t, awssim.Config{})
		s := w.noisy(1<<20, awssim.SnapshotSpec{})
		w.sim.SetFault(func(call awssim.Call) awssim.Fault {
			if call.Action == "PutObject" && strings.HasSuffix(call.Key, refused) {
				return awssim.Fault{Before: &awssim.Error{Status: 403, Code: "AccessDenied"}}
			}
			return awssim.Fault{}
		})
		migrate := []string{"migrate", "--dd", "--all", "--bucket", testBucket}
		r := w.run(migrate...)
		r.says(t, 1, "failed", "")
		if got := w.sim.Tags(s.ID); !cmp.Equal(got, s.Tags) {
			t.Errorf("%s refused: tags are %v, were %v", refused, got, s.Tags)
		}
		w.sim.SetFault(nil)
		w.ok(migrate...)
		w.isArchived(s, s.key("zstd"))
		w.isMigrated(s)
		w.nothingLeft()
	}
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	w := newWorld(t, awssim.Config{})
	s := w.noisy(1<<20, awssim.SnapshotSpec{})
	key := s.key("zstd")
	migrate := []string{"migrate", "--dd", "--all", "--bucket", testBucket}
	refused := func(why string) {
		t.Helper()
		w.again(s)
		before := w.state()
		w.run(migrate...).says(t, 1, why, "--overwrite")
		if diff := cmp.Diff(before, w.state()); diff != "" {
			t.Errorf("%s: the bucket changed (-before +after):\n%s", why, diff)
		}
		if n := w.called("CreateVolume"); n != 0 {
			t.Errorf("%s: %d volumes were made", why, n)
		}
		if got := w.sim.Tags(s.ID); !cmp.Equal(got, s.Tags) {
			t.Errorf("%s: tags are %v, were %v", why, got, s.Tags)
		}
	}
	w.put(key, []byte("somebody else's"), nil)
	refused("has no archive record")
	w.ok(append(migrate, "--overwrite")...)
	rec := w.isArchived(s, key)

	// Same size, same run, other bytes; same bytes, another run; a record of
	// another snapshot; an edited record.
	whole, _ := w.view(key)
	record, _ := w.view(rec.Key)
	other := bytes.Clone(whole)
	other[len(other)/2] ^= 1
	w.put(key, other, map[string]string{"snap-to-s3-run": rec.Run})
	refused("its record is of an earlier object")
	w.put(key, whole, map[string]string{"snap-to-s3-run": "another"})
	refused("its record is of an earlier object")
	w.put(key, whole, map[string]string{"snap-to-s3-run": rec.Run})
	w.put(rec.Key, bytes.Replace(record, []byte(rec.Run), []byte("20170101-000000-aaaaaaaa"), 1), nil)
	refused("its record cannot be read")

	stranger := w.noisy(1<<20, awssim.SnapshotSpec{VolumeID: "vol-0b1b2c3d4e5f60718"})
	w.ok("migrate", "--dd", stranger.ID, "--bucket", testBucket)
	strange, _ := w.view("manifests/" + stranger.key("zstd") + ".json")
	w.put(rec.Key, strange, nil)
	refused("its record is of " + stranger.ID)

	w.put(rec.Key, record, nil)
	w.again(s)
	if r := w.ok(migrate...); !strings.Contains(r.stdout, "1 kept") {
		t.Errorf("with its own record again: %s", r.stdout)
	}
	w.nothingLeft()
}

// TestKeptVolumesAreNotRead: people keep a volume in order to use it, and what
// they write to it must not end up in an archive.
func TestKeptVolumesAreNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	w.leftovers = true // the kept volume
	s := w.noisy(2<<20, awssim.SnapshotSpec{})
	migrate := []string{"migrate", "--dd", "--all", "--bucket", testBucket}
	first := w.ok(append(migrate, "--keep-temp-volumes")...)
	w.isArchived(s, s.key("zstd"))
	w.isMigrated(s)
	vols := w.sim.Volumes()
	if len(vols) != 1 || vols[0].Tags["snap-to-s3"] != "kept" || vols[0].Attachment != "attached" {
		t.Fatalf("volumes after --keep-temp-volumes: %+v", vols)
	}
	w.namesKept(vols[0].ID)
	if strings.Contains(first.stderr, "warning: ") || !strings.Contains(first.stderr, "kept, as was asked for kind=volume what=\""+vols[0].ID) {
		t.Errorf("what was asked for is a warning, or not told:\n%s", first.stderr)
	}
	device, err := os.OpenFile(vols[0].Node, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = device.WriteAt([]byte("written by whoever kept it"), 1<<20)
	if err = errors.Join(err, device.Sync(), device.Close()); err != nil {
		t.Fatal(err)
	}
	w.again(s)
	r := w.ok(append(migrate, "--overwrite")...)
	if n := w.called("CreateVolume"); n != 1 {
		t.Errorf("the second run made %d volumes", n)
	}
	w.isArchived(s, s.key("zstd"))
	line := `a kept volume is not read, .* volume=` + vols[0].ID + ` .*aws ec2 delete-volume --region us-east-1 --volume-id ` + vols[0].ID
	if !regexp.MustCompile(line).MatchString(r.stderr) {
		t.Errorf("nothing says that %s is not read and how to delete it:\n%s", vols[0].ID, r.stderr)
	}
	for _, v := range w.sim.Volumes() {
		if v.ID == vols[0].ID && (v.Tags["snap-to-s3"] != "kept" || v.Attachment != "attached") ||
			v.ID != vols[0].ID && v.State != "deleting" {
			t.Errorf("volume %+v, want the kept one as it was and no other", v)
		}
	}
}

// namesKept wants the state files to name these volumes as kept, with the command
// that takes each away, and beside them at most their mounts.
func (w *world) namesKept(ids ...string) {
	w.t.Helper()
	runs, err := runstate.List(w.stateDir())
	if err != nil {
		w.t.Fatal(err)
	}
	var named []string
	for _, run := range runs {
		for _, e := range run.Left {
			switch {
			case e.Fields["kept"] == "" || e.Hint() == "" || e.Reason == "" || run.Live:
				w.t.Errorf("run %s left %+v", run.Header.Run, e)
			case e.Kind == runstate.KindVolume:
				named = append(named, e.Fields["volume"])
			}
		}
	}
	slices.Sort(named)
	slices.Sort(ids)
	if !slices.Equal(named, ids) {
		w.t.Errorf("the state files name the kept volumes %q, want %q", named, ids)
	}
}

func TestOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	for range 3 {
		w.noisy(1<<20, awssim.SnapshotSpec{})
	}
	for n := 1; n <= 3; n++ {
		r := w.ok("migrate", "--dd", "--one", "--bucket", testBucket, "--jobs", "3")
		if !strings.Contains(r.stdout, "1 migrated, 0 kept, 0 failed") || len(w.objects()) != 4*n {
			t.Errorf("run %d: %d objects", n, len(w.objects()))
		}
	}
	w.nothingLeft()
}

func TestFailFast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags    []string
		migrated int
	}{
		{nil, 2},
		{[]string{"--fail-fast"}, 0},
	} {
		w := newWorld(t, awssim.Config{})
		bad := w.noisy(1<<20, awssim.SnapshotSpec{Fault: awssim.VolumeFault{Fate: awssim.VolumeFails}})
		others := []subject{w.noisy(1<<20, awssim.SnapshotSpec{}), w.noisy(1<<20, awssim.SnapshotSpec{})}
		r := w.run(append([]string{"migrate", "--dd", "--all", "--bucket", testBucket}, c.flags...)...)
		r.says(t, 1, bad.ID+"  failed", "")
		done := 0
		for _, s := range others {
			if w.sim.Tags(s.ID)["snap-to-s3"] == "migrated" {
				done++
			}
		}
		if got := w.sim.Tags(bad.ID)["snap-to-s3"]; done != c.migrated || got != "migrate" {
			t.Errorf("%v: %d others were migrated, want %d; the failed one is tagged %q", c.flags, done, c.migrated, got)
		}
		w.nothingLeft()
	}
}

// TestNothingIsTouched: neither a dry run nor one that is too dear makes a call
// that changes anything.
func TestNothingIsTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(1<<20, awssim.SnapshotSpec{})
	w.noisy(1<<20, awssim.SnapshotSpec{})
	// One of the two could be paid for: that is known before it is begun.
	plans := w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--dry-run", "--output", "json").jsonLines(t)
	both, ok := plans[len(plans)-1]["cost"].(map[string]any)["one_time"].(float64)
	if !ok || both <= 0 {
		t.Fatalf("the dry run ends with %v", plans[len(plans)-1])
	}
	for flags, code := range map[string]int{
		fmt.Sprintf("--all --max-cost %.9f", both*0.75): 1,
		"--all --dry-run":                         0,
		"--one --dry-run --output json":           0,
		"--dry-run " + s.ID:                       0,
		"--all --max-cost 0.000001":               1,
		"--all --max-cost 0.000001 --dry-run":     1,
		"--max-cost 0.000001 " + s.ID:             1,
		"--all --dry-run --max-cost 100":          0,
		"--all --max-cost 0.000001 --output json": 1,
	} {
		w.sim.ResetCalls()
		r := w.run(append([]string{"migrate", "--dd", "--bucket", testBucket}, strings.Fields(flags)...)...)
		if r.code != code {
			t.Errorf("%s: exit code %d, want %d", flags, r.code, code)
		}
		if code != 0 && !strings.Contains(r.stderr, "more than --max-cost allows") {
			t.Errorf("%s: said %q", flags, r.stderr)
		}
		if strings.Contains(flags, "--dry-run") && code == 0 && !strings.Contains(r.stdout, s.ID) {
			t.Errorf("%s: no plan of the snapshot", flags)
		}
		calls := w.sim.Calls()
		for _, c := range calls {
			switch c.Action {
			case "DescribeSnapshots", "HeadBucket", "HeadObject", "GetObject":
			default:
				if c.Service != "imds" {
					t.Errorf("%s: called %s", flags, c)
				}
			}
		}
		if len(calls) == 0 {
			t.Errorf("%s: the account was not asked at all", flags)
		}
	}
	if files, err := filepath.Glob(filepath.Join(w.stateDir(), "*")); err != nil || len(files) > 0 {
		t.Errorf("state files: %v, %v", files, err)
	}
}
