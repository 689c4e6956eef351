// Package guest does in a sandbox what is measured, by the API as an SDK does: commands and
// files. It may import client, envd and bench/cost; only bench may import it.
package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/client"
)

// Command is the one whose first byte of output is awaited.
var Command = []string{"/bin/echo", "hello"}

// Times are those of a command, since its start was asked for.
type Times struct{ Started, First, End cost.Cost }

// Run runs a command in a sandbox, to its end.
func Run(ctx context.Context, agent client.Agent, clock cost.Clock, stdin []byte, args ...string) (t Times, err error) {
	begin := clock.Now()
	out := firstByte{seen: func() { t.First = clock.Since(begin) }}
	var stderr bytes.Buffer
	c := client.Command{Args: args, User: "root", Stdout: &out, Stderr: &limited{&stderr, 1 << 10}}
	c.Started = func(uint32) { t.Started = clock.Since(begin) }
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	code, err := agent.Run(ctx, c)
	t.End = clock.Since(begin)
	if err == nil && code != 0 {
		err = fmt.Errorf("%q: exit code %d: %s", args[0], code, &stderr)
	}
	return t, err
}

// Echo runs Command, which must print something.
func Echo(ctx context.Context, agent client.Agent, clock cost.Clock) (Times, error) {
	t, err := Run(ctx, agent, clock, nil, Command...)
	if err == nil && t.First.Wall == 0 {
		err = errors.New("the command printed nothing")
	}
	return t, err
}

// firstByte calls seen when the first byte is written.
type firstByte struct{ seen func() }

func (f *firstByte) Write(b []byte) (int, error) {
	if f.seen != nil && len(b) > 0 {
		f.seen()
		f.seen = nil
	}
	return len(b), nil
}

// limited keeps the beginning of what is written.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Dirty fills so many MiB of a guest's memory with what cannot be compressed:
// the command for it.
func Dirty(mib int) []string {
	return []string{"/bin/dd", "if=/dev/urandom", "of=/dev/shm/rundlet-bench", "bs=1M", "status=none", fmt.Sprint("count=", mib)}
}

// spawning has a shell in the guest start the command and wait for its end, and prints the
// microseconds: no way into a guest is faster. The first time, the shell finds out where
// the command is.
const spawning = `for i in 1 2 3; do
	begin=$EPOCHREALTIME
	/bin/echo hello >/dev/null
	end=$EPOCHREALTIME
done
echo $((${end/./} - ${begin/./}))`

// Spawn is what a spawn of Command takes inside the guest.
func Spawn(ctx context.Context, agent client.Agent) (time.Duration, error) {
	var out, diagnostics bytes.Buffer
	c := client.Command{
		Args: []string{"/bin/bash", "-c", spawning}, Env: map[string]string{"LC_ALL": "C"}, User: "root",
		Stdout: &limited{&out, 1 << 10}, Stderr: &limited{&diagnostics, 1 << 10},
	}
	if code, err := agent.Run(ctx, c); err != nil || code != 0 {
		return 0, fmt.Errorf("spawn in the guest: exit code %d, %w: %s", code, err, &diagnostics)
	}
	us, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
	if err != nil || us <= 0 {
		return 0, fmt.Errorf("spawn in the guest: %q is not a time", out.String())
	}
	return time.Duration(us) * time.Microsecond, nil
}
