package runtime

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

const (
	// beatTimeout is how long an agent has for a sign of life: more than at a
	// start, where others wait for the answer.
	beatTimeout = 5 * time.Second
	// leastBeats and mostBeats bound how many are asked at the same time: each wakes
	// its guest, which is work for a processor.
	leastBeats, mostBeats = 4, 64
	// beatTime is what one that answers takes at most, on a host that is busy.
	beatTime = 50 * time.Millisecond
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

// beatsAtOnce is how many of n sandboxes are asked at the same time, so that all of
// them are in half of the interval: a round that takes longer delays the next.
func beatsAtOnce(n int, interval time.Duration) int {
	if interval <= 0 {
		return leastBeats
	}
	return min(max(leastBeats, int(time.Duration(n)*beatTime/(interval/2))), mostBeats)
}

// beat asks the running sandboxes for a sign of life, and settles those that
// are stuck. It waits for no lifecycle call.
func (r *Runtime) beat(ctx context.Context) {
	r.sup.beating.Lock()
	defer r.sup.beating.Unlock()
	silent := r.listen(ctx)
	var stuck atomic.Int64
	var group errgroup.Group
	all := r.all()
	group.SetLimit(beatsAtOnce(len(all), r.cfg.Supervision.Heartbeat))
	for _, sb := range all {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil // What was not heard at the end says nothing.
			}
			rec := r.judge(ctx, sb, time.Now())
			overdue := sb.life.overdue(time.Now())
			if rec.Action == reconcile.Preserve && !overdue {
				return nil
			}
			if sb.state() != sandbox.StateRunning || overdue {
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
func (r *Runtime) judge(ctx context.Context, sb *handle, now time.Time) reconcile.Record {
	row := sb.snapshot()
	w := reconcile.Watched{ID: row.ID, Deadline: row.Deadline, Row: reconcile.Row{State: row.State}}
	sb.mu.Lock()
	if sb.beat.run == sb.run && sb.beat.missed >= leastMissed {
		w.Heartbeat = sb.beat.heard
	}
	sb.mu.Unlock()
	if w.Row.State.Transitional() && !now.Before(row.Deadline) {
		w.Row, w.Machine, w.Network = r.found(ctx, row), r.machine(ctx, row.ID), row.SlotID != ""
	}
	return reconcile.Stuck([]reconcile.Watched{w}, now, r.silenceTimeout())[0]
}

// silenceTimeout is how long a sandbox may give no sign of life.
func (r *Runtime) silenceTimeout() time.Duration {
	if timeout := r.cfg.Supervision.HeartbeatTimeout; timeout > 0 {
		return timeout
	}
	return reconcile.DefaultHeartbeatTimeout
}

// machine is what the driver says about a sandbox's machine.
func (r *Runtime) machine(ctx context.Context, id string) reconcile.Machine {
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	if err != nil {
		return reconcile.Machine{Lost: err.Error()}
	}
	return reconcile.Machine{Present: ok && view.Status != vm.StatusDestroyed, Status: view.Status, Lost: view.ExitReason}
}
