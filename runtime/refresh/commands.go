package refresh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

// tag names the commands of a sync in the guest.
const tag = "rundlet.sync"

// stopTimeout bounds the end of a sync's commands in the guest.
const stopTimeout = 10 * time.Second

// unlock removes the locks that git leaves in a checkout when it is killed. No git of a client runs while the gate is closed.
const unlock = `cd .git 2>/dev/null || exit 0
rm -f -- index.lock HEAD.lock FETCH_HEAD.lock ORIG_HEAD.lock config.lock packed-refs.lock shallow.lock
find refs -name '*.lock' -type f -exec rm -f -- {} +`

// commands brings a checkout up to date. again: those of an earlier sync may be left.
func (r *Refresher) commands(ctx context.Context, id string, f sandbox.Freshness, again bool) error {
	if again {
		if err := r.cfg.Guest.Kill(ctx, id, tag); err != nil {
			return fmt.Errorf("end an earlier sync: %w", err)
		}
		if err := r.run(ctx, id, f, freshness.Command{Args: []string{"/bin/sh", "-c", unlock}, Dir: f.Checkout}, "remove locks"); err != nil {
			return err
		}
	}
	for _, c := range (freshness.Request{Branch: f.Branch, Target: f.Target, Checkout: f.Checkout}).Commands() {
		if err := r.run(ctx, id, f, c, strings.Join(c.Args[:2], " ")); err != nil {
			return err
		}
	}
	return nil
}

// run runs one command. Its error has the last line of what a command wrote that failed.
func (r *Refresher) run(ctx context.Context, id string, f sandbox.Freshness, c freshness.Command, name string) error {
	env := map[string]string{}
	for _, variable := range c.Env {
		key, value, _ := strings.Cut(variable, "=")
		env[key] = value
	}
	var out tail
	err := r.cfg.Guest.Run(ctx, id, machine.Command{Args: c.Args, Tag: tag, User: f.User, Workdir: c.Dir, Env: env, Stdout: &out, Stderr: &out})
	if err == nil {
		return nil
	}
	if exit := new(machine.ExitError); errors.As(err, &exit) && out.line() != "" {
		return fmt.Errorf("%s: %w: %s", name, err, out.line())
	}
	return fmt.Errorf("%s: %w", name, err)
}

// stopGuest ends the commands of a sync in the guest. They end at their deadline in any case.
func (r *Refresher) stopGuest(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	// A guest that does not answer, whatever ctx says, holds up no more than that.
	_, err := background.Await(ctx, r.cfg.Background, func() (struct{}, error) { return struct{}{}, r.cfg.Guest.Kill(ctx, id, tag) })
	return err
}

// tail keeps the end of an output.
type tail []byte

const maxTail = 2048

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - maxTail; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(p), nil
}

// maxLine bounds what a reason quotes of a guest, in bytes.
const maxLine = 300

// line is the last line that says something, in characters that can be shown.
func (t *tail) line() string {
	lines := strings.FieldsFunc(strings.ToValidUTF8(string(*t), ""), func(c rune) bool { return c == '\n' || c == '\r' })
	for len(lines) > 0 {
		last := strings.TrimSpace(strings.Map(func(c rune) rune {
			if !unicode.IsPrint(c) {
				return -1
			}
			return c
		}, lines[len(lines)-1]))
		if last != "" {
			return strings.ToValidUTF8(last[:min(len(last), maxLine)], "")
		}
		lines = lines[:len(lines)-1]
	}
	return ""
}
