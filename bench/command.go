package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rundlet/rundlet/client"
)

// command is the one whose first byte of output is awaited.
var command = []string{"/bin/echo", "hello"}

// times are those of a command, since its start was asked for.
type times struct{ started, first, end time.Duration }

// run runs a command in a sandbox through the API, to its end.
func (m *measurement) run(ctx context.Context, sb client.Sandbox, stdin []byte, args ...string) (t times, err error) {
	var out firstByte
	var stderr bytes.Buffer
	c := client.Command{Args: args, User: "root", Stdout: &out, Stderr: &limited{&stderr, 1 << 10}}
	begin := time.Now()
	c.Started = func(uint32) { t.started = time.Since(begin) }
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	code, err := m.server.API.Agent(sb).Run(ctx, c)
	t.end = time.Since(begin)
	if !out.at.IsZero() {
		t.first = out.at.Sub(begin)
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("%q in %s: exit code %d: %s", args[0], sb.ID, code, &stderr)
	}
	return t, err
}

// echo runs the command that prints something.
func (m *measurement) echo(ctx context.Context, sb client.Sandbox) (times, error) {
	t, err := m.run(ctx, sb, nil, command...)
	if err == nil && t.first == 0 {
		err = fmt.Errorf("the command in %s printed nothing", sb.ID)
	}
	return t, err
}

// firstByte remembers when the first byte was written.
type firstByte struct{ at time.Time }

func (f *firstByte) Write(b []byte) (int, error) {
	if f.at.IsZero() && len(b) > 0 {
		f.at = time.Now()
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

// dirty fills so many MiB of a guest's memory with what cannot be compressed:
// the command for it.
func dirty(mib int) []string {
	return []string{"/bin/dd", "if=/dev/urandom", "of=/dev/shm/rundlet-bench", "bs=1M", "status=none", fmt.Sprint("count=", mib)}
}
