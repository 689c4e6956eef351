package build

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

// stepTimeout bounds one step, as at E2B.
const stepTimeout = time.Hour

// step does one instruction.
func (w *work) step(number string, s recipe.Step) error {
	ctx, cancel := context.WithTimeoutCause(w.ctx, stepTimeout, fmt.Errorf("it took more than %s", stepTimeout))
	defer cancel()
	switch {
	case s.Run != nil:
		return w.run(ctx, number, s.Run.Command, cmp.Or(s.Run.User, w.state.defaults.User))
	case s.Copy != nil:
		return w.copy(ctx, *s.Copy)
	case s.Workdir != "":
		return w.workdir(ctx, s.Workdir)
	case s.User != "":
		return w.user(ctx, s.User)
	}
	for _, v := range s.Env {
		value, err := w.expand(ctx, v.Value)
		if err != nil {
			return err
		}
		w.state.env[v.Name] = value
	}
	return sandbox.CheckEnvironment(w.state.env) // Values that repeat others grow with each step.
}

// run runs a command of the recipe. Its error is in the words of E2B's server, with the last lines of the output.
func (w *work) run(ctx context.Context, number, command, user string) error {
	out := &lines.Writer{Log: w.log, Step: number}
	err := w.site.Run(ctx, machine.Command{Text: command, User: user, Workdir: w.state.defaults.Workdir, Env: w.state.env, Stdout: out, Stderr: out})
	out.Flush()
	return site.Failed(ctx, command, err, out.Tail)
}

// expand replaces the variables of a value as the guest's shell does.
func (w *work) expand(ctx context.Context, value string) (string, error) {
	if !strings.Contains(value, "$") {
		return value, nil
	}
	return w.ask(ctx, recipe.Quote(value), w.state.defaults.User)
}

// maxAnswer bounds what a command of ours may answer, in bytes.
const maxAnswer = 128 << 10

// ask runs a command of ours, and returns its output.
func (w *work) ask(ctx context.Context, command, user string) (string, error) {
	out := lines.Bounded{Most: maxAnswer + 1}
	err := w.site.Run(ctx, machine.Command{Text: command, User: user, Workdir: w.state.defaults.Workdir, Env: w.state.env, Stdout: &out, Stderr: &out})
	if err != nil {
		return "", site.Failed(ctx, command, err, strings.Split(strings.TrimSpace(out.String()), "\n"))
	}
	if out.Len() > maxAnswer {
		return "", fmt.Errorf("failed to run command '%.200s': its output has more than %d bytes", command, maxAnswer)
	}
	return out.String(), nil
}

// workdir makes a directory that is not there, for the user of the steps that follow.
func (w *work) workdir(ctx context.Context, dir string) error {
	dir, err := w.expand(ctx, dir)
	if err != nil {
		return err
	}
	user := cmp.Or(w.state.defaults.User, defaultUser)
	if !path.IsAbs(dir) {
		from := w.state.defaults.Workdir
		if from == "" {
			if from, err = w.ask(ctx, `printf %s "$HOME"`, user); err != nil {
				return err
			}
		}
		dir = path.Join(from, dir)
	}
	dir = path.Clean(dir)
	command := fmt.Sprintf(`[ -d %[1]s ] || { mkdir -p -- %[1]s && chown -- %[2]s: %[1]s; }`, recipe.Word(dir), recipe.Word(user))
	w.state.defaults.Workdir = "/" // The former one may be closed to root's shell, or gone.
	_, err = w.ask(ctx, command, "root")
	w.state.defaults.Workdir = dir
	return err
}

// defaultUser is the user of E2B's templates.
const defaultUser = "user"

// user makes a user that is not there, who may become root, as at E2B.
func (w *work) user(ctx context.Context, name string) error {
	command := fmt.Sprintf(`id -u %[1]s >/dev/null 2>&1 || useradd -m -s /bin/bash %[1]s || adduser -D -s /bin/sh %[1]s`, recipe.Word(name))
	if _, err := w.ask(ctx, command, "root"); err != nil {
		return err
	}
	w.state.defaults.User = name
	return nil
}
