package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store"
)

// SetTimeout ends the sandbox at now+timeout, earlier or later than before; a
// timeout of zero ends it at once.
func (r *Runtime) SetTimeout(ctx context.Context, id string, timeout time.Duration) error {
	_, err := r.moveEnd(ctx, id, timeout, false)
	return err
}

// Extend is SetTimeout that never shortens.
func (r *Runtime) Extend(ctx context.Context, id string, timeout time.Duration) error {
	_, err := r.moveEnd(ctx, id, timeout, true)
	return err
}

// Connect extends the time-out of a running sandbox and returns it.
func (r *Runtime) Connect(ctx context.Context, id string, timeout time.Duration) (Sandbox, bool, error) {
	row, err := r.moveEnd(ctx, id, timeout, true)
	if err != nil {
		return Sandbox{}, false, err
	}
	return r.view(row), false, nil
}

func (r *Runtime) moveEnd(ctx context.Context, id string, timeout time.Duration, onlyLater bool) (store.Sandbox, error) {
	// Zero is "now" here; a sandbox that is to be created needs some time.
	if timeout != 0 {
		if err := r.validateTimeout(timeout); err != nil {
			return store.Sandbox{}, err
		}
	}
	sb, ok := r.find(id)
	if !ok {
		return store.Sandbox{}, notFound(id)
	}
	sb.life.Lock()
	defer sb.life.Unlock()
	if s := sb.state(); s != StateRunning {
		return store.Sandbox{}, notFound(id)
	}
	row := sb.snapshot()
	end := time.Now().Add(timeout)
	if onlyLater && !end.After(row.EndAt) {
		return row, nil
	}
	row.EndAt = end
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return store.Sandbox{}, fmt.Errorf("set timeout of %s: %w", id, err)
	}
	sb.update(func(row *store.Sandbox) { row.EndAt = end })
	sb.arm(func() { r.expire(sb) })
	return row, nil
}

// expire runs when the timer fires.
func (r *Runtime) expire(sb *sandbox) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.background.Add(1) // under mu: Close waits only after closed is set
	r.mu.Unlock()
	defer r.background.Done()

	sb.life.Lock()
	defer sb.life.Unlock()
	// A call that held the lock may have moved the time-out, and told its client
	// so, or ended the sandbox.
	if sb.state() != StateRunning || time.Now().Before(sb.snapshot().EndAt) {
		return
	}
	if err := r.terminateLocked(r.life, sb, "timeout"); err != nil {
		r.log.Warn("sandbox timed out and cannot be ended yet", "sandbox", sb.id, "error", err)
	}
}
