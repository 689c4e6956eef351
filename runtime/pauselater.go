package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/store"
)

// pauseLater keeps a sandbox that can neither run on nor be paused now, as on a
// full disk: its machine runs on, unreachable, and the pause is tried again until
// it is done. Meanwhile it is quarantined, and known to no call and no heartbeat:
// nobody can hear it, and that is not its fault. The caller holds its life.
func (r *Runtime) pauseLater(ctx context.Context, sb *sandbox, reason string) error {
	r.log.Error("sandbox quarantined; it is paused as soon as it can be", "sandbox_id", sb.id, "reason", reason)
	row := sb.snapshot()
	disown := r.own(row.ID, row.SlotID)
	r.forget(sb)
	sb.disarm()
	r.retry(sb, "sandbox has no network and cannot be paused yet", StateRunning, func(sb *sandbox) error {
		err := r.pauseLocked(sb, kindPause)
		sb.disarm()
		if err != nil && sb.state() == StateRunning {
			return err
		}
		// Saved, or its machine ended meanwhile.
		defer disown()
		if sb.state() == StateKilled {
			return nil
		}
		row := sb.update(func(row *store.Sandbox) { row.QuarantinedAt, row.Reason = time.Time{}, "" })
		r.mu.Lock()
		r.sandboxes[sb.id] = sb
		r.mu.Unlock()
		writing, cancel := detached(r.life)
		defer cancel()
		return r.cfg.Store.PutSandbox(writing, row)
	})
	row, err := r.quarantine(ctx, row, reason)
	sb.update(func(now *store.Sandbox) { now.QuarantinedAt, now.Reason = row.QuarantinedAt, row.Reason })
	return err
}
