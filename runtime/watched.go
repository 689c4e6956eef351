package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/vm"
)

// watched is the supervisor's side of the runtime: supervise.Sandboxes.
type watched struct{ r *Runtime }

func (w watched) Views() []supervise.View {
	all := w.r.live.All()
	out := make([]supervise.View, 0, len(all))
	for _, sb := range all {
		if sb.Elsewhere == nil {
			out = append(out, watchedOf(sb))
		}
	}
	return out
}

func (w watched) View(id string) (supervise.View, bool) {
	sb, ok := w.r.live.Find(id)
	if !ok {
		return supervise.View{}, false
	}
	return watchedOf(sb), true
}

func watchedOf(sb *live.Sandbox) supervise.View {
	now := time.Now()
	row, run, condemned := sb.Look()
	return supervise.View{
		ID: sb.ID, Run: run, State: row.State, Deadline: row.Deadline, Slot: row.SlotID,
		Busy: sb.Life.Busy(now), Overdue: sb.Life.Overdue(now), Condemned: condemned,
	}
}

func (w watched) Found(ctx context.Context, id string) (reconcile.Row, reconcile.Machine, bool) {
	sb, ok := w.r.live.Find(id)
	if !ok {
		return reconcile.Row{}, reconcile.Machine{}, false
	}
	row := sb.Row()
	return w.r.found(ctx, row), w.r.machine(ctx, id), row.SlotID != ""
}

// machine is what the driver says about a sandbox's machine.
func (r *Runtime) machine(ctx context.Context, id string) reconcile.Machine {
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	if err != nil {
		return reconcile.Machine{Lost: err.Error()}
	}
	return reconcile.Machine{Present: ok && view.Status != vm.StatusDestroyed, Status: view.Status, Lost: view.ExitReason}
}

func (w watched) BreakOff(id string) {
	if sb, ok := w.r.live.Find(id); ok {
		sb.BreakOff(live.ErrStuck)
	}
}

func (w watched) DestroyUnder(ctx context.Context, id string) {
	if sb, ok := w.r.live.Find(id); ok {
		w.r.destroyUnder(ctx, sb)
	}
}

func (w watched) Hold(ctx context.Context, id string, bound time.Duration) (release func(), ok bool) {
	sb, ok := w.r.live.Find(id)
	if !ok || sb.Life.LockWithin(ctx, bound) != nil {
		return nil, false
	}
	return sb.Life.Unlock, true
}

func (w watched) Enact(ctx context.Context, id string, rec reconcile.Record) error {
	sb, ok := w.r.live.Find(id)
	if !ok {
		return nil
	}
	return w.r.enact(ctx, sb, rec)
}

func (w watched) End(ctx context.Context, id, reason string, held bool) error {
	sb, ok := w.r.live.Find(id)
	if !ok {
		return nil
	}
	if held {
		return w.r.terminateLocked(ctx, sb, reason)
	}
	return w.r.terminate(ctx, sb, reason)
}
