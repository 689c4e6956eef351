package runtime

import (
	"fmt"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/sandbox"
)

// latePauses bounds the pauses at the same time that a start has to make: they
// write much, and others want to use the machine already.
const latePauses = 2

// pauseLater pauses a sandbox that a start found running and that must not run
// on. That can take minutes, so it waits until the daemon serves; until it is
// done the sandbox is not served. A pause that fails ends nothing: it is tried
// again. One that ran into its timeout is served meanwhile. The caller holds
// sb.Life.
func (r *Runtime) pauseLater(sb *live.Sandbox, kind, reason string) {
	sb.SetRecovering(recovery.WaitsForPause)
	r.watchOver(sb)
	r.background.Go(func() {
		select {
		case <-r.ready:
		case <-r.life.Done():
			return
		}
		defer sb.SetRecovering("")
		_ = retries.Do(r.life, func() error {
			err := r.pauseInTurn(sb, kind)
			if err == nil || sb.State() != sandbox.StateRunning {
				r.notes.Note(sb.ID, nil)
				return nil
			}
			r.log.Warn("sandbox cannot be paused yet", "sandbox_id", sb.ID, "reason", reason, "error", err)
			if reason == reconcile.TimedOut {
				r.notes.Note(sb.ID, nil)
				sb.Arm(expireRetry, func() { r.expire(sb) })
				return nil
			}
			r.notes.Note(sb.ID, fmt.Errorf("%s; it cannot be paused yet: %w", reason, err))
			return err
		}, nil)
	})
}

// pauseInTurn pauses a sandbox if it still runs.
func (r *Runtime) pauseInTurn(sb *live.Sandbox, kind string) error {
	select {
	case r.late <- struct{}{}:
		defer func() { <-r.late }()
	case <-r.life.Done():
		return r.life.Err()
	}
	if err := sb.Life.Lock(r.life); err != nil {
		return err
	}
	defer sb.Life.Unlock()
	if sb.State() != sandbox.StateRunning {
		return nil
	}
	return r.pauseLocked(sb, kind)
}
