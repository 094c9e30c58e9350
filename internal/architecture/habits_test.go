package architecture

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is read from top to bottom by one who did not write it.
const (
	maxLines     = 500
	maxTestLines = 800
)

func TestFilesFitAReader(t *testing.T) {
	for _, s := range sources(t) {
		limit := maxLines
		if s.test {
			limit = maxTestLines
		}
		if n := s.fset.Position(s.FileEnd).Line; n > limit {
			t.Errorf("%s: %d lines, more than %d", s.path, n, limit)
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			has[s.dir] = has[s.dir] || s.Doc != nil && len(s.Doc.Text()) > 40
		}
	}
	for dir, ok := range has {
		if !ok {
			t.Errorf("%s: no package comment that says what it owns", dir)
		}
	}
}

// Nothing below the command line exits, prints, or logs to a global logger; and
// production code never sleeps: it waits for something, or for its context.
func TestOnlyTheCommandLineTalks(t *testing.T) {
	refused := map[string][]string{
		"os":   {"Exit", "Stdout", "Stderr", "Stdin"},
		"fmt":  {"Print", "Printf", "Println"},
		"slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error"},
		"log":  {"Print", "Printf", "Println", "Fatal", "Fatalf", "Panic"},
		"time": {"Sleep"},
	}
	for _, s := range sources(t) {
		if s.test || within(s.dir, "cmd", "internal/cli") {
			continue
		}
		s.calls(func(pkg, name string, at ast.Node) {
			if pkg == "time" && within(s.dir, "internal/awssim") {
				return // it polls the kernel for devices, where nothing can be waited for
			}
			for _, r := range refused[pkg] {
				if name == r {
					t.Errorf("%s:%d: %s.%s", s.path, s.line(at), pkg, name)
				}
			}
		})
	}
}

// A context comes from above, and none is kept. Only main makes one, and the
// sandbox, which is a server with a life of its own.
func TestContextsComeFromAbove(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if !within(s.dir, "cmd", "internal/awssim") {
			s.calls(func(pkg, name string, at ast.Node) {
				if pkg == "context" && (name == "Background" || name == "TODO") {
					t.Errorf("%s:%d: context.%s", s.path, s.line(at), name)
				}
			})
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			fields, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range fields.Fields.List {
				if isSelector(f.Type, "context", "Context") {
					t.Errorf("%s:%d: a context in a struct", s.path, s.line(f))
				}
			}
			return true
		})
	}
}

// No state outside of values: no init functions, no package variables but
// errors, compiled patterns, arrays of text, embedded files and checks of the
// compiler.
func TestNoPackageState(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s:%d: an init function", s.path, s.line(d))
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				embeds := d.Doc != nil && strings.Contains(commentText(d.Doc), "//go:embed")
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && !embeds && !isConstant(v) {
						t.Errorf("%s:%d: package variable %s", s.path, s.line(v), v.Names[0].Name)
					}
				}
			}
		}
	}
}

// isConstant says whether a variable is one that nobody changes: "_", an array
// literal that is not exported, or the result of errors.New, regexp.MustCompile
// or a table constructor of the standard library.
func isConstant(v *ast.ValueSpec) bool {
	if v.Names[0].Name == "_" {
		return true
	}
	if v.Doc != nil && strings.Contains(commentText(v.Doc), "//go:embed") {
		return true
	}
	for _, value := range v.Values {
		if array, ok := value.(*ast.CompositeLit); ok {
			form, ok := array.Type.(*ast.ArrayType)
			if !ok || form.Len == nil || v.Names[0].IsExported() {
				return false
			}
			continue
		}
		call, ok := value.(*ast.CallExpr)
		if !ok {
			return false
		}
		if !isSelector(call.Fun, "errors", "New") && !isSelector(call.Fun, "regexp", "MustCompile") &&
			!isSelector(call.Fun, "crc64", "MakeTable") && !isSelector(call.Fun, "strings", "NewReplacer") {
			return false
		}
	}
	return len(v.Values) > 0
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && sel.Sel.Name == name
}

func commentText(g *ast.CommentGroup) string {
	var lines []string
	for _, c := range g.List {
		lines = append(lines, c.Text)
	}
	return strings.Join(lines, "\n")
}

// A bool in a call says nothing where it is read.
func TestNoBoolParametersInExportedFunctions(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() {
				continue
			}
			for _, p := range f.Type.Params.List {
				if id, ok := p.Type.(*ast.Ident); ok && id.Name == "bool" {
					t.Errorf("%s:%d: %s takes a bool", s.path, s.line(f), f.Name.Name)
				}
			}
		}
	}
}

// A skip says why: .ci/allowed-skips is a list of reasons.
func TestAllowedSkipsHaveReasons(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".ci", "allowed-skips"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, " # ")
		if !ok || strings.TrimSpace(name) == "" || len(reason) < 10 {
			t.Errorf(".ci/allowed-skips:%d: want «Test/name # reason», got %q", i+1, line)
		}
	}
}
