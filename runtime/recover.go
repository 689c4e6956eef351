package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// collectTimeout is how long the start waits for the collection of garbage, which
// waits for the template builds of other processes.
const collectTimeout = 5 * time.Second

// reconcile recovers what an earlier process left.
func (r *Runtime) reconcile(ctx context.Context) (err error) {
	r.reconciled, err = recovery.Run(ctx, recovery.Config{
		Instance: r.cfg.Instance, Ephemeral: r.cfg.Ephemeral, Driver: r.cfg.Driver, Network: r.cfg.Network, Store: r.cfg.Store,
		Machines: r.machines, Sandboxes: recovering{r}, Notes: &r.notes, Background: r.background, Progress: r.cfg.Recovering, Log: r.log,
	})
	if err != nil {
		return err
	}
	if err := r.rememberEnds(ctx); err != nil {
		r.log.Warn("could not read out-of-memory kills", "error", err)
	}
	if _, err := r.cfg.Store.DropKilled(ctx, time.Now().Add(-supervise.KilledKept), supervise.MostKilled); err != nil {
		r.log.Warn("could not delete old sandbox records", "error", err)
	}
	return nil
}

// collectSoon collects garbage, and waits for that as long as a start may.
func (r *Runtime) collectSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	_, _ = await(ctx, r, func() (struct{}, error) {
		r.collect(r.life)
		return struct{}{}, nil
	})
}

// recovering is recovery's side of the runtime: recovery.Sandboxes.
type recovering struct{ r *Runtime }

func (s recovering) Elsewhere(row store.Sandbox) error { return s.r.claims.SandboxHere(row) }

func (s recovering) Know(row store.Sandbox, why string) {
	sb := live.New(row)
	sb.SetRecovering(why)
	sb.Elsewhere = s.Elsewhere(row)
	s.r.live.Know(sb, s.r.admission.Places.Adopt(row.KeyID, row.State != sandbox.StatePaused))
}

func (s recovering) Serve(id, why string) {
	if sb, ok := s.r.live.Find(id); ok {
		sb.SetRecovering(why)
	}
}

func (s recovering) Found(ctx context.Context, row store.Sandbox, present bool) reconcile.Row {
	return s.r.foundAfter(ctx, row, present)
}

func (s recovering) CarryOut(ctx context.Context, rec reconcile.Record, present bool) error {
	sb, ok := s.r.live.Find(rec.ID)
	if !ok {
		return nil // A client ended it meanwhile.
	}
	return s.r.carryOut(ctx, rec, sb, present)
}

func (s recovering) CarryOutMachine(ctx context.Context, rec reconcile.Record) error {
	if rec.Action == reconcile.Quarantine {
		return s.r.orphans.SetAsideMachine(ctx, rec.ID)
	}
	return s.r.free(ctx, rec.ID)
}

func (s recovering) Running(id string) bool {
	sb, ok := s.r.live.Find(id)
	return ok && sb.State() == sandbox.StateRunning
}
