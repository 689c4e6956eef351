package save

import (
	"fmt"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/sandbox"
)

// LatePauses bounds the pauses at the same time that a start has to make: they
// write much, and others want to use the machine already.
const LatePauses = 2

// PauseLater pauses a sandbox that a start found running and that must not run
// on. That can take minutes, so it waits until the daemon serves; until it is
// done the sandbox is not served. A pause that fails ends nothing: it is tried
// again. One that ran into its timeout is served meanwhile. The caller holds
// sb.Life.
func (v *Saver) PauseLater(sb *live.Sandbox, kind, reason string) {
	sb.SetRecovering(recovery.WaitsForPause)
	v.cfg.Watch(sb)
	v.cfg.Background.Go(func() {
		select {
		case <-v.cfg.Ready:
		case <-v.life.Done():
			return
		}
		defer sb.SetRecovering("")
		_ = end.Retries.Do(v.life, func() error {
			err := v.pauseInTurn(sb, kind)
			if err == nil || sb.State() != sandbox.StateRunning {
				v.cfg.Notes.Note(sb.ID, nil)
				return nil
			}
			v.cfg.Log.Warn("sandbox cannot be paused yet", "sandbox_id", sb.ID, "reason", reason, "error", err)
			if reason == reconcile.TimedOut {
				v.cfg.Notes.Note(sb.ID, nil)
				sb.Arm(ExpireRetry, func() { v.Expire(sb) })
				return nil
			}
			v.cfg.Notes.Note(sb.ID, fmt.Errorf("%s; it cannot be paused yet: %w", reason, err))
			return err
		}, nil)
	})
}

// pauseInTurn pauses a sandbox if it still runs.
func (v *Saver) pauseInTurn(sb *live.Sandbox, kind string) error {
	select {
	case v.late <- struct{}{}:
		defer func() { <-v.late }()
	case <-v.life.Done():
		return v.life.Err()
	}
	if err := sb.Life.Lock(v.life); err != nil {
		return err
	}
	defer sb.Life.Unlock()
	if sb.State() != sandbox.StateRunning {
		return nil
	}
	return v.Pause(sb, kind)
}
