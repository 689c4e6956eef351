package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// FuzzTemplate: a name that is taken is kept as it is, and leads nowhere else.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"app", "ns/app:v1", "App:Default", "../x", "a:b:c", "a:", ":a", "\u212A", "-", "a:6c3a6f3e-3e37-4a2e-9a4a-0c1f2a3b4c5d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := Template(text)
		if err != nil {
			return
		}
		again, err := Template(name)
		if err != nil || again != name || strings.ContainsAny(name, "\\ \x00%\n") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ":default") ||
			strings.Count(name, "/") > 1 || strings.Contains(name, "/.") {
			t.Fatalf("%q became %q became %q, %v", text, name, again, err)
		}
	})
}

// FuzzRecipe: a recipe that is taken has what is needed to do it.
func FuzzRecipe(f *testing.F) {
	for _, s := range []string{
		`{"fromImage":"a"}`, `{"fromTemplate":"a:b","steps":[{"type":"RUN","args":["a"]}]}`, `{"fromImage":"a","fromImageRegistry":{"type":"aws"}}`,
		`{"fromImage":"a","steps":[{"type":"COPY","args":["a","b"],"filesHash":"` + strings.Repeat("0", 64) + `"},{"type":"ENV","args":["A","B"]}]}`,
		`{"fromImage":"a","steps":[{"type":"env","args":["A"]}]}`, `{"fromTemplate":"a","startCmd":"\u0000"}`, `null`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var body openapi.TemplateRecipe
		if json.Unmarshal([]byte(text), &body) != nil {
			return
		}
		r, err := Recipe(body)
		if err != nil || r.Check() != nil {
			return
		}
		if (r.FromImage == "") == (r.FromTemplate == "") || r.Registry != nil && r.FromImage == "" || len(r.Steps) != len(body.Steps) || strings.Contains(r.StartCmd, "\x00") {
			t.Fatalf("%s became %+v", text, r)
		}
		for _, s := range r.Steps {
			if !slices.Contains([]string{"COPY", "RUN", "WORKDIR", "USER", "ENV", "ARG"}, s.Type) || len(s.Args) == 0 || s.Args[0] == "" ||
				(s.Type == "COPY") != (len(s.FilesHash) == 64) || s.Type == "COPY" && len(s.Args) < 2 {
				t.Fatalf("%s became %+v", text, s)
			}
		}
	})
}

func TestABuildThatHasEnded(t *testing.T) {
	b := sandbox.Build{State: sandbox.BuildFailed, Failure: &sandbox.BuildFailure{Message: "cancelled"}}
	text, err := json.Marshal(BuildInfo(b, nil, nil))
	if want := `{"buildID":"","logEntries":[],"logs":[],"reason":{"logEntries":[],"message":"cancelled"},"status":"error","templateID":""}`; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}
