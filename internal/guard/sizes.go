package guard

import (
	"cmp"
	"go/ast"
	"go/scanner"
	"go/token"
	"maps"
	"slices"
)

// The most of a package and of a type: what a newcomer reads before a change.
const (
	maxCode    = 1200
	maxMethods = 40
)

// larger are the packages and types that were larger before there was a limit, and the
// size above which each has grown. They get smaller, and leave the list.
var larger = map[string]int{
	"agent/process": 1500, "bench": 1450, "e2b/dataplane": 1650, "network": 3420, "vm/gvisor": 3000,
}

// codeLines counts the lines with something else than comments and blanks.
func codeLines(content []byte) (n int) {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(content))
	var s scanner.Scanner
	s.Init(file, content, nil, 0)
	last := 0
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return n
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		from, to := file.Line(pos), file.Line(pos)
		if tok == token.STRING {
			to = file.Line(pos + token.Pos(len(lit)) - 1)
		}
		n += max(0, to-max(from-1, last))
		last = max(last, to)
	}
}

// Sizes checks that no package has too much code, and no type too many methods, with those
// of the types of its package that it embeds: they are its own for a caller.
func Sizes(sources []Source) []Finding {
	code, own, embeds := map[string]int{}, map[string]int{}, map[string][]string{}
	for _, s := range sources {
		if s.Test() || s.Generated || within(s.Dir(), "e2e") || within(s.Dir(), "vm/vmtest") {
			continue
		}
		code[s.Dir()] += s.Code
		for _, d := range s.File.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					own[s.Dir()+"."+receiver(d.Recv.List[0].Type)]++
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if t, ok := spec.(*ast.TypeSpec); ok {
						embeds[s.Dir()+"."+t.Name.Name] = embedded(s.Dir(), t)
					}
				}
			}
		}
	}
	methods := map[string]int{}
	for name := range embeds {
		count(name, embeds, func(part string) { methods[name] += own[part] })
	}
	return slices.Concat(over(code, maxCode, "lines of code", "split it by purpose"), over(methods, maxMethods, "methods", "give it parts"))
}

// over returns what is larger than it may be, and the exceptions that nothing needs.
func over(sizes map[string]int, limit int, of, do string) (out []Finding) {
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		most, excepted := larger[name]
		switch n := sizes[name]; {
		case n > cmp.Or(most, limit):
			out = append(out, findingf(name, "has %d %s, more than %d: %s", n, of, cmp.Or(most, limit), do))
		case excepted && n <= limit:
			out = append(out, findingf(name, "has %d %s, which is not too large any more: remove it from larger in internal/guard", n, of))
		}
	}
	return out
}

// embedded returns the types that a struct embeds and that are of its package.
func embedded(dir string, t *ast.TypeSpec) (names []string) {
	if s, ok := t.Type.(*ast.StructType); ok {
		for _, f := range s.Fields.List {
			if name := receiver(f.Type); len(f.Names) == 0 && name != "" {
				names = append(names, dir+"."+name)
			}
		}
	}
	return names
}

// count calls add for a type and for all that it embeds, once for each.
func count(name string, embeds map[string][]string, add func(string)) {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		add(name)
		for _, part := range embeds[name] {
			visit(part)
		}
	}
	visit(name)
}

// receiver is the name of a receiver's type.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
