package freshness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// git runs a command without the configuration of this host.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The commands run with git itself: they have to get past its rules for names, and past what it refuses to overwrite.
func TestTheCommandsBringACheckoutToItsBranch(t *testing.T) {
	for name, c := range map[string]struct {
		branch string
		tags   []string
	}{
		"a newer commit":              {"main", nil},
		"a tag has the branch's name": {"main", []string{"main"}},
		"a tag has the target's name": {"main", []string{"origin/main"}},
		"another branch":              {"dev", nil},
		"another branch, with tags":   {"dev", []string{"dev", "origin/dev"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			upstream, checkout := filepath.Join(dir, "upstream"), filepath.Join(dir, "checkout")
			commit := func(text string, path ...string) {
				write(t, text, append([]string{upstream}, path...)...)
				git(t, upstream, "add", "--all")
				git(t, upstream, "commit", "--quiet", "--message", text)
			}
			git(t, dir, "init", "--quiet", "--initial-branch", "main", upstream)
			commit("of main", "lock")
			git(t, upstream, "branch", "dev")
			git(t, upstream, "symbolic-ref", "HEAD", "refs/heads/"+c.branch)
			commit("of the branch", "lock")
			for _, tag := range c.tags {
				git(t, upstream, "tag", tag)
			}
			git(t, dir, "clone", "--quiet", "--branch", "main", upstream, checkout)
			commit("the newest", "built", "result")
			// The build of the template has changed files, and made some.
			write(t, "of the build", checkout, "lock")
			write(t, "of the build", checkout, "built", "result")
			write(t, "of the build", checkout, "modules", "x")
			r, err := For(map[string]string{KeyBranch: c.branch}, sandbox.Repository{Branch: "main", Checkout: checkout})
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range r.Commands() {
				git(t, command.Dir, command.Args[1:]...)
			}
			if got, want := git(t, checkout, "rev-parse", "HEAD"), git(t, upstream, "rev-parse", "HEAD"); got != want {
				t.Errorf("it is at %s, and the branch at %s", got, want)
			}
			if status := git(t, checkout, "status", "--porcelain"); status != "?? modules/" {
				t.Errorf("its status is %q", status)
			}
		})
	}
}
