package bill_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/cost/bill/billtest"
	"snap-to-s3/internal/hint"
)

// assembly writes one under dir, as AWS lays it out, and its manifest.
func assembly(t *testing.T, dir string, a *billtest.Account, f billtest.Format, name string) (manifest string) {
	t.Helper()
	path, err := a.WriteAssembly(dir, f, a.Lines(billtest.Daily), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A folder and a manifest stand for the newest assembly; older ones and strange
// files are not read.
func TestNewestAssembly(t *testing.T) {
	t.Parallel()
	for _, f := range billtest.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			now := billtest.New(9, day(2024, 1, 1), 1)
			old := *now
			old.To = day(2024, 1, 20)
			// Later in the alphabet, earlier in time.
			assembly(t, dir, &old, f, "20240120T000000Z")
			manifest := assembly(t, dir, now, f, "20240203T000000Z")
			if err := os.WriteFile(filepath.Join(dir, "create-table.sql"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			want := truthOf(now)
			check(t, read(t, open(t, dir)), want, billtest.Daily)
			check(t, read(t, open(t, manifest)), want, billtest.Daily)
			u := read(t, open(t, dir), open(t, manifest))
			check(t, u, want, billtest.Daily)
			if !slices.Contains(u.Notes, "1 older assembly was not read") {
				t.Errorf("notes: %q", u.Notes)
			}
		})
	}
}

// The copy of a manifest that AWS puts above the assemblies is no other assembly.
func TestManifestCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := billtest.New(9, day(2024, 1, 1), 1)
	assembly(t, dir, a, billtest.LegacyCSV, "20240203T000000Z")
	for _, want := range []string{"", "1 older assembly was not read", "2 older assemblies were not read"} {
		notes := strings.Join(read(t, open(t, dir)).Notes, "\n")
		if notes != want {
			t.Errorf("notes %q, want %q", notes, want)
		}
		name := fmt.Sprintf("202403%02dT000000Z", len(want)+1)
		assembly(t, dir, a, billtest.LegacyCSV, name)
	}
}

// Without manifests the names of folders say what is newest.
func TestFolderWithoutManifests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := billtest.New(9, day(2024, 1, 1), 1)
	old := *now
	old.To = day(2024, 1, 20)
	assembly(t, dir, &old, billtest.LegacyCSV, "20240120T000000Z")
	assembly(t, dir, now, billtest.LegacyCSV, "20240203T000000Z")
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if strings.HasSuffix(path, ".json") {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, read(t, open(t, dir)), truthOf(now), billtest.Daily)
}

func TestManifestRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("x%d-Manifest.json", time.Now().UnixNano()))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	outside := filepath.Join(filepath.Dir(dir), "outside.csv")
	if err := os.WriteFile(outside, []byte(header+"\n"+good), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		manifest   any
		want, hint string
	}{
		"missing":  {map[string]any{"bucket": "my bucket", "reportKeys": []string{"p/r/1/a.csv.gz"}}, "names p/r/1/a.csv.gz, which is not beside it", "aws s3 sync 's3://my bucket/p/r/1' ."},
		"export":   {map[string]any{"dataFiles": []string{"s3://b/p/data/a.parquet"}}, "names p/data/a.parquet", "s3://b/p/data"},
		"outside":  {map[string]any{"reportKeys": []string{"../outside.csv"}}, "which is not beside it", ""},
		"rooted":   {map[string]any{"reportKeys": []string{outside + "/../outside.csv"}}, "which is not beside it", ""},
		"no files": {map[string]any{"reportKeys": []string{}}, "names no files", "Manifest.json"},
		"a list":   {[]string{"x"}, "read manifest", "Manifest.json"},
	} {
		_, err := bill.Read(t.Context(), []bill.Input{open(t, write(c.manifest))}, bill.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%s: %v; hint %q", name, err, hint.Of(err))
		}
	}
	empty := t.TempDir()
	if _, err := bill.Read(t.Context(), []bill.Input{open(t, empty)}, bill.Options{}); err == nil || !strings.Contains(err.Error(), "no files of a bill") {
		t.Error(err)
	}
	if _, err := bill.File(filepath.Join(empty, "x")); !os.IsNotExist(err) && err == nil {
		t.Error("a file that is not there")
	}
}

// What is in a folder and cannot be a bill is named; what is named as one and
// cannot be read is an error.
func TestFolderOfStrangers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.csv"), []byte(header+"\n"+good), 0o644); err != nil {
		t.Fatal(err)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("nowhere", "dangling")
	link(".", "round")
	link("loop", "loop")
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	u := read(t, open(t, dir))
	notes := strings.Join(u.Notes, "\n")
	for _, want := range []string{"dangling (a link to nothing)", "round (a link to a folder, which is not followed)", "loop (", "socket (no regular file)"} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is not in %q", want, notes)
		}
	}
	if len(u.Snapshots) != 1 {
		t.Errorf("%d snapshots", len(u.Snapshots))
	}
	for _, name := range []string{"b.csv.gz", "b-Manifest.json"} {
		link("nowhere", name)
		_, err := bill.Read(t.Context(), []bill.Input{open(t, dir)}, bill.Options{})
		if err == nil || !strings.Contains(err.Error(), name+": a link to nothing") || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// A bill of headers alone says which files it was.
func TestHeadersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 9 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("a%d.csv", i)), []byte(header), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := bill.Read(t.Context(), []bill.Input{open(t, dir)}, bill.Options{})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "a3.csv")+" and 5 more") {
		t.Error(err)
	}
}
