package cli

import (
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/filesystem/treetest"
)

// validate is a command line of the verb.
func validate(more ...string) []string {
	return append([]string{"validate", "--bucket", testBucket}, more...)
}

// spoiled writes into every other block of a snapshot's image, so many times, and
// returns where each of these blocks begins.
func (s subject) spoiled(t *testing.T, times int) (at []any) {
	t.Helper()
	for i := range times {
		off := int64(2*i) * checkBlock
		patch(t, s.Image, off+1000, []byte("not what was archived"))
		at = append(at, float64(off))
	}
	return at
}

// A validation of several goes on past those that differ or have no archive, and
// lists what has become of each; a person is shown the first differences, a program
// all.
func TestValidateAllGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	bad := w.noisy(25*mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60711"})
	good := w.noisy(2*mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60712"})
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	none := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60713", Tags: map[string]string{"snap-to-s3": "migrated"}})
	last := w.noisy(3*mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60714"})
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	blocks := bad.spoiled(t, 25)

	r := w.run(validate("--all")...)
	r.says(t, exitDifferent, bad.ID+" and its archives: 25 differences were found", "keep the snapshot; make these archives again, and validate them: snap-to-s3 migrate --overwrite --bucket "+testBucket+" --region us-east-1 --dd "+bad.ID+"\n")
	if shown := strings.Count(r.stderr, "error: difference "); shown != 20 {
		t.Errorf("%d differences are shown, want 20", shown)
	}
	for _, want := range []string{
		"there are more differences; --output json lists all",
		"bytes 0 to 524288: content",
		good.ID + "  validated 2 MiB read back", last.ID + "  validated 3 MiB read back",
		bad.ID + "  failed", none.ID + "  failed",
		"2 validated, 2 failed, 0 skipped",
		// The keys that were looked for.
		"looked for manifests/" + none.prefix() + ".(image|files).CODEC[.gpg].json and, in every time zone, " + none.prefix() + "[.PARTITION",
		"2 snapshots are proven and may be deleted (EBS bills ",
		"  aws ec2 delete-snapshot --region us-east-1 --snapshot-id " + good.ID + "\n",
	} {
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("nobody says %q", want)
		}
	}
	if strings.Contains(r.stdout, "delete-snapshot --region us-east-1 --snapshot-id "+bad.ID) {
		t.Errorf("%s is offered for deletion", bad.ID)
	}
	for s, value := range map[string]string{bad.ID: "migrated", good.ID: "validated", none.ID: "migrated", last.ID: "validated"} {
		if tags := w.sim.Tags(s); len(tags) != 1 || tags["snap-to-s3"] != value {
			t.Errorf("%s is tagged %v, want %q", s, tags, value)
		}
	}
	w.nothingLeft()

	// Named, whatever the tag says; a program is told all.
	r = w.run(validate(bad.ID, good.ID, "--output", "json")...)
	if r.code != exitDifferent {
		t.Errorf("exit code %d", r.code)
	}
	var at []any
	for _, l := range r.jsonLines(t) {
		switch {
		case l.kind() == "difference":
			if l["snapshot"] != bad.ID || l["between"] != "snapshot" || l["kind"] != "content" || l["length"] != float64(checkBlock) {
				t.Errorf("difference %v", l)
			}
			at = append(at, l["offset"])
		case l.kind() == "snapshot" && l["snapshot"] == bad.ID && l["differences"] != 25.0:
			t.Errorf("the snapshot has %v differences", l["differences"])
		case l.kind() == "proven" && l["snapshot"] != good.ID:
			t.Errorf("proven: %v", l)
		}
	}
	if !slices.Equal(at, blocks) {
		t.Errorf("differences at %v, want %v", at, blocks)
	}
	if w.sim.Tags(bad.ID)["snap-to-s3"] != "migrated" || w.sim.Tags(good.ID)["snap-to-s3"] != "validated" {
		t.Errorf("tags %v and %v", w.sim.Tags(bad.ID), w.sim.Tags(good.ID))
	}
	w.nothingLeft()
}

// One that differs after it was validated is "migrated" again, and --fail-fast ends
// with it.
func TestWhatDiffersIsNotValidatedAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	bad := w.noisy(2*mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60711"})
	other := w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60712"})
	w.ok("migrate", "--dd", "--bucket", testBucket, "--validate", "--all")
	w.isTagged(bad, "validated")
	bad.spoiled(t, 1)
	r := w.run(validate("--fail-fast", bad.ID, other.ID)...)
	r.says(t, exitDifferent, bad.ID+" and its archives: 1 difference was found", "keep the snapshot")
	w.isMigrated(bad)
	w.isTagged(other, "validated")
	if n := w.called("CreateVolume"); n != 3 {
		t.Errorf("%d volumes were made, want those of the migration and one", n)
	}
	w.nothingLeft()
}

// What holds a snapshot is named, as far as looking is allowed; nothing is deleted.
func TestProvenAndHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	var all []subject
	for i, tags := range []map[string]string{tagged(), tagged(), tagged(), tagged("aws:backup:source-resource", "arn:aws:ec2:us-east-1:111122223333:volume/vol-1")} {
		all = append(all, w.noisy(mib, awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f6071" + string(rune('0'+i)), Tags: tags}))
	}
	free, imaged, locked, backup := all[0], all[1], all[2], all[3]
	image, err := w.sim.AddMachineImage(awssim.ImageSpec{Snapshots: []string{imaged.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.LockSnapshot(locked.ID, awssim.SnapshotLock{}); err != nil {
		t.Fatal(err)
	}
	w.ok("migrate", "--dd", "--bucket", testBucket, "--all")
	command := func(s subject) string {
		return "  aws ec2 delete-snapshot --region us-east-1 --snapshot-id " + s.ID + "\n"
	}
	held := []string{imaged.ID + "  image " + image, locked.ID + "  lock governance", backup.ID + "  AWS Backup arn:aws:ec2:us-east-1:111122223333:volume/vol-1"}

	r := w.ok(validate("--all")...)
	for _, want := range append(held, "4 validated, 0 failed", "1 snapshot is proven and may be deleted (EBS bills ", command(free), "3 snapshots are proven and held by something else:\n") {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("standard output lacks %q", want)
		}
	}
	for _, s := range all[1:] {
		if strings.Contains(r.stdout, command(s)) {
			t.Errorf("%s is held, and the command that deletes it is given", s.ID)
		}
	}

	// Without the rights to look it says so, and what the tags tell.
	w.sim.SetPolicy(predecessorsPolicy())
	r = w.ok(validate(free.ID, imaged.ID, locked.ID, backup.ID)...)
	for _, want := range []string{
		"not looked at: AMIs: ec2:DescribeImages is not allowed", "not looked at: locks: ec2:DescribeLockedSnapshots is not allowed",
		"3 snapshots are proven and may be deleted (EBS bills ", command(free), command(imaged), command(locked), held[2],
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("without the rights standard output lacks %q", want)
		}
	}
	w.sim.SetPolicy(nil)
	proven := map[any]jsonLine{}
	for _, l := range w.ok(validate(free.ID, imaged.ID, "--output", "json")...).jsonLines(t) {
		if l.kind() == "proven" {
			proven[l["snapshot"]] = l
		}
	}
	if len(proven) != 2 || proven[free.ID]["holds"] != nil || proven[imaged.ID]["holds"] == nil ||
		proven[free.ID]["delete_with"] != strings.TrimSpace(command(free)) {
		t.Errorf("proven: %v", proven)
	}
	if n := w.called("DeleteSnapshot"); n != 0 {
		t.Errorf("%d snapshots were deleted", n)
	}
	w.nothingLeft()
}

// A migration that validates makes one volume, goes from "migrating" to "validated"
// with nothing in between, and leaves nothing; so it does when called as of old.
func TestMigrateAndValidateInOneRun(t *testing.T) {
	t.Parallel()
	type kind struct {
		line  string
		trees bool
	}
	for _, k := range []kind{
		{"migrate --dd --validate --all", false},
		{"--migrate --validate --dd --all", false},
		{"--validate --all --migrate --dd", false},
		{"migrate --validate --all", true},
		{"--migrate --validate --all", true},
	} {
		t.Run(k.line, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, awssim.Config{})
			var s subject
			if k.trees {
				treetest.Require(t, "sfdisk", "mkfs.ext4", "mkfs.ext2")
				s = w.aSmallDisk(awssim.SnapshotSpec{}).subject
			} else {
				s = w.noisy(7*mib, awssim.SnapshotSpec{})
			}
			reads := w.countsReads()
			r := w.ok(append(strings.Fields(k.line), "--bucket", testBucket)...)
			w.isTagged(s, "validated")
			if n := w.called("CreateVolume"); n != 1 {
				t.Errorf("%d volumes were made, want one", n)
			}
			for _, c := range w.sim.Calls() {
				if c.Action == "CreateTags" && c.Target == s.ID && (strings.Contains(c.Summary, "=migrated") || strings.Contains(c.Summary, "=validating")) {
					t.Errorf("in between: %s", c)
				}
			}
			if strings.Count(r.stdout, "0.img.") > 1 || strings.Contains(r.stdout, "{,}") {
				t.Error("archives are named twice")
			}
			if !strings.Contains(r.stdout, "1 migrated and validated, 0 failed") || !strings.Contains(r.stdout, "delete-snapshot --region us-east-1 --snapshot-id "+s.ID) {
				t.Error("it does not say what was proven")
			}
			if k.trees {
				reads.least(t, 2*dataOf(t, s.Image)*3/4) // less than all: what is no file's is read once
			} else {
				reads.least(t, 2*7*mib)
			}
			w.freeHost()
		})
	}
}

// The rights of the predecessor's policy suffice, and with ours nothing is refused.
func TestPoliciesOfProofs(t *testing.T) {
	t.Parallel()
	treetest.Require(t, "sfdisk", "mkfs.ext4", "mkfs.ext2")
	for file, ours := range map[string]bool{"iam-policy-predecessor.json": false, "iam-policy.json": true} {
		w := newWorld(t, awssim.Config{})
		w.sim.SetPolicy(policyActions(t, file))
		image := w.noisy(6*mib, awssim.SnapshotSpec{Tags: tagged("Name", "web")})
		trees := w.aSmallDisk(awssim.SnapshotSpec{VolumeID: "vol-0a1b2c3d4e5f60719"})
		for _, line := range []string{
			"--migrate --dd --validate --snapshots " + image.ID,
			"--migrate --validate --snapshots " + trees.ID,
			"--validate --snapshots " + image.ID + " " + trees.ID,
			"validate --keep-temp-volumes --mount-point " + w.mountPoint() + " " + trees.ID,
			"validate --mount-point " + w.mountPoint() + " " + trees.ID,
			"verify s3://" + testBucket + "/manifests/" + trees.prefix() + ".files.lz4.json",
		} {
			w.sim.ResetCalls()
			args := strings.Fields(line)
			if args[0] == "verify" {
				args = []string{"verify", strings.TrimPrefix(line, "verify ")}
			} else {
				args = append(args, "--bucket", testBucket)
			}
			w.ok(args...)
			for _, c := range w.sim.Calls() {
				if c.Status == 403 && (ours || !slices.Contains([]string{"HeadObject", "GetObject", "ListObjectsV2", "DescribeImages", "DescribeLockedSnapshots"}, c.Action)) {
					t.Errorf("%s: %s: refused: %s", file, line, c)
				}
			}
		}
		w.isTagged(image, "validated")
		w.isTagged(trees.subject, "validated")
		w.freeHost()
	}
}

// Archives that must be thawed are refused before a volume is made, with the command
// that thaws them, and a run that could never validate what it stores before
// anything is done.
func TestColdArchivesAreRefused(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"GLACIER", "DEEP_ARCHIVE"} {
		w := newWorld(t, awssim.Config{})
		s := w.noisy(2*mib, awssim.SnapshotSpec{})
		for _, line := range []string{"migrate --dd --validate --all", "--migrate --dd --validate --all"} {
			r := w.run(append(strings.Fields(line), "--bucket", testBucket, "--storage-class", class)...)
			r.says(t, exitUsage, "--validate with --storage-class "+class, "store it in STANDARD, validate, and let a lifecycle rule move it")
		}
		if calls := w.sim.Calls(); len(calls) > 0 {
			t.Errorf("calls were made: %v", calls)
		}
		w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--storage-class", class)
		w.sim.ResetCalls()
		r := w.run(validate("--all")...)
		r.says(t, exitFailed, s.key("zstd"), " at the rate of a standard retrieval, bulk costs less): aws s3api restore-object --bucket "+testBucket+" --key '"+s.key("zstd")+"' --restore-request ")
		if n := w.called("CreateVolume"); n != 0 {
			t.Errorf("%d volumes were made", n)
		}
		w.isMigrated(s)
		w.nothingLeft()
	}
}

// A validation says what it costs, and neither a dry run nor one that is too dear
// makes a call that changes anything.
func TestValidationThatIsTooDear(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(mib, awssim.SnapshotSpec{})
	w.noisy(mib, awssim.SnapshotSpec{})
	w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--storage-class", "GLACIER_IR")
	w.sim.ResetCalls()
	r := w.ok(validate("--all", "--dry-run")...)
	for _, want := range []string{s.key("zstd"), "MiB to be read back", "2 snapshots, ", "; nothing was touched", "to S3, volumes for 0.03 hours", ", retrieval <$0.0001)", "list prices of "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the dry run lacks %q", want)
		}
	}
	for _, not := range []string{"a month", "memory", "upper bound"} {
		if strings.Contains(r.stdout, not) {
			t.Errorf("the dry run says %q", not)
		}
	}
	for _, flags := range [][]string{{"--all"}, {s.ID}, {"--all", "--dry-run"}, {"--all", "--output", "json"}} {
		w.run(validate(append(flags, "--max-cost", "0.000001")...)...).says(t, exitFailed, "more than --max-cost allows", "raise --max-cost")
	}
	for _, action := range touching() {
		if n := w.called(action); n > 0 {
			t.Errorf("%s was called %d times", action, n)
		}
	}
	w.sim.ResetCalls()
	r = w.ok("--validate", "--all", "--bucket", testBucket, "--max-cost", "0.01")
	if n := w.called("GetObject") + w.called("HeadObject"); n > 80 {
		t.Errorf("%d requests to S3 were made, 80 were told", n)
	}
	if !strings.Contains(r.stderr, "to S3, volumes for 0.03 hours") || strings.Contains(r.stderr, "a month") {
		t.Error("the cost is not said before it starts")
	}
	w.nothingLeft()
}
