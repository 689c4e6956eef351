package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// SetTimeout ends the sandbox at now+timeout, earlier or later than before; a
// timeout of zero ends it at once.
func (r *Runtime) SetTimeout(ctx context.Context, id string, timeout time.Duration) error {
	_, err := moveEnd(ctx, r, id, timeout, false)
	return err
}

// Extend is SetTimeout that never shortens.
func (r *Runtime) Extend(ctx context.Context, id string, timeout time.Duration) error {
	_, err := moveEnd(ctx, r, id, timeout, true)
	return err
}

func moveEnd(ctx context.Context, r *Runtime, id string, timeout time.Duration, onlyLater bool) (store.Sandbox, error) {
	// Zero is "now" here; a sandbox that is to be created needs some time.
	if timeout != 0 {
		if err := r.starter.ValidateTimeout(timeout); err != nil {
			return store.Sandbox{}, err
		}
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return store.Sandbox{}, err
	}
	if err := sb.LockSettled(ctx); err != nil {
		return store.Sandbox{}, fmt.Errorf("set timeout of %s: %w", id, err)
	}
	defer sb.Life.Unlock()
	switch s := sb.State(); s {
	case sandbox.StateRunning:
	case sandbox.StateKilling, sandbox.StateKilled:
		return store.Sandbox{}, sb.Gone()
	default:
		return store.Sandbox{}, fmt.Errorf("set timeout of %s: %w: it is %s", id, sandbox.ErrConflict, s)
	}
	row := sb.Row()
	end := time.Now().Add(timeout)
	if onlyLater && !end.After(row.EndAt) {
		return row, nil
	}
	row.EndAt = end
	if err := r.rows.Put(ctx, sb, &row); err != nil {
		return store.Sandbox{}, fmt.Errorf("set timeout of %s: %w", id, fault.Classify(err))
	}
	sb.Update(func(row *store.Sandbox) { row.EndAt = end })
	sb.Arm(0, func() { r.saver.Expire(sb) })
	return row, nil
}
