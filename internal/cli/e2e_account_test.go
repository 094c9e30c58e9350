package cli

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
)

// strangeTags are n tags that EC2 takes, and three of AWS's own, which its limit
// does not count. None is ours.
func strangeTags(n int) map[string]string {
	tags := map[string]string{
		"aws:backup:source-resource": "i-1", "aws:ec2spot:fleet": "x", "aws:a": "",
	}
	strange := []string{
		"Name", "name", "ключ", "日本語", "🔑", "a/b", "a\\b", "a b", " lead", "trail ", "tab\tkey", "line\nkey", "cr\rkey",
		`"quoted"`, "'single'", "<xml>&amp;</xml>", "a=b", "a&b", "%20", "a+b", "a_b", "a?b", "-", "snap-to-s3-mine", "SNAP-TO-S3",
		"Aws:looks", "*", "\u202eright", "\u00a0", strings.Repeat("k", 127), strings.Repeat("ж", 127),
	}
	for i := range n {
		key := fmt.Sprintf("zz-%02d", i)
		if i < len(strange) {
			key = strange[i]
		}
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			key = "x" + key // nobody can write it
		}
		tags[key] = []string{"", "plain", strings.Repeat("ü", 256), "a\tb\nc \"d\" <e> & 'f' =g/h\\i", " spaces "}[i%5]
	}
	return tags
}

func TestSnapshotsFullOfTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		others int  // tags besides ours
		marked bool // with the tag snap-to-s3=migrate
		joined bool // id and owner have no room of their own
	}{
		{47, true, false},
		{48, true, true},
		{49, true, true},
		{47, false, false},
		{48, false, true},
		{49, false, true},
	} {
		w := newWorld(t, awssim.Config{})
		tags, subjects := strangeTags(c.others), []string{"--all"}
		if c.marked {
			tags["snap-to-s3"] = "migrate"
		}
		s := w.noisy(64<<10, awssim.SnapshotSpec{Tags: tags})
		if !c.marked {
			subjects = []string{"--snapshots", s.ID}
		}
		r := w.ok(append([]string{"--migrate", "--dd", "--bucket", testBucket}, subjects...)...)
		w.isMigrated(s)
		w.isArchived(s, s.key("lz4")) // the record has all of them, unchanged
		o, _ := w.sim.Object(testBucket, s.key("lz4"))
		w.sanitised(o.Tags, tags)
		if !strings.Contains(r.stderr, "tag(s) only in the record") {
			t.Errorf("no line says which tags are only in the record")
		}
		if joined := w.asked("CreateTags "+s.ID+" snap-to-s3=migrating ") == w.asked("CreateTags "+s.ID+" snap-to-s3=migrating snap-to-s3-id="); joined == c.joined {
			t.Errorf("%+v: a claim of the wrong form:\n%s", c, w.trace())
		}
		w.nothingLeft()
	}
}

// sanitised wants ten tags that S3 takes, each from one of the snapshot's.
func (w *world) sanitised(got []awssim.ObjectTag, from map[string]string) {
	w.t.Helper()
	bad := regexp.MustCompile(`[^a-zA-Z0-9+=._:/ -]`)
	white := regexp.MustCompile(`[\s\p{Z}]`)
	clean := func(s string) string { return bad.ReplaceAllString(white.ReplaceAllString(s, " "), "_") }
	keys := map[string]bool{}
	for _, tag := range got {
		found := false
		for k, v := range from {
			found = found || clean(k) == tag.Key && clean(v) == tag.Value && !strings.HasPrefix(k, "aws:")
		}
		if !found || keys[tag.Key] || tag.Key == "snap-to-s3" {
			w.t.Errorf("object tag %q=%q comes from nowhere, or twice", tag.Key, tag.Value)
		}
		keys[tag.Key] = true
	}
	if len(got) != 10 {
		w.t.Errorf("%d object tags, want 10: %v", len(got), got)
	}
}

// TestNoRoomForTheTag: fifty tags and none is ours: that must be known before
// anything costs money.
func TestNoRoomForTheTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(64<<10, awssim.SnapshotSpec{Tags: strangeTags(50)})
	r := w.run("migrate", "--dd", s.ID, "--bucket", testBucket)
	r.says(t, 1, "has no room", "aws ec2 delete-tags --resources "+s.ID)
	if w.called("CreateVolume")+w.called("CreateTags")+w.called("PutObject") > 0 {
		t.Errorf("something was touched:\n%s", w.trace())
	}
	if diff := cmp.Diff(s.Tags, w.sim.Tags(s.ID)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	w.nothingLeft()
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	long := func(pattern string) string { return string([]rune(strings.Repeat(pattern, 255))[:255]) }
	var all []subject
	for _, text := range []string{
		long("a/b\\"), long(`"'<&>%?#;`), long("ß"), long("日本"), long("🔑"), long("a🔑"), long("/"), long(" "), long("a b "),
		long("tab\tline\ncr\r"), long("\u0085\u007f\u009b[31m"), long("\u202e\u200b\u2028"), long("=?utf-8?q?a?= "),
		"..", " lead and trail ", "../../etc/passwd", ".img.zstd", "é vs e\u0301", "\ufffd",
	} {
		all = append(all, w.noisy(64<<10, awssim.SnapshotSpec{Description: text}))
	}
	w.ok("migrate", "--dd", "--all", "--bucket", testBucket, "--jobs", "2")
	for _, s := range all {
		key := w.archive(s.ID)
		w.isArchived(s, key) // the record has it exactly, the metadata as much as fits
		w.isMigrated(s)
		text, ok := strings.CutPrefix(strings.TrimSuffix(key, ".img.zstd"), s.prefix())
		if !ok || text != "" && !strings.HasPrefix(text, " - ") || strings.ContainsAny(text, `/\`) ||
			strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("description %q: key %q", s.Description, key)
		}
		// What can stand in a key is kept: as many runes, none of them changed.
		kept, was := []rune(strings.TrimPrefix(text, " - ")), []rune(s.Description)
		for i, r := range kept {
			if r != was[i] && (r != '_' || !unicode.IsControl(was[i]) && !strings.ContainsRune(`/\`, was[i])) {
				t.Errorf("description %q: key %q: rune %d changed", s.Description, key, i)
				break
			}
		}
		if len(kept) < len(was) && len(key) < 900 {
			t.Errorf("description %q was cut to %d of %d runes in a key of %d bytes", s.Description, len(kept), len(was), len(key))
		}
	}
	for _, o := range w.objects() {
		size := 0
		for k, v := range o.Metadata {
			size += len(k) + len(v)
			if strings.ContainsFunc(v, func(r rune) bool { return r > '~' || r < ' ' }) {
				t.Errorf("metadata %s of %q: %q", k, o.Key, v)
			}
		}
		if len(o.Key) > 1024 || !utf8.ValidString(o.Key) || size > 2048 {
			t.Errorf("key of %d bytes, metadata of %d: %q", len(o.Key), size, o.Key)
		}
	}
	w.nothingLeft()
}

// TestManySnapshots has those that are meant at the end of 2,500, on the last page.
func TestManySnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	ids, err := w.sim.AddSnapshots(2497, awssim.SnapshotSpec{SizeGiB: 1, Tags: map[string]string{"Name": "other"}})
	if err != nil {
		t.Fatal(err)
	}
	var all []subject
	for range 3 {
		all = append(all, w.noisy(64<<10, awssim.SnapshotSpec{}))
	}
	w.ok("--migrate", "--dd", "--all", "--bucket", testBucket)
	if w.asked("(next page)") == 0 {
		t.Errorf("there was only one page")
	}
	for _, s := range all {
		w.isArchived(s, s.key("lz4"))
		w.isMigrated(s)
	}
	for _, id := range ids {
		if diff := cmp.Diff(map[string]string{"Name": "other"}, w.sim.Tags(id)); diff != "" {
			t.Fatalf("%s was touched:\n%s", id, diff)
		}
	}
	// Named ones come in more than one call, too.
	r := w.ok(slices.Concat([]string{"--migrate", "--dd", "--dry-run", "--bucket", testBucket, "--snapshots"}, ids[:450])...)
	if n := strings.Count(r.stdout, "at most"); !strings.Contains(r.stdout, "450 snapshots") {
		t.Errorf("%d lines of 450 in the plan", n)
	}
	w.nothingLeft()
}

// TestDryRunMemory compares the memory of a dry run over 1,000 and over 10,000
// snapshots: nothing is kept of one when it has been told.
func TestDryRunMemory(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("no /proc to read a process's memory from")
	}
	tags := tagged()
	for i := range 12 {
		tags[fmt.Sprint("tag ", i)] = strings.Repeat("x", 200)
	}
	peak := map[int]int64{}
	for _, n := range []int{1000, 10_000} {
		w := newWorld(t, awssim.Config{})
		if _, err := w.sim.AddSnapshots(n, awssim.SnapshotSpec{SizeGiB: 8, Tags: maps.Clone(tags), Description: strings.Repeat("long ", 50)}); err != nil {
			t.Fatal(err)
		}
		lines, memory := w.watched("migrate", "--dd", "--all", "--dry-run", "--bucket", testBucket, "--output", "json")
		if lines != n+1 {
			t.Errorf("%d lines for %d snapshots", lines, n)
		}
		peak[n] = memory
	}
	t.Logf("peak memory: %v", peak)
	// 9,000 snapshots with their tags are over 25 MiB.
	if grown := peak[10_000] - peak[1000]; grown > 16<<20 {
		t.Errorf("the peak grew by %d bytes", grown)
	}
}

// watched runs a command and returns how many lines it wrote and its peak of
// memory. That is read while it still writes: what the kernel tells of a process
// that has ended includes what its parent had when it was started.
func (w *world) watched(args ...string) (lines int, peak int64) {
	w.t.Helper()
	cmd := w.command(args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if lines++; lines%50 != 0 {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			w.t.Fatal(err)
		}
		var kib int64
		if _, after, ok := strings.Cut(string(status), "\nVmHWM:"); ok {
			if _, err := fmt.Sscan(after, &kib); err != nil {
				w.t.Fatal(err)
			}
			peak = max(peak, kib<<10)
		}
	}
	if err := cmd.Wait(); err != nil || scan.Err() != nil {
		w.t.Fatalf("%v, %v\n%s", err, scan.Err(), complaint.String())
	}
	return lines, peak
}
