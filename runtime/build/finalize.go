package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// What is published of E2B's server.
const (
	readyTimeout  = 10 * time.Minute
	readyInterval = 2 * time.Second // the longest; the first is short, since most are ready soon
	// readyAlone is the ready command of a start command that has none.
	readyAlone = "sleep 20"
)

// finalize starts what the recipe starts, waits until it is ready, and saves the build.
func (w *work) finalize() (store.Snapshot, error) {
	// A guest that does not answer must not hold up the build for ever. It is not a deadline: that would go with the start command,
	// which the agent then ends in every sandbox.
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	defer time.AfterFunc(stepTimeout, func() { cancel(fmt.Errorf("it took more than %s", stepTimeout)) }).Stop()
	w.log.Add("info", sandbox.StepFinalize, "Finalizing the template")
	if err := w.shell.Site.Define(ctx, w.shell.Env, w.shell.Defaults); err != nil {
		return store.Snapshot{}, err
	}
	ready, started := w.recipe.ReadyCmd, make(chan error, 1)
	if command := w.recipe.StartCmd; command != "" {
		w.log.Add("info", sandbox.StepFinalize, fmt.Sprintf("[start] %.1000s", command))
		if ready == "" {
			ready = readyAlone
		}
		out := &lines.Writer{Log: w.log, Step: sandbox.StepFinalize}
		run, err := w.shell.Site.Begin(ctx, w.command(command, out))
		if err != nil {
			return store.Snapshot{}, site.Failed(ctx, command, err, nil)
		}
		followed := make(chan struct{})
		defer func() {
			run.Leave()
			<-followed
		}()
		go func() {
			defer close(followed)
			err := run.Wait()
			out.Flush()
			if exit := new(machine.ExitError); errors.As(err, &exit) {
				started <- site.Failed(ctx, command, err, out.Tail)
			}
		}()
	}
	if ready != "" {
		if err := w.awaitReady(ready, started); err != nil {
			return store.Snapshot{}, err
		}
	}
	if err := w.warmUp(); err != nil {
		return store.Snapshot{}, err
	}
	// A start command that fails meanwhile would not run in any sandbox.
	select {
	case err := <-started:
		return store.Snapshot{}, err
	default:
	}
	return w.save(claim.KindTemplate, "")
}

func (w *work) command(text string, out *lines.Writer) machine.Command {
	return machine.Command{Text: text, User: w.shell.Defaults.User, Workdir: w.shell.Defaults.Workdir, Env: w.shell.Env, Stdout: out, Stderr: out}
}

// awaitReady repeats a command until it succeeds. A start command that fails ends it.
func (w *work) awaitReady(command string, started <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(w.ctx, readyTimeout, fmt.Errorf("it did not succeed within %s", readyTimeout))
	defer cancel()
	w.log.Add("info", sandbox.StepFinalize, fmt.Sprintf("[ready] %.1000s", command))
	for pause := readyInterval / 20; ; pause = min(2*pause, readyInterval) {
		answered := make(chan error, 1)
		out := &lines.Writer{Log: &lines.Log{}, Step: sandbox.StepFinalize}
		go func() { answered <- w.shell.Site.Run(ctx, w.command(command, out)) }()
		var err error
		select {
		case err = <-started:
			cancel()
			<-answered
			return err
		case err = <-answered:
		}
		if err == nil {
			return nil
		}
		if exit := new(machine.ExitError); !errors.As(err, &exit) {
			return site.Failed(ctx, command, err, out.Tail)
		}
		select {
		case err := <-started:
			return err
		case <-time.After(pause):
		case <-ctx.Done():
			return site.Failed(ctx, command, err, out.Tail)
		}
	}
}

// warmUp runs the commands that warm the template up, when it is ready.
func (w *work) warmUp() error {
	ctx, cancel := context.WithTimeoutCause(w.ctx, stepTimeout, fmt.Errorf("the commands that warm up took more than %s", stepTimeout))
	defer cancel()
	for _, command := range w.recipe.WarmUp {
		w.log.Add("info", sandbox.StepFinalize, fmt.Sprintf("[warm-up] %.1000s", command))
		if err := w.shell.Run(ctx, sandbox.StepFinalize, command, w.shell.Defaults.User); err != nil {
			return err
		}
	}
	return nil
}
