package supervise

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
)

// settle applies the decision about a stuck sandbox. It breaks off the
// lifecycle call that is stuck. Once the sandbox is free the decision is made
// anew: the call may have had its outcome, and the sandbox may answer again.
func (w *Watcher) settle(v View, rec reconcile.Record) {
	begun := false
	w.with(v.ID, func(b *beat) { begun, b.settling = b.settling, true })
	if begun {
		return
	}
	done := func() { w.with(v.ID, func(b *beat) { b.settling = false }) }
	if v.state() != sandbox.StateRunning || v.Overdue {
		w.cfg.Sandboxes.BreakOff(v.ID)
	}
	w.cfg.Log.Warn("sandbox stuck", "sandbox_id", v.ID, "state", v.state(), "action", rec.Action, "reason", rec.Reason)
	if !w.cfg.Background.Go(func() {
		defer done()
		release, ok := w.cfg.Sandboxes.Hold(w.life, v.ID, background.Grace)
		if !ok {
			release, ok = w.loosen(v.ID, rec)
		}
		if ok {
			defer release()
			w.settleHeld(v.ID)
		}
	}) {
		done()
	}
}

// loosen deals with a sandbox whose call heeds no context. It reports whether the
// caller holds the sandbox then. Where all that the sandbox has is saved, or no
// client knows it yet, the machine is destroyed under the call. Otherwise the
// machine is all that there is of it: it is destroyed only when it is as silent
// as a running one would have to be. Until then the next round comes back to it,
// and a client can kill it at any time.
func (w *Watcher) loosen(id string, rec reconcile.Record) (release func(), ok bool) {
	ctx := w.life
	v, there := w.cfg.Sandboxes.View(id)
	if ctx.Err() != nil || !there || v.Condemned {
		return nil, false
	}
	switch rec.Action {
	case reconcile.FinishPause, reconcile.BackToPaused:
		if v.Overdue {
			w.cfg.Sandboxes.DestroyUnder(ctx, id)
		}
		return w.cfg.Sandboxes.Hold(ctx, id, background.CleanupTimeout)
	case reconcile.Kill:
		if v.State == sandbox.StateRunning && !w.silent(ctx, v) {
			return nil, false
		}
		w.giveUp(id, rec.Reason)
	case reconcile.UndoPause, reconcile.Pause:
		if w.hopeless(ctx, id) {
			w.giveUp(id, ReasonHung)
		}
	}
	return nil, false
}

// ReasonHung is the reason of a sandbox whose pause hung for too long.
const ReasonHung = "stuck: its pause hangs, and its machine does not answer"

// hopeless reports whether a sandbox that is pausing was given as long after its
// deadline as a silent one, and is silent.
func (w *Watcher) hopeless(ctx context.Context, id string) bool {
	v, ok := w.cfg.Sandboxes.View(id)
	return ok && v.State == sandbox.StatePausing && !time.Now().Before(v.Deadline.Add(w.silenceTimeout())) &&
		w.silent(ctx, v) && ctx.Err() == nil
}

// silent asks a sandbox, and reports that it does not answer although the daemon
// could hear it.
func (w *Watcher) silent(ctx context.Context, v View) bool {
	sign, _ := w.hear(ctx, v.ID, v.Slot)
	return sign == signSilent
}

// giveUp ends a stuck sandbox that the caller does not hold.
func (w *Watcher) giveUp(id, reason string) {
	if err := w.cfg.Sandboxes.End(w.life, id, reason, false); err != nil {
		w.cfg.Log.Warn("could not kill stuck sandbox yet", "sandbox_id", id, "error", err)
		return
	}
	w.settled(reconcile.Kill)
}

// settleHeld settles a sandbox that the caller holds.
func (w *Watcher) settleHeld(id string) {
	ctx := w.life
	v, ok := w.cfg.Sandboxes.View(id)
	if !ok || v.Condemned {
		return
	}
	rec := w.judge(ctx, v, time.Now())
	if rec.Action == reconcile.Preserve {
		return
	}
	// It is asked once more, for what counted may be long ago.
	if v.State == sandbox.StateRunning && !w.silent(ctx, v) {
		w.with(id, func(b *beat) { b.heard, b.missed = time.Now(), 0 })
		return
	}
	if ctx.Err() != nil {
		return
	}
	hopeless := rec.Action == reconcile.UndoPause && w.hopeless(ctx, id)
	err := w.cfg.Sandboxes.Enact(ctx, id, rec)
	if err != nil && hopeless {
		err = w.cfg.Sandboxes.End(ctx, id, ReasonHung, true)
		rec.Action = reconcile.Kill
	}
	if err != nil {
		w.cfg.Log.Warn("could not recover stuck sandbox yet", "sandbox_id", id, "action", rec.Action, "error", err)
		return
	}
	w.settled(rec.Action)
}

func (w *Watcher) settled(a reconcile.Action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report.Settled == nil {
		w.report.Settled = map[string]uint64{}
	}
	w.report.Settled[string(a)]++
}
