// Package coai_test holds the repository to its own rules.
package coai_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/coaidev/coai/"

// levels places every package. A package imports only from lower levels, so
// packages of one level never see each other.
func levels() [][]string {
	return [][]string{
		0: {"models"},
		1: {
			"internal/storage", "internal/providers", "internal/providers/sse", "internal/safehttp",
			"internal/sealed", "internal/tokens", "internal/dialect", "graph/generated", "web",
		},
		2: {
			"internal/ratelimit", "internal/budgets", "internal/events", "internal/idempotency", "internal/providers/upstream", "internal/testdb",
			"internal/dialect/messages", "internal/dialect/responses",
		},
		3: {
			"internal/providers/openai", "internal/providers/anthropic", "internal/providers/gemini",
			"internal/providers/ollama", "internal/providers/echo",
		},
		4: {"internal/accounts", "internal/archive", "internal/channels", "internal/payments", "internal/usage"},
		5: {"internal/chat"},
		6: {"graph", "jobs", "internal/server"},
		7: {"rest"},
		8: {"internal/app"},
		9: {"cmd/coai", "bench", "internal/coaitest"},
	}
}

// narrower are packages that may import less than what is below them.
func narrower() map[string][]string {
	return map[string][]string{
		"rest":            {"graph", "models"},
		"internal/server": {"internal/accounts", "internal/idempotency", "internal/ratelimit", "models"},
	}
}

// testOnly are packages that no program may contain.
func testOnly() []string { return []string{"internal/testdb", "internal/coaitest"} }

// maxLines is how long a file may be before it has to be two.
const maxLines = 400

// file is a Go source file that goes into a program.
type file struct {
	name      string // relative to the root
	pkg       string // its folder
	lines     int
	imports   []string // of this module, as folders
	generated bool
}

// sources reads every Go file of the module but tests. It does not ask the go
// command, because go test would cache this test's result and not see a change.
func sources(t *testing.T) []file {
	t.Helper()
	var files []file
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{name: name, pkg: path.Dir(name), lines: bytes.Count(src, []byte("\n")), generated: ast.IsGenerated(parsed)}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if folder, ours := strings.CutPrefix(imported, module); ours {
				f.imports = append(f.imports, folder)
			}
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d source files: is this the root of the module?", len(files))
	}
	return files
}

// TestImports holds every package to its level.
func TestImports(t *testing.T) {
	level := map[string]int{}
	for n, packages := range levels() {
		for _, p := range packages {
			level[p] = n
		}
	}
	seen := map[string]bool{}
	for _, f := range sources(t) {
		own, placed := level[f.pkg]
		if !placed {
			if !seen[f.pkg] {
				t.Errorf("package %s has no level: give it one in levels()", f.pkg)
			}
			seen[f.pkg] = true
			continue
		}
		seen[f.pkg] = true
		for _, imported := range f.imports {
			of, placed := level[imported]
			switch only, narrow := narrower()[f.pkg]; {
			case !placed:
				t.Errorf("%s imports %s, which has no level", f.name, imported)
			case of >= own:
				t.Errorf("%s (level %d) imports %s (level %d): imports point down only", f.name, own, imported, of)
			case narrow && !slices.Contains(only, imported):
				t.Errorf("%s imports %s: this package may import %s only", f.name, imported, strings.Join(only, ", "))
			case slices.Contains(testOnly(), imported) && !slices.Contains(testOnly(), f.pkg):
				t.Errorf("%s imports %s, which is for tests", f.name, imported)
			}
		}
	}
	for p := range level {
		if !seen[p] {
			t.Errorf("levels() places %s, which does not exist", p)
		}
	}
}

// TestFileLength keeps files short enough to be read at one sitting.
func TestFileLength(t *testing.T) {
	for _, f := range sources(t) {
		if !f.generated && f.lines > maxLines {
			t.Errorf("%s has %d lines; at most %d: split it by noun or verb", f.name, f.lines, maxLines)
		}
	}
}

// TestGeneratedHoldsNoTypes keeps one Go type per concept: whatever gqlgen
// cannot bind to models it would write beside exec.go.
func TestGeneratedHoldsNoTypes(t *testing.T) {
	entries, err := os.ReadDir("graph/generated")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "exec.go" {
		t.Errorf("graph/generated holds %v; want exec.go alone: bind the type in gqlgen.yml", entries)
	}
}

// TestNoMachinery keeps out what the product does without: a package that is
// named for nothing in particular, and code that runs before main.
func TestNoMachinery(t *testing.T) {
	refused := []string{"util", "utils", "common", "helper", "helpers", "misc", "pkg", "base"}
	for _, f := range sources(t) {
		for part := range strings.SplitSeq(f.pkg, "/") {
			if slices.Contains(refused, part) {
				t.Errorf("%s: name the package for what it holds, not %q", f.name, part)
			}
		}
		if f.generated {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: call it from internal/app", f.name)
			}
		}
	}
}
