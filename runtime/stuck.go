package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
)

// settle carries out what was decided about a stuck sandbox. It breaks off the
// lifecycle call that is stuck. Once the sandbox is free the decision is made
// anew: the call may have had its outcome, and the sandbox its say.
func (r *Runtime) settle(sb *handle, rec reconcile.Record) {
	sb.mu.Lock()
	begun := sb.beat.settling
	sb.beat.settling = true
	sb.mu.Unlock()
	if begun {
		return
	}
	done := func() {
		sb.mu.Lock()
		defer sb.mu.Unlock()
		sb.beat.settling = false
	}
	if sb.state() != sandbox.StateRunning || sb.life.overdue(time.Now()) {
		sb.breakOff(errStuck)
	}
	r.log.Warn("sandbox is stuck", "sandbox", sb.id, "state", sb.state(), "action", rec.Action, "reason", rec.Reason)
	if !r.background.Go(func() {
		defer done()
		if sb.life.lockWithin(r.life, killGrace) == nil || r.loosen(sb, rec) {
			defer sb.life.unlock()
			r.settleLocked(sb)
		}
	}) {
		done()
	}
}

// loosen deals with a sandbox whose call heeds no context, and reports whether
// the caller has the sandbox's life then. Where all that the sandbox has is
// saved, or nobody was told of it yet, the machine is destroyed under the call.
// Otherwise the machine is all that there is of it: it is destroyed only when it
// is as silent as a running one would have to be. Until then the next look comes
// back to it, and a client can kill it at any time.
func (r *Runtime) loosen(sb *handle, rec reconcile.Record) (locked bool) {
	ctx := r.life
	if ctx.Err() != nil || sb.condemned() {
		return false
	}
	switch rec.Action {
	case reconcile.FinishPause, reconcile.BackToPaused:
		if sb.life.overdue(time.Now()) {
			r.destroyUnder(ctx, sb)
		}
		return sb.life.lockWithin(ctx, background.CleanupTimeout) == nil
	case reconcile.Kill:
		if sb.state() == sandbox.StateRunning && !r.silent(ctx, sb) {
			return false
		}
		r.giveUp(sb, rec.Reason)
	case reconcile.UndoPause, reconcile.Pause:
		if r.hopeless(ctx, sb) {
			r.giveUp(sb, reasonHung)
		}
	}
	return false
}

const reasonHung = "stuck: its pause hangs, and its machine does not answer"

// hopeless reports whether a sandbox that is pausing was given as long after its
// deadline as a silent one, and is silent.
func (r *Runtime) hopeless(ctx context.Context, sb *handle) bool {
	row := sb.snapshot()
	return row.State == sandbox.StatePausing && !time.Now().Before(row.Deadline.Add(r.silenceTimeout())) &&
		r.silent(ctx, sb) && ctx.Err() == nil
}

// silent asks a sandbox, and reports that it does not answer although the daemon
// could hear it.
func (r *Runtime) silent(ctx context.Context, sb *handle) bool {
	sign, _ := r.hear(ctx, sb.id, sb.snapshot().SlotID)
	return sign == signSilent
}

// giveUp ends a stuck sandbox whose life the caller does not have.
func (r *Runtime) giveUp(sb *handle, reason string) {
	if err := r.terminate(r.life, sb, reason); err != nil {
		r.log.Warn("a stuck sandbox could not be ended yet", "sandbox_id", sb.id, "error", err)
		return
	}
	r.countSettled(reconcile.Kill)
}

func (r *Runtime) settleLocked(sb *handle) {
	ctx := r.life
	if sb.condemned() {
		return
	}
	rec := r.judge(ctx, sb, time.Now())
	if rec.Action == reconcile.Preserve {
		return
	}
	// It is asked once more, for what counted may be long ago.
	if sb.state() == sandbox.StateRunning && !r.silent(ctx, sb) {
		sb.mu.Lock()
		sb.beat.heard, sb.beat.missed = time.Now(), 0
		sb.mu.Unlock()
		return
	}
	if ctx.Err() != nil {
		return
	}
	hopeless := rec.Action == reconcile.UndoPause && r.hopeless(ctx, sb)
	err := r.enact(ctx, sb, rec)
	if err != nil && hopeless {
		err = r.terminateLocked(ctx, sb, reasonHung)
		rec.Action = reconcile.Kill
	}
	if err != nil {
		r.log.Warn("a stuck sandbox could not be settled yet", "sandbox", sb.id, "action", rec.Action, "error", err)
		return
	}
	r.countSettled(rec.Action)
}
