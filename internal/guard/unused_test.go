package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed is a package as go list shows it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Module                  *struct{ Main bool }
}

// list returns packages for Linux, each after those that it imports.
func list(t *testing.T, args ...string) (out []listed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}

// TestPoliciesAreUsed checks the repository. What is not of this module is read as
// compiled: the first run compiles it, and a change here costs nothing.
func TestPoliciesAreUsed(t *testing.T) {
	var ours []listed
	others := []string{"-export", "-json=ImportPath,Export"}
	for _, p := range list(t, "-deps", "-json=ImportPath,Dir,GoFiles,Module", "./...") {
		if p.Module != nil && p.Module.Main {
			ours = append(ours, p)
		} else {
			others = append(others, p.ImportPath)
		}
	}
	if len(ours) < 20 {
		t.Fatalf("found %d packages only", len(ours))
	}
	compiled := map[string]string{}
	for _, p := range list(t, others...) {
		compiled[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	known := packages{}
	foreign := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(compiled[path]) })
	var all []Checked
	for _, p := range ours {
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		c, err := Check(fset, p.ImportPath, files, either{known, foreign})
		if err != nil {
			t.Fatal(err)
		}
		known[c.Path] = c.types
		all = append(all, c)
	}
	for _, f := range Unused(all, unusedPolicies) {
		t.Error(f)
	}
}

func TestUnusedFindsWhatOnlyTestsAndTheSimulationUse(t *testing.T) {
	sources := []struct{ dir, text string }{
		{"policy/a", `package a
			type T struct{}
			func (T) Used() {}
			func (T) Unused() { byUnused() }
			func (T) Decide() {}
			func (*T) Error() string { return "" }
			type Unseen struct{}
			func (Unseen) Error() string { return "" }
			func Direct() { Indirect() }
			func Indirect() {}
			func Simulated() {}
			func Kept() {}
			func byUnused() { ByUnused() }
			func ByUnused() {}
			const (Known = iota; Unknown)
			type Generic[V any] struct{}
			func (Generic[V]) Get() {}
			func init() { ByInit() }
			func ByInit() {}`},
		{"policy/kept", "package kept\nfunc X() {}"},
		{"runtime", `package runtime
			import "github.com/rundlet/rundlet/policy/a"
			type decider interface { Decide() }
			var d decider = a.T{}
			func f() { a.T{}.Used(); a.Direct(); _ = a.Known; a.Generic[int]{}.Get() }`},
		{"simulate", "package simulate\nimport \"github.com/rundlet/rundlet/policy/a\"\nfunc f() { a.Simulated() }"},
	}
	fset, known := token.NewFileSet(), packages{}
	var all []Checked
	for _, s := range sources {
		file, err := parser.ParseFile(fset, s.dir+"/a.go", s.text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Check(fset, Module+"/"+s.dir, []*ast.File{file}, known)
		if err != nil {
			t.Fatal(err)
		}
		known[c.Path] = c.types
		all = append(all, c)
	}
	var got []string
	for _, f := range Unused(all, map[string]string{"policy/a.Kept": "why", "policy/kept": "why", "policy/a.Direct": "it was not used once"}) {
		got = append(got, f.Where)
	}
	want := []string{
		"policy/a.ByUnused", "policy/a.Simulated", "policy/a.T.Unused", "policy/a.Unknown", "policy/a.Unseen", "policy/a.Unseen.Error",
		"policy/a.Direct", // An exception that is none.
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// either imports a package of this module, or another.
type either struct {
	ours   packages
	others types.Importer
}

func (e either) Import(path string) (*types.Package, error) {
	if strings.HasPrefix(path, Module+"/") {
		return e.ours.Import(path)
	}
	return e.others.Import(path)
}

// packages imports what was checked before.
type packages map[string]*types.Package

func (p packages) Import(path string) (*types.Package, error) {
	if pkg := p[path]; pkg != nil {
		return pkg, nil
	}
	return nil, fmt.Errorf("no package %s", path)
}
