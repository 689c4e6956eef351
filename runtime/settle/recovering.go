package settle

import (
	"context"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Recovering is recovery's side of the runtime: recovery.Sandboxes.
type Recovering struct{ l *Settler }

func (s Recovering) Elsewhere(row store.Sandbox) error { return s.l.cfg.Claims.SandboxHere(row) }

func (s Recovering) Know(row store.Sandbox, why string) {
	sb := live.New(row)
	sb.SetRecovering(why)
	sb.Elsewhere = s.Elsewhere(row)
	runs := row.State != sandbox.StatePaused && sb.Elsewhere == nil
	s.l.cfg.Live.Know(sb, s.l.cfg.Admission.Places.Adopt(row.KeyID, runs))
}

func (s Recovering) Serve(id, why string) {
	if sb, ok := s.l.cfg.Live.Find(id); ok {
		sb.SetRecovering(why)
	}
}

func (s Recovering) Found(ctx context.Context, row store.Sandbox, present bool) reconcile.Row {
	return s.l.foundAfter(ctx, row, present)
}

func (s Recovering) CarryOut(ctx context.Context, rec reconcile.Record, present bool) error {
	sb, ok := s.l.cfg.Live.Find(rec.ID)
	if !ok {
		return nil // A client ended it meanwhile.
	}
	return s.l.carryOut(ctx, rec, sb, present)
}

func (s Recovering) CarryOutMachine(ctx context.Context, rec reconcile.Record) error {
	if rec.Action == reconcile.Quarantine {
		return s.l.cfg.Orphans.SetAsideMachine(ctx, rec.ID)
	}
	return s.l.free(ctx, rec.ID)
}

func (s Recovering) Running(id string) bool {
	sb, ok := s.l.cfg.Live.Find(id)
	return ok && sb.State() == sandbox.StateRunning
}
