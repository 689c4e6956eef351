package change

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Refused returns what a sandbox was refused since it was created or resumed last, or since the daemon was started, the
// latest first. One that does not run has no such list. ErrNotFound.
func (c *Changer) Refused(ctx context.Context, id string) ([]sandbox.Refusal, error) {
	return ofSlot(ctx, c, id, func(slotID string) ([]sandbox.Refusal, error) {
		return c.cfg.Network.Refused(slotID, time.Time{})
	})
}

// Traffic returns what a sandbox sent, received, reached and was refused since it was created or resumed last. One
// that does not run has nothing. ErrNotFound.
func (c *Changer) Traffic(ctx context.Context, id string) (sandbox.Traffic, error) {
	return ofSlot(ctx, c, id, c.cfg.Network.Traffic)
}

// ofSlot asks the network for what it knows of the slot that a sandbox has; nothing if it does not run. ErrNotFound.
func ofSlot[T any](ctx context.Context, c *Changer, id string, ask func(slotID string) (T, error)) (nothing T, err error) {
	sb, err := c.cfg.Live.Serving(ctx, id)
	if err != nil {
		return nothing, err
	}
	row := sb.Row()
	switch row.State {
	case sandbox.StateKilling, sandbox.StateKilled:
		return nothing, sb.Gone()
	case sandbox.StateRunning:
		known, err := ask(row.SlotID)
		now := sb.Row()
		if err == nil || now.State == sandbox.StateRunning && now.SlotID == row.SlotID {
			return known, err
		}
	}
	return nothing, nil
}

// SetEgress replaces the rules of a running sandbox for what it may reach. When it returns they are in force, and
// outlive a restart, a pause and a fork. Before, the guest's programs trust what sets the headers. Connections that they
// forbid are cut; those that the rules before allowed, too, go on. internet nil is true. ErrInvalid, ErrUnsupported,
// ErrNoAnswer, ErrUnavailable if the guest cannot trust that now, ErrConflict if it does not run, ErrNotFound.
func (c *Changer) SetEgress(ctx context.Context, id string, internet *bool, rules sandbox.Egress) error {
	policy, err := egress.Compile(internet, rules)
	if err == nil {
		err = fault.Classify(c.cfg.Network.CheckProxy(ctx, policy))
	}
	if err != nil {
		return err
	}
	return c.running(ctx, "set network", id, func(sb *live.Sandbox) error {
		row := sb.Row()
		before := egress.Of(row.AllowInternet, row.Egress)
		if err := c.trust(ctx, sb, policy); err != nil {
			return err
		}
		if err := c.cfg.Network.SetEgress(ctx, row.SlotID, policy); err != nil {
			return err
		}
		row.AllowInternet, row.Egress = internet, rules
		if err := c.cfg.Rows.Put(ctx, sb, &row); err != nil {
			// The next start would go back, too.
			undo := c.cfg.Network.SetEgress(context.WithoutCancel(ctx), row.SlotID, before)
			return errors.Join(fault.Classify(err), undo)
		}
		sb.Update(func(now *store.Sandbox) { now.AllowInternet, now.Egress = internet, rules })
		return nil
	})
}

// trust makes the guest trust what sets the headers of a policy. A kill breaks it off.
func (c *Changer) trust(ctx context.Context, sb *live.Sandbox, policy egress.Policy) error {
	ctx, end := sb.Hold(ctx, machine.TrustTimeout)
	defer end()
	return live.BrokenOff(ctx, c.cfg.Trust(ctx, sb.ID, policy))
}
