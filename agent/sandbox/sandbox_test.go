package sandbox

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/agent/account"
)

func state(t testing.TB, passwd string) *State {
	dir := t.TempDir()
	path := filepath.Join(dir, "passwd")
	if err := os.WriteFile(path, []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	return New(account.Open(path, filepath.Join(dir, "group")))
}

const both = "root:x:0:0::/root:\nuser:x:1:1::/home/user:\nann:x:2:2::/home/ann:\n"

func TestUser(t *testing.T) {
	s := state(t, both)
	var unknown *UserError
	if _, err := s.User("ghost"); !errors.As(err, &unknown) || err.Error() != "invalid username: 'ghost'" {
		t.Error(err)
	}
	if u, err := s.User(""); err != nil || u.Name != "user" {
		t.Error(u, err)
	}
	s.Set(Identity{DefaultUser: "ann"})
	if u, err := s.User(""); err != nil || u.Name != "ann" {
		t.Error(u, err)
	}
	s.Set(Identity{DefaultUser: "ghost"})
	if _, err := s.User(""); !errors.As(err, &unknown) {
		t.Error(err)
	}
	if u, err := state(t, "root:x:0:0::/root:\n").User(""); err != nil || u.Name != "root" {
		t.Error(u, err)
	}
}

func TestRequestUser(t *testing.T) {
	s := state(t, both)
	for auth, want := range map[string]string{
		"": "user", "Basic YW5uOg==": "ann", "Basic YW5uOnBhc3M=": "ann", "Basic !!": "user", "Bearer x": "user", "Basic Og==": "user",
	} {
		if u, err := s.RequestUser(http.Header{"Authorization": {auth}}); err != nil || u.Name != want {
			t.Errorf("%q: %v %v", auth, u, err)
		}
	}
}

func TestPath(t *testing.T) {
	s := state(t, both)
	u := account.User{Home: "/home/user"}
	for in, want := range map[string]string{
		"": "/home/user", "~": "/home/user", "~/x": "/home/user/x", "a/../b": "/home/user/b", "/a//b/": "/a/b", "../../..": "/", "a~": "/home/user/a~",
	} {
		if got, err := s.Path(in, u); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	s.Set(Identity{DefaultWorkdir: "/work"})
	if got, _ := s.Path("", u); got != "/work" {
		t.Error(got)
	}
	if got, _ := s.Path("x", u); got != "/home/user/x" {
		t.Error(got)
	}
}

func TestEqual(t *testing.T) {
	if !Equal("a", "a") || Equal("a", "b") || Equal("a", "") || Equal("a", "aa") {
		t.Error("wrong")
	}
}

func FuzzPath(f *testing.F) {
	s := state(f, both)
	f.Add("~/../x\x00")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := s.Path(in, account.User{Home: "/home/user"})
		if err == nil && (!filepath.IsAbs(got) || strings.Contains(got, "\x00") || filepath.Clean(got) != got) {
			t.Errorf("%q gives %q", in, got)
		}
	})
}

func FuzzRequestUser(f *testing.F) {
	s := state(f, both)
	f.Add("Basic YW5uOg==")
	f.Fuzz(func(t *testing.T, auth string) {
		u, err := s.RequestUser(http.Header{"Authorization": {auth}})
		if err == nil && u.Name == "" {
			t.Error("a user without a name")
		}
	})
}
