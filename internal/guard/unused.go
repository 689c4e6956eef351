package guard

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// Checked is a package of this module whose types are known. Files of tests are not
// part of it.
type Checked struct {
	Path  string // the import path
	files []*ast.File
	info  *types.Info
	types *types.Package
}

// Check finds the types of a package.
func Check(fset *token.FileSet, importPath string, files []*ast.File, importer types.Importer) (Checked, error) {
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: importer}).Check(importPath, fset, files, info)
	if err != nil {
		return Checked{}, fmt.Errorf("check %s: %w", importPath, err)
	}
	return Checked{Path: importPath, files: files, info: info, types: pkg}, nil
}

// noCallers are the packages whose use of a policy does not show that the product
// needs it: what the simulation alone asks is not what a daemon does.
var noCallers = []string{"simulate"}

// unusedPolicies are names of policies, or whole packages, that nothing of the
// product uses, and why they are kept.
var unusedPolicies = map[string]string{
	"policy/capacity.Ledger.Active": "short for Usage().Active in the tests of runtime",
}

// called are the methods that are called by way of interfaces of the standard
// library. Those of our own interfaces are found.
var called = []string{"Error", "Unwrap", "Is", "As", "String", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "LogValue"}

// Unused checks that whatever a policy exports has a use outside tests, directly or
// by way of something that has. Tests alone make code look alive. What a policy only
// compares with, and that is never passed, is not found.
func Unused(all []Checked, exceptions map[string]string) []Finding {
	g := uses{edges: map[string][]string{}, byType: map[string][]string{}, live: map[string]bool{}, called: map[string]bool{}}
	for _, name := range called {
		g.called[name] = true
	}
	policies := map[string]bool{}
	for _, p := range all {
		dir := strings.TrimPrefix(p.Path, Module+"/")
		g.interfaces(p)
		if within(dir, "policy") {
			policies[dir] = true
			g.declared(p)
		} else if !withinAny(dir, noCallers) {
			for _, f := range p.files {
				g.roots = append(g.roots, p.usedBy(f)...)
			}
		}
	}
	g.spread()
	var out []Finding
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(g.edges)) {
		short := strings.TrimPrefix(name, Module+"/")
		dir, _, _ := strings.Cut(short, ".")
		if g.live[name] || !exported(short) {
			continue
		}
		switch {
		case exceptions[short] != "":
			used[short] = true
		case exceptions[dir] != "":
			used[dir] = true
		default:
			out = append(out, findingf(short, "is used by tests only: use it, delete it, or put the reason into unusedPolicies in internal/guard"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		if !used[name] {
			out = append(out, findingf(name, "is in unusedPolicies of internal/guard, and need not be: it is used, or gone"))
		}
	}
	return out
}

// exported reports whether all parts of dir.Name or dir.Type.Method are.
func exported(name string) bool {
	parts := strings.Split(name, ".")
	return !slices.ContainsFunc(parts[1:], func(p string) bool { return !token.IsExported(p) })
}

// uses says what each declaration of the policies uses.
type uses struct {
	edges  map[string][]string
	byType map[string][]string // the methods of a type
	roots  []string
	live   map[string]bool
	called map[string]bool // names of methods that interfaces have
}

// interfaces notes the methods of the interfaces that a package declares.
func (g *uses) interfaces(p Checked) {
	for _, obj := range p.info.Defs {
		if name, ok := obj.(*types.TypeName); ok {
			if i, ok := name.Type().Underlying().(*types.Interface); ok {
				for m := range i.Methods() {
					g.called[m.Name()] = true
				}
			}
		}
	}
}

// declared notes the declarations of a policy and what they use.
func (g *uses) declared(p Checked) {
	for _, f := range p.files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				g.declare(p, d.Name, d)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						g.declare(p, s.Name, s)
					case *ast.ValueSpec:
						for _, name := range s.Names {
							g.declare(p, name, s)
						}
					}
				}
			}
		}
	}
}

func (g *uses) declare(p Checked, name *ast.Ident, node ast.Node) {
	key := keyOf(p.info.Defs[name])
	if key == "" || name.Name == "init" { // It is init, or has no name.
		g.roots = append(g.roots, p.usedBy(node)...)
		return
	}
	g.edges[key] = append(g.edges[key], p.usedBy(node)...)
	if strings.Count(strings.TrimPrefix(key, Module+"/"), ".") == 2 {
		of := key[:strings.LastIndex(key, ".")]
		g.byType[of] = append(g.byType[of], key)
	}
}

// usedBy returns what a part of a package uses.
func (p Checked) usedBy(node ast.Node) []string {
	var out []string
	ast.Inspect(node, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if key := keyOf(p.info.Uses[id]); key != "" {
				out = append(out, key)
			}
		}
		return true
	})
	return out
}

// keyOf names what a package declares: path.Name or path.Type.Method; empty for
// anything else.
func keyOf(obj types.Object) string {
	if obj == nil || obj.Pkg() == nil || !strings.HasPrefix(obj.Pkg().Path(), Module+"/policy/") {
		return ""
	}
	if f, ok := obj.(*types.Func); ok {
		f = f.Origin()
		if recv := f.Signature().Recv(); recv != nil {
			t := recv.Type()
			if ptr, ok := t.(*types.Pointer); ok {
				t = ptr.Elem()
			}
			named, ok := t.(*types.Named)
			if !ok {
				return ""
			}
			return obj.Pkg().Path() + "." + named.Obj().Name() + "." + f.Name()
		}
	}
	if obj.Parent() != obj.Pkg().Scope() || obj.Name() == "_" {
		return ""
	}
	return obj.Pkg().Path() + "." + obj.Name()
}

// spread marks what is used, from the roots on.
func (g *uses) spread() {
	next := slices.Clone(g.roots)
	for len(next) > 0 {
		name := next[len(next)-1]
		next = next[:len(next)-1]
		if g.live[name] {
			continue
		}
		g.live[name] = true
		next = append(next, g.edges[name]...)
		for _, method := range g.byType[name] {
			if g.called[method[strings.LastIndex(method, ".")+1:]] {
				next = append(next, method)
			}
		}
	}
}
