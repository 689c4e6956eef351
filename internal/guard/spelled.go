package guard

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// protocol is the package that spells the port and the names of the agent's
// protocol, for the host and the guest.
const protocol = "envd"

// spelledOnce reports whether a constant of the protocol is one that no other
// package may spell. Its paths are not: "/health" and "/metrics" are also
// others'.
func spelledOnce(name string) bool {
	return name == "Port" || name == "Version" || name == "DialUpgrade" || strings.HasSuffix(name, "Header")
}

// Spelled checks that the port and the headers of the agent's protocol are
// written in package envd only. Test files may spell them: a test that takes
// the constant would not notice when it changes.
func Spelled(sources []Source) []Finding {
	names := map[string]string{} // by value, in lower case
	for _, s := range sources {
		if s.Dir() == protocol && !s.Test() {
			s.constants(func(name, value string) {
				if spelledOnce(name) {
					names[strings.ToLower(value)] = name
				}
			})
		}
	}
	var out []Finding
	for _, s := range sources {
		if s.Test() || s.Generated || within(s.Dir(), protocol) {
			continue
		}
		s.literals(func(line int, text string) {
			text = strings.ToLower(text)
			for value, name := range names {
				if strings.Contains(text, value) {
					out = append(out, findingf(s.Path, "line %d spells %q: use %s.%s, so that host, proxy, client and guest agree", line, value, protocol, name))
				}
			}
		})
	}
	return out
}

// constants calls f with each constant of the file, outside functions, that has
// a literal value.
func (s Source) constants(f func(name, value string)) {
	for _, d := range s.File.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, spec := range decl.Specs {
			spec := spec.(*ast.ValueSpec)
			for i, value := range spec.Values {
				if text, ok := literal(value); ok {
					f(spec.Names[i].Name, text)
				}
			}
		}
	}
}

// literals calls f with each number and string of the file.
func (s Source) literals(f func(line int, text string)) {
	ast.Inspect(s.File, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if text, ok := literal(e); ok {
				f(s.fset.Position(n.Pos()).Line, text)
			}
		}
		return true
	})
}

// literal returns a whole number in decimal, or a string without its quotes.
func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	switch lit.Kind {
	case token.INT:
		n, err := strconv.ParseUint(lit.Value, 0, 64)
		return strconv.FormatUint(n, 10), err == nil
	case token.STRING:
		text, err := strconv.Unquote(lit.Value)
		return text, err == nil
	}
	return "", false
}
