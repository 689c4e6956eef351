package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Destroy ends a machine and forgets it. A machine that does not exist is not an
// error.
func (m *Machines) Destroy(ctx context.Context, id string) (err error) {
	defer func() {
		if err == nil {
			m.weights.leave(ctx, id)
		}
	}()
	view, ok, err := m.cfg.Driver.Get(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		return nil
	}
	if view.Status != vm.StatusDestroyed {
		if err := m.cfg.Driver.Destroy(ctx, id); err != nil && !errors.Is(err, vm.ErrNotFound) {
			return err
		}
	}
	if f, ok := m.cfg.Driver.(vm.Forgetter); ok {
		// The id comes back when the sandbox is resumed.
		return f.Forget(ctx, id)
	}
	return nil
}

// AwaitAgent waits until a guest's agent answers. The host is not notified when an
// agent starts to listen, so it asks, with growing pauses.
func (m *Machines) AwaitAgent(ctx context.Context, id string) error {
	for pause := 2 * time.Millisecond; ; pause = min(pause*2, 100*time.Millisecond) {
		err := envd.Health(ctx, m.Agent(id))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", sandbox.ErrNoAnswer, id, err)
		case <-time.After(pause):
		}
	}
}

// Freeze stops a machine. One that is frozen already is not an error: an earlier
// process may have frozen it.
func (m *Machines) Freeze(ctx context.Context, id string) error {
	err := m.cfg.Driver.Stop(ctx, id)
	if errors.Is(err, vm.ErrInvalidTransition) {
		view, ok, getErr := m.cfg.Driver.Get(ctx, id)
		if getErr == nil && ok && view.Status == vm.StatusStopped && view.ExitReason == "" {
			return nil
		}
	}
	return err
}

// Start starts a machine that is prepared: it reads its snapshot only now.
func (m *Machines) Start(ctx context.Context, id string, from claim.Origin) error {
	if err := m.cfg.Claims.StillWhole(ctx, from); err != nil {
		return err
	}
	err := m.cfg.Driver.Start(ctx, id)
	return cmp.Or(m.cfg.Claims.StillWhole(ctx, from), err)
}

// Release frees a slot.
func (m *Machines) Release(ctx context.Context, slotID string) error {
	if err := m.cfg.Network.Release(ctx, slotID); err != nil {
		return fmt.Errorf("free network %s: %w", slotID, err)
	}
	return nil
}
