package site

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/runtime/machine"
)

// Run is that of machine.Machines.
func (s *Site) Run(ctx context.Context, c machine.Command) error {
	return s.cfg.Machines.Run(ctx, s.guest.ID, c)
}

// Begin is that of machine.Machines.
func (s *Site) Begin(ctx context.Context, c machine.Command) (*machine.Running, error) {
	return s.cfg.Machines.Begin(ctx, s.guest.ID, c)
}

// Failed is the error of a command, with the last lines of its output, in the words of E2B's server; nil if it has none.
func Failed(ctx context.Context, command string, err error, tail []string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("failed to run command '%.1000s': %w", command, err)
	if exit := new(machine.ExitError); errors.As(err, &exit) && len(tail) > 0 {
		return fmt.Errorf("%w; its last lines: %s", err, strings.Join(tail, "\n"))
	}
	return err
}
