package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/filesystem/treetest"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/layout"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/workflow"
)

// Archives of the predecessor are found and proven, whatever the zone of its
// machine, the names of its devices, its codec and its flags, with and without the
// right to list the bucket.
func TestPredecessorIsValidated(t *testing.T) {
	image := oldDisk(t)
	keys := newDamageKeys(t)
	const stem = "vol-00000001/"
	for _, c := range []struct {
		name string
		args string
		keys []string
	}{
		{"tar lz4", "", []string{
			stem + "2026-01-02T03:04:05+00:00 snap-00000001 - nightly.1.tar.lz4",
			stem + "2026-01-02T03:04:05+00:00 snap-00000001 - nightly.2.tar.lz4",
		}},
		{"tar zstd nvme east", "--compression zstd --naming nvme --zone +02:00", []string{
			stem + "2026-01-02T05:04:05+02:00 snap-00000001 - nightly.p1.tar.zstd",
			stem + "2026-01-02T05:04:05+02:00 snap-00000001 - nightly.p2.tar.zstd",
		}},
		{"tar lz4 gpg west", "--gpg-recipient ann --zone -07:00", []string{
			stem + "2026-01-01T20:04:05-07:00 snap-00000001 - nightly.1.tar.lz4.gpg",
			stem + "2026-01-01T20:04:05-07:00 snap-00000001 - nightly.2.tar.lz4.gpg",
		}},
		{"tar zstd gpg nvme", "--gpg-recipient ann --compression zstd --naming nvme", []string{
			stem + "2026-01-02T03:04:05+00:00 snap-00000001 - nightly.p1.tar.zstd.gpg",
			stem + "2026-01-02T03:04:05+00:00 snap-00000001 - nightly.p2.tar.zstd.gpg",
		}},
		{"image lz4 west", "--dd --zone -07:00", []string{stem + "2026-01-01T20:04:05-07:00 snap-00000001 - nightly.img.lz4"}},
		{"image zstd gpg east", "--dd --compression zstd --gpg-recipient ann --zone +02:00", []string{
			stem + "2026-01-02T05:04:05+02:00 snap-00000001 - nightly.img.zstd.gpg",
		}},
	} {
		old := oldArchives(t, image, keys, strings.Fields(c.args)...)
		for _, listed := range []bool{true, false} {
			for _, prefer := range []workflow.Prefer{{}, {Codec: "zstd", Encrypted: true, Kind: layout.Tar}} {
				t.Run(fmt.Sprintf("%s listed=%v prefer=%v", c.name, listed, prefer.Codec), func(t *testing.T) {
					t.Parallel()
					w := oldWorld(t, image)
					for _, a := range old {
						if prefer.Codec == "" {
							a.metadata = nil // who copies an object may lose it
						}
						w.putOld(a)
					}
					var store objstore.Store = w.store
					if !listed {
						store = &unlisted{Memory: w.store}
					}
					r := w.oldRun(store, func(m *workflow.Migrator) { m.Prefer, m.GPG = prefer, keys.gpg })
					r.proven()
					if u, ok := store.(*unlisted); ok && u.heads.Load() > 1200 {
						t.Errorf("%d HEADs", u.heads.Load())
					}
					got := r.report.finished
					if len(got) != 1 {
						t.Fatalf("%+v", got)
					}
					if diff := cmp.Diff(c.keys, got[0].Keys); diff != "" {
						t.Errorf("keys (-want +got):\n%s", diff)
					}
					if tar := strings.HasPrefix(c.name, "tar"); tar != (len(got[0].Unproven) == 1) || tar != (got[0].Entries > 0) {
						t.Errorf("%d entries, not proven: %q", got[0].Entries, got[0].Unproven)
					}
				})
			}
		}
	}
}

// Looking for what is not there costs so many requests, and the error says what
// was looked for.
func TestNothingOfThePredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "/nonexistent", nil)
	for _, store := range []objstore.Store{w.store, &unlisted{Memory: w.store}} {
		r := w.oldRun(store)
		if why := r.why(); why == nil || errors.Is(why, workflow.ErrDifferent) {
			t.Fatalf("%v", why)
		}
		for _, want := range []string{
			"no archive of snap-00000001 is in s3://" + bucket,
			"manifests/vol-00000001/2026-01-02T03:04:05+00:00 snap-00000001.(image|files).CODEC[.gpg].json",
			"vol-00000001/2026-01-02T03:04:05+00:00 snap-00000001 - nightly[.PARTITION|.pPARTITION].(img|tar).CODEC[.gpg]",
			"every time zone",
		} {
			if !strings.Contains(r.why().Error(), want) {
				t.Errorf("the error lacks %q: %v", want, r.why())
			}
		}
		if u, ok := store.(*unlisted); ok {
			t.Logf("%d HEADs where the bucket may not be listed", u.heads.Load())
			// Once for the estimate, and once with the claim.
			if n := u.heads.Load(); n < 2*900 || n > 2*1200 {
				t.Errorf("%d HEADs", n)
			}
		}
	}
}

// Of what may stand in a bucket of one snapshot the newest of what is asked for is
// looked at, and the rest is named.
func TestSeveralOfThePredecessor(t *testing.T) {
	image := oldDisk(t)
	tar, other := oldArchives(t, image, nil), oldArchives(t, image, nil, "--compression", "zstd")
	whole := oldArchives(t, image, nil, "--dd")
	for _, c := range []struct {
		name   string
		stored [][]oldArchive
		prefer workflow.Prefer
		ends   string
		others int
	}{
		{"codecs", [][]oldArchive{tar, other}, workflow.Prefer{}, ".tar.zstd", 2},
		{"codecs, the older", [][]oldArchive{tar, other}, workflow.Prefer{Codec: "lz4"}, ".tar.lz4", 2},
		{"kinds", [][]oldArchive{whole, tar}, workflow.Prefer{}, ".tar.lz4", 1},
		{"kinds, the older", [][]oldArchive{whole, tar}, workflow.Prefer{Kind: layout.Image}, ".img.lz4", 2},
		{"all", [][]oldArchive{tar, whole, other}, workflow.Prefer{}, ".tar.zstd", 3},
		{"all, a kind goes before a codec", [][]oldArchive{tar, whole, other}, workflow.Prefer{Codec: "zstd", Kind: layout.Image}, ".img.lz4", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := oldWorld(t, image)
			for _, set := range c.stored {
				w.putOld(set...)
			}
			r := w.oldRun(&unlisted{Memory: w.store}, func(m *workflow.Migrator) { m.Prefer = c.prefer })
			r.proven()
			for _, key := range r.report.finished[0].Keys {
				if !strings.HasSuffix(key, c.ends) {
					t.Errorf("looked at %s", key)
				}
			}
			if got := r.report.finished[0].Others; len(got) != c.others {
				t.Errorf("others: %q", got)
			}
		})
	}
}

// Machines in two zones have archived the same: the newest is meant.
func TestPredecessorInTwoZones(t *testing.T) {
	image := oldDisk(t)
	old, renewed := oldArchives(t, image, nil, "--zone", "-07:00"), oldArchives(t, image, nil, "--naming", "nvme")
	for _, list := range []bool{true, false} {
		w := oldWorld(t, image)
		old[0].body = []byte("damaged")
		w.putOld(old[0])
		w.putOld(renewed...)
		var store objstore.Store = w.store
		if !list {
			store = &unlisted{Memory: w.store}
		}
		r := w.oldRun(store)
		r.proven()
		if got := notesWith(r, old[0].key+" is older than another archive of the same"); len(got) != 1 {
			t.Errorf("notes: %q", r.report.notes)
		}
	}
}

// Each partition with files must have an archive, and each archive a partition.
func TestPredecessorsPartitions(t *testing.T) {
	const mib = 1 << 20
	image, _ := treetest.Disk(t, treetest.Plan{Table: "gpt", Partitions: []treetest.Partition{
		{Number: 1, Length: 8 * mib, Holds: "ext4"},
		{Number: 2, Length: 2 * mib, Holds: treetest.Swap},
		{Number: 15, Length: 8 * mib, Holds: "ext4"},
	}})
	old := oldArchives(t, image, nil, "--naming", "nvme")
	if len(old) != 2 {
		t.Fatalf("%d archives", len(old))
	}
	other := func(a oldArchive, part string) oldArchive {
		a.key = strings.Replace(a.key, ".p15.", "."+part+".", 1)
		return a
	}
	for _, c := range []struct {
		name   string
		stored []oldArchive
		want   []string
		says   string
	}{
		{"all", old, nil, ""},
		{"one missing", old[:1], []string{"missing"}, "there is none of partition 15 (ext4,"},
		{"the first missing", old[1:], []string{"missing"}, "there is none of partition 1 (ext4,"},
		{"one of no partition", append(slices.Clone(old), other(old[1], "p4")), []string{"added"}, "the disk has no such partition"},
		{"of the swap", append(slices.Clone(old), other(old[1], "p2")), nil, "cannot be read here"},
	} {
		for _, list := range []bool{true, false} {
			if !list && c.name == "the first missing" {
				continue // where nothing is listed the first two numbers are looked for
			}
			t.Run(fmt.Sprintf("%s, list %v", c.name, list), func(t *testing.T) {
				t.Parallel()
				w := oldWorld(t, image)
				w.putOld(c.stored...)
				var store objstore.Store = w.store
				if !list {
					store = &unlisted{Memory: w.store}
				}
				r := w.oldRun(store)
				if diff := cmp.Diff(c.want, r.kinds()); diff != "" {
					t.Errorf("differences (-want +got):\n%s\n%v", diff, r.err)
				}
				switch {
				case c.says == "":
					r.proven()
				case c.want == nil:
					if why := r.why(); why == nil || !strings.Contains(why.Error(), c.says) {
						t.Errorf("%v", why)
					}
				case !errors.Is(r.err, workflow.ErrDifferent) || !strings.Contains(r.report.differences[0].String(), c.says):
					t.Errorf("%v: %v", r.err, r.report.differences)
				}
				if got := notesWith(r, "partition 2 (swap, 2.0 MiB) is in no archive"); c.name == "all" && len(got) != 1 {
					t.Errorf("notes: %q", r.report.notes)
				}
			})
		}
	}
}

// What a run of ours has left unfinished is not taken for the predecessor's.
func TestUnfinishedIsNoPredecessor(t *testing.T) {
	image := oldDisk(t)
	old := oldArchives(t, image, nil, "--naming", "nvme")
	s := newWorld(t, 1, image, nil).name(first).Snapshot
	ours := func(n layout.Name) oldArchive {
		n.Snapshot = s
		return oldArchive{key: n.ArchiveKey(), metadata: map[string]string{layout.MetaRun: "run-1", layout.MetaFormat: "1"}, body: []byte("unfinished")}
	}
	for name, a := range map[string]oldArchive{
		"head":  ours(layout.Name{Kind: layout.Image, Codec: "zstd", Partition: layout.Head}),
		"image": ours(layout.Name{Kind: layout.Image, Codec: "lz4", Encrypted: true}),
		"tar":   ours(layout.Name{Kind: layout.Tar, Codec: "lz4", Partition: 1}),
		"raw":   ours(layout.Name{Kind: layout.Image, Codec: "lz4", Partition: 1}),
	} {
		for _, list := range []bool{true, false} {
			w := oldWorld(t, image)
			w.putOld(a)
			var store objstore.Store = w.store
			if !list {
				store = &unlisted{Memory: w.store}
			}
			r := w.oldRun(store)
			if why := r.why(); why == nil || !strings.Contains(why.Error(), a.key+" was left unfinished by run run-1") {
				t.Errorf("%s: %v", name, why)
			}
			// Beside a whole set of the predecessor's it is but told of.
			w.putOld(old...)
			w.oldRun(store).proven()
		}
		w := oldWorld(t, image)
		w.putOld(a)
		told := verifyThese(t, w.store, workflow.VerifySubject{Keys: []string{a.key}})
		if len(told.verified) != 1 || told.verified[0].Err == nil || !strings.Contains(told.verified[0].Err.Error(), "of run run-1, has no record") || len(told.differences) > 0 {
			t.Errorf("verify %s: %v", name, told)
		}
	}
}

// An archive that is cut or has a wrong bit is told of, by a validation and by a
// verification that has its address alone.
func TestDamagedPredecessor(t *testing.T) {
	image := oldDisk(t)
	keys := newDamageKeys(t)
	for _, args := range []string{
		"--only 1", "--only 1 --compression zstd", "--dd", "--dd --compression zstd",
		"--only 1 --gpg-recipient ann", "--dd --compression zstd --gpg-recipient ann",
	} {
		a := oldArchives(t, image, keys, strings.Fields(args)...)[0]
		encrypted := strings.HasSuffix(a.key, ".gpg")
		w := oldWorld(t, image)
		w.putOld(a)
		told := verifyThese(t, w.store, workflow.VerifySubject{Keys: []string{a.key}}, keys.verifying)
		if told.err != nil || len(told.verified) != 1 || told.verified[0].Proven != workflow.ProvenStream || told.verified[0].Plain == 0 {
			t.Fatalf("%s: %v, %+v", a.key, told.err, told.verified)
		}
		if tar := strings.Contains(args, "only"); tar != (told.verified[0].Entries > 5) {
			t.Errorf("%s: %d entries", a.key, told.verified[0].Entries)
		}
		damages := map[string][]byte{}
		for _, at := range []int{0, 1, 7, 40, len(a.body) / 2, len(a.body) - 4, len(a.body) - 1} {
			damages[fmt.Sprintf("cut to %d", at)] = a.body[:at]
		}
		for i := range 12 {
			at := 64 + i*(len(a.body)-64)/12
			if encrypted {
				at = 1024 + i*(len(a.body)-1024)/12
			}
			body := slices.Clone(a.body)
			body[at] ^= 1 << (i % 8)
			damages[fmt.Sprintf("bit %d of byte %d", i%8, at)] = body
		}
		damages["more at the end"] = append(slices.Clone(a.body), "more"...)
		damages["twice"] = append(slices.Clone(a.body), a.body...)
		for name, body := range damages {
			b := a
			b.body = body
			w.putOld(b)
			told := verifyThese(t, w.store, workflow.VerifySubject{Keys: []string{a.key}}, keys.verifying)
			if headless := encrypted && len(body) < 1024; headless {
				if told.err == nil {
					t.Errorf("%s, %s: verified", a.key, name)
				}
				continue // no key can be found for it, which is no difference
			}
			if told.err == nil && samePlain(t, a, body) {
				continue // a copy from another place of the same bytes
			}
			if !errors.Is(told.err, workflow.ErrDifferent) || len(told.differences) == 0 || told.differences[0].Kind != "damaged" && name != "twice" {
				t.Errorf("%s, %s: %v", a.key, name, told)
			}
			if strings.HasPrefix(name, "bit 3") || strings.HasPrefix(name, "cut") {
				r := w.oldRun(w.store, keys.opening)
				if !errors.Is(r.err, workflow.ErrDifferent) || !slices.ContainsFunc(r.report.differences, func(d workflow.Difference) bool { return d.Kind == "damaged" }) {
					t.Errorf("%s, %s: validate says %v, %v", a.key, name, r.err, r.kinds())
				}
			}
		}
	}
}

// samePlain tells whether the programs decode a damaged object, and to the same.
func samePlain(t *testing.T, a oldArchive, damaged []byte) bool {
	t.Helper()
	_, codec, encrypted, ok := layout.CodingOf(a.key)
	if !ok || encrypted {
		return false
	}
	want, err := decoded(t, codec, a.body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decoded(t, codec, damaged)
	return err == nil && bytes.Equal(want, got)
}

func decoded(t *testing.T, codec string, data []byte) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), codec, "-d", "-c")
	cmd.Stdin = bytes.NewReader(data)
	return cmd.Output()
}

// The private key is not at hand: an error that names the object, before a volume
// is made.
func TestPredecessorWithoutItsKey(t *testing.T) {
	image := oldDisk(t)
	keys, others := newDamageKeys(t), newDamageKeys(t)
	w := oldWorld(t, image)
	old := oldArchives(t, image, keys, "--gpg-recipient", "ann")
	w.putOld(old...)
	r := w.oldRun(w.store, others.opening)
	why := r.why()
	for _, a := range old {
		if why == nil || !strings.Contains(why.Error(), a.key) {
			t.Errorf("the error does not name %s: %v", a.key, why)
		}
	}
	if w.made != 0 {
		t.Errorf("%d volumes were made", w.made)
	}
}

// An object that must be thawed is refused before a volume is made, with the
// command that thaws it; once it is thawed it is validated.
func TestColdPredecessor(t *testing.T) {
	image := oldDisk(t)
	w := oldWorld(t, image)
	old := oldArchives(t, image, nil, "--zone", "-07:00")
	for _, a := range old {
		if _, err := putObject(t.Context(), w.store, a.key, a.body, objstore.Info{StorageClass: "DEEP_ARCHIVE", Metadata: a.metadata}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, store := range []objstore.Store{w.store, &unlisted{Memory: w.store}} {
		why := w.oldRun(store).why()
		if !errors.Is(why, objstore.ErrArchived) && (why == nil || !strings.Contains(why.Error(), old[1].key)) || !strings.Contains(hint.Of(why), "restore-object") {
			t.Errorf("%v, hint %q", why, hint.Of(why))
		}
	}
	if w.made != 0 {
		t.Errorf("%d volumes were made", w.made)
	}
	for _, a := range old {
		if err := w.store.Thaw(a.key); err != nil {
			t.Fatal(err)
		}
	}
	w.oldRun(&unlisted{Memory: w.store}).proven()
}

// broken is a store that cannot tell of one key.
type broken struct {
	*unlisted
	key string
}

func (b broken) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if key == b.key {
		return objstore.Info{}, errFault
	}
	return b.unlisted.Stat(ctx, key)
}

// Where the store fails nothing is said to be missing.
func TestLookingForThePredecessorFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "/nonexistent", nil)
	const key = "vol-00000001/2026-01-01T20:04:05-07:00 snap-00000001 - nightly.p1.tar.zstd"
	r := w.oldRun(broken{&unlisted{Memory: w.store}, key})
	if why := r.why(); !errors.Is(why, errFault) || !strings.Contains(why.Error(), key) || strings.Contains(why.Error(), "no archive") {
		t.Errorf("%v", why)
	}
}

func notesWith(r *run, text string) []string {
	return slices.DeleteFunc(slices.Clone(r.report.notes), func(n string) bool { return !strings.Contains(n, text) })
}
