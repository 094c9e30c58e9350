package architecture

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// below says which of our packages each package may import, without
// "internal/". Imports only go down, and whatever is not said is refused.
// Everything may import the nouns, hints, pauses and words.
func below() map[string][]string {
	return map[string][]string{
		"snapshot":     {},
		"hint":         {},
		"pause":        {},
		"words":        {},
		"block":        {},
		"codec":        {},
		"ui":           {},
		"cost":         {},
		"cost/bill":    {"cost"},
		"cost/page":    {"cost", "cost/print", "ui"},
		"cost/print":   {"cost", "ui"},
		"encrypt":      {},
		"runstate":     {},
		"objstore":     {},
		"awssim":       {},
		"architecture": {},
		"catalog":      {"runstate"},
		"filesystem":   {"runstate"},
		"partition":    {"block"},
		"layout":       {"objstore", "codec", "block"},
		"archive":      {"block", "codec", "filesystem", "layout"},
		"workflow":     {"catalog", "runstate", "layout", "archive", "filesystem", "partition", "codec", "objstore", "block", "cost", "encrypt"},
		"analyze":      {"workflow", "catalog", "objstore", "layout", "cost", "cost/bill"},

		"objstore/objstoretest": {"objstore"},
		"catalog/catalogtest":   {"catalog"},
		"filesystem/treetest":   {},
		"cost/bill/billtest":    {"cost", "cost/bill"},

		"filesystem/slowdisktest": {},

		"aws":     {"runstate"},
		"aws/s3":  {"aws", "objstore", "runstate"},
		"aws/ebs": {"aws", "analyze"},
		"aws/ec2": {"aws", "analyze", "block", "catalog", "runstate", "workflow"},

		"cli": {
			"analyze", "archive", "aws", "aws/ebs", "aws/ec2", "aws/s3", "awssim", "block", "catalog", "codec", "cost", "cost/bill", "cost/page", "cost/print", "encrypt", "layout",
			"filesystem", "objstore", "runstate", "ui", "workflow",
		},
	}
}

func TestImportsGoDown(t *testing.T) {
	rules := below()
	for _, s := range sources(t) {
		if s.test || !strings.HasPrefix(s.dir, "internal/") {
			continue
		}
		who := strings.TrimPrefix(s.dir, "internal/")
		allowed, known := rules[who]
		if !known {
			t.Errorf("%s: package %s is in no rule: say in below() what it may import", s.path, who)
			continue
		}
		for _, p := range s.imported(t) {
			what, ours := strings.CutPrefix(p, module+"/internal/")
			if ours && !slices.Contains([]string{"snapshot", "hint", "pause", "words"}, what) && !slices.Contains(allowed, what) {
				t.Errorf("%s: %s must not import %s", s.path, who, what)
			}
		}
	}
}

// The nouns, hints and the sandbox stand on the standard library alone; the
// sandbox so that it cannot share a mistake with what it tests.
func TestStandardLibraryOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !within(s.dir, "internal/snapshot", "internal/hint", "internal/awssim") {
			continue
		}
		for _, p := range s.imported(t) {
			if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") || first == module {
				t.Errorf("%s: imports %s, which is not the standard library", s.path, p)
			}
		}
	}
}

// Each library is imported where its subject is at home. A package whose name
// ends in "test" is for tests.
func TestLibrariesStayInTheirRooms(t *testing.T) {
	owners := []struct {
		prefix string
		rooms  []string
		tests  []string // may too, in their tests
	}{
		{"github.com/aws/", []string{"internal/aws"}, []string{"internal/awssim"}},
		{"github.com/spf13/", []string{"internal/cli"}, nil},
		{"github.com/vbauerster/mpb", []string{"internal/ui"}, nil},
		{"github.com/go-analyze/charts", []string{"internal/cost/page"}, nil},
		{"github.com/rogpeppe/go-internal", nil, []string{"internal/cli"}},
		{"github.com/klauspost/compress", []string{"internal/codec", "internal/layout", "internal/cost/bill"}, []string{"internal"}},
		{"github.com/parquet-go/parquet-go", []string{"internal/cost/bill"}, []string{"internal"}},
		{"github.com/pierrec/lz4", []string{"internal/codec"}, []string{"internal"}},
		{"github.com/DataDog/zstd", []string{"internal/codec"}, []string{"internal"}},
		{"github.com/google/go-cmp", nil, []string{"internal"}},
		{"github.com/hanwen/go-fuse", nil, []string{"internal"}},
		{"pgregory.net/rapid", nil, []string{"internal"}},
		{"github.com/stretchr/testify", nil, nil},
		{"github.com/pkg/errors", nil, nil},
		{module + "/internal/awssim", []string{"internal/cli"}, []string{"internal"}},
		{"testing", nil, []string{"internal"}},
	}
	for _, s := range sources(t) {
		for _, p := range s.imported(t) {
			for _, o := range owners {
				if !strings.HasPrefix(p+"/", strings.TrimSuffix(o.prefix, "/")+"/") {
					continue
				}
				forTests := s.test || strings.HasSuffix(s.dir, "test")
				if within(s.dir, o.rooms...) || forTests && within(s.dir, o.tests...) {
					continue
				}
				t.Errorf("%s: %s is for %v only (and tests of %v)", s.path, p, o.rooms, o.tests)
			}
		}
	}
}

func TestPackagesAreNamedAfterWhatTheyHold(t *testing.T) {
	refused := []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "base", "shared"}
	for _, s := range sources(t) {
		if slices.Contains(refused, path.Base(s.dir)) || slices.Contains(refused, s.Name.Name) {
			t.Errorf("%s: a package named %s says nothing of what it holds", s.path, s.Name.Name)
		}
	}
}
