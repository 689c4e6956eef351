package end

import (
	"time"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
)

// Retries are the pauses between attempts to end sandboxes that could not be ended.
var Retries = retry.Pauses{First: 100 * time.Millisecond, Most: 30 * time.Second}

// Retry repeats the end of an operation, with growing pauses, until it is done
// or the sandbox has left the state.
func (e *Ender) Retry(sb *live.Sandbox, what string, in sandbox.State, try func(*live.Sandbox) error) {
	e.cfg.Background.Go(func() {
		// When the daemon ends first, the next Open carries on.
		_ = Retries.Again(e.life, func() error {
			if err := sb.Life.Lock(e.life); err != nil {
				return err
			}
			defer sb.Life.Unlock()
			if sb.State() == in {
				if err := try(sb); err != nil {
					return err
				}
			}
			e.cfg.Note(sb.ID, nil)
			return nil
		}, func(err error, pause time.Duration) {
			e.cfg.Log.Warn(what, "sandbox_id", sb.ID, "error", err, "retry_in", pause)
		})
	})
}
