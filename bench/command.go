package bench

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/bench/capture"
	"github.com/rundlet/rundlet/client"
)

// command is the one whose first byte of output is awaited.
var command = []string{"/bin/echo", "hello"}

// times are those of a command, since its start was asked for.
type times struct{ started, first, end time.Duration }

// run runs a command in a sandbox through the API, to its end.
func (m *measurement) run(ctx context.Context, sb client.Sandbox, stdin []byte, args ...string) (t times, err error) {
	var out capture.FirstByte
	var stderr bytes.Buffer
	c := client.Command{Args: args, User: "root", Stdout: &out, Stderr: &capture.Limited{W: &stderr, Left: 1 << 10}}
	begin := time.Now()
	c.Started = func(uint32) { t.started = time.Since(begin) }
	if stdin != nil {
		c.Stdin = bytes.NewReader(stdin)
	}
	code, err := m.server.API.Agent(sb).Run(ctx, c)
	t.end = time.Since(begin)
	if !out.At.IsZero() {
		t.first = out.At.Sub(begin)
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

// dirty fills so many MiB of a guest's memory with what cannot be compressed:
// the command for it.
func dirty(mib int) []string {
	return []string{"/bin/dd", "if=/dev/urandom", "of=/dev/shm/rundlet-bench", "bs=1M", "status=none", fmt.Sprint("count=", mib)}
}
