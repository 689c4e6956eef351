package steps

import (
	"testing"

	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/sandbox"
)

// What needs no program of the guest asks it for nothing: there is none.
func TestVariablesAndPathsWithoutADollarNeedNoGuest(t *testing.T) {
	s := Shell{Env: map[string]string{}, Defaults: sandbox.Defaults{Workdir: "/srv"}}
	if err := s.Do(t.Context(), "1", recipe.Step{Env: []recipe.Variable{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}}); err != nil || s.Env["A"] != "2" {
		t.Errorf("%v, %v", s.Env, err)
	}
	for dir, want := range map[string]string{"/a/../b": "/b", "a": "/srv/a", "../a": "/a", "../../..": "/"} {
		if got, err := s.absolute(t.Context(), dir, "user"); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", dir, got, err, want)
		}
	}
}
