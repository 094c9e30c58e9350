package bill_test

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/hint"
)

// refused expects an error that names all that is wanted, and a next step.
func refused(t *testing.T, inputs []bill.Input, want ...string) {
	t.Helper()
	_, err := bill.Read(t.Context(), inputs, bill.Options{})
	if err == nil || hint.Of(err) == "" {
		t.Errorf("%v; hint %q", err, hint.Of(err))
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want %s", err, w)
		}
	}
}

// renumbered are lines whose ids are others, as they are in each delivery.
func renumbered(lines []billtest.Line, delivery string) []billtest.Line {
	lines = slices.Clone(lines)
	for i := range lines {
		lines[i].ID = delivery + lines[i].ID
	}
	return lines
}

// Two deliveries of a month have ids of their own, and the newer has more days: as
// files, in a folder, and as if they were parts of one.
func TestTwoDeliveries(t *testing.T) {
	t.Parallel()
	a := billtest.New(5, day(2024, 4, 1), 1)
	early := *a
	early.To = day(2024, 4, 11)
	for _, f := range billtest.Formats() {
		for _, g := range []billtest.Granularity{billtest.Daily, billtest.Hourly, billtest.Monthly} {
			t.Run(fmt.Sprintf("%s/%d", f, g), func(t *testing.T) {
				t.Parallel()
				end := endings(f)[0]
				for _, names := range [][2]string{{"old", "new"}, {"costs-00001", "costs-00002"}, {"20240401-20240501/costs-1", "20240401-20240501/costs-2"}} {
					dir := t.TempDir()
					one, two := filepath.Join(dir, names[0]+end), filepath.Join(dir, names[1]+end)
					for path, of := range map[string]*billtest.Account{one: &early, two: a} {
						lines := renumbered(slices.Collect(of.Lines(g)), path)
						if err := of.WriteFile(path, f, slices.Values(lines)); err != nil {
							t.Fatal(err)
						}
					}
					refused(t, []bill.Input{open(t, one), open(t, two)}, one, two, "snap-", "2024-04-")
					refused(t, []bill.Input{open(t, two), open(t, one)}, one, two)
					refused(t, []bill.Input{open(t, dir)}, one, two)
				}
			})
		}
	}
}

// The hint says what to do, and the error which snapshot and day.
func TestTwoDeliveriesSaid(t *testing.T) {
	t.Parallel()
	named := func(name string) bill.Input {
		return bill.Stream(name, strings.NewReader(header+"\n"+strings.Replace(good, "a,", name+",", 1)))
	}
	_, err := bill.Read(t.Context(), []bill.Input{named("v10.csv"), named("v11.csv")}, bill.Options{})
	const want = "v11.csv, line 2: v10.csv bills " + id + " of 123456789012 in us-west-2 on 2024-09-01, too"
	if err == nil || err.Error() != want || !strings.Contains(hint.Of(err), "give the newest alone, or its manifest") {
		t.Errorf("%v; hint %q", err, hint.Of(err))
	}
}

// One delivery in several files, whichever line is in which, is right, as is what one
// file has several lines of.
func TestOneDelivery(t *testing.T) {
	t.Parallel()
	a := truthOf(billtest.New(5, day(2024, 4, 1), 1))
	for _, f := range billtest.Formats() {
		for _, g := range []billtest.Granularity{billtest.Daily, billtest.Hourly, billtest.Monthly} {
			t.Run(fmt.Sprintf("%s/%d", f, g), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				const files = 5
				parts := make([][]billtest.Line, files)
				for l := range a.Lines(g) {
					i := crc32.ChecksumIEEE([]byte(l.Resource+l.From.String())) % files
					parts[i] = append(parts[i], l)
				}
				var inputs []bill.Input
				for i, lines := range parts {
					slices.Reverse(lines)
					path := filepath.Join(dir, fmt.Sprintf("part%d%s", i, endings(f)[0]))
					if err := a.WriteFile(path, f, slices.Values(lines)); err != nil {
						t.Fatal(err)
					}
					inputs = append(inputs, open(t, path))
				}
				check(t, read(t, inputs...), a, g)
				check(t, read(t, open(t, dir)), a, g)
			})
		}
	}
}

// Lines of one interval in two files are of one delivery if a manifest says so.
func TestOneIntervalInTwoFiles(t *testing.T) {
	t.Parallel()
	a := billtest.New(5, day(2024, 4, 1), 1)
	var all []billtest.Line
	for l := range a.Lines(billtest.Daily) {
		if strings.Contains(l.UsageType, "EBS:SnapshotUsage") {
			wrong, back := l, l
			wrong.Amount, back.Amount = 2*l.Amount, -2*l.Amount
			all = []billtest.Line{wrong, back, l} // a file each, and one more
			break
		}
	}
	for _, f := range billtest.Formats() {
		dir := t.TempDir()
		manifest, err := a.WriteAssembly(dir, f, slices.Values(all), "20240503T000000Z")
		if err != nil {
			t.Fatal(err)
		}
		want := a.Billed(all[0].From)
		for _, path := range []string{dir, manifest} {
			u := read(t, open(t, path))
			if s := u.Snapshots[0]; len(u.Snapshots) != 1 || s.Bytes != want[billtest.Key{ID: s.ID}]*blockSize {
				t.Errorf("%s: %+v", f, u.Snapshots)
			}
		}
		if err := os.RemoveAll(manifest); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "reports/eu/costs/*/*/costs*"+endings(f)[0]+"*"))
		if deeper, err2 := filepath.Glob(filepath.Join(dir, "reports/eu/costs/*/*/*/costs-0*")); err2 == nil {
			files = append(files, deeper...)
		}
		files = slices.DeleteFunc(files, func(name string) bool { return !strings.Contains(name, "costs-0") })
		if err != nil || len(files) != 2 {
			t.Fatalf("%s: files %q, %v", f, files, err)
		}
		refused(t, []bill.Input{open(t, files[0]), open(t, files[1])}, files...)
	}
}

// Two reports of one month that have no line in common.
func TestTwoGranularities(t *testing.T) {
	t.Parallel()
	a := billtest.New(5, day(2024, 4, 1), 1)
	dir := t.TempDir()
	var inputs []bill.Input
	for i, g := range []billtest.Granularity{billtest.Daily, billtest.Hourly, billtest.Monthly} {
		path := filepath.Join(dir, fmt.Sprintf("%d.csv", i))
		if err := a.WriteFile(path, billtest.LegacyCSV, a.Lines(g)); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, open(t, path))
	}
	refused(t, inputs[:2], "0.csv (of days) and ", "1.csv (of hours) both bill 2024-04 of account 210987654321")
	refused(t, inputs[1:], "(of hours) and ", "(of months)")
}

// A file that is given twice, by itself or by its manifest, is read once.
func TestGivenTwice(t *testing.T) {
	t.Parallel()
	a := truthOf(billtest.New(9, day(2024, 1, 1), 1))
	dir := t.TempDir()
	manifest := assembly(t, dir, a.Account, billtest.LegacyCSV, "20240203T000000Z")
	one := filepath.Join(dir, "reports/eu/costs/20240101-20240201/20240203T000000Z/costs-00001.csv.gz")
	u := read(t, open(t, one), open(t, manifest), open(t, one))
	check(t, u, a, billtest.Daily)
	if want := "given more than once, and read once: " + one; !slices.Contains(u.Notes, want) {
		t.Errorf("notes %q, want %q", u.Notes, want)
	}
}
