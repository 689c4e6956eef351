package recipe

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func step(kind string, args ...string) sandbox.RecipeStep {
	s := sandbox.RecipeStep{Type: kind, Args: args}
	if kind == "COPY" {
		s.FilesHash = hash
	}
	return s
}

func TestStepsAreRead(t *testing.T) {
	steps, err := Read(sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{
		step("RUN", "echo hi"), step("RUN", "id", "root"), step("COPY", "a", "b", "user", "0755"), step("WORKDIR", "/app"),
		step("USER", "ann"), step("ENV", "A", "1", "B", "$A"), step("ARG", "C", ""), step("CLONE", "https://h/x", "main", "/app"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if steps[0].Run.User != "" || steps[1].Run.User != "root" || steps[2].Copy.Hash != hash || steps[2].Copy.Mode != "0755" ||
		steps[3].Workdir != "/app" || steps[4].User != "ann" || steps[5].Env[1] != (Variable{"B", "$A"}) || steps[6].Env[0].Name != "C" || *steps[7].Clone != (Clone{"https://h/x", "main", "/app"}) {
		t.Errorf("%+v", steps)
	}
	if steps[1].Text != "RUN id root" {
		t.Errorf("the log says %q", steps[1].Text)
	}
}

func TestWrongRecipesAreNotRead(t *testing.T) {
	if _, err := Read(sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{{Type: "RUN"}}}); !errors.Is(err, sandbox.ErrInvalid) {
		t.Error(err)
	}
}

func TestTheSameStepsHaveTheSameName(t *testing.T) {
	read := func(s sandbox.RecipeStep) Step {
		steps, err := Read(sandbox.Recipe{FromImage: "x", Steps: []sandbox.RecipeStep{s}})
		if err != nil {
			t.Fatal(err)
		}
		return steps[0]
	}
	first := Chain("base", read(step("RUN", "a")), "")
	forced := step("RUN", "a")
	forced.Force = true
	if got := Chain("base", read(forced), ""); got != first {
		t.Error("force is part of the name")
	}
	copied := Chain("base", read(step("COPY", "a", "b")), "sum1")
	names := map[string]string{"": first}
	for what, name := range map[string]string{
		"another command": Chain("base", read(step("RUN", "b")), ""), "another user": Chain("base", read(step("RUN", "a", "root")), ""),
		"another beginning": Chain("other", read(step("RUN", "a")), ""), "a copy": copied,
		"other files": Chain("base", read(step("COPY", "a", "b")), "sum2"), "a workdir": Chain("base", read(step("WORKDIR", "a")), ""),
	} {
		for other, had := range names {
			if had == name {
				t.Errorf("%s has the name of %q", what, other)
			}
		}
		names[what] = name
	}
	said := step("COPY", "a", "b")
	said.FilesHash = strings.Repeat("f", 64)
	if got := Chain("base", read(said), "sum1"); got != copied {
		t.Error("what the client calls the files is part of the name")
	}
}

func TestVariablesAreReplacedAndCommandsAreNotRun(t *testing.T) {
	for value, want := range map[string]string{
		"plain": "plain", "$A:x": "1:x", "${A}": "1", "${B:-none}": "none", "$(echo bad)": "$(echo bad)", "`echo bad`": "`echo bad`",
		`"; echo bad; "`: `"; echo bad; "`, `\$A`: `$A`, `\$(echo bad)`: `$(echo bad)`, `a\b`: `a\b`, "a\nb": "a\nb", "${B:-$(echo bad)}": "$(echo bad)", "%s": "%s", "": "",
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", Quote(value))
		cmd.Env = []string{"A=1"}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%q gives %q (%v), want %q", value, out, err, want)
		}
	}
}

func TestWhatStandsForE2BsBase(t *testing.T) {
	for name, want := range map[string]bool{"e2bdev/base": true, "e2bdev/base:latest": true, "docker.io/e2bdev/base": true, "e2bdev/base:v2": false, "base": false, "ubuntu": false} {
		if IsBaseImage(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestAWordIsOne(t *testing.T) {
	for _, text := range []string{"", "a b", "it's", "''", "$A `x` \\ \"", "a\nb"} {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+Word(text)).CombinedOutput()
		if err != nil || string(out) != text {
			t.Errorf("%q became %q, %v", text, out, err)
		}
	}
}

func TestACommitDoesNotMove(t *testing.T) {
	for ref, moves := range map[string]bool{"": true, "main": true, "v1": true, strings.Repeat("a", 39): true, strings.Repeat("a", 40): false, strings.Repeat("0", 64): false} {
		steps, err := Read(sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step("CLONE", "https://h/x", ref)}})
		if err != nil {
			t.Fatal(err)
		}
		if steps[0].Moves() != moves || !steps[0].ChangesMachine() {
			t.Errorf("%q moves: %v", ref, steps[0].Moves())
		}
	}
}
