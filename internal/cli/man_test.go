package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// updateDocs writes the manual pages instead of comparing them: make docs.
var updateDocs = flag.Bool("update-docs", false, "write docs/man, and the sample in README.md, from the commands")

// TestManualPages holds docs/man in step with the commands.
func TestManualPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "man")
	want := map[string]string{}
	addManPages(t, newRoot(Env{}.withDefaults(), verbs{}), want)

	if *updateDocs {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/man is not what the commands say; make docs writes it (-want +got):\n%s", diff)
	}
}

// addManPages adds the page of cmd and those of its verbs, by file name.
func addManPages(t *testing.T, cmd *cobra.Command, pages map[string]string) {
	t.Helper()
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" {
			addManPages(t, sub, pages)
		}
	}
	// Read as Markdown: an indented block stands as it is.
	table := "    " + strings.ReplaceAll(strings.TrimSuffix(cmd.Annotations[exitKey], "\n"), "\n", "\n    ")
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	cmd.Long = about + "\n\n# EXIT STATUS\n\n" + table + "\n"
	cmd.DisableAutoGenTag = true // it holds today's date
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	// The date is taken out again: pages change only when the commands do.
	date := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	var page bytes.Buffer
	header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "snap-to-s3", Manual: "snap-to-s3", Date: &date}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		t.Fatalf("manual page of %s: %v", name, err)
	}
	pages[name+".1"] = strings.Replace(page.String(), date.Format("Jan 2006"), "", 1)
}
