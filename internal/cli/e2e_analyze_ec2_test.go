package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/snapshot"
)

// oneVolume is an account with one volume of so many GiB and n snapshots that all
// hold the same: all but the first are billed for a block.
func oneVolume(gib, n int) *billtest.Account {
	a := billtest.New(3, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	a.Region, a.Prefix = "us-east-1", ""
	v := billtest.Volume{ID: "vol-0aaaaaaaaaaaaaaaa", Blocks: gib * 2048}
	for i := range n {
		v.Snapshots = append(v.Snapshots, billtest.Snapshot{
			ID: snapshot.ID("snap-0000000000000000" + string(rune('1'+i))), Created: a.From.AddDate(0, 0, i-20), Written: []int{i},
		})
	}
	a.Volumes = []billtest.Volume{v}
	return a
}

// TestAnalyzeWithoutEC2: the bill alone gives the same dollars, and where EC2 cannot
// be asked that is said, and the rest goes on.
func TestAnalyzeWithoutEC2(t *testing.T) {
	t.Parallel()
	a := billtest.New(4, time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), 1)
	other := billtest.New(5, a.From, 1)
	other.Region, other.Prefix = "eu-west-1", "EU-"
	w := newBilled(t, a)
	file := w.bill(a, billtest.FocusCSV, billtest.Daily, "here.csv")
	there := w.bill(other, billtest.FocusCSV, billtest.Daily, "there.csv")
	run := func(args ...string) (map[string]any, string) {
		r := w.run(append([]string{"analyze", "--output", "json"}, args...)...)
		all := analyzed(t, r)
		var notes []string
		for _, l := range ofKind(all, "note") {
			notes = append(notes, l["text"].(string))
		}
		return all[len(all)-1], strings.Join(notes, "\n")
	}
	with, _ := run(file)
	w.sim.ResetCalls()
	without, _ := run(file, "--offline")
	if n := len(w.sim.Calls()); n > 0 {
		t.Errorf("--offline made %d calls", n)
	}
	for name, deny := range map[string]string{
		"snapshots": "ec2:DescribeSnapshots", "volumes": "ec2:DescribeVolumes", "images": "ec2:DescribeImages",
	} {
		w.sim.DenyActions([]string{deny})
		got, notes := run(file)
		if got["billed"] != with["billed"] || got["monthly"] != with["monthly"] || !strings.Contains(notes, deny) {
			t.Errorf("without the right to see %s: %v, notes: %s", name, got, notes)
		}
	}
	w.sim.DenyActions(nil)
	two, notes := run(file, there)
	for _, got := range []map[string]any{without} {
		if got["billed"] != with["billed"] || got["net"] != with["net"] || got["monthly"] != with["monthly"] {
			t.Errorf("with EC2 %v, without %v", with, got)
		}
	}
	if two["snapshots"].(float64) <= with["snapshots"].(float64) || !strings.Contains(notes, "EC2 was not asked in eu-west-1") {
		t.Errorf("a region that is not this one's: %v, notes: %s", two, notes)
	}
	one, _ := run(file, there, "--region", "us-west-2")
	if one["monthly"] != with["monthly"] {
		t.Errorf("of one region: %v, want %v", one, with)
	}
}

// TestAnalyzeHolds: what holds a snapshot is said, and nothing of that is planned.
func TestAnalyzeHolds(t *testing.T) {
	t.Parallel()
	a := oneVolume(40, 6)
	w := newWorld(t, awssim.Config{Account: a.ID})
	ids := make([]string, 6)
	for i, s := range a.Volumes[0].Snapshots {
		spec := awssim.SnapshotSpec{ID: string(s.ID), VolumeID: string(a.Volumes[0].ID), Start: s.Created, SizeBytes: 1 << 20, SizeGiB: 40, FullSize: 40 << 30}
		switch i {
		case 1:
			spec.Tags = map[string]string{"aws:backup:source-resource": "x"}
		case 3:
			spec.SharedWith = []string{"all"}
		}
		if i < 5 { // the last is deleted since
			ids[i] = w.snapshot(spec)
		}
	}
	if _, err := w.sim.AddMachineImage(awssim.ImageSpec{Snapshots: ids[:1], Name: "golden"}); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.LockSnapshot(ids[2], awssim.SnapshotLock{Mode: "governance", Created: a.From, Duration: 24 * 365 * 10 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	fresh := w.snapshot(awssim.SnapshotSpec{Start: a.To.AddDate(0, 0, 3), SizeBytes: 1 << 20, SizeGiB: 40, VolumeID: string(a.Volumes[0].ID)})
	file := w.bill(a, billtest.CUR2CSV, billtest.Daily, "b.csv")
	all := analyzed(t, w.run("analyze", "--output", "json", file))
	want := map[string]string{
		ids[0]: " uses it", ids[1]: "AWS Backup", ids[2]: "locked: governance until", ids[3]: "shared", ids[4]: "",
		string(a.Volumes[0].Snapshots[5].ID): "not in EC2 any more", fresh: "",
	}
	for _, l := range ofKind(all, "snapshot") {
		id := l["snapshot"].(string)
		holds := jsonText(l["holds"])
		movable := l["movable"].(bool)
		if !strings.Contains(holds, want[id]) || movable != (want[id] == "") || l["in_bill"] != (id != fresh) {
			t.Errorf("%v, want a hold %q", l, want[id])
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("not told of: %v", want)
	}
	text := w.ok("analyze", file).stdout
	for _, says := range []string{"[ami-", "[AWS Backup]", "[locked: governance", "[shared]", "[not in EC2 any more]", "in EC2 and not in the bill"} {
		if !strings.Contains(text, says) {
			t.Errorf("the text does not say %q", says)
		}
	}
}

// TestAnalyzeAccounts asks for the snapshots of two accounts.
func TestAnalyzeAccounts(t *testing.T) {
	t.Parallel()
	a, b := billtest.New(6, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1), billtest.New(7, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	b.ID = "444455556666"
	w := newBilled(t, a)
	w.holds(b)
	files := []string{w.bill(a, billtest.LegacyCSV, billtest.Daily, "a.csv"), w.bill(b, billtest.LegacyCSV, billtest.Daily, "b.csv")}
	unknown := func(r result, code int) (n int) {
		if r.code != code {
			t.Errorf("exit code %d, want %d", r.code, code)
		}
		r.code = 0
		for _, l := range ofKind(analyzed(t, r), "snapshot") {
			if l["account"] == b.ID && l["volume"] == nil && l["gone"] == nil {
				n++
			}
		}
		return n
	}
	args := append([]string{"analyze", "--output", "json"}, files...)
	r := w.run(args...)
	if unknown(r, exitDone) == 0 || !strings.Contains(r.stdout, "EC2 did not tell of") || !strings.Contains(r.stdout, "--role-arn") {
		t.Error("it is not said that nobody asked for the other account")
	}
	const role = "arn:aws:iam::444455556666:role/audit"
	denied := w.run(append(args, "--role-arn", role)...)
	if !strings.Contains(denied.stdout, "sts:AssumeRole") || unknown(denied, exitFailed) == 0 {
		t.Error("it is not said that the role may not be assumed")
	}
	w.sim.AddRole(role)
	if n := unknown(w.run(append(args, "--role-arn", role)...), exitDone); n > 0 {
		t.Errorf("%d snapshots of the other account without a volume", n)
	}
	w.profiles("audit")
	if r := w.run(append(args, "--profile", "audit", "--profile", "nobody")...); unknown(r, exitFailed) == 0 || !strings.Contains(r.stdout, "profile nobody") {
		t.Error("a profile that does not exist is not named")
	}
}

// profiles writes a configuration file with the sandbox's key under these names.
func (w *world) profiles(names ...string) {
	w.t.Helper()
	var text strings.Builder
	for _, name := range names {
		text.WriteString("[profile " + name + "]\n")
		for _, kv := range w.sim.Env() {
			if key, value, _ := strings.Cut(kv, "="); key == "AWS_ACCESS_KEY_ID" || key == "AWS_SECRET_ACCESS_KEY" {
				text.WriteString(strings.ToLower(key) + " = " + value + "\n")
			}
		}
	}
	path := filepath.Join(w.dir, "config")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.extra = append(w.extra, "AWS_CONFIG_FILE="+path)
}

// TestAnalyzePlan writes the plan and the page, shows what it would tag, and tags.
func TestAnalyzePlan(t *testing.T) {
	t.Parallel()
	a := oneVolume(40, 3)
	w := newBilled(t, a)
	ids := a.Volumes[0].Snapshots
	file := w.bill(a, billtest.LegacyParquet, billtest.Daily, "b.parquet")
	html, plan := filepath.Join(w.dir, "r.html"), filepath.Join(w.dir, "plan.json")
	args := []string{"analyze", file, "--storage-class", "deep_archive", "--ratio", "2:1", "--payback", "12"}
	w.ok(append(args, "--html", html, "--plan", plan)...)
	page, err := os.ReadFile(html)
	if err != nil || !strings.HasPrefix(string(page), "<!") || !strings.Contains(string(page), string(ids[0].ID)) {
		t.Errorf("the page is %.100q, %v", page, err)
	}
	var got struct {
		Class string `json:"storage_class"`
		Moves []struct{ Snapshots []map[string]any }
	}
	text, err := os.ReadFile(plan)
	if err != nil || json.Unmarshal(text, &got) != nil || got.Class != "DEEP_ARCHIVE" || len(got.Moves) != 1 || len(got.Moves[0].Snapshots) != 3 {
		t.Fatalf("the plan is %s, %v", text, err)
	}
	if names, err := filepath.Glob(filepath.Join(w.dir, ".*-*")); err != nil || len(names) > 0 {
		t.Errorf("left: %q, %v", names, err)
	}

	if err := w.sim.SetTags(string(ids[1].ID), map[string]string{"snap-to-s3": "migrate"}); err != nil {
		t.Fatal(err)
	}
	would := w.ok(append(args, "--tag-plan")...)
	for _, says := range []string{
		"[to be migrated]", "tagged already, and not named here: 1 snapshot of those that pay back", "would tag    " + string(ids[0].ID),
		"2 snapshots would be tagged snap-to-s3=migrate; nothing was changed, --yes does it",
		"  account " + a.ID + ": snap-to-s3 migrate --all --region us-east-1 --storage-class DEEP_ARCHIVE --bucket NAME\n",
	} {
		if !strings.Contains(would.stdout, says) {
			t.Errorf("it does not say %q", says)
		}
	}
	if strings.Contains(would.stdout, "would tag    "+string(ids[1].ID)) {
		t.Error("what is tagged would be tagged again")
	}
	if n := w.called("CreateTags"); n > 0 {
		t.Errorf("%d tags written without --yes", n)
	}
	w.sim.SetFault(awssim.Times(1, awssim.Action("CreateTags"), awssim.Fault{Before: &awssim.Error{Status: 403, Code: "UnauthorizedOperation"}}))
	r := w.run(append(args, "--tag-plan", "--yes", "--output", "json")...)
	outcomes := map[any]any{}
	for line := range strings.Lines(r.stdout) {
		var l jsonLine
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.kind() == "tag" {
			outcomes[l["snapshot"]] = l["outcome"]
		}
	}
	if r.code != exitFailed || outcomes[string(ids[0].ID)] != "failed" || outcomes[string(ids[1].ID)] != nil || outcomes[string(ids[2].ID)] != "tagged" {
		t.Errorf("exit code %d, %v", r.code, outcomes)
	}
	done := w.ok(append(args, "--tag-plan", "--yes")...)
	if !strings.Contains(done.stdout, "1 tagged snap-to-s3=migrate, 0 passed over, 0 failed") ||
		!strings.Contains(done.stdout, "tagged already, and not named here: 2 snapshots of those that pay back") {
		t.Error("the sum is wrong")
	}
	if again := w.ok(append(args, "--tag-plan", "--yes")...); !strings.Contains(again.stdout, "not named here: 3 snapshots") ||
		!strings.Contains(again.stdout, "snap-to-s3 migrate --all") || strings.Contains(again.stdout, "nothing to tag") {
		t.Error("it is not said that all is tagged")
	}
	for i, want := range []string{"migrate", "migrate", "migrate"} {
		if got := w.sim.Tags(string(ids[i].ID))["snap-to-s3"]; got != want {
			t.Errorf("%s is tagged %q, want %q", ids[i].ID, got, want)
		}
	}
}

// TestAnalyzeMoved: what was moved is not advised again, with a bill and without; what
// deleting it saves is said.
func TestAnalyzeMoved(t *testing.T) {
	t.Parallel()
	a := oneVolume(40, 3)
	w := newBilled(t, a)
	file := w.bill(a, billtest.FocusCSV, billtest.Daily, "b.csv")
	for _, s := range a.Volumes[0].Snapshots {
		if err := w.sim.SetTags(string(s.ID), map[string]string{"snap-to-s3": "validated"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{file}, {"--live"}} {
		text := w.ok(append([]string{"analyze", "--tag-plan"}, args...)...).stdout
		for _, says := range []string{
			"[validated: can be deleted", "No snapshots are left to be moved\n", "3 snapshots are validated and still paid for: deleting them saves ", "$2.00",
			"nothing to tag",
		} {
			if !strings.Contains(text, says) {
				t.Errorf("%v: it does not say %q", args, says)
			}
		}
		other := w.ok(append([]string{"analyze", "--tag", "other"}, args...)...).stdout
		if strings.Contains(other, "validated") || !strings.Contains(other, "\nMove 3 snapshots") {
			t.Errorf("%v: another tag says something", args)
		}
	}
}

// TestAnalyzeLive: no bill, sizes by EC2, estimated and exact.
func TestAnalyzeLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	volume := "vol-0bbbbbbbbbbbbbbbb"
	start := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 {
		image := filepath.Join(w.dir, "image"+string(rune('0'+i)))
		data := make([]byte, 8<<20)
		for at := range 4 << 20 {
			data[at] = 1
		}
		data[i*blockBytes] = byte(2 + i) // the others' is taken back
		if err := os.WriteFile(image, data, 0o600); err != nil {
			t.Fatal(err)
		}
		w.snapshot(awssim.SnapshotSpec{Image: image, VolumeID: volume, Start: start.AddDate(0, 0, i)})
	}
	all := analyzed(t, w.run("analyze", "--live", "--output", "json"))
	for i, l := range ofKind(all, "snapshot") {
		if l["volume"] != volume || l["full"] != float64(4<<20) || l["in_bill"] != false || l["billed"] != nil {
			t.Errorf("snapshot %d: %v", i, l)
		}
	}
	exact := analyzed(t, w.run("analyze", "--live", "--exact", "--output", "json"))
	var sizes []float64
	for _, l := range ofKind(exact, "snapshot") {
		sizes = append(sizes, l.number("standard"))
		if l["standard_low"] != l["standard_high"] {
			t.Errorf("not exact: %v", l)
		}
	}
	if want := []float64{4 << 20, 2 * blockBytes, 2 * blockBytes}; !slices.Equal(sizes, want) {
		t.Errorf("exact sizes %v, want %v", sizes, want)
	}
	dear := w.run("analyze", "--live", "--exact", "--max-cost", "0.0000001")
	failsWith(t, dear, exitFailed, "to list the blocks costs up to", "raise --max-cost")
	part := w.run("analyze", "--live", "--region", "us-east-1", "--region", "eu-west-1")
	if part.code != exitFailed || !strings.Contains(part.stdout, volume) || !strings.Contains(part.stderr, "EC2 was not asked in eu-west-1") {
		t.Error("a region that could not be asked is passed over in silence")
	}
	none := w.run("analyze", "--live", "--region", "eu-west-1")
	failsWith(t, none, exitFailed, "EC2 was not asked in eu-west-1", "")
}

// TestAnalyzeRatio measures compression by what is in the bucket.
func TestAnalyzeRatio(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awssim.Config{})
	s := w.noisy(4<<20, awssim.SnapshotSpec{FullSize: 8 << 20})
	w.ok("migrate", "--dd", "--bucket", testBucket, s.ID)
	o, _ := w.sim.Object(testBucket, s.key("zstd"))
	all := analyzed(t, w.run("analyze", "--live", "--bucket", testBucket, "--output", "json"))
	total := all[len(all)-1]
	if want := float64(8<<20) / float64(o.Size); total["ratio_measured"] != true || max(total.number("ratio")/want, want/total.number("ratio")) > 1.000001 {
		t.Errorf("%v, want the ratio %v", total, want)
	}
}
