// Package steps does the steps of a recipe in the machine of a build that need commands only, and keeps what they set for
// those that follow. It may import sandbox and the parts of runtime/build beside it.
package steps

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

// Shell runs commands in a site. It is for one goroutine.
type Shell struct {
	Site *site.Site
	Log  *lines.Log
	// Env and Defaults are what the steps up to now have set.
	Env      map[string]string
	Defaults sandbox.Defaults
}

// Do does one step, which number names in the log. It is not a COPY.
func (s *Shell) Do(ctx context.Context, number string, step recipe.Step) error {
	switch {
	case step.Run != nil:
		return s.Run(ctx, number, step.Run.Command, cmp.Or(step.Run.User, s.Defaults.User))
	case step.Clone != nil:
		return s.clone(ctx, number, *step.Clone)
	case step.Workdir != "":
		return s.workdir(ctx, step.Workdir)
	case step.User != "":
		return s.user(ctx, step.User)
	}
	for _, v := range step.Env {
		value, err := s.Expand(ctx, v.Value)
		if err != nil {
			return err
		}
		s.Env[v.Name] = value
	}
	return sandbox.CheckEnvironment(s.Env) // Values that repeat others grow with each step.
}

// Run runs a command of the recipe. Its error is in the words of E2B's server, with the last lines of the output.
func (s *Shell) Run(ctx context.Context, number, command, user string) error {
	out := &lines.Writer{Log: s.Log, Step: number}
	err := s.Site.Run(ctx, machine.Command{Text: command, User: user, Workdir: s.Defaults.Workdir, Env: s.Env, Stdout: out, Stderr: out})
	out.Flush()
	return site.Failed(ctx, command, err, out.Tail)
}

// Expand replaces the variables of a value as the guest's shell does.
func (s *Shell) Expand(ctx context.Context, value string) (string, error) {
	if !strings.Contains(value, "$") {
		return value, nil
	}
	return s.ask(ctx, recipe.Quote(value), s.Defaults.User)
}

// maxAnswer bounds what a command of ours may answer, in bytes.
const maxAnswer = 128 << 10

// ask runs a command of ours, and returns its output.
func (s *Shell) ask(ctx context.Context, command, user string) (string, error) {
	out := lines.Bounded{Most: maxAnswer + 1}
	err := s.Site.Run(ctx, machine.Command{Text: command, User: user, Workdir: s.Defaults.Workdir, Env: s.Env, Stdout: &out, Stderr: &out})
	if err != nil {
		return "", site.Failed(ctx, command, err, strings.Split(strings.TrimSpace(out.String()), "\n"))
	}
	if out.Len() > maxAnswer {
		return "", fmt.Errorf("failed to run command '%.200s': its output has more than %d bytes", command, maxAnswer)
	}
	return out.String(), nil
}

// workdir makes a directory that is not there, for the user of the steps that follow.
func (s *Shell) workdir(ctx context.Context, dir string) error {
	user := cmp.Or(s.Defaults.User, DefaultUser)
	dir, err := s.absolute(ctx, dir, user)
	if err != nil {
		return err
	}
	command := fmt.Sprintf(`[ -d %[1]s ] || { mkdir -p -- %[1]s && chown -- %[2]s: %[1]s; }`, recipe.Word(dir), recipe.Word(user))
	s.Defaults.Workdir = "/" // The former one may be closed to root's shell, or gone.
	_, err = s.ask(ctx, command, "root")
	s.Defaults.Workdir = dir
	return err
}

// DefaultUser is the user of E2B's templates.
const DefaultUser = "user"

// user makes a user that is not there, who may become root, as at E2B.
func (s *Shell) user(ctx context.Context, name string) error {
	command := fmt.Sprintf(`id -u %[1]s >/dev/null 2>&1 || useradd -m -s /bin/bash %[1]s || adduser -D -s /bin/sh %[1]s`, recipe.Word(name))
	if _, err := s.ask(ctx, command, "root"); err != nil {
		return err
	}
	s.Defaults.User = name
	return nil
}
