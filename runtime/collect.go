package runtime

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rundlet/rundlet/vm"
)

// collect removes the snapshots and images that nothing needs any more. What
// cannot be removed now is logged and left for the next time.
func (r *Runtime) collect(ctx context.Context) {
	err := func() error {
		// A template that is being built has a snapshot before it has a row.
		unlock, err := r.cfg.LockTemplates(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		return errors.Join(r.claims.DropUnfinished(ctx), r.claims.Review(ctx, 0), r.claims.SealUnsealed(ctx), r.prune(ctx))
	}()
	if err != nil {
		r.log.Warn("could not remove all that nothing needs any more", "error", err)
	}
}

// prune removes the images of former bases. A running sandbox may have any of
// them as its root, so it waits for a start at which there is none.
func (r *Runtime) prune(ctx context.Context) error {
	if r.cfg.Prune == nil {
		return nil
	}
	live, err := r.cfg.Store.CountLive(ctx)
	if err != nil || live > 0 {
		return err
	}
	if orphans, err := r.cfg.Store.Orphans(ctx); err != nil || len(orphans) > 0 {
		return err // Nothing says which image they need.
	}
	tpl, found, err := r.storedBase(ctx)
	if err != nil || !found {
		return err
	}
	specs, err := r.cfg.Store.Specs(ctx) // No sandbox is live: they are those of snapshots.
	if err != nil {
		return err
	}
	specs = append(specs, string(tpl.Spec))
	var keep []string
	for _, text := range specs {
		var spec vm.Spec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			return err // Better too many images than one too few.
		}
		keep = append(keep, spec.Rootfs)
	}
	return r.cfg.Prune(ctx, keep)
}
