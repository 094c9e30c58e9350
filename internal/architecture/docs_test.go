package architecture

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The page of the house names every room but those that only tests enter, and
// no room that is not there.
func TestArchitecturePageNamesEveryPackage(t *testing.T) {
	page := read(t, "docs/architecture.md")
	there := map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasPrefix(s.dir, "internal/") && !strings.HasSuffix(s.dir, "test") {
			there[strings.TrimPrefix(s.dir, "internal/")] = true
		}
	}
	for name := range there {
		last := name
		if path.Base(path.Dir(name)) != "aws" { // s3 and ec2 alone are services
			last = path.Base(name)
		}
		if !regexp.MustCompile(`(^|[^a-z0-9])` + regexp.QuoteMeta(last) + `([^a-z0-9]|$)`).MatchString(page) {
			t.Errorf("docs/architecture.md does not name %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`internal/([a-z0-9]+(?:/[a-z0-9]+)*)`).FindAllStringSubmatch(page, -1) {
		if info, err := os.Stat(filepath.Join(root, "internal", m[1])); err != nil || !info.IsDir() {
			t.Errorf("docs/architecture.md names internal/%s, which is not there", m[1])
		}
	}
}

// What the documents tell a reader to type must exist.
func TestDocumentedMakeTargetsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`|\\$ )make ([a-z]+)").FindAllStringSubmatch(string(text), -1) {
			seen++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s: make %s is not in the Makefile", filepath.Base(page), m[1])
			}
		}
	}
	if seen == 0 {
		t.Error("no document names a make target: this test would hold over nothing")
	}
}

// Every flag that a document shows with a verb of ours is one the manual knows.
func TestDocumentedFlagsExist(t *testing.T) {
	manual := ""
	pages, err := filepath.Glob(filepath.Join(root, "docs", "man", "*.1"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no manual pages: %v", err)
	}
	for _, p := range pages {
		manual += read(t, filepath.Join("docs", "man", filepath.Base(p)))
	}
	old := " --migrate --validate --analyze "
	command := regexp.MustCompile(`(?m)^(?:\$ |  +|sudo |\s*)*snap-to-s3 ((?:.*\\\n)*.*)$`)
	for _, page := range []string{"README.md", "docs/architecture.md", "docs/format.md"} {
		for _, m := range command.FindAllStringSubmatch(read(t, page), -1) {
			for _, f := range regexp.MustCompile(`(?:^|\s)(--[a-z][a-z0-9-]*)`).FindAllStringSubmatch(m[1], -1) {
				if !strings.Contains(old, " "+f[1]+" ") && !strings.Contains(manual, `\fB`+f[1]+`\fP`) {
					t.Errorf("%s: %q shows %s, which no manual page knows", page, strings.TrimSpace(m[0]), f[1])
				}
			}
		}
	}
}
