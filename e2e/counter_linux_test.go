package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// counter is a process in a sandbox that counts in its memory and appends each
// number to a file: a life that was lost, repeated or begun again shows in it.
type counter struct {
	sb client.Sandbox
	// token is known to the process alone.
	token string
	// seen is the last number that was read.
	seen int
}

// counting writes "TOKEN NUMBER" lines to a file, twenty a second.
const counting = `cat > ~/counter.py <<'END'
import os, time
token, n = os.urandom(8).hex(), 0
with open(os.path.expanduser("~/counter"), "a", buffering=1) as f:
    while True:
        n += 1
        f.write(f"{token} {n}\n")
        time.sleep(0.05)
END
setsid python3 ~/counter.py < /dev/null > /dev/null 2>&1 &`

// startCounter returns when the process counts.
func startCounter(t *testing.T, api client.API, sb client.Sandbox) *counter {
	t.Helper()
	if _, err := run(t.Context(), api, sb, counting); err != nil {
		t.Fatal(err)
	}
	c := &counter{sb: sb}
	if err := c.advance(t.Context(), api); err != nil {
		t.Fatalf("start a counter in %s: %v", sb.ID, err)
	}
	return c
}

// read checks that the file goes on from what was read before, without a gap,
// a repetition or a second process.
func (c *counter) read(ctx context.Context, api client.API) error {
	out, err := run(ctx, api, c.sb, "cat ~/counter 2>/dev/null || true")
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(out) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break
		}
		token, number, _ := strings.Cut(line, " ")
		if c.token == "" {
			c.token = token
		}
		if n++; token != c.token || number != strconv.Itoa(n) {
			return fmt.Errorf("%s: line %d of its counter is %q, and its token %s", c.sb.ID, n, line, c.token)
		}
	}
	if n < c.seen {
		return fmt.Errorf("%s: its counter is at %d and was at %d", c.sb.ID, n, c.seen)
	}
	c.seen = n
	return nil
}

// advance is read, and waits until the process has counted on.
func (c *counter) advance(ctx context.Context, api client.API) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for before := c.seen; ; {
		if err := c.read(ctx, api); err != nil {
			return err
		}
		if c.seen > before {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New(c.sb.ID + ": its counter stands still")
		}
	}
}
