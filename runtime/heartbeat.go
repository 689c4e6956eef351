package runtime

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/substrate/reconcile"
	"github.com/rundlet/rundlet/vm"
)

const (
	// beatTimeout is how long an agent has for a sign of life: more than at a
	// start, where others wait for the answer.
	beatTimeout = 5 * time.Second
	// beatsAtOnce bounds the cost of asking.
	beatsAtOnce = 4
	// leastMissed is how many signs of life in a row must be missed, however
	// long the silence was.
	leastMissed = 3
)

// beat is the last sign of life of a machine, or the last time that it could not
// be heard if that was later: its silence counts from then.
type beat struct {
	run    int // whose it is; see sandbox.run
	heard  time.Time
	missed int // since then
	// settling: a goroutine waits to carry out what was decided.
	settling bool
}

// beat asks the running sandboxes for a sign of life, and settles those that
// are stuck. It waits for no lifecycle call.
func (r *Runtime) beat(ctx context.Context) {
	r.sup.beating.Lock()
	defer r.sup.beating.Unlock()
	silent := r.listen(ctx)
	var stuck atomic.Int64
	var group errgroup.Group
	group.SetLimit(beatsAtOnce)
	for _, sb := range r.all() {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil // What was not heard at the end says nothing.
			}
			rec := r.judge(ctx, sb, time.Now())
			if rec.Action == reconcile.Preserve {
				return nil
			}
			if sb.state() != StateRunning {
				stuck.Add(1)
			}
			r.settle(sb, rec)
			return nil
		})
	}
	_ = group.Wait()
	r.sup.mu.Lock()
	r.sup.report.Silent, r.sup.report.Stuck = silent, int(stuck.Load())
	r.sup.mu.Unlock()
}

// judge says what is to become of a sandbox now.
func (r *Runtime) judge(ctx context.Context, sb *sandbox, now time.Time) reconcile.Record {
	row := sb.snapshot()
	w := reconcile.Watched{ID: row.ID, Deadline: row.Deadline, Row: reconcile.Row{State: reconcile.State(row.State)}}
	sb.mu.Lock()
	if sb.beat.run == sb.run && sb.beat.missed >= leastMissed {
		w.Heartbeat = sb.beat.heard
	}
	sb.mu.Unlock()
	if w.Row.State.Transitional() && !now.Before(row.Deadline) {
		w.Row, w.Machine, w.Network = r.found(ctx, row), r.machine(ctx, row.ID), row.SlotID != ""
	}
	timeout := r.cfg.Supervision.HeartbeatTimeout
	if timeout <= 0 {
		timeout = reconcile.DefaultHeartbeatTimeout
	}
	return reconcile.Stuck([]reconcile.Watched{w}, now, timeout)[0]
}

// machine is what the driver says about a sandbox's machine.
func (r *Runtime) machine(ctx context.Context, id string) reconcile.Machine {
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	if err != nil {
		return reconcile.Machine{Lost: err.Error()}
	}
	return reconcile.Machine{Present: ok && view.Status != vm.StatusDestroyed, Status: view.Status, Lost: view.ExitReason}
}

// settle carries out what was decided about a stuck sandbox as soon as its
// lifecycle calls let it, which it breaks off if they are what is stuck. By then
// the decision is made anew: the call may have had its outcome, and the sandbox
// its say.
func (r *Runtime) settle(sb *sandbox, rec reconcile.Record) {
	sb.mu.Lock()
	begun := sb.beat.settling
	sb.beat.settling = true
	sb.mu.Unlock()
	if begun {
		return
	}
	if sb.state() != StateRunning {
		sb.breakOff(errStuck)
	}
	r.log.Warn("sandbox is stuck", "sandbox", sb.id, "state", sb.state(), "action", rec.Action, "reason", rec.Reason)
	done := func() {
		sb.mu.Lock()
		defer sb.mu.Unlock()
		sb.beat.settling = false
	}
	if !r.spawn(func() {
		defer done()
		if sb.life.lock(r.life) != nil {
			return
		}
		defer sb.life.unlock()
		r.settleLocked(sb)
	}) {
		done()
	}
}

func (r *Runtime) settleLocked(sb *sandbox) {
	ctx := r.life
	rec := r.judge(ctx, sb, time.Now())
	if rec.Action == reconcile.Preserve {
		return
	}
	if row := sb.snapshot(); State(row.State) == StateRunning {
		// It is asked once more, for what counted may be long ago.
		if sign, _ := r.hear(ctx, sb.id, row.SlotID); sign != signSilent {
			sb.mu.Lock()
			sb.beat.heard, sb.beat.missed = time.Now(), 0
			sb.mu.Unlock()
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err := r.enact(ctx, sb, rec); err != nil {
		r.log.Warn("a stuck sandbox could not be settled yet", "sandbox", sb.id, "action", rec.Action, "error", err)
		return
	}
	r.countSettled(rec.Action)
}
