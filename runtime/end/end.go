// Package end ends sandboxes, whatever they are doing: it breaks off the call in
// progress, tears down the machine, frees the network slot, releases the capacity, drops
// the claim on a snapshot and writes the outcome, and retries the steps that cannot be done now.
package end

import (
	"time"

	"github.com/rundlet/rundlet/runtime/background"

	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Config holds the dependencies and settings of an Ender. All fields are required.
type Config struct {
	Driver     vm.Runtime
	Rows       *rows.Writer
	Live       *live.Set
	Places     *admission.Places
	Machines   *machine.Machines
	Claims     *claim.Claims
	Steps      *step.Recorder
	Background *background.Group
	// Note records why a sandbox is not recovered yet; a nil error: it is.
	Note func(id string, err error)
	// Ended is called after the end of a sandbox, with its reason.
	Ended func(reason string)
	Log   *slog.Logger
}

// Ender ends sandboxes. Safe for concurrent use.
type Ender struct {
	cfg  Config
	life context.Context
}

// New returns an Ender.
func New(cfg Config) *Ender { return &Ender{cfg: cfg, life: cfg.Background.Context()} }

// End ends a sandbox for a reason. It breaks off the lifecycle call that
// is under way, and destroys the machine under one that does not let go.
// ErrSandboxNotFound if another call ended it meanwhile.
func (e *Ender) End(ctx context.Context, sb *live.Sandbox, reason string) error {
	sb.Condemn(reason)
	err := e.seize(ctx, sb)
	if err != nil {
		e.insist(sb, reason)
		return retried(sb.ID, err)
	}
	defer sb.Life.Unlock()
	if sb.Recorded() == sandbox.StateKilled {
		return fault.NotFound(sb.ID)
	}
	err = e.EndHeld(ctx, sb, reason)
	if err != nil && !errors.Is(err, ErrUnwritten) {
		return retried(sb.ID, err)
	}
	return nil
}

// askAgain is when a client asks again about a kill that goes on.
const askAgain = 5 * time.Second

// retried is the error of a kill that goes on in the background.
func retried(id string, err error) error {
	if errors.Is(err, vm.ErrUnavailable) { // Its processes give back much that they have written, and the disk is busy.
		err = fmt.Errorf("%w: %w", &sandbox.RetryError{After: askAgain, Detail: "its processes have not ended yet, and the kill goes on"}, err)
	}
	return fmt.Errorf("kill sandbox %s: %w (it is being retried)", id, err)
}

// seize takes the life of a condemned sandbox. A call that hangs in the driver
// fails when its machine is gone, and lets go then.
func (e *Ender) seize(ctx context.Context, sb *live.Sandbox) error {
	if sb.Life.LockWithin(ctx, background.Grace) == nil {
		return nil
	}
	if sb.Recorded() != sandbox.StateKilling { // Another kill destroys it itself.
		e.DestroyUnder(ctx, sb)
	}
	if sb.Life.LockWithin(ctx, background.CleanupTimeout) != nil {
		return errors.New("a call to the driver does not return after the machine was destroyed")
	}
	return nil
}

// DestroyUnder destroys the machine of a sandbox whose life another call has, so
// that this call fails.
func (e *Ender) DestroyUnder(ctx context.Context, sb *live.Sandbox) {
	e.cfg.Log.Warn("a lifecycle call hangs; destroying the machine under it", "sandbox_id", sb.ID, "state", sb.Recorded())
	err := e.cfg.Driver.Destroy(ctx, sb.ID)
	if err != nil && !errors.Is(err, vm.ErrNotFound) && !errors.Is(err, vm.ErrInvalidTransition) {
		e.cfg.Log.Warn("could not destroy the machine under a call that hangs", "sandbox_id", sb.ID, "error", err)
	}
}

// insist goes on with a kill in the background.
func (e *Ender) insist(sb *live.Sandbox, reason string) {
	if !sb.FirstInsistence() {
		return
	}
	e.cfg.Background.Go(func() {
		_ = Retries.Again(e.life, func() error {
			if err := e.seize(e.life, sb); err != nil {
				return err
			}
			defer sb.Life.Unlock()
			if sb.Recorded() != sandbox.StateKilled {
				_ = e.EndHeld(e.life, sb, reason) // EndHeld starts the retries.
			}
			return nil
		}, nil)
	})
}
