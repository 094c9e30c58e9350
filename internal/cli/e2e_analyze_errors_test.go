package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/cost/bill/billtest"
)

// TestAnalyzeErrors: one line that says what is wrong, one with the next step, the
// right exit code, and nothing written.
func TestAnalyzeErrors(t *testing.T) {
	t.Parallel()
	a := billtest.New(8, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	w := newBilled(t, a)
	good := w.bill(a, billtest.LegacyCSV, billtest.Daily, "good.csv")
	foreign := w.bill(inChina(a.From), billtest.LegacyCSV, billtest.Daily, "cn.csv")
	file := func(name, text string) string {
		path := filepath.Join(w.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := file("other.csv", "name,price\nx,1\n")
	header := file("header.csv", strings.SplitAfter(read(t, good), "\n")[0])
	link := filepath.Join(w.dir, "link.html")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	never := filepath.Join(w.dir, "never.html")
	for _, c := range []struct {
		args       []string
		code       int
		says, hint string
	}{
		{[]string{filepath.Join(w.dir, "missing.csv")}, exitFailed, "missing.csv: no such file or directory", "s3://BUCKET/KEY"},
		{[]string{other, "--html", never}, exitFailed, "other.csv, line 1: its columns", "Cost and Usage Report"},
		{[]string{file("empty.csv", "")}, exitFailed, "empty", ""},
		{[]string{header}, exitFailed, "no lines", "within a day"},
		{[]string{t.TempDir()}, exitFailed, "has no files of a bill", ".parquet"},
		{[]string{foreign, good}, exitFailed, "is another currency than CNY", "on their own"},
		{[]string{foreign, "--instance-price", "$0.10"}, exitUsage, "--instance-price is in dollars, and all other amounts are in CNY", "without the $"},
		{[]string{"--live", "--exact", "--region", "cn-north-1", "--max-cost", "$1"}, exitUsage, "--max-cost is in dollars", "in CNY"},
		{[]string{"--live", "--region", "cn-north-1", "--region", "us-east-1"}, exitFailed, "cn-north-1 is billed in CNY, and us-east-1 in USD", "alone"},
		{[]string{good, "--region", "us-est-1"}, exitFailed, "the bill has no snapshots in us-est-1, as --region says: it has some in us-west-2", "leave --region out"},
		{[]string{good, "--prices", other}, exitFailed, "read price list", "offer file"},
		{[]string{good, "--prices", "no-such-list"}, exitFailed, "no-such-list", "another folder"},
		{[]string{good, "--bucket", testBucket}, exitFailed, "measure compression", "--ratio 2:1"},
		{[]string{good, good}, exitUsage, "is named twice", ""},
		{[]string{"--live", good}, exitUsage, "--live asks EC2 alone", ""},
		{[]string{"--live", "--offline"}, exitUsage, "only one of them", ""},
		{[]string{good, "--exact"}, exitUsage, "--exact needs --live", ""},
		{[]string{good, "--yes"}, exitUsage, "--yes needs --tag-plan", ""},
		{[]string{good, "--tag-plan", "--offline"}, exitUsage, "--tag-plan asks EC2", ""},
		{[]string{good, "--ratio", "1:2:3"}, exitUsage, "not a ratio", "2:1"},
		{[]string{good, "--payback", "-1"}, exitUsage, "must be 0 to", ""},
		{[]string{good, "--storage-class", "COLD"}, exitUsage, "COLD", "STANDARD, STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER, DEEP_ARCHIVE, EBS_ARCHIVE\n"},
		{[]string{good, "--storage-class", "glacierir"}, exitUsage, `"glacierir": snapshots cannot be moved there`, "did you mean GLACIER_IR?"},
		{[]string{good, "--ratio", "0:1"}, exitUsage, "--ratio: a ratio of compression of 0:1 is out of bounds: 0.01:1 to 10000:1", "2:1"},
		{[]string{"http://example.com/bill.csv"}, exitUsage, "bills are files, folders, s3://BUCKET/KEY or -", "standard input"},
		{[]string{good, "--html", "-"}, exitUsage, "--html -: standard output has the report", "./-"},
		{[]string{good, "--plan", "-"}, exitUsage, "--plan -: standard output has the report", "./-"},
		{[]string{good, "--offline", "--role-arn", "arn:aws:iam::111122223333:role/audit"}, exitUsage, "--offline does not ask", ""},
		{[]string{good, "--offline", "--profile", "audit"}, exitUsage, "with --offline nothing here asks", ""},
		{[]string{"s3://bills.example.com/b.csv", "--offline", "--profile", "nobody"}, exitFailed, "nobody", "AWS_PROFILE"},
		{[]string{good, "--instance-price", "much"}, exitUsage, "not an amount", ""},
		{[]string{good, "--source", "tape"}, exitUsage, "volume or direct", ""},
		{[]string{good, "--output", "xml"}, exitUsage, "must be text, json or csv", ""},
		{[]string{good, "--role-arn", "audit"}, exitUsage, "not the ARN of a role", "arn:aws:iam::"},
		{[]string{good, "--html", link}, exitUsage, "not a regular file", ""},
		{[]string{good, "--plan", filepath.Join(w.dir, "no", "p.json")}, exitUsage, "its folder does not exist", ""},
		{[]string{"s3://", good}, exitUsage, "not an address of a bill", ""},
		{[]string{good, "--timeout", "never"}, exitUsage, "not a duration", ""},
	} {
		failsWith(t, w.run(append([]string{"analyze"}, c.args...)...), c.code, c.says, c.hint)
	}
	if _, err := os.Stat(never); err == nil {
		t.Error("a page was written of nothing")
	}
	before := read(t, good)
	if err := os.Chmod(w.dir, 0o700); err != nil || read(t, good) != before {
		t.Error("the bill was changed")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAnalyzeStops: --timeout and CSV, and a call that hangs.
func TestAnalyzeStops(t *testing.T) {
	t.Parallel()
	a := billtest.New(8, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), 1)
	w := newBilled(t, a)
	good := w.bill(a, billtest.LegacyCSV, billtest.Daily, "good.csv")
	table := w.ok("analyze", "--output", "csv", good).stdout
	if lines := strings.Count(table, "\n"); !strings.HasPrefix(table, "partition,account,region,volume,") || lines != 1+len(truthOf(a)) {
		t.Errorf("%d lines of CSV: %.200s", lines, table)
	}
	full := w.command("analyze", "--offline", good)
	out, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer out.Close()
	full.Stdout = out
	if err := full.Run(); full.ProcessState.ExitCode() != exitFailed {
		t.Errorf("where the report cannot be written: %v", err)
	}
	w.sim.SetFault(func(c awssim.Call) awssim.Fault { return awssim.Fault{Hang: c.Action == "DescribeSnapshots"} })
	failsWith(t, w.run("analyze", good, "--timeout", "1s"), exitFailed, "the time of --timeout 1s is up", "longer --timeout")
}
