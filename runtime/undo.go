package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// undoPause lets a sandbox run on whose pause failed before it was saved. It can
// be repeated. An error means that its machine could be neither continued nor
// found dead: the sandbox is pausing still, and nothing of it is lost.
func (r *Runtime) undoPause(sb *live.Sandbox) error {
	if sb.Condemned() {
		return nil // The kill that broke the pause off does the rest.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), background.CleanupTimeout)
	defer cancel()
	ended, err := r.machines.GoOn(ctx, sb.ID)
	if err != nil {
		return fmt.Errorf("continue the machine of %s after a pause that failed: %w", sb.ID, err)
	}
	if ended != "" {
		// The claim goes with the sandbox. What cannot be ended now is retried.
		if err := r.terminateLocked(ctx, sb, ended); err != nil {
			r.log.Warn("sandbox cannot be ended yet", "sandbox_id", sb.ID, "error", err)
		}
		return nil
	}
	snap := sb.Row().SnapshotID
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = sandbox.StateRunning, "", time.Time{}
	})
	// If this is not written, the next start finds a machine that runs and a
	// snapshot that is not complete, and comes to the same.
	written := r.put(ctx, sb, &row)
	if written != nil {
		r.log.Warn("could not write that a pause was undone", "sandbox_id", sb.ID, "error", written)
	}
	// Another writer may have named the claim in the row; if not, it is collected.
	if errors.Is(written, store.ErrStale) {
		sb.Arm(expireRetry, func() { r.expire(sb) })
		return nil
	}
	if err := r.claims.Drop(ctx, snap); err != nil {
		r.log.Warn("could not remove what a failed pause saved", "sandbox_id", sb.ID, "error", err)
	}
	sb.Arm(expireRetry, func() { r.expire(sb) })
	return nil
}
