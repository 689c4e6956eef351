package runtime

import (
	"context"
	"errors"
)

// collect removes the snapshots and images without a user. Those that cannot be
// removed now are logged and left for the next time.
func collect(ctx context.Context, r *Runtime) {
	err := func() error {
		// A template that is being built has a snapshot before it has a row.
		unlock, err := r.cfg.LockTemplates(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		err = r.claims.DropUnfinished(ctx)
		reviewed := r.claims.Review(ctx, 0)
		err = errors.Join(err, reviewed, r.claims.SealUnsealed(ctx))
		if reviewed == nil { // Otherwise there may be snapshots without a row that need images.
			err = errors.Join(err, r.templates.Prune(ctx))
		}
		return err
	}()
	if err != nil {
		r.log.Warn("garbage collection incomplete", "error", err)
	}
}
