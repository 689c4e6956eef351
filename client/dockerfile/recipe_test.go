package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// show writes the steps of a recipe, one a line, without those that every Dockerfile has.
func show(r Recipe) string {
	var out []string
	for _, s := range r.Steps {
		if s.Line > 0 {
			out = append(out, fmt.Sprintf("%d %s %q", s.Line, s.Type, s.Args))
		}
	}
	return strings.Join(out, "\n")
}

func TestInstructionsBecomeSteps(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"run":                      {"RUN echo  hi | cat", `2 RUN ["echo  hi | cat"]`},
		"lower case":               {"run true", `2 RUN ["true"]`},
		"exec form":                {`RUN ["echo", "it's", "a b", ""]`, `2 RUN ["echo 'it'\\''s' 'a b' ''"]`},
		"no list":                  {`RUN [ -f x ]`, `2 RUN ["[ -f x ]"]`},
		"continued":                {"RUN a \\\n  # comment\n\n  b \\  \n&& c\nRUN d", "2 RUN [\"a   b && c\"]\n7 RUN [\"d\"]"},
		"an escaped escape":        {"RUN a \\\\\nRUN b", "2 RUN [\"a \\\\\\\\\"]\n3 RUN [\"b\"]"},
		"continued at the end":     {"RUN a \\", `2 RUN ["a"]`},
		"windows":                  {"RUN a \\\r\n b\r\n", `2 RUN ["a  b"]`},
		"cache mount":              {"RUN --mount=type=cache,target=/x pip", `2 RUN ["pip"]`},
		"document":                 {"RUN <<EOF\na $X\n\n# kept\nb\nEOF\nRUN c", "2 RUN [\"a $X\\n\\n# kept\\nb\\n\"]\n8 RUN [\"c\"]"},
		"document with tabs":       {"RUN <<-EOF\n\ta\n\tEOF", `2 RUN ["a\n"]`},
		"document of a command":    {"RUN cat <<'A' <<B > f\n1\nA\n2\nB", `2 RUN ["cat <<'A' <<B > f\n1\nA\n2\nB"]`},
		"not a document":           {`RUN cat <<<EOF; echo "<<EOF" $((1 << 2))`, `2 RUN ["cat <<<EOF; echo \"<<EOF\" $((1 << 2))"]`},
		"env":                      {`ENV A=1 B="x $X y" C='lit $A' D=a\ b E=`, `2 ENV ["A" "1" "B" "x ${X} y" "C" "lit \\$A" "D" "a b" "E" ""]`},
		"env, old form":            {"ENV A  some value", `2 ENV ["A" "some value"]`},
		"env with variables":       {`ENV P=/x:$PATH Q=${HOME:-/} R=cost\$ S='$1' T="a\"b"`, `2 ENV ["P" "/x:${PATH}" "Q" "${HOME:-/}" "R" "cost\\$" "S" "\\$1" "T" "a\"b"]`},
		"a lone dollar":            {`ENV A=5$ B=$1`, `2 ENV ["A" "5\\$" "B" "\\$1"]`},
		"arg":                      {"ARG A=1 B\nARG C=$A", "2 ENV [\"A\" \"1\"]\n3 ENV [\"C\" \"${A}\"]"},
		"env wins over arg":        {"ENV A=1\nARG A=2", `2 ENV ["A" "1"]`},
		"user":                     {"ARG U=me\nUSER ${U}:staff", "2 ENV [\"U\" \"me\"]\n3 USER [\"me\"]"},
		"workdir":                  {`WORKDIR "/a b/$X"`, `2 WORKDIR ["/a b/${X}"]`},
		"copy":                     {"COPY --chown=me:us --chmod=755 a dst/", `2 COPY ["a" "dst/" "me:us" "755"]`},
		"copy many":                {"COPY a b .", `2 COPY ["a" "." "" ""]`},
		"copy in json":             {`COPY ["a b", "/c d"]`, `2 COPY ["a b" "/c d" "" ""]`},
		"copy with variables":      {"ENV A=1\nADD f$A.txt ${A:+x}$D/", "2 ENV [\"A\" \"1\"]\n3 COPY [\"f1.txt\" \"${A:+x}${D}/\" \"\" \"\"]"},
		"copy with a default":      {"COPY ${A:-${B-c}} d", `2 COPY ["c" "d" "" ""]`},
		"what has no effect":       {"EXPOSE 80\nLABEL a=b\nVOLUME /x\nSHELL [\"sh\"]\nHEALTHCHECK NONE\nSTOPSIGNAL 9\nMAINTAINER me", ""},
		"a value that was unset":   {"ENV A=$PATH\nCOPY ${A-x} d", "2 ENV [\"A\" \"${PATH}\"]\n3 COPY [\"x\" \"d\" \"\" \"\"]"},
		"no variable of a command": {"RUN echo $A ${B}", `2 RUN ["echo $A ${B}"]`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Read("FROM x\n"+tt.text, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := show(r); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestWhatIsRefusedHasItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "no FROM",
		"RUN x":                           "line 1: RUN stands before FROM",
		"FROM a\n\nFROM b":                "line 3: a second FROM",
		"FROM a\nCOPY --from=b x y":       "line 2: --from",
		"FROM a\nADD https://x/y z":       "line 2: ADD of a URL",
		"FROM a\nADD x.tar.gz z":          "line 2: ADD of an archive",
		"FROM a\n# c\nONBUILD RUN x":      "line 3: ONBUILD",
		"FROM a\nNONSENSE x":              "line 2: unknown instruction",
		"FROM a\n{}":                      `line 2: "{}" is not an instruction`,
		"FROM a\nRUN":                     "line 2: RUN needs an argument",
		"FROM a\nRUN --mount=type=cache":  "line 2: RUN needs an argument",
		"FROM a\nRUN --mount=type=bind x": "line 2: RUN has the flag --mount=type=bind",
		"FROM a\nRUN <<E\nx":              "line 2: the document <<E must end with the line \"E\"",
		"FROM a\nCOPY <<E x\nE":           "line 2: COPY of a document",
		"FROM a\nCOPY x":                  "line 2: COPY needs a source and a destination",
		"FROM a\nCOPY x y z":              "line 2: the destination of more than one source",
		"FROM a\nCOPY --chmod=u+x x y":    "line 2: --chmod must be octal",
		"FROM a\nCOPY --parents x y":      "line 2: COPY has the flag --parents",
		"FROM a\nCOPY $X y":               "line 2: the variable X is not set",
		"FROM a\nWORKDIR ''":              "line 2: WORKDIR needs a directory",
		"FROM a\nENV A":                   "line 2: ENV needs a value",
		"FROM a\nENV A=1 B":               "line 2: ENV needs NAME=VALUE",
		"FROM a\nENV A=1 B=$A":            "line 2: ENV uses A, which it sets before",
		"FROM a\nENV 1=1":                 "line 2: ENV has the name",
		"FROM a\nENV A='x":                "line 2: a quote ' is not closed",
		"FROM a\nENV A=${x":               "line 2: a brace is not closed",
		"FROM a\nENV A='\\'$x":            "line 2: a backslash stands before",
		"FROM scratch":                    "line 1: FROM scratch",
		"FROM template:":                  "line 1: FROM names nothing",
		"FROM a b":                        "line 1: FROM needs one image",
		"FROM --x=y a":                    "line 1: FROM has the unknown flag",
		"FROM $X":                         "line 1: the variable X",
		"# escape=x\nFROM a":              "line 1: the escape character",
		"FROM a\nRUN x\x00":               "line 2: there is a zero byte",
		strings.Repeat("#", maxSize+1):    "more than",
	} {
		_, err := Read(text, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, new(*Error)) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func TestWhatARecipeBeginsWith(t *testing.T) {
	for _, tt := range []struct {
		text, template, image, from string
		args                        map[string]string
	}{
		{text: "FROM debian:12", image: "debian:12"},
		{text: "FROM --platform=linux/amd64 debian AS base", image: "debian"},
		{text: "# syntax=docker/dockerfile:1\nARG V=12\nFROM debian:${V}", image: "debian:12"},
		{text: "ARG V=12\nFROM debian:$V", args: map[string]string{"V": "13"}, image: "debian:13"},
		{text: "FROM template:team/app:v1", from: "team/app:v1"},
		{text: "FROM $WHAT", template: "base", from: "base"},
		{text: "RUN x", template: "base", from: "base"},
	} {
		r, err := Read(tt.text, Options{FromTemplate: tt.template, Args: tt.args})
		if err != nil || r.FromImage != tt.image || r.FromTemplate != tt.from {
			t.Errorf("%q: image %q, template %q, %v", tt.text, r.FromImage, r.FromTemplate, err)
		}
	}
}

func TestUserAndDirectoryAreThoseOfE2BUnlessSet(t *testing.T) {
	list := func(text string) (out []string) {
		r, err := Read(text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Steps {
			out = append(out, s.Type+" "+s.Args[0])
		}
		return out
	}
	if got := list("FROM a"); !slices.Equal(got, []string{"USER root", "WORKDIR /", "USER user", "WORKDIR /home/user"}) {
		t.Errorf("%q", got)
	}
	if got := list("FROM a\nUSER me\nWORKDIR /x"); !slices.Equal(got, []string{"USER root", "WORKDIR /", "USER me", "WORKDIR /x"}) {
		t.Errorf("%q", got)
	}
}

func TestTheStartCommand(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"CMD serve $PORT":                     "serve $PORT",
		`CMD ["serve", "a b"]`:                "serve 'a b'",
		"CMD a\nCMD b":                        "b",
		`ENTRYPOINT ["e"]`:                    "e",
		"ENTRYPOINT [\"e\"]\nCMD [\"x\"]":     "e x",
		"CMD [\"x\"]\nENTRYPOINT e | f":       "e | f",
		"ENTRYPOINT [\"e\"]\nCMD echo \"$A\"": `e /bin/sh -c 'echo "$A"'`,
		`CMD ["A=b"]`:                         "'A=b'",
	} {
		r, err := Read("FROM a\n"+text, Options{})
		if err != nil || r.StartCmd != want || (r.ReadyCmd == "sleep 20") != (want != "") {
			t.Errorf("%q: %q, ready %q, %v", text, r.StartCmd, r.ReadyCmd, err)
		}
	}
}

func TestNotes(t *testing.T) {
	r, err := Read("FROM a\nEXPOSE 80\nUSER me:us", Options{Args: map[string]string{"X": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Note{{2, "EXPOSE has no effect on a template"}, {3, "the group us of USER has no effect: it is that of the user"}, {0, "no ARG asks for X"}}
	if !slices.Equal(r.Notes, want) {
		t.Errorf("%+v", r.Notes)
	}
}

func TestGivenArgsAreNotReadAsWords(t *testing.T) {
	r, err := Read("FROM a\nARG A=x\nCOPY $A d", Options{Args: map[string]string{"A": `it's $HOME "x"\`}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(r), "2 ENV [\"A\" \"it's \\\\$HOME \\\"x\\\"\\\\\"]\n3 COPY [\"it's $HOME \\\"x\\\"\\\\\" \"d\" \"\" \"\"]"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAnotherEscapeCharacter(t *testing.T) {
	r, err := Read("# escape=`\nFROM a\nRUN a `\n\\b\nENV A=`$x", Options{})
	if got, want := show(r), "3 RUN [\"a \\\\b\"]\n5 ENV [\"A\" \"\\\\$x\"]"; err != nil || got != want {
		t.Errorf("got\n%s\nwant\n%s, %v", got, want, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{"FROM a\nRUN <<E\nx\nE\nENV A=${B:-c} D='e'\nCOPY a b /c/", "# escape=`\nARG A=1\nFROM x:$A\nRUN [\"a\"]\nCMD b `\n c", "FROM a\nENV A \"$", "FROM a\nCOPY --chown=$ ${a}${"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Read(text, Options{Args: map[string]string{"A": "$'\"\\"}})
		lines := strings.Count(text, "\n") + 1
		if err != nil {
			if e := new(Error); !errors.As(err, &e) || e.Line < 0 || e.Line > lines || e.Message == "" {
				t.Errorf("%#v", err)
			}
			return
		}
		if (r.FromImage == "") == (r.FromTemplate == "") {
			t.Errorf("image %q, template %q", r.FromImage, r.FromTemplate)
		}
		last := 0
		for i, s := range r.Steps {
			if s.Line > lines || s.Line != 0 && s.Line < last || len(s.Args) == 0 || s.Type == "ENV" && len(s.Args)%2 != 0 || (s.Type == "COPY") != (len(s.Sources) > 0) {
				t.Errorf("step %d: %+v", i, s)
			}
			last = max(last, s.Line)
		}
	})
}
