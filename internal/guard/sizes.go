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
	"agent/process": 1500, "bench": 1450, "cmd/rundlet": 1450, "e2b": 2500, "e2b/dataplane": 1650, "network": 4400, "simulate": 1700,
	"store": 1500, "vm/gvisor": 5850,

	"e2b.Server": 76, "e2b/internal/fakeruntime.Runtime": 44, "network.Network": 61, "simulate.node": 78, "store.Store": 62, "vm/gvisor.Driver": 72,
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

// Sizes checks that no package has too much code, and no type too many methods.
func Sizes(sources []Source) []Finding {
	code, methods := map[string]int{}, map[string]int{}
	for _, s := range sources {
		if s.Test() || s.Generated || within(s.Dir(), "e2e") || within(s.Dir(), "vm/vmtest") {
			continue
		}
		code[s.Dir()] += s.Code
		for _, d := range s.File.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[s.Dir()+"."+receiver(f.Recv.List[0].Type)]++
			}
		}
	}
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(code)) {
		if most := cmp.Or(larger[dir], maxCode); code[dir] > most {
			out = append(out, findingf(dir, "has %d lines of code, more than %d: split it by purpose", code[dir], most))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if most := cmp.Or(larger[name], maxMethods); methods[name] > most {
			out = append(out, findingf(name, "has %d methods, more than %d: give it parts", methods[name], most))
		}
	}
	return out
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
