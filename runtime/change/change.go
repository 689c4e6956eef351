// Package change changes running sandboxes in place: when they end, and what they may reach.
package change

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Config holds the dependencies of a Changer. All fields are required.
type Config struct {
	Live    *live.Set
	Rows    *rows.Writer
	Network machine.Network
	// Trust makes a guest trust what sets the headers of a policy; see machine.Machines.
	Trust func(ctx context.Context, id string, p egress.Policy) error
	// CheckTimeout refuses a timeout that no sandbox may have.
	CheckTimeout func(time.Duration) error
	// Expire is called when the end of a sandbox has come.
	Expire func(*live.Sandbox)
}

// Changer changes sandboxes. Safe for concurrent use.
type Changer struct{ cfg Config }

// New returns a Changer.
func New(cfg Config) *Changer { return &Changer{cfg} }

// SetTimeout ends the sandbox at now+timeout, earlier or later than before; a
// timeout of zero ends it at once.
func (c *Changer) SetTimeout(ctx context.Context, id string, timeout time.Duration) error {
	return c.moveEnd(ctx, id, timeout, func(store.Sandbox, time.Time) bool { return true })
}

// Extend is SetTimeout that never shortens.
func (c *Changer) Extend(ctx context.Context, id string, timeout time.Duration) error {
	return c.moveEnd(ctx, id, timeout, func(row store.Sandbox, end time.Time) bool { return end.After(row.EndAt) })
}

// ExtendResumed is Extend for a call that has waited for a resume, which has set an end already, if it has the timeout of the call.
func (c *Changer) ExtendResumed(ctx context.Context, id string, timeout time.Duration, resumed bool) error {
	return c.moveEnd(ctx, id, timeout, func(row store.Sandbox, end time.Time) bool {
		return end.After(row.EndAt) && (!resumed || row.EndAt.Sub(row.StartedAt) < timeout)
	})
}

func (c *Changer) moveEnd(ctx context.Context, id string, timeout time.Duration, moves func(row store.Sandbox, end time.Time) bool) error {
	// Zero is "now" here; a sandbox that is to be created needs some time.
	if timeout != 0 {
		if err := c.cfg.CheckTimeout(timeout); err != nil {
			return err
		}
	}
	return c.running(ctx, "set timeout", id, func(sb *live.Sandbox) error {
		row := sb.Row()
		end := time.Now().Add(timeout)
		if !moves(row, end) {
			return nil
		}
		row.EndAt = end
		if err := c.cfg.Rows.Put(ctx, sb, &row); err != nil {
			return fault.Classify(err)
		}
		sb.Update(func(row *store.Sandbox) { row.EndAt = end })
		sb.Arm(0, func() { c.cfg.Expire(sb) })
		return nil
	})
}

// running calls do for a sandbox that runs, while nothing else changes it.
func (c *Changer) running(ctx context.Context, what, id string, do func(*live.Sandbox) error) error {
	sb, err := c.cfg.Live.Serving(ctx, id)
	if err != nil {
		return err
	}
	if err := sb.LockSettled(ctx); err != nil {
		return fmt.Errorf("%s of %s: %w", what, id, err)
	}
	defer sb.Life.Unlock()
	switch s := sb.State(); s {
	case sandbox.StateRunning:
	case sandbox.StateKilling, sandbox.StateKilled:
		return sb.Gone()
	default:
		return fmt.Errorf("%s of %s: %w: it is %s", what, id, sandbox.ErrConflict, s)
	}
	if err := do(sb); err != nil {
		return fmt.Errorf("%s of %s: %w", what, id, err)
	}
	return nil
}
