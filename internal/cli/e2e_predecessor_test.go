package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// oldObject is an archive as the predecessor left it in the bucket.
type oldObject struct {
	key  string
	body []byte
}

// addOld makes a snapshot that the predecessor has migrated, and puts into the
// bucket what its programs made of it.
func (w *world) addOld(image, description string, k *keyring, args ...string) (subject, []oldObject) {
	w.t.Helper()
	treetest.Require(w.t, "bash", "tar", "lz4", "zstd", "sfdisk", "losetup", "blkid")
	s := w.add(awssim.SnapshotSpec{Image: image, Description: description, Tags: map[string]string{"snap-to-s3": "migrated"}})
	out := w.t.TempDir()
	args = append([]string{
		"../../scripts/make-predecessor-archives.sh", "--volume", s.VolumeID, "--snapshot", s.ID,
		"--start", s.Start.Format(time.RFC3339), "--description", s.Description,
	}, append(args, image, out)...)
	cmd := exec.CommandContext(w.t.Context(), "bash", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if k != nil {
		cmd.Env = append(cmd.Env, k.env())
	}
	if messages, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%q: %v\n%s", args, err, messages)
	}
	var all []oldObject
	for n := 1; ; n++ {
		stem := filepath.Join(out, strconv.Itoa(n))
		key, err := os.ReadFile(stem + ".key")
		if err != nil {
			return s, all
		}
		metadata := map[string]string{}
		if err := json.Unmarshal(readFile(w.t, stem+".metadata"), &metadata); err != nil {
			w.t.Fatal(err)
		}
		o := oldObject{string(key), readFile(w.t, stem+".object")}
		w.put(o.key, o.body, metadata)
		all = append(all, o)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What descriptions may have in them, as it stood in the keys.
const (
	plainDescription = "nightly, of /srv v1.1"
	oddDescription   = `a//b/../c/./d + ü 箱 %41%2F?x=1#&'<"\ [of - 2016].1`
)

// oldDisk has two partitions of files.
func oldDisk(t *testing.T) (image string, plan treetest.Plan) {
	t.Helper()
	return treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 12 * mib, Holds: "ext4"},
		{Number: 2, Length: 12 * mib, Holds: "ext4"},
	}})
}

// What the predecessor has left in a bucket is validated by its own command lines,
// with no more rights than it had, and told from ours.
func TestValidateWhatThePredecessorLeft(t *testing.T) {
	image, _ := oldDisk(t)
	for name, c := range map[string]struct {
		args   string
		policy []string
		line   string
		keys   []string // their ends

		description string
	}{
		"tar": {"--zone -07:00", nil, "--validate --snapshots ID --bucket BUCKET", []string{
			"/2016-12-31T17:00:00-07:00 ID - nightly, of /srv v1.1.1.tar.lz4",
			"/2016-12-31T17:00:00-07:00 ID - nightly, of /srv v1.1.2.tar.lz4",
		}, ""},
		"tar, no list": {"--zone +02:00 --naming nvme", predecessorsPolicy(), "--validate --snapshots ID --bucket BUCKET", []string{
			"/2017-01-01T02:00:00+02:00 ID - nightly, of /srv v1.1.p1.tar.lz4",
			"/2017-01-01T02:00:00+02:00 ID - nightly, of /srv v1.1.p2.tar.lz4",
		}, ""},
		"tar zstd, other flags": {"--compression zstd", predecessorsPolicy(), "--validate --all --dd --compression lz4 --bucket BUCKET", []string{
			"/2017-01-01T00:00:00+00:00 ID - nightly, of /srv v1.1.1.tar.zstd",
			"/2017-01-01T00:00:00+00:00 ID - nightly, of /srv v1.1.2.tar.zstd",
		}, ""},
		"image, no list": {"--dd --zone -07:00", predecessorsPolicy(), "--validate --one --bucket BUCKET", []string{
			"/2016-12-31T17:00:00-07:00 ID - nightly, of /srv v1.1.img.lz4",
		}, ""},
		"tar, by the verb": {"", nil, "validate ID --bucket BUCKET", []string{
			"/2017-01-01T00:00:00+00:00 ID - nightly, of /srv v1.1.1.tar.lz4",
			"/2017-01-01T00:00:00+00:00 ID - nightly, of /srv v1.1.2.tar.lz4",
		}, ""},
		"an odd description": {"--dd", nil, "--validate --snapshots ID --bucket BUCKET", []string{
			"/2017-01-01T00:00:00+00:00 ID - " + oddDescription + ".img.lz4",
		}, oddDescription},
		"an odd description, no list": {"--dd", predecessorsPolicy(), "--validate --snapshots ID --bucket BUCKET", []string{
			"/2017-01-01T00:00:00+00:00 ID - " + oddDescription + ".img.lz4",
		}, oddDescription},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, awssim.Config{})
			description := plainDescription
			if c.description != "" {
				description = c.description
			}
			s, old := w.addOld(image, description, nil, strings.Fields(c.args)...)
			w.sim.SetPolicy(c.policy)
			w.sim.ResetCalls()
			r := w.ok(strings.Fields(strings.NewReplacer("ID", s.ID, "BUCKET", testBucket).Replace(c.line))...)
			if w.sim.Tags(s.ID)["snap-to-s3"] != "validated" {
				t.Errorf("tagged %v", w.sim.Tags(s.ID))
			}
			if n := w.called("HeadObject"); n > 1200 {
				t.Errorf("%d HEADs", n)
			}
			if len(old) != len(c.keys) {
				t.Fatalf("%d archives", len(old))
			}
			for i, o := range old {
				if want := s.VolumeID + strings.Replace(c.keys[i], "ID", s.ID, 1); o.key != want {
					t.Errorf("key %q, want %q", o.key, want)
				}
			}
			says := strings.Contains(r.stdout+r.stderr, "the archive is the predecessor's: fractions of a second, extended attributes, ACLs")
			if tar := strings.Contains(old[0].key, ".tar."); says != tar {
				t.Errorf("says %v that it is the predecessor's", says)
			}
			w.freeHost()
		})
	}
}

func TestValidateFindsWhatThePredecessorLeftOut(t *testing.T) {
	image, plan := oldDisk(t)
	w := newWorld(t, awssim.Config{})
	s, old := w.addOld(image, plainDescription, nil)
	at := treetest.Mounted(t, image, plan.Partitions[1].Start)
	if err := os.Chmod(filepath.Join(at, "large"), 0o600); err != nil {
		t.Fatal(err)
	}
	treetest.Unmount(t, at)
	r := w.run("--validate", "--snapshots", s.ID, "--bucket", testBucket)
	r.says(t, exitDifferent, old[1].key+" ./large: mode: the snapshot says 0600, the archive has 0640", "keep the snapshot")
	if w.sim.Tags(s.ID)["snap-to-s3"] != "migrated" {
		t.Errorf("tagged %v", w.sim.Tags(s.ID))
	}
	w.freeHost()

	// Without the first partition's there is a difference more; without any, an error
	// that says what was looked for.
	other := w.add(awssim.SnapshotSpec{Image: image, Description: "none", Tags: map[string]string{"snap-to-s3": "migrated"}})
	for _, policy := range [][]string{nil, predecessorsPolicy()} {
		w.sim.SetPolicy(policy)
		r = w.run("--validate", "--snapshots", other.ID, "--bucket", testBucket)
		r.says(t, exitFailed, other.prefix()+" - none[.PARTITION|.pPARTITION].(img|tar).CODEC[.gpg]", "s3:GetObject is needed")
	}
	w.freeHost()
}

// With the private key at hand, and with the session key alone, as the
// predecessor's README has it.
func TestValidateWhatThePredecessorEncrypted(t *testing.T) {
	image, _ := oldDisk(t)
	k, without := newKeyring(t), newKeyring(t)
	k.makes("ann", "")
	w := newWorld(t, awssim.Config{})
	w.extra = []string{k.env()}
	s, _ := w.addOld(image, plainDescription, &k, "--gpg-recipient", "ann")
	w.ok("--validate", "--snapshots", s.ID, "--bucket", testBucket)
	w.freeHost()

	one, old := w.addOld(image, plainDescription, &k, "--gpg-recipient", "ann", "--dd", "--compression", "zstd", "--zone", "+02:00")
	w.extra = []string{without.env()}
	w.sim.ResetCalls()
	r := w.run("--validate", "--snapshots", one.ID, "--bucket", testBucket)
	r.says(t, exitFailed, old[0].key, "--gpg-session-key")
	if n := w.called("CreateVolume"); n != 0 {
		t.Errorf("%d volumes were made for what cannot be read", n)
	}
	w.sim.SetPolicy(predecessorsPolicy())
	w.ok("--validate", "--snapshots", one.ID, "--bucket", testBucket, "--gpg-session-key", k.sessionKey(old[0].body))
	w.freeHost()
}

// Of an archive of the predecessor's a verification says that only its stream was
// proven, and finds a damage in it. It needs s3:GetObject alone.
func TestVerifyWhatThePredecessorLeft(t *testing.T) {
	image, _ := oldDisk(t)
	w := newWorld(t, awssim.Config{})
	_, old := w.addOld(image, plainDescription, nil, "--zone", "-07:00")
	w.sim.SetPolicy([]string{"s3:GetObject"})
	r := w.ok("verify", "s3://"+testBucket+"/"+old[0].key, "s3://"+testBucket+"/"+old[1].key)
	if n := strings.Count(r.stdout, "(it can be decoded to its end; what is in it is not proven)"); n != 2 {
		t.Errorf("it says %d times that only the stream is proven", n)
	}
	for _, l := range w.ok("verify", "--output", "json", "s3://"+testBucket+"/"+old[0].key).jsonLines(t) {
		if l.kind() == "archive" && (l["key"] != old[0].key || l["proven"] != "stream" || l["entries"] == 0.0) {
			t.Errorf("%v", l)
		}
	}
	w.sim.SetPolicy(nil)
	old[0].body[len(old[0].body)/2] ^= 4
	w.put(old[0].key, old[0].body, nil)
	w.put(old[1].key, old[1].body[:len(old[1].body)-7], nil)
	w.sim.SetPolicy([]string{"s3:GetObject"})
	for _, o := range old {
		r := w.run("verify", "s3://"+testBucket+"/"+o.key)
		if r.code != exitDifferent || !strings.Contains(r.stderr, o.key+": damaged: ") {
			t.Errorf("exit code %d, want %d, and the damage:\n%s", r.code, exitDifferent, r.stderr)
		}
	}
}
