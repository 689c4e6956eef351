package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/runtime/supervise"
)

// collectTimeout is how long the start waits for the collection of garbage, which
// waits for the template builds of other processes.
const collectTimeout = 5 * time.Second

// recoverAll recovers the state that an earlier process left.
func recoverAll(ctx context.Context, r *Runtime) (err error) {
	r.reconciled, err = recovery.Run(ctx, recovery.Config{
		Instance: r.cfg.Instance, Ephemeral: r.cfg.Ephemeral, Driver: r.cfg.Driver, Network: r.cfg.Network, Store: recovery.Store{Sandboxes: r.cfg.Store.Sandboxes},
		Machines: r.machines, Sandboxes: r.settler.Recovering(), Notes: &r.notes, Background: r.background, Progress: r.cfg.Recovering, Log: r.log,
	})
	if err != nil {
		return err
	}
	if err := rememberEnds(ctx, r); err != nil {
		r.log.Warn("could not read out-of-memory kills", "error", err)
	}
	if _, err := r.cfg.Store.Sandboxes.DropKilled(ctx, time.Now().Add(-supervise.KilledKept), supervise.MostKilled); err != nil {
		r.log.Warn("could not delete old sandbox records", "error", err)
	}
	return nil
}

// collectSoon collects garbage, and waits for that as long as a start may.
func collectSoon(ctx context.Context, r *Runtime) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	_, _ = background.Await(ctx, r.background, func() (struct{}, error) {
		collect(r.life, r)
		return struct{}{}, nil
	})
}
