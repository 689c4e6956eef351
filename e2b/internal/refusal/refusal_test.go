package refusal

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPagesAreForPeopleAtBrowsers(t *testing.T) {
	const agent = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
	for _, tt := range []struct {
		name   string
		header http.Header
		want   bool
	}{
		{"nothing", http.Header{}, false},
		{"a program", http.Header{"User-Agent": {"curl/8.0"}, "Accept": {"text/html"}}, false},
		{"an SDK", http.Header{"User-Agent": {"e2b-js-sdk/2.51.0"}, "Accept": {"*/*"}}, false},
		{"a browser that says no more", http.Header{"User-Agent": {agent}}, true},
		{"a browser without Mozilla", http.Header{"User-Agent": {"Opera/9.80"}}, true},
		{"a browser that navigates", http.Header{"User-Agent": {agent}, "Sec-Fetch-Mode": {"navigate"}, "Accept": {"text/html,*/*;q=0.8"}}, true},
		{"a frame of an old browser", http.Header{"User-Agent": {agent}, "Sec-Fetch-Mode": {"nested-navigate"}}, true},
		{"a script", http.Header{"User-Agent": {agent}, "Sec-Fetch-Mode": {"cors"}, "Accept": {"*/*"}}, false},
		{"an image", http.Header{"User-Agent": {agent}, "Sec-Fetch-Mode": {"no-cors"}, "Accept": {"image/avif,*/*"}}, false},
		{"a terminal", http.Header{"User-Agent": {agent}, "Sec-Fetch-Mode": {"websocket"}}, false},
		{"anything", http.Header{"User-Agent": {agent}, "Accept": {"*/*"}}, true},
		{"JSON", http.Header{"User-Agent": {agent}, "Accept": {"application/json"}}, false},
		{"JSON, in upper case", http.Header{"User-Agent": {agent}, "Accept": {"Application/JSON"}}, false},
		{"JSON of a kind", http.Header{"User-Agent": {agent}, "Accept": {"application/problem+json"}}, false},
		{"JSON first", http.Header{"User-Agent": {agent}, "Accept": {"application/json, text/plain, */*"}}, false},
		{"JSON rather than a page", http.Header{"User-Agent": {agent}, "Accept": {"text/html;q=0.5, application/json"}}, false},
		{"a page rather than JSON", http.Header{"User-Agent": {agent}, "Accept": {"text/html, application/json; q=0.9"}}, true},
		{"no page", http.Header{"User-Agent": {agent}, "Accept": {"text/html;q=0"}}, false},
		{"an event stream", http.Header{"User-Agent": {agent}, "Accept": {"text/event-stream"}}, false},
		{"in two lines", http.Header{"User-Agent": {agent}, "Accept": {"image/png", "text/html"}}, true},
		{"not a weight", http.Header{"User-Agent": {agent}, "Accept": {"text/html;q=x"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := wantsPage(tt.header); got != tt.want {
				t.Errorf("a page: %v, want %v", got, tt.want)
			}
		})
	}
}

// A page shows what clients and guests wrote, and none of it is markup.
func TestAPageHasNoMarkupOfOthers(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	NotNow.With("<script>1</script>").WriteTo(w, r, `"><script>2</script>`, 80)
	if body := w.Body.String(); strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;1") || !strings.Contains(body, "&lt;script&gt;2") {
		t.Error(body)
	}
}

func TestRetryAfterIsInWholeSeconds(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: "1", time.Nanosecond: "1", 2500 * time.Millisecond: "3", time.Minute: "60"} {
		w := httptest.NewRecorder()
		if TooManyBodies.With().After(wait).Write(w); w.Header().Get("Retry-After") != want {
			t.Errorf("%v: %q, want %q", wait, w.Header().Get("Retry-After"), want)
		}
	}
	w := httptest.NewRecorder()
	if TooManyBodies.With().Write(w); w.Header().Values("Retry-After") != nil {
		t.Errorf("%q", w.Header())
	}
}

// A text has the form of fmt.Sprintf only if something is filled in.
func TestTextsAreFormats(t *testing.T) {
	verb := regexp.MustCompile(`%(\.\d+)?[a-z]`)
	for _, row := range Rows() {
		args := make([]any, len(verb.FindAllString(row.Text, -1)))
		for i := range args {
			args[i] = 7
		}
		if strings.Contains(row.Text, "%s") || strings.Contains(row.Text, "%.200q") {
			for i := range args {
				args[i] = fmt.Errorf("x")
			}
		}
		if got := row.With(args...).Message; row.Name == "" || row.Status < 400 || strings.Contains(got, "MISSING") || strings.Contains(got, "EXTRA") {
			t.Errorf("%s: %d %s", row.Name, row.Status, got)
		}
	}
}

// Refusals are made of the table only: elsewhere in e2b no status of an error may
// be written, but only compared.
func TestNoRefusalIsMadeBesideTheTable(t *testing.T) {
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "refusal" {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		for _, found := range written(t, path, nil) {
			t.Errorf("%s writes a status itself: add a row to the table", found)
		}
		return nil
	})
	if err != nil || files < 30 {
		t.Errorf("%d files, %v", files, err)
	}
	if found := written(t, "x.go", "package x\nfunc f() { if c >= http.StatusBadRequest { w.WriteHeader(http.StatusNotFound); http.Error(w, \"\", 1) } }"); len(found) != 2 {
		t.Errorf("found %v of two", found)
	}
}

// written returns where a file uses the status of an error otherwise than in a
// comparison, or http.Error.
func written(t *testing.T, path string, src any) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ok := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			ok[n.X], ok[n.Y] = true, true
		case *ast.SelectorExpr:
			pkg, _ := n.X.(*ast.Ident)
			if pkg == nil || pkg.Name != "http" || ok[n] {
				break
			}
			if n.Sel.Name == "Error" || n.Sel.Name == "NotFound" || isError(n.Sel.Name) {
				found = append(found, set.Position(n.Pos()).String())
			}
		}
		return true
	})
	return found
}

// isError reports the name of a status from 400 on.
func isError(name string) bool {
	words, ok := strings.CutPrefix(name, "Status")
	if !ok {
		return false
	}
	for code := 400; code < 600; code++ {
		text := regexp.MustCompile(`[^A-Za-z]`).ReplaceAllString(http.StatusText(code), "")
		if text != "" && strings.EqualFold(text, words) {
			return true
		}
	}
	return words == "RequestURITooLong" || words == "Teapot"
}
