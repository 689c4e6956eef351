package guard

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

var (
	testName = regexp.MustCompile(`\b(Test|Example)[A-Z]\w*`)
	// place is a path of the repository, or of a Go file and a name in it, or a
	// rule of the drivers' suite, which looks like a path.
	place = regexp.MustCompile("`([a-z][\\w.-]*(?:/[\\w.-]+)*\\.go|[a-z][\\w.-]*(?:/[\\w.-]+)+)(?:#(\\w+))?`")
)

// suite is the package whose rules a document names.
const suite = "vm/vmtest"

// Named checks that a document agrees with the code: every test,
// file, `file.go#Name` and rule of the drivers' suite that it names exists, and
// every row of a table whose heading ends in "shown by" names a test or a rule.
func Named(name string, doc []byte, sources []Source, root fs.FS) []Finding {
	tests, rules := map[string]bool{}, map[string]bool{}
	files := map[string]Source{}
	for _, s := range sources {
		files[s.Path] = s
		if s.Dir() == suite {
			s.texts(func(text string) { rules[text] = true })
		}
		if s.Test() {
			for _, d := range s.File.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					tests[f.Name.Name] = true
				}
			}
		}
	}
	var out []Finding
	rows := false
	for i, line := range strings.Split(string(doc), "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		shown := 0
		for _, test := range testName.FindAllString(line, -1) {
			shown++
			if !tests[test] {
				out = append(out, findingf(where, "names %s, and there is no such test", test))
			}
		}
		for _, m := range place.FindAllStringSubmatch(line, -1) {
			_, err := fs.Stat(root, m[1])
			switch {
			case err != nil && isRule(m[1], rules):
				shown++
			case err != nil:
				out = append(out, findingf(where, "names %s, and there is no such file or rule", m[1]))
			case m[2] != "" && !files[m[1]].declares(m[2]):
				out = append(out, findingf(where, "names %s, and %s does not declare it", m[2], m[1]))
			}
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			rows = false
		case strings.HasSuffix(line, "| shown by |"):
			rows = true
		case rows && !strings.HasPrefix(line, "|--") && shown == 0:
			out = append(out, findingf(where, "the row names no test: what nothing shows may not be so"))
		}
	}
	return out
}

// isRule reports whether the suite has the text, or makes a rule that ends so of
// it: "-is-invalid-transition" is in it once for many states. The suite's own
// test knows them exactly.
func isRule(name string, texts map[string]bool) bool {
	i := strings.Index(name, "-")
	return texts[name] || i > 0 && texts[name[i:]]
}

// Rows checks that the tables of a document have a row for each of the ids, and
// for no other that looks like one: a letter, a number, and what follows a dot.
func Rows(name string, doc []byte, ids []string) []Finding {
	seen := map[string]int{}
	for _, m := range rowID.FindAllSubmatch(doc, -1) {
		seen[string(m[1])]++
	}
	var out []Finding
	for _, id := range ids {
		if seen[id] != 1 {
			out = append(out, findingf(name, "has %d rows for %s, want one", seen[id], id))
		}
		delete(seen, id)
	}
	for id := range seen {
		out = append(out, findingf(name, "has an unexpected row %s: add it to the list in the test", id))
	}
	return out
}

var rowID = regexp.MustCompile(`(?m)^\| ([A-Z]\d+\w*(?:\.\d+)?) \|`)

// declares reports whether the file gives the name to a function, type, method,
// field, variable or constant outside a function.
func (s Source) declares(name string) (found bool) {
	if s.File == nil {
		return false
	}
	see := func(ids ...*ast.Ident) {
		for _, id := range ids {
			found = found || id.Name == name
		}
	}
	ast.Inspect(s.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			see(n.Name)
			return false
		case *ast.TypeSpec:
			see(n.Name)
		case *ast.ValueSpec:
			see(n.Names...)
		case *ast.Field:
			see(n.Names...)
		}
		return !found
	})
	return found
}

// texts calls f with every string of the file.
func (s Source) texts(f func(string)) {
	ast.Inspect(s.File, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				f(text)
			}
		}
		return true
	})
}
