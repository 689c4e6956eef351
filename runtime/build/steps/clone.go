package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

// noPrompt makes git fail where it would ask for a password: a build cannot answer.
const noPrompt = "GIT_TERMINAL_PROMPT"

// clone clones the repository of the template. The steps that follow, and sandboxes, begin in its checkout.
func (s *Shell) clone(ctx context.Context, number string, c recipe.Clone) error {
	user := cmp.Or(s.Defaults.User, DefaultUser)
	name := strings.TrimSuffix(path.Base(strings.TrimRight(c.URL, "/")), ".git")
	dir, err := s.absolute(ctx, cmp.Or(c.Directory, name), user)
	if err == nil {
		err = sandbox.CheckCheckout(dir)
	}
	if err != nil {
		return fmt.Errorf("the directory of the checkout: %w", err)
	}
	s.Defaults.Workdir = "/" // The former one may be closed to root's shell, or gone.
	// Its parent need not belong to the user, who gets the checkout only.
	if _, err := s.ask(ctx, fmt.Sprintf(`mkdir -p -- %[1]s && chown -- %[2]s: %[1]s`, recipe.Word(dir), recipe.Word(user)), "root"); err != nil {
		return err
	}
	s.Defaults.Workdir = dir
	commands := []string{fmt.Sprintf(`git clone --quiet -- %s .`, recipe.Word(c.URL))}
	if c.Ref != "" {
		commands = append(commands, fmt.Sprintf(`git checkout --quiet %s --`, recipe.Word(strings.TrimPrefix(c.Ref, "refs/heads/"))))
	}
	for _, command := range commands {
		out := &lines.Writer{Log: s.Log, Step: number}
		env := map[string]string{noPrompt: "0"}
		err := s.Site.Run(ctx, machine.Command{Text: command, User: user, Workdir: dir, Env: env, Stdout: out, Stderr: out})
		out.Flush()
		if err := site.Failed(ctx, command, err, out.Tail); err != nil {
			return err
		}
	}
	repo := sandbox.Repository{URL: c.URL, Checkout: dir, User: user}
	head, err := s.ask(ctx, `git rev-parse --verify HEAD && { git symbolic-ref --quiet HEAD || true; }`, user)
	if err != nil {
		return err
	}
	repo.Commit, repo.Branch, _ = strings.Cut(strings.TrimSpace(head), "\n")
	repo.Branch = strings.TrimPrefix(repo.Branch, "refs/heads/") // The short name of git depends on tags.
	if !sandbox.ValidCommit(repo.Commit) || repo.Branch != "" && sandbox.CheckRef(repo.Branch) != nil {
		return errors.New("git gives no commit and branch of the checkout that can be used")
	}
	s.Defaults.Repository = repo
	s.Log.Add("info", number, "The checkout is at commit "+repo.Commit)
	return nil
}

// absolute returns the absolute path of a directory that a step names.
func (s *Shell) absolute(ctx context.Context, dir, user string) (string, error) {
	dir, err := s.Expand(ctx, dir)
	if err != nil {
		return "", err
	}
	if !path.IsAbs(dir) {
		from := s.Defaults.Workdir
		if from == "" {
			if from, err = s.ask(ctx, `printf %s "$HOME"`, user); err != nil {
				return "", err
			}
		}
		dir = path.Join(from, dir)
	}
	return path.Clean(dir), nil
}
