package sandbox

import (
	"errors"
	"strings"
	"testing"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func step(kind string, args ...string) RecipeStep {
	s := RecipeStep{Type: kind, Args: args}
	if kind == "COPY" {
		s.FilesHash = hash
	}
	return s
}

func TestARecipeThatCanBeDone(t *testing.T) {
	long := strings.Repeat("a", 128<<10-1)
	r := Recipe{FromImage: "r:5000/a/b@sha256:00", Registry: &Registry{}, StartCmd: long[:64<<10], Steps: []RecipeStep{
		step("RUN", long), step("RUN", "id", "root"), step("COPY", "a", "b", "u:g", "0755"), step("COPY", "a", "b", "", "644"), step("WORKDIR", "../x"),
		step("USER", "ann.b-c_1"), step("ENV", "_A1", "", "B", "x=y"), step("ARG", "A", "b"), step("CLONE", "https://git.example.com/x.git", "feature/x", "../app")},
		WarmUp: []string{"true"}}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
}

func TestWrongRecipesAreRefused(t *testing.T) {
	of := func(s RecipeStep) Recipe {
		return Recipe{FromTemplate: "base", Steps: []RecipeStep{step("RUN", "true"), s}}
	}
	many := Recipe{FromImage: "x", Steps: make([]RecipeStep, MaxSteps+1)}
	for want, r := range map[string]Recipe{
		"exactly one of fromImage and fromTem":             {},
		"exactly one of fromImage":                         {FromImage: "a", FromTemplate: "b"},
		"a recipe can have 1000 steps, got 1001":           many,
		"startCmd has a NUL byte":                          {FromImage: "a", StartCmd: "a\x00b"},
		"step 2: RUN needs a command":                      of(step("RUN")),
		"step 2: COPY needs a source":                      of(step("COPY", "a")),
		"needs filesHash":                                  of(RecipeStep{Type: "COPY", Args: []string{"a", "b"}, FilesHash: "../x"}),
		"has the mode":                                     of(step("COPY", "a", "b", "", "rwx")),
		"WORKDIR needs a directory":                        of(step("WORKDIR", "")),
		"USER needs the name":                              of(step("USER", "a b")),
		"ENV needs names":                                  of(step("ENV", "A")),
		"ENV has the name":                                 of(step("ENV", "A=B", "c")),
		"\"VOLUME\" is unknown":                            of(step("VOLUME", "/x")),
		"an argument has a NUL byte":                       of(step("RUN", "a\x00")),
		"an argument has 131072 bytes":                     of(step("RUN", strings.Repeat("a", 128<<10))),
		"readyCmd has a NUL byte or more than 65536 bytes": {FromImage: "a", ReadyCmd: strings.Repeat("a", 64<<10+1)},
		"only COPY has a filesHash":                        of(RecipeStep{Type: "RUN", Args: []string{"true"}, FilesHash: hash}),
		"not the reference of an image":                    {FromImage: "a b"},
		"need fromImage":                                   {FromTemplate: "a", Registry: &Registry{}},
		"ARG has the name":                                 of(step("ARG", "", "c")),
		"the URL is not a URL":                             of(step("CLONE", "git@host:x.git")),
		"the URL has the scheme \"file\"":                  of(step("CLONE", "file://host/etc")),
		"the URL has the scheme \"ext\"":                   of(step("CLONE", "ext://sh/x")),
		"the URL is not a URL, as":                         of(step("CLONE", "--upload-pack=sh")),
		"has credentials":                                  of(step("CLONE", "https://me:secret@git.example.com/x")),
		"the URL has credentials":                          of(step("CLONE", "https://token@git.example.com/x")),
		"ref \"-b\" is an option":                          of(step("CLONE", "https://h/x", "-b")),
		"directory \"-C\" is an option":                    of(step("CLONE", "https://h/x", "", "-C")),
		"a template is of one repository":                  {FromImage: "a", Steps: []RecipeStep{step("CLONE", "https://h/x"), step("CLONE", "https://h/y")}},
		"warms up is empty":                                {FromImage: "a", WarmUp: []string{""}},
		"100 commands that warm it up, got 101":            {FromImage: "a", WarmUp: make([]string, 101)},
	} {
		if err := r.Check(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestNamesOfTemplatesAndTags(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "ns/a_b-1": true, strings.Repeat("a", 128): true, strings.Repeat("n", 64) + "/a": true,
		"": false, "A": false, "a:b": false, "a/b/c": false, "../a": false, "/a": false, strings.Repeat("a", 129): false, strings.Repeat("n", 65) + "/a": false,
	} {
		if err := (TemplateRequest{Name: name, Tags: []string{"default", "v1.2"}}).Check(); (err == nil) != want || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, tag := range []string{"", "A", "a:b", "a/b", strings.Repeat("a", 129), "6c3a6f3e-3e37-4a2e-9a4a-0c1f2a3b4c5d"} {
		if err := (TemplateRequest{Name: "a", Tags: []string{"v1", tag}}).Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("the tag %q: %v", tag, err)
		}
	}
	if err := (TemplateRequest{Name: "a", MemoryMiB: -1}).Check(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestURLsOfRepositories(t *testing.T) {
	for _, good := range []string{"https://h/x.git", "http://1.2.3.4:80/x", "git://h/x", "ssh://git@h/x"} {
		if err := CheckRepositoryURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "x", "/x", "https:", "https:///x", "https:x", "ssh://git:pw@h/x", "https://h/a b", "https://h/a\nb", "https://h/" + strings.Repeat("a", 2048)} {
		if err := CheckRepositoryURL(bad); err == nil {
			t.Errorf("%.40q is accepted", bad)
		}
	}
}

func TestReadsAreAlwaysAllowedWritesOnlyWhenReady(t *testing.T) {
	for _, tt := range []struct {
		Freshness
		open, decided bool
	}{
		{Freshness{}, true, true},
		{Freshness{Phase: FreshnessReady, Branch: "a"}, true, true},
		{Freshness{Phase: FreshnessFailed}, false, true},
		{Freshness{Phase: FreshnessSyncing}, false, false},
		{Freshness{Phase: FreshnessRestored}, false, false},
		{Freshness{Branch: "a"}, false, false},
	} {
		if tt.Open() != tt.open || tt.Decided() != tt.decided {
			t.Errorf("%+v: open %v, decided %v", tt.Freshness, tt.Open(), tt.Decided())
		}
	}
	if err := error(&FreshnessError{"no route"}); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "no route") {
		t.Error(err)
	}
}
