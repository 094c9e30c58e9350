package bill_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
			if !strings.Contains(strings.Join(u.Notes, "\n"), "older assemblies") {
				t.Errorf("notes: %q", u.Notes)
			}
		})
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
