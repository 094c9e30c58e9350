package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	module = "snap-to-s3"
	root   = "../.."
)

// source is one Go file of the module.
type source struct {
	path string // from the root: "internal/block/file.go"
	dir  string // "internal/block"
	test bool
	fset *token.FileSet
	*ast.File
}

// parsed reads the tree once for all tests.
var parsed = sync.OnceValues(parse)

// sources returns every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatalf("read the sources: %v", err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files under %s: the rules would hold over nothing", len(all), root)
	}
	return all
}

func parse() ([]source, error) {
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "tools" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		s := source{path: rel, dir: filepath.Dir(rel), test: strings.HasSuffix(path, "_test.go"), fset: token.NewFileSet()}
		if s.File, err = parser.ParseFile(s.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// imported returns the paths that a file imports.
func (s source) imported(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, i := range s.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatalf("%s: import %s: %v", s.path, i.Path.Value, err)
		}
		paths = append(paths, p)
	}
	return paths
}

// line is the line of a node.
func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// within says whether dir is one of the folders or below one.
func within(dir string, folders ...string) bool {
	for _, f := range folders {
		if dir == f || strings.HasPrefix(dir, f+"/") {
			return true
		}
	}
	return false
}

// calls visits every use of package.name in the file, for a package imported
// under its own name.
func (s source) calls(visit func(pkg, name string, at ast.Node)) {
	ast.Inspect(s.File, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				visit(x.Name, sel.Sel.Name, n)
			}
		}
		return true
	})
}
