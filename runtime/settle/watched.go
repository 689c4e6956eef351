package settle

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/vm"
)

// Watched is the supervisor's side of the runtime: supervise.Sandboxes.
type Watched struct{ l *Settler }

func (w Watched) Views() []supervise.View {
	all := w.l.cfg.Live.All()
	out := make([]supervise.View, 0, len(all))
	for _, sb := range all {
		if sb.Elsewhere == nil {
			out = append(out, watchedOf(sb))
		}
	}
	return out
}

func (w Watched) View(id string) (supervise.View, bool) {
	sb, ok := w.l.cfg.Live.Find(id)
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

func (w Watched) Found(ctx context.Context, id string) (reconcile.Row, reconcile.Machine, bool) {
	sb, ok := w.l.cfg.Live.Find(id)
	if !ok {
		return reconcile.Row{}, reconcile.Machine{}, false
	}
	row := sb.Row()
	return w.l.found(ctx, row), w.l.machine(ctx, id), row.SlotID != ""
}

// machine is the driver's report about a sandbox's machine.
func (l *Settler) machine(ctx context.Context, id string) reconcile.Machine {
	view, ok, err := l.cfg.Driver.Get(ctx, id)
	if err != nil {
		return reconcile.Machine{Lost: err.Error()}
	}
	return reconcile.Machine{Present: ok && view.Status != vm.StatusDestroyed, Status: view.Status, Lost: view.ExitReason}
}

func (w Watched) BreakOff(id string) {
	if sb, ok := w.l.cfg.Live.Find(id); ok {
		sb.BreakOff(live.ErrStuck)
	}
}

func (w Watched) DestroyUnder(ctx context.Context, id string) {
	if sb, ok := w.l.cfg.Live.Find(id); ok {
		w.l.cfg.Ender.DestroyUnder(ctx, sb)
	}
}

func (w Watched) Hold(ctx context.Context, id string, bound time.Duration) (release func(), ok bool) {
	sb, ok := w.l.cfg.Live.Find(id)
	if !ok || sb.Life.LockWithin(ctx, bound) != nil {
		return nil, false
	}
	return sb.Life.Unlock, true
}

func (w Watched) Enact(ctx context.Context, id string, rec reconcile.Record) error {
	sb, ok := w.l.cfg.Live.Find(id)
	if !ok {
		return nil
	}
	return w.l.enact(ctx, sb, rec)
}

func (w Watched) End(ctx context.Context, id, reason string, held bool) error {
	sb, ok := w.l.cfg.Live.Find(id)
	if !ok {
		return nil
	}
	if held {
		return w.l.cfg.Ender.EndHeld(ctx, sb, reason)
	}
	return w.l.cfg.Ender.End(ctx, sb, reason)
}
