package guard

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
)

// logMethods are the methods of *slog.Logger whose arguments after the message are
// keys and values.
var logMethods = map[string]bool{"Debug": true, "Info": true, "Warn": true, "Error": true}

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// otherSpellings are keys that have another spelling everywhere, so that a search by
// key finds all lines.
var otherSpellings = map[string]string{
	"err": "error", "sandbox": "sandbox_id", "machine": "machine_id", "snapshot": "snapshot_id", "next_try": "retry_in",
}

// LogKeys checks the keys of log lines: lower snake_case, with one spelling.
func LogKeys(sources []Source) []Finding {
	var out []Finding
	for _, s := range sources {
		if s.Test() || s.Generated {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isLog(call) {
				return true
			}
			for i := 1; i < len(call.Args); i += 2 {
				lit, ok := call.Args[i].(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					break // A slog.Attr, or keys that were collected elsewhere.
				}
				key, _ := strconv.Unquote(lit.Value)
				line := s.fset.Position(lit.Pos()).Line
				if !snakeCase.MatchString(key) {
					out = append(out, findingf(s.Path, "line %d has the log key %q: keys are lower snake_case", line, key))
				} else if other, ok := otherSpellings[key]; ok {
					out = append(out, findingf(s.Path, "line %d has the log key %q: it is spelled %q everywhere", line, key, other))
				}
			}
			return true
		})
	}
	return out
}

// isLog reports whether a call is one of a logger's, by the name of the logger.
func isLog(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !logMethods[sel.Sel.Name] || len(call.Args) < 3 {
		return false
	}
	switch x := sel.X.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "slog" || x.Name == "logger"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Log"
	}
	return false
}
