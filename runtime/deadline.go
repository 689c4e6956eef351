package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
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

func (r *Runtime) moveEnd(ctx context.Context, id string, timeout time.Duration, onlyLater bool) (store.Sandbox, error) {
	// Zero is "now" here; a sandbox that is to be created needs some time.
	if timeout != 0 {
		if err := r.validateTimeout(timeout); err != nil {
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
	if err := r.put(ctx, sb, &row); err != nil {
		return store.Sandbox{}, fmt.Errorf("set timeout of %s: %w", id, fault.Classify(err))
	}
	sb.Update(func(row *store.Sandbox) { row.EndAt = end })
	sb.Arm(0, func() { r.expire(sb) })
	return row, nil
}

// expire runs when the timer fires.
func (r *Runtime) expire(sb *live.Sandbox) {
	r.live.IfOpen(func() { r.background.Go(func() { r.expired(sb) }) })
}

// expired ends or pauses a sandbox whose timeout has passed.
func (r *Runtime) expired(sb *live.Sandbox) {
	for sb.Life.LockWithin(r.life, max(0, time.Until(sb.Life.Due()))+supervise.Grace) != nil {
		if r.life.Err() != nil || sb.Condemned() {
			return
		}
		if !sb.Life.Overdue(time.Now()) {
			continue // It has more time, or another call has the sandbox.
		}
		r.expireHung(sb)
		return
	}
	defer sb.Life.Unlock()
	// A call that held the lock may have moved the timeout, and told its client
	// so, or ended the sandbox.
	row := sb.Row()
	if sb.State() != sandbox.StateRunning || time.Now().Before(row.EndAt) {
		return
	}
	if kind := pauseKind(sandbox.OnTimeout(row.OnTimeout)); kind != "" {
		if err := r.pauseLocked(sb, kind); err != nil {
			// It is not killed for that: its owner asked for a pause, to keep it.
			r.log.Warn("sandbox timed out and cannot be paused yet", "sandbox_id", sb.ID, "error", err)
			if sb.State() == sandbox.StateRunning {
				sb.Arm(expireRetry, func() { r.expire(sb) })
			}
		}
		return
	}
	if err := r.terminateLocked(r.life, sb, "timeout"); err != nil {
		r.log.Warn("sandbox timed out and cannot be ended yet", "sandbox_id", sb.ID, "error", err)
	}
}

// expireHung is expire of a sandbox whose lifecycle call hangs. One that was to
// be paused is left to supervision, which ends only what is silent.
func (r *Runtime) expireHung(sb *live.Sandbox) {
	row := sb.Row()
	if sb.State() != sandbox.StateRunning || time.Now().Before(row.EndAt) {
		return
	}
	if pauseKind(sandbox.OnTimeout(row.OnTimeout)) != "" {
		sb.Arm(expireRetry, func() { r.expire(sb) })
		return
	}
	if err := r.terminate(r.life, sb, "timeout"); err != nil {
		r.log.Warn("sandbox timed out and cannot be ended yet", "sandbox_id", sb.ID, "error", err)
	}
}

// expireRetry is the pause before another attempt to pause a sandbox that timed
// out.
const expireRetry = 30 * time.Second

// pauseKind is how a timeout pauses; empty if it kills.
func pauseKind(o sandbox.OnTimeout) string {
	switch o {
	case sandbox.OnTimeoutPause:
		return claim.KindPause
	case sandbox.OnTimeoutPauseFilesystem:
		return claim.KindFilesystemPause
	}
	return ""
}
