// Package guard holds the rules that keep the repository as designed: which
// package may import which, what no package may import, and how a package must
// look. Its test applies them to the whole repository; each rule is a pure
// function from parsed sources to findings. It may import the standard library
// only, and no package imports it.
package guard

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Module is the import path of this repository.
const Module = "github.com/rundlet/rundlet"

// Source is a Go file, parsed without types.
type Source struct {
	// Path is relative to the root of the repository, with slashes.
	Path      string
	Lines     int
	Code      int // lines that are neither blank nor comment alone
	Generated bool
	File      *ast.File
	fset      *token.FileSet
}

// Dir is the directory of the package: "." is the root.
func (s Source) Dir() string { return path.Dir(s.Path) }

// Test reports whether the file is compiled for tests only.
func (s Source) Test() bool { return strings.HasSuffix(s.Path, "_test.go") }

// Imports returns the import paths of the file.
func (s Source) Imports() []string {
	var out []string
	for _, spec := range s.File.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (s Source) imports(importPath string) bool {
	for _, p := range s.Imports() {
		if p == importPath {
			return true
		}
	}
	return false
}

// Calls returns the lines where the file names pkg.name of a standard package.
func (s Source) Calls(importPath, name string) []int {
	local := path.Base(importPath)
	found := false
	for _, spec := range s.File.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil && p == importPath {
			found = true
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if !found {
		return nil
	}
	var lines []int
	ast.Inspect(s.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
			lines = append(lines, s.fset.Position(sel.Pos()).Line)
		}
		return true
	})
	return lines
}

// Finding is a broken rule: where, and why the rule is there.
type Finding struct {
	Where string
	Why   string
}

func (f Finding) String() string { return f.Where + ": " + f.Why }

func findingf(where, format string, args ...any) Finding {
	return Finding{Where: where, Why: fmt.Sprintf(format, args...)}
}

var generatedLine = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// Parse reads one Go file.
func Parse(name string, content []byte) (Source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return Source{}, err
	}
	return Source{
		Path:      name,
		Lines:     bytes.Count(content, []byte("\n")),
		Code:      codeLines(content),
		Generated: generatedLine.Match(content),
		File:      file,
		fset:      fset,
	}, nil
}

// skipped are directories that hold nothing of ours, or results of a build.
var skipped = map[string]bool{".git": true, "node_modules": true, ".venv": true, "bin": true, "__pycache__": true}

// Files calls visit for every file of the repository at root.
func Files(root string, visit func(name string, content []byte) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && skipped[d.Name()] {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || d.Name() == ".git" { // .git is a file in a linked work tree.
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(rel), content)
	})
}

// within reports whether dir is base or below it.
func within(dir, base string) bool {
	return dir == base || strings.HasPrefix(dir, base+"/")
}

func withinAny(dir string, bases []string) bool {
	for _, b := range bases {
		if within(dir, b) {
			return true
		}
	}
	return false
}
