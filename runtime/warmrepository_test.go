package runtime

import (
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
)

// A warm machine serves the template, the repository and the driver that it was made for, and is synced when it is taken.
func TestAWarmMachineIsOfARepository(t *testing.T) {
	w := newForge(t)
	w.cfg.WarmTemplates = map[string]pool.Target{"app": {Ready: 1}}
	w.restart()
	const one, two = "https://git.example.com/x/app.git", "https://git.example.com/y/app.git"
	from := func(url string) {
		w.build("app", sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{step1("CLONE", url, "main", "/srv/app")}})
	}
	warm := func(repo string) int {
		for _, s := range w.rt.pool.Stats(time.Now()) {
			if s.Key.Repo == repo && s.Key.Template != "" {
				return s.Ready
			}
		}
		return 0
	}
	await := func(repo string, ready int) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for warm(repo) != ready {
			select {
			case <-deadline:
				t.Fatalf("%d are warm of %s, want %d", warm(repo), repo, ready)
			case <-time.After(time.Millisecond): // The pool works in the background.
			}
		}
	}
	from(one)
	await(one, 1)
	w.commands()
	w.refill(false)
	w.forgetHistory()
	sb := w.fromApp()
	if slices.Contains(w.history(), "create") {
		t.Error("the sandbox was not made of the warm machine")
	}
	if got := w.decided(sb.ID); got.Phase != freshness.Ready || !slices.Contains(w.commands(), "git reset --hard refs/remotes/origin/main --") {
		t.Errorf("%+v", got)
	}
	w.refill(true)
	await(one, 1)
	from(two)
	await(two, 1)
	await(one, 0)
	if err := w.rt.DeleteTemplate(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	await(two, 0)
}
