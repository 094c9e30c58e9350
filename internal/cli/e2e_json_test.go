package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost/print"
	"snap-to-s3/internal/filesystem"
)

// jsonLine is a line of --output json as any program would read it.
type jsonLine map[string]any

func (l jsonLine) kind() string { k, _ := l["type"].(string); return k }

// jsonLines wants each line of standard output to be an object with "v" and
// "type", and the summary to be the last.
func (r result) jsonLines(t *testing.T) []jsonLine {
	t.Helper()
	var all []jsonLine
	for text := range strings.Lines(r.stdout) {
		var l jsonLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("not JSON: %q: %v", text, err)
		}
		if l["v"] != 1.0 || l.kind() == "" {
			t.Errorf("no v or type: %q", text)
		}
		all = append(all, l)
	}
	for i, l := range all {
		if last := i == len(all)-1; (l.kind() == "summary") != last {
			t.Errorf("line %d of %d is a %s", i+1, len(all), l.kind())
		}
	}
	return all
}

// documentedJSON is docs/json.md: the members of each type of line, and those
// of cost and of problem.
func documentedJSON(t *testing.T) map[string]map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]map[string]bool{}
	add := func(kind string, names ...string) {
		if doc[kind] == nil {
			doc[kind] = map[string]bool{"v": true, "type": true}
		}
		for _, n := range names {
			doc[kind][n] = true
		}
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.TrimSpace(cells[1]) == "type" || strings.HasPrefix(cells[1], "---") {
			continue
		}
		for name := range strings.SplitSeq(cells[2], ",") {
			add(strings.TrimSpace(cells[1]), strings.TrimSpace(name))
		}
	}
	_, cost, _ := strings.Cut(string(text), "\n`cost` has ")
	for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cost, -1) {
		add("cost", name[1])
	}
	problem := regexp.MustCompile("`{([a-z, ]+)}`").FindStringSubmatch(string(text))
	for name := range strings.SplitSeq(problem[1], ",") {
		add("problem", strings.TrimSpace(name))
	}
	delete(doc["cost"], "v")
	delete(doc["cost"], "type")
	delete(doc["problem"], "v")
	delete(doc["problem"], "type")
	return doc
}

// TestJSONIsDocumented holds docs/json.md and the lines to each other.
func TestJSONIsDocumented(t *testing.T) {
	t.Parallel()
	written := map[string]map[string]bool{}
	for kind, v := range map[string]any{
		"plan": jsonPlan{}, "object": jsonObject{}, "snapshot": jsonSnapshot{}, "note": jsonNote{},
		"partition":  jsonPart{},
		"difference": jsonDifference{}, "proven": jsonProven{}, "archive": jsonVerdict{}, "summary (verify)": jsonVerifySummary{},
		"leftover": jsonLeftover{}, "summary (cleanup)": jsonCleanSummary{},
		"summary": jsonSummary{}, "version": versionInfo{}, "cost": jsonCost{}, "problem": jsonError{},
		"snapshot (analyze)": print.SnapshotRow{}, "volume": print.VolumeRow{}, "region": print.RegionRow{}, "limit": print.LimitRow{},
		"option": print.OptionRow{}, "source": print.SourceRow{}, "total": print.TotalRow{}, "tag": jsonTag{},
	} {
		written[kind] = map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				written[kind][name] = true
			}
		}
	}
	if diff := cmp.Diff(documentedJSON(t), written); diff != "" {
		t.Errorf("docs/json.md and what is written (-documented +written):\n%s", diff)
	}
}

// TestJSONOutput has all types of lines come out of real runs, and each member
// of them stand in docs/json.md.
func TestJSONOutput(t *testing.T) {
	t.Parallel()
	doc := documentedJSON(t)
	seen := map[string]bool{}
	check := func(lines []jsonLine) []jsonLine {
		t.Helper()
		for _, l := range lines {
			seen[l.kind()] = true
			for name, v := range l {
				if !doc[l.kind()][name] {
					t.Errorf("%s has %q, which is not documented", l.kind(), name)
				}
				members := map[string]string{"cost": "cost", "problem": "problem"}
				if inner, ok := v.(map[string]any); ok {
					for n := range maps.Keys(inner) {
						if !doc[members[name]][n] {
							t.Errorf("%s.%s has %q, which is not documented", l.kind(), name, n)
						}
					}
				}
			}
		}
		return lines
	}
	w := newWorld(t, awssim.Config{})
	s := w.noisy(2<<20+512, awssim.SnapshotSpec{Encrypted: true}) // its report has a note
	failing := w.noisy(1<<20, awssim.SnapshotSpec{Fault: awssim.VolumeFault{Fate: awssim.VolumeFails}})
	migrate := []string{"migrate", "--dd", "--bucket", testBucket, "--output", "json", "--log-format", "json"}

	validation := func(more ...string) []string {
		return append([]string{"validate", "--bucket", testBucket, "--output", "json", "--dry-run"}, more...)
	}
	plans := check(w.ok(append(migrate, "--all", "--dry-run")...).jsonLines(t))
	if len(plans) != 3 || plans[0]["snapshot"] != s.ID || plans[0]["key"] != s.key("zstd") || plans[0]["size"] != float64(1<<30) {
		t.Errorf("plans: %v", plans)
	}
	r := w.run(append(migrate, "--all")...)
	lines := check(r.jsonLines(t))
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	rec := w.isArchivedEncrypted(s)
	plans = check(w.ok(validation("--all")...).jsonLines(t))
	if len(plans) != 2 || plans[0]["snapshot"] != s.ID || plans[0]["key"] != s.key("zstd") || plans[1]["planned"] != 1.0 {
		t.Errorf("plans of the validation: %v", plans)
	}
	nothing := check(w.run(validation(failing.ID)...).jsonLines(t))
	if len(nothing) != 2 || nothing[0]["problem"] == nil || nothing[1]["planned"] != 0.0 || nothing[1]["failed"] != 1.0 {
		t.Errorf("plans of what cannot be validated: %v", nothing)
	}
	roles := map[any]jsonLine{}
	outcomes := map[any]jsonLine{}
	for _, l := range lines {
		switch l.kind() {
		case "object":
			roles[l["role"]] = l
		case "snapshot":
			outcomes[l["snapshot"]] = l
		}
	}
	o, _ := w.sim.Object(testBucket, s.key("zstd"))
	want := jsonLine{
		"v": 1.0, "type": "object", "snapshot": s.ID, "role": "archive", "bucket": testBucket, "key": o.Key, "size": float64(o.Size),
		"plain_size": float64(s.SizeBytes), "etag": o.ETag, "crc64nvme": rec, "storage_class": "STANDARD",
	}
	if diff := cmp.Diff(want, roles["archive"]); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
	if got := slices.Sorted(func(yield func(string) bool) {
		for role := range roles {
			if s, _ := role.(string); !yield(s) {
				return
			}
		}
	}); !slices.Equal(got, []string{"archive", "archive-record", "entries", "snapshot-record"}) {
		t.Errorf("roles: %q", got)
	}
	if outcomes[s.ID]["outcome"] != "migrated" || outcomes[failing.ID]["outcome"] != "failed" || outcomes[failing.ID]["problem"] == nil {
		t.Errorf("outcomes: %v", outcomes)
	}
	sum := lines[len(lines)-1]
	if sum["migrated"] != 1.0 || sum["failed"] != 1.0 || sum["plain_size"] != float64(s.SizeBytes) || sum["stored_size"] != float64(o.Size) || sum["problem"] == nil {
		t.Errorf("summary: %v", sum)
	}
	for line := range strings.Lines(r.stderr) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil || l["msg"] == nil || l["level"] == nil || l["time"] == nil {
			t.Errorf("--log-format json wrote %q", line)
		}
	}

	w.again(s)
	kept := check(w.ok(append(migrate, s.ID)...).jsonLines(t))
	if last := kept[len(kept)-1]; last["kept"] != 1.0 {
		t.Errorf("kept: %v", kept)
	}
	w.again(failing)
	if err := w.sim.SetTags(failing.ID, nil); err != nil {
		t.Fatal(err)
	}
	none := check(w.ok(append(migrate, "--all")...).jsonLines(t))
	if len(none) != 1 {
		t.Errorf("nothing to do: %v", none)
	}
	unknown := w.run(append(migrate, "snap-00000000000000000")...)
	if lines := check(unknown.jsonLines(t)); unknown.code != 1 || lines[len(lines)-1]["problem"] == nil {
		t.Errorf("an unknown snapshot: %v", lines)
	}
	if filesystem.Usable() == nil { // a disk of which nothing is known is one partition
		files := []string{"migrate", "--bucket", testBucket, "--output", "json", w.noisy(1<<20, awssim.SnapshotSpec{}).ID}
		lines := check(w.ok(files...).jsonLines(t))
		if lines[0]["plan"] != "raw" || lines[0]["partition"] != 0.0 || lines[0]["size"] != float64(1<<20) {
			t.Errorf("partition: %v", lines[0])
		}
	} else {
		seen["partition"] = true
	}
	checkProofs(t, w, s, check)
	version := w.ok("version", "--output", "json")
	var v jsonLine
	if err := json.Unmarshal([]byte(version.stdout), &v); err != nil {
		t.Fatal(err)
	}
	check([]jsonLine{v})
	for kind := range doc {
		switch kind {
		case "cost", "problem":
		case "leftover", "summary (cleanup)": // of TestCleanup
		case "summary (verify)": // checked above, by its verb
		case "snapshot (analyze)", "volume", "region", "limit", "option", "source", "total", "tag": // of TestAnalyzeFormats and TestAnalyzePlan
		default:
			if !seen[kind] {
				t.Errorf("no %s line was written", kind)
			}
		}
	}
}

// checkProofs has validate and verify write all that they can.
func checkProofs(t *testing.T, w *world, s subject, check func([]jsonLine) []jsonLine) {
	t.Helper()
	doc := documentedJSON(t)
	proven := check(w.ok("validate", "--bucket", testBucket, "--output", "json", s.ID).jsonLines(t))
	if last := proven[len(proven)-1]; last["validated"] != 1.0 {
		t.Errorf("validate: %v", proven)
	}
	lines := w.ok("verify", "--bucket", testBucket, "--output", "json", s.ID).jsonLines(t)
	sum := lines[len(lines)-1]
	for name := range sum {
		if !doc["summary (verify)"][name] {
			t.Errorf("the summary of verify has %q, which is not documented", name)
		}
	}
	if archives := check(lines[:len(lines)-1]); len(archives) != 1 || sum["verified"] != 1.0 {
		t.Errorf("verify: %v", lines)
	}
	disk, err := os.OpenFile(s.Image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if _, err := disk.WriteAt([]byte("other"), 700_000); err != nil {
		t.Fatal(err)
	}
	r := w.run("validate", "--bucket", testBucket, "--output", "json", s.ID)
	if differences := check(r.jsonLines(t)); r.code != exitDifferent || differences[0].kind() != "difference" || differences[0]["offset"] != float64(512<<10) {
		t.Errorf("validate of a disk that has changed: exit code %d, %v", r.code, differences)
	}
}

// isArchivedEncrypted proves the archive of an encrypted snapshot and returns
// its checksum.
func (w *world) isArchivedEncrypted(s subject) string {
	w.t.Helper()
	rec := w.isArchived(s, s.key("zstd"))
	if rec.Absent != "unknown" {
		w.t.Errorf("absent blocks of an encrypted snapshot are %q, want unknown", rec.Absent)
	}
	return rec.CRC64NVME
}
