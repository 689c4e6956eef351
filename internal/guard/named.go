package guard

import (
	"fmt"
	"go/ast"
	"io/fs"
	"regexp"
	"strings"
)

var (
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
	goFile   = regexp.MustCompile("`([a-z][\\w/.-]*\\.go)`")
)

// Named checks that a document tells the truth about the code: every test and
// every Go file that it names exists, and every row of a table whose heading
// ends in "shown by" names a test.
func Named(name string, doc []byte, sources []Source, root fs.FS) []Finding {
	tests := map[string]bool{}
	for _, s := range sources {
		if !s.Test() {
			continue
		}
		for _, d := range s.File.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
	}
	var out []Finding
	rows := false
	for i, line := range strings.Split(string(doc), "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		named := testName.FindAllString(line, -1)
		for _, test := range named {
			if !tests[test] {
				out = append(out, findingf(where, "names %s, and there is no such test", test))
			}
		}
		for _, m := range goFile.FindAllStringSubmatch(line, -1) {
			if _, err := fs.Stat(root, m[1]); err != nil {
				out = append(out, findingf(where, "names %s, and there is no such file", m[1]))
			}
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			rows = false
		case strings.HasSuffix(line, "| shown by |"):
			rows = true
		case rows && !strings.HasPrefix(line, "|--") && len(named) == 0:
			out = append(out, findingf(where, "the row names no test: what nothing shows may not be so"))
		}
	}
	return out
}
