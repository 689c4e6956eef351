package recipefile

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/client/dockerfile"
	"github.com/rundlet/rundlet/sandbox"
)

const whole = `# A template with a bit of everything.
name: team/app
tags: [v1, stable]
from: python:3.12
cpu: 2
memory: 1024
steps:
  - env: {GREETING: hello, COUNT: 3}
  - copy:
      from: [app, data]
      to: /srv/
      owner: worker
      mode: "0755"
  - run: |
      echo one
      echo two
  - user: worker
  - workdir: /srv/app
  - copy: {from: x, to: y}
start: python3 server.py
ready: curl -sf localhost:8000
`

// recipe is what a server gets.
func recipe(r dockerfile.Recipe) (out sandbox.Recipe, sources [][]string) {
	out = sandbox.Recipe{FromImage: r.FromImage, FromTemplate: r.FromTemplate, StartCmd: r.StartCmd, ReadyCmd: r.ReadyCmd}
	for _, s := range r.Steps {
		out.Steps, sources = append(out.Steps, s.RecipeStep), append(sources, s.Sources)
	}
	return out, sources
}

func TestARepositoryAndItsWarmUp(t *testing.T) {
	f, err := Read([]byte("from: template:base\nsteps:\n  - clone: {url: \"https://git.example/app\", ref: main, to: /srv/app}\nwarm-up: [npm test, pytest]\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := recipe(f.Recipe)
	clone := got.Steps[slices.IndexFunc(got.Steps, func(s sandbox.RecipeStep) bool { return s.Type == "CLONE" })]
	if !slices.Equal(clone.Args, []string{"https://git.example/app", "main", "/srv/app"}) || !slices.Equal(f.WarmUp, []string{"npm test", "pytest"}) {
		t.Errorf("%+v, %q", clone, f.WarmUp)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if _, err := Read([]byte("from: x\nsteps:\n  - clone: {ref: main}\n"), ""); err == nil || !strings.Contains(err.Error(), "clone needs url") {
		t.Errorf("%v", err)
	}
}

func TestAFileIsTheRecipeOfItsDockerfile(t *testing.T) {
	f, err := Read([]byte(whole), "")
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "team/app" || !reflect.DeepEqual(f.Tags, []string{"v1", "stable"}) || f.CPU != 2 || f.MemoryMiB != 1024 {
		t.Errorf("%+v", f)
	}
	same, err := dockerfile.Read(`FROM python:3.12
ENV GREETING=hello COUNT=3
COPY --chown=worker --chmod=0755 app data /srv/
RUN x
USER worker
WORKDIR /srv/app
COPY x y
CMD python3 server.py
`, dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, wantSources := recipe(same)
	want.ReadyCmd = "curl -sf localhost:8000"
	for i, s := range want.Steps {
		if s.Type == "RUN" {
			want.Steps[i].Args = []string{"echo one\necho two\n"}
		}
	}
	got, sources := recipe(f.Recipe)
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(sources, wantSources) {
		t.Errorf("got  %+v %q\nwant %+v %q", got, sources, want, wantSources)
	}
	if f.Recipe.FromLine != 4 || f.Recipe.Steps[2].Line != 8 || f.Recipe.Steps[4].Line != 14 {
		t.Errorf("lines: %+v", f.Recipe)
	}
	for _, r := range []string{"from: template:base\nsteps: []\n", "from: x\n"} {
		f, err := Read([]byte(r), "")
		if err != nil || len(f.Recipe.Steps) != 4 || (f.Recipe.FromTemplate == "base") == (f.Recipe.FromImage == "x") || f.Recipe.ReadyCmd != "" {
			t.Errorf("%q: %+v, %v", r, f, err)
		}
	}
	if f, err := Read([]byte("from: x\nstart: y\n"), "other"); err != nil || f.Recipe.FromTemplate != "other" || f.Recipe.FromImage != "" || f.Recipe.ReadyCmd != dockerfile.ReadyCmd {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestWhatAFileMayNotHave(t *testing.T) {
	for text, want := range map[string]string{
		"": "the file is empty", "- x\n": "line 1: the file must be a mapping", "from: x\nfrom: y\n": "line 2: the file has the field from twice",
		"from: x\nwarm: 2\n": `line 2: the file has no field "warm"`, "name: x\n": "line 1: from must name an image", "from: [x]\n": "line 1: from must be a text",
		"from: x\n---\nfrom: y\n": "there must be one document", "from: \"x\n": "found unexpected end of stream", "from: x\n\ty\n": "line 2: found a tab",
		"from: x\ncpu: many\n": "line 2: cpu must be a positive number", "from: x\ncpu: -1\n": "line 2: cpu", "from: x\nmemory: 1.5\n": "line 2: memory",
		"from: x\nsteps: {run: x}\n": "line 2: steps must be a list", "from: x\nsteps: [run]\n": "a step must be a mapping",
		"from: x\nsteps:\n  - run: a\n    user: b\n": "line 3: a step must have one field", "from: x\nsteps:\n  - bake: a\n": `line 3: a step has no field "bake"`,
		"from: x\nsteps:\n  - run:\n": "line 3: run must be a text", "from: x\nsteps:\n  - run: {command: a}\n": "line 3: run must be a text",
		"from: x\nsteps:\n  - env: A\n": "line 3: env must be a mapping", "from: x\nsteps:\n  - env: {A-B: c}\n": "line 3: env has the name", "from: x\nsteps:\n  - env: {A: }\n": "the value of A",
		"from: x\nsteps:\n  - env: {A: 1, A: 2}\n": "env has the name A twice", "from: x\nsteps:\n  - copy: {from: a}\n": "copy needs from and to",
		"from: x\nsteps:\n  - copy: {from: [], to: b}\n": "from must not be empty", "from: x\nsteps:\n  - copy: {from: [a, b], to: c}\n": "must end with a slash",
		"from: x\nsteps:\n  - copy: {from: a, to: b, mode: u+x}\n": "mode must be octal", "from: x\nsteps:\n  - copy: {from: a, to: b, chmod: 1}\n": `copy has no field "chmod"`,
		"a: &a x\nfrom: *a\n": `has no field "a"`, "from: x\nstart: *a\n": "unknown anchor", "from: &a x\nname: *a\n": "name must be a text",
		"from: x\ntags: []\n": "tags must not be empty",
	} {
		_, err := Read([]byte(text), "")
		if err == nil || !errors.As(err, new(*dockerfile.Error)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Read(make([]byte, maxSize+1), ""); err == nil {
		t.Error("too large")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("from: x\nsteps:\n  - copy: {from: [a], to: b}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Read(text, "")
		if err == nil && (len(file.Recipe.Steps) < 2 || file.Recipe.FromImage == "" && file.Recipe.FromTemplate == "") {
			t.Errorf("%+v", file)
		}
		if err != nil && !errors.As(err, new(*dockerfile.Error)) {
			t.Errorf("%v", err)
		}
	})
}
