package acme

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// hookTime bounds a call of a hook, which may wait until its provider serves the record.
const hookTime = 4 * time.Minute

// Hook is a Solver that runs a program: "PROGRAM present NAME VALUE", and the same with
// "remove". It succeeds when the record is served, or gone.
type Hook string

// Present implements Solver.
func (h Hook) Present(ctx context.Context, name, value string) error {
	return h.run(ctx, "present", name, value)
}

// Remove implements Solver.
func (h Hook) Remove(ctx context.Context, name, value string) error {
	return h.run(ctx, "remove", name, value)
}

func (h Hook) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(h), args...)
	cmd.WaitDelay = time.Second // Its children may hold the pipe.
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %.300s", h, args[0], err, out)
	}
	return nil
}
