package freshness

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestParse(t *testing.T) {
	whole := Request{"main", "origin/main", "/home/user/repo"}
	for name, tc := range map[string]struct {
		metadata map[string]string
		want     Request
		bad      bool
	}{
		"nothing":     {nil, Request{}, false},
		"other keys":  {map[string]string{"branch": "-x", "rundlet.synced": "y"}, Request{}, false},
		"gate":        {map[string]string{KeyBranch: "main", KeyTarget: "origin/main"}, asked, false},
		"gate, alias": {map[string]string{"firkin.sync.branch": "main", "firkin.sync.target": "origin/main"}, asked, false},
		"background":  {map[string]string{KeyBranch: "main", KeyTarget: "origin/main", KeyCheckout: "/home/user/repo"}, whole, false},
		"one of each": {map[string]string{KeyBranch: "main", "firkin.sync.target": "origin/main", "firkin.sync.checkout": "/home/user/repo"}, whole, false},
		"both, equal": {map[string]string{KeyBranch: "main", "firkin.sync.branch": "main", KeyTarget: "origin/main"}, asked, false},
		"both differ": {map[string]string{KeyBranch: "main", "firkin.sync.branch": "dev", KeyTarget: "origin/main"}, Request{}, true},
		"refs/heads/": {map[string]string{KeyBranch: "refs/heads/main", KeyTarget: "origin/main"}, asked, false},
		"branch only": {map[string]string{KeyBranch: "main"}, Request{}, true},
		"target only": {map[string]string{KeyTarget: "main"}, Request{}, true},
		"path only":   {map[string]string{KeyCheckout: "/a"}, Request{}, true},
		"empty ones":  {map[string]string{KeyBranch: "", KeyTarget: "", KeyCheckout: ""}, Request{}, false},
	} {
		got, err := Parse(tc.metadata)
		if got != tc.want || errors.Is(err, ErrInvalid) != tc.bad || (err != nil) != tc.bad {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if got.Gated() != (tc.want.Branch != "") {
			t.Errorf("%s: gated is %v", name, got.Gated())
		}
	}
}

func TestHostileRefsAreRefused(t *testing.T) {
	for _, good := range []string{
		"main", "feature/x", "v1.2.3", "a-b_c", "issue-#7", "größe", "deadbeef", strings.Repeat("a", 255),
		"0123456789012345678901234567890123456789", "user@host", "a@b", "HEAD",
	} {
		if r, err := Parse(map[string]string{KeyBranch: good, KeyTarget: good}); err != nil || r.Branch != good || r.Target != good {
			t.Errorf("%q: %+v, %v", good, r, err)
		}
	}
	for _, bad := range []string{
		"-x", "--upload-pack=/bin/sh", "--", "+main", "+a:b", "a:b", ":main", "^main", "main~1", "main^{}", "@", "@{-1}", "a@{u}",
		"a..b", "..", "/", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a/-b", "a b", "a\tb", "a\nb", "a\x00", "\x7f",
		"a?b", "a*", "a[b", `a\b`, "\xff", "a\u202eb", " ", "refs/heads/", "refs/heads/-x", strings.Repeat("a", 256),
	} {
		for _, metadata := range []map[string]string{
			{KeyBranch: bad, KeyTarget: "main"}, {KeyBranch: "main", KeyTarget: bad}, {"firkin.sync.branch": bad, KeyTarget: "main"},
		} {
			_, err := Parse(metadata)
			if !errors.Is(err, ErrInvalid) || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q: got %v", metadata, err)
			}
		}
	}
}

func TestHostilePathsAreRefused(t *testing.T) {
	parse := func(p string) error {
		_, err := Parse(map[string]string{KeyBranch: "a", KeyTarget: "b", KeyCheckout: p})
		return err
	}
	for _, good := range []string{"/a", "/home/user/my repo", "/-x", "/" + strings.Repeat("a", 4094)} {
		if err := parse(good); err != nil {
			t.Errorf("%.40q: %v", good, err)
		}
	}
	for _, bad := range []string{"a", "-C", "./a", "/", "//a", "/a/", "/a/../b", "/a/./b", "/..", "/a\nb", "/a\x00", "/\xff", "/" + strings.Repeat("a", 4095)} {
		if err := parse(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func TestSyncIsFetchThenCheckoutThenReset(t *testing.T) {
	r, err := Parse(map[string]string{KeyBranch: "refs/heads/dev", KeyTarget: "v1", KeyCheckout: "/src"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range r.Commands() {
		got = append(got, strings.Join(c.Args, " "))
		if c.Dir != "/src" || !reflect.DeepEqual(c.Env, []string{"GIT_TERMINAL_PROMPT=0"}) {
			t.Errorf("got %+v", c)
		}
	}
	want := []string{"git fetch origin refs/heads/dev", "git checkout --force dev --", "git reset --hard v1 --"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if c := asked.Commands(); c != nil {
		t.Errorf("without a checkout: %v", c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("main", "origin/main", "/src")
	f.Add("refs/heads/--upload-pack=x", "+a:b", "/../etc")
	f.Add("refs/heads/refs/heads/a", "a@{0}", "/a\x00")
	f.Fuzz(func(t *testing.T, branch, target, checkout string) {
		r, err := Parse(map[string]string{KeyBranch: branch, "firkin.sync.target": target, KeyCheckout: checkout})
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("unclear error %q", err)
			}
			return
		}
		if r.Gated() != (branch != "" && target != "") {
			t.Errorf("%q, %q: gated is %v", branch, target, r.Gated())
		}
		for _, c := range r.Commands() {
			for i, arg := range c.Args {
				ours := arg == "--" && i == len(c.Args)-1 || (arg == "--hard" || arg == "--force") && i == 2
				if arg == "" || !ours && strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, "\x00\n :") {
					t.Errorf("%q: argument %q", c.Args, arg)
				}
			}
		}
	})
}

func TestASandboxOfARepositoryIsKeptAtItsBranch(t *testing.T) {
	repo := sandbox.Repository{URL: "https://h/x", Branch: "main", Commit: "c", Checkout: "/app", User: "ann"}
	tagged := repo
	tagged.Branch = ""
	whole := Request{"main", "origin/main", "/app"}
	for name, tc := range map[string]struct {
		repo     sandbox.Repository
		metadata map[string]string
		want     Request
		bad      bool
	}{
		"nothing is said":           {repo, nil, whole, false},
		"other metadata":            {repo, map[string]string{"a": "b"}, whole, false},
		"off":                       {repo, map[string]string{KeySync: Off}, Request{}, false},
		"on":                        {repo, map[string]string{KeySync: "on"}, Request{}, true},
		"off and a branch":          {repo, map[string]string{KeySync: Off, KeyBranch: "x", KeyTarget: "x"}, Request{}, true},
		"a branch":                  {repo, map[string]string{KeyBranch: "refs/heads/x"}, Request{"x", "origin/x", "/app"}, false},
		"a branch by the alias":     {repo, map[string]string{"firkin.sync.branch": "x"}, Request{"x", "origin/x", "/app"}, false},
		"a commit":                  {repo, map[string]string{KeyTarget: "abc"}, Request{"main", "abc", "/app"}, false},
		"a directory":               {repo, map[string]string{KeyCheckout: "/b"}, Request{"main", "origin/main", "/b"}, false},
		"an option":                 {repo, map[string]string{KeyBranch: "-x"}, Request{}, true},
		"of a tag":                  {tagged, nil, Request{}, false},
		"of a tag, with a branch":   {tagged, map[string]string{KeyBranch: "x"}, Request{"x", "origin/x", "/app"}, false},
		"of a tag, with a commit":   {tagged, map[string]string{KeyTarget: "abc"}, Request{}, true},
		"of nothing":                {sandbox.Repository{}, nil, Request{}, false},
		"of nothing, with a branch": {sandbox.Repository{}, map[string]string{KeyBranch: "x"}, Request{}, true},
	} {
		got, err := For(tc.metadata, tc.repo)
		if got != tc.want || (err != nil) != tc.bad || tc.bad && (!errors.Is(err, ErrInvalid) || !errors.Is(err, sandbox.ErrInvalid)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
