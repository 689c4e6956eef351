package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/client"
)

// life is one sandbox of a round.
type life struct {
	d  *daemon
	sb client.Sandbox
	// saved and child are what a step made and the next round must not find.
	saved string
	child string
}

// step is a row: what is measured of it is do. after undoes what do left, unmeasured.
type step struct {
	name      string
	do, after func(ctx context.Context, l *life) error
}

// sandboxTimeout ends what a comparison that was killed leaves.
const sandboxTimeout = 10 * time.Minute

const megabyte = 1 << 20

// steps are the life of a sandbox, in order: the first makes it, the last ends it.
var steps = []step{
	{name: "create", do: func(ctx context.Context, l *life) (err error) {
		l.sb, err = l.d.api.Create(ctx, "base", sandboxTimeout)
		return err
	}},
	{name: "first command", do: run("/bin/echo", "hello")},
	{name: "command", do: run("/bin/echo", "hello")},
	{name: "10 commands", do: func(ctx context.Context, l *life) error {
		for range 10 {
			if err := run("/bin/echo", "hello")(ctx, l); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "1 MiB in", do: func(ctx context.Context, l *life) error {
		return runWith(ctx, l, make([]byte, megabyte), "/bin/sh", "-c", "cat > /tmp/compare")
	}},
	{name: "1 MiB out", do: run("/bin/cat", "/tmp/compare")},
	{name: "snapshot", do: func(ctx context.Context, l *life) error {
		s, err := l.d.api.Snapshot(ctx, l.sb.ID, "")
		l.saved = s.ID
		return err
	}, after: func(ctx context.Context, l *life) error { return l.d.api.DeleteSnapshot(ctx, l.saved) }},
	{name: "fork", do: func(ctx context.Context, l *life) error {
		results, err := l.d.api.Fork(ctx, l.sb.ID, 1, sandboxTimeout)
		switch {
		case err != nil:
			return err
		case len(results) != 1:
			return fmt.Errorf("%d children instead of one", len(results))
		case results[0].Error != nil:
			return results[0].Error
		}
		l.child = results[0].Sandbox.ID
		return nil
	}, after: func(ctx context.Context, l *life) error { return l.d.api.Kill(ctx, l.child) }},
	{name: "pause", do: func(ctx context.Context, l *life) error { return l.d.api.Pause(ctx, l.sb.ID, true) }},
	{name: "resume", do: func(ctx context.Context, l *life) (err error) {
		l.sb, _, err = l.d.api.Connect(ctx, l.sb.ID, sandboxTimeout)
		return err
	}},
	{name: "kill", do: func(ctx context.Context, l *life) error { return l.d.api.Kill(ctx, l.sb.ID) }},
}

// wholeLife is the row of all steps of a round together. Its processor time is also
// that of the work that the daemon does after its answers.
const wholeLife = "whole life"

// rest is how long a build is left alone after a life, for that work.
const rest = 150 * time.Millisecond

func run(args ...string) func(context.Context, *life) error {
	return func(ctx context.Context, l *life) error { return runWith(ctx, l, nil, args...) }
}

// runWith runs a command to its end and expects it to succeed.
func runWith(ctx context.Context, l *life, stdin []byte, args ...string) error {
	var out, diagnostics bytes.Buffer
	c := client.Command{Args: args, User: "root", Stdout: &out, Stderr: &diagnostics}
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	code, err := l.d.api.Agent(l.sb).Run(ctx, c)
	if err == nil && code != 0 {
		err = fmt.Errorf("%q: exit code %d: %.500s", args[0], code, &diagnostics)
	}
	return err
}

// unsupported reports whether a server refused a request because it has no such
// operation.
func unsupported(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && (refused.Code == http.StatusNotFound || refused.Code == http.StatusMethodNotAllowed || refused.Code == http.StatusNotImplemented)
}
