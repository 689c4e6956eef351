package save

import (
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
)

// Expire runs when the timer fires.
func (v *Saver) Expire(sb *live.Sandbox) {
	v.cfg.Live.IfOpen(func() { v.cfg.Background.Go(func() { v.ExpireNow(sb) }) })
}

// ExpireNow ends or pauses a sandbox whose timeout has passed.
func (v *Saver) ExpireNow(sb *live.Sandbox) {
	for sb.Life.LockWithin(v.life, max(0, time.Until(sb.Life.Due()))+background.Grace) != nil {
		if v.life.Err() != nil || sb.Condemned() {
			return
		}
		if !sb.Life.Overdue(time.Now()) {
			continue // It has more time, or another call has the sandbox.
		}
		v.expireHung(sb)
		return
	}
	defer sb.Life.Unlock()
	// A call that held the lock may have moved the timeout, and told its client
	// so, or ended the sandbox.
	row := sb.Row()
	if sb.State() != sandbox.StateRunning || time.Now().Before(row.EndAt) {
		return
	}
	if kind := PauseKind(sandbox.OnTimeout(row.OnTimeout)); kind != "" {
		if err := v.Pause(sb, kind); err != nil {
			// It is not killed for that: its owner asked for a pause, to keep it.
			v.cfg.Log.Warn("sandbox timed out and cannot be paused yet", "sandbox_id", sb.ID, "error", err)
			if sb.State() == sandbox.StateRunning {
				sb.Arm(ExpireRetry, func() { v.Expire(sb) })
			}
		}
		return
	}
	if err := v.cfg.Ender.EndHeld(v.life, sb, "timeout"); err != nil {
		v.cfg.Log.Warn("sandbox timed out and cannot be ended yet", "sandbox_id", sb.ID, "error", err)
	}
}

// expireHung is expire of a sandbox whose lifecycle call hangs. One that was to
// be paused is left to supervision, which ends only what is silent.
func (v *Saver) expireHung(sb *live.Sandbox) {
	row := sb.Row()
	if sb.State() != sandbox.StateRunning || time.Now().Before(row.EndAt) {
		return
	}
	if PauseKind(sandbox.OnTimeout(row.OnTimeout)) != "" {
		sb.Arm(ExpireRetry, func() { v.Expire(sb) })
		return
	}
	if err := v.cfg.Ender.End(v.life, sb, "timeout"); err != nil {
		v.cfg.Log.Warn("sandbox timed out and cannot be ended yet", "sandbox_id", sb.ID, "error", err)
	}
}

// ExpireRetry is the pause before another attempt to pause a sandbox that timed
// out.
const ExpireRetry = 30 * time.Second

// PauseKind is how a timeout pauses; empty if it kills.
func PauseKind(o sandbox.OnTimeout) string {
	switch o {
	case sandbox.OnTimeoutPause:
		return claim.KindPause
	case sandbox.OnTimeoutPauseFilesystem:
		return claim.KindFilesystemPause
	}
	return ""
}
