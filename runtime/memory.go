package runtime

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/runtime/live"
)

// rememberEnds remembers the ends from before this process, the newest of all.
func rememberEnds(ctx context.Context, r *Runtime) error {
	rows, err := r.cfg.Store.Sandboxes.Killed(ctx, live.MostEnds)
	for _, row := range slices.Backward(rows) {
		r.live.Ended.Remember(row)
	}
	return err
}
