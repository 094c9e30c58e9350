package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/snapshot"
)

const blockBytes = 512 << 10

// newBilled is a sandbox that has what an account's history has left of snapshots.
func newBilled(t *testing.T, a *billtest.Account) *world {
	t.Helper()
	w := newWorld(t, awssim.Config{Region: a.Region, Account: a.ID})
	w.holds(a)
	return w
}

// holds adds the snapshots of an account that are there on its last day.
func (w *world) holds(a *billtest.Account) {
	w.t.Helper()
	last := a.To.AddDate(0, 0, -1)
	for _, v := range a.Volumes {
		for _, s := range v.Snapshots {
			if !s.Deleted.IsZero() && !last.Before(s.Deleted) {
				continue
			}
			w.snapshot(awssim.SnapshotSpec{
				ID: string(s.ID), VolumeID: string(v.ID), Start: s.Created, OwnerID: a.ID, SizeBytes: 1 << 20,
				SizeGiB: (int64(v.Blocks)*blockBytes + 1<<30 - 1) >> 30, FullSize: int64(v.Blocks) * blockBytes,
				Archived: !s.Archived.IsZero() && s.Archived.Before(a.To),
			})
		}
	}
}

// bill writes a bill, as its name ends.
func (w *world) bill(a *billtest.Account, f billtest.Format, g billtest.Granularity, name string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := a.WriteFile(path, f, a.Lines(g)); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// truth is what analyze has to say of an account's snapshots.
type truth struct {
	Standard, Archive int64
	Billed, Net       cost.Money
	Gone              bool
}

func truthOf(a *billtest.Account) map[snapshot.ID]truth {
	all := map[snapshot.ID]truth{}
	for k, total := range a.Totals() {
		one, ok := all[k.ID]
		if !ok {
			one.Gone = true
		}
		one.Billed, one.Net = one.Billed+total.Cost, one.Net+total.Net
		if total.Last.Equal(a.To.AddDate(0, 0, -1)) {
			one.Gone = false
			if k.Tier == bill.Archive {
				one.Archive = total.Blocks * blockBytes
			} else {
				one.Standard = total.Blocks * blockBytes
			}
		}
		all[k.ID] = one
	}
	return all
}

// analyzed is --output json of a run that went well.
func analyzed(t *testing.T, r result) []jsonLine {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit code %d, want 0", r.code)
	}
	var all []jsonLine
	for text := range strings.Lines(r.stdout) {
		var l jsonLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("not JSON: %q: %v", text, err)
		}
		all = append(all, l)
	}
	if len(all) == 0 || all[len(all)-1].kind() != "total" {
		t.Fatalf("the last of %d lines is no total", len(all))
	}
	return all
}

func ofKind(all []jsonLine, kind string) []jsonLine {
	var some []jsonLine
	for _, l := range all {
		if l.kind() == kind {
			some = append(some, l)
		}
	}
	return some
}

// number is a member that may be absent.
func (l jsonLine) number(name string) float64 { n, _ := l[name].(float64); return n }

func (l jsonLine) money(t *testing.T, name string) cost.Money {
	t.Helper()
	text, minus := strings.CutPrefix(jsonText(l[name]), "-")
	m, err := cost.ParseMoney(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if minus {
		return -m
	}
	return m
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return strings.Trim(string(text), `"`)
}

// sameCents allows for what is rounded once more, in each line of a bill.
func sameCents(a, b cost.Money) bool { return max(a-b, b-a) < cost.Dollar/10_000 }

// isTrue holds the snapshot lines to the truth.
func isTrue(t *testing.T, a *billtest.Account, all []jsonLine) {
	t.Helper()
	want := truthOf(a)
	lines := ofKind(all, "snapshot")
	if len(lines) != len(want) {
		t.Errorf("%d snapshots, want %d", len(lines), len(want))
	}
	for _, l := range lines {
		id, _ := l["snapshot"].(string)
		w, ok := want[snapshot.ID(id)]
		gone, _ := l["gone"].(bool)
		switch {
		case !ok:
			t.Errorf("%s is no snapshot of the account", id)
		case gone != w.Gone:
			t.Errorf("%s is gone: %t", id, gone)
		case !sameCents(l.money(t, "billed"), w.Billed) || !sameCents(l.money(t, "net"), w.Net):
			t.Errorf("%s: billed %v, net %v; want %s, %s", id, l["billed"], l["net"], w.Billed, w.Net)
		case !gone && (l.number("standard") != float64(w.Standard) || l.number("archive") != float64(w.Archive)):
			t.Errorf("%s: %v and %v bytes, want %d and %d", id, l["standard"], l["archive"], w.Standard, w.Archive)
		}
	}
}

// TestAnalyzeFormats reads one truth from every form AWS writes: the same dollars
// and sizes, and what EC2 knows of the snapshots.
func TestAnalyzeFormats(t *testing.T) {
	t.Parallel()
	a := billtest.New(1, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), 2)
	w := newBilled(t, a)
	totals := map[string]string{}
	for _, f := range billtest.Formats() {
		for _, g := range []billtest.Granularity{billtest.Hourly, billtest.Daily} {
			name := f.String() + map[billtest.Granularity]string{billtest.Hourly: "-hourly", billtest.Daily: "-daily"}[g]
			end := ".csv.gz"
			if f.Parquet() {
				end = ".parquet"
			}
			all := analyzed(t, w.run("analyze", "--output", "json", w.bill(a, f, g, name+end)))
			isTrue(t, a, all)
			last := all[len(all)-1]
			totals[jsonText([]any{last["billed"], last["net"], last["monthly"], last["answer"], last["newest"]})] = name
			for _, l := range ofKind(all, "snapshot") {
				if gone, _ := l["gone"].(bool); !gone && (l["volume"] == nil || l["start"] == nil) {
					t.Errorf("%s: %v: EC2 knows its volume and start", name, l)
				}
			}
		}
	}
	if len(totals) != 1 {
		t.Errorf("different totals: %v", totals)
	}
}

// runWith runs snap-to-s3 with standard input.
func (w *world) runWith(in io.Reader, args ...string) result {
	w.t.Helper()
	var out, err bytes.Buffer
	cmd := w.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		w.t.Fatal(e)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), err.String()}
	w.t.Logf("$ snap-to-s3 %s <\n%s%s(exit %d)", strings.Join(args, " "), r.stdout, r.stderr, r.code)
	return r
}

// TestAnalyzeInputs: however a bill comes, the report is the same.
func TestAnalyzeInputs(t *testing.T) {
	a := billtest.New(2, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	w := newBilled(t, a)
	plain := w.bill(a, billtest.LegacyCSV, billtest.Daily, "plain.csv")
	packed := w.bill(a, billtest.LegacyCSV, billtest.Daily, "packed.csv.gz")
	parquet := w.bill(a, billtest.CUR2Parquet, billtest.Daily, "p.parquet")
	want := w.ok("analyze", plain).stdout
	if !strings.Contains(want, "Region us-west-2 (") || !strings.Contains(want, "Total: ") {
		t.Fatalf("no report: %s", want)
	}
	text, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	if _, err := z.Write(text); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	columns, err := os.ReadFile(parquet)
	if err != nil {
		t.Fatal(err)
	}
	w.put("bills/plain.csv", text, nil)
	w.put("bills/cur/20260901-20261001/p.parquet", columns, nil)
	w.put("bills/cur/20260901-20261001/readme.txt", []byte("x"), nil)
	for name, run := range map[string]func() result{
		"a file":                    func() result { return w.run("analyze", packed) },
		"the old style":             func() result { return w.run("--analyze", plain) },
		"the old style, bound":      func() result { return w.run("--analyze=" + packed) },
		"standard input":            func() result { return w.runWith(bytes.NewReader(text), "analyze", "-") },
		"standard input, unnamed":   func() result { return w.runWith(bytes.NewReader(small.Bytes()), "analyze") },
		"standard input, old style": func() result { return w.runWith(bytes.NewReader(small.Bytes()), "--analyze") },
		"Parquet on standard input": func() result { return w.runWith(bytes.NewReader(columns), "analyze", "-") },
		"an object":                 func() result { return w.run("analyze", "s3://"+testBucket+"/bills/plain.csv") },
		"Parquet in a bucket":       func() result { return w.run("analyze", "s3://"+testBucket+"/bills/cur/20260901-20261001/p.parquet") },
		"a prefix":                  func() result { return w.run("analyze", "s3://"+testBucket+"/bills/cur") },
	} {
		if got := run(); got.code != 0 || got.stdout != want {
			t.Errorf("%s: exit code %d, %s", name, got.code, cmp.Diff(want, got.stdout))
		}
	}
	none := w.run("analyze", "s3://"+testBucket+"/elsewhere/")
	failsWith(t, none, exitFailed, "there is no such object, and none below it", "aws s3 ls")
}

// failsWith wants an exit code, an error, and the next step.
func failsWith(t *testing.T, r result, code int, says, hint string) {
	t.Helper()
	_, next, ok := strings.Cut(r.stderr, "\nhint: ")
	if r.code != code || r.stdout != "" || !strings.Contains(r.stderr, says) || !ok || !strings.Contains(next, hint) {
		t.Errorf("exit code %d, standard output %q, error %q; want %d, %q and the hint %q", r.code, r.stdout, r.stderr, code, says, hint)
	}
}
