package runtime

import (
	"errors"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// expose arms the timeout and watches the machine. The sandbox is running.
func (r *Runtime) expose(sb *live.Sandbox) {
	sb.Arm(0, func() { r.expire(sb) })
	r.watchOver(sb)
}

// watchOver watches the machine that a sandbox has from now on.
func (r *Runtime) watchOver(sb *live.Sandbox) {
	run := sb.NextRun()
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		r.background.Go(func() { r.watch(waiter, sb, run) })
	}
}

// watch ends a sandbox whose machine ended by itself.
func (r *Runtime) watch(waiter vm.Waiter, sb *live.Sandbox, run int) {
	reason, err := waiter.Wait(r.life, sb.ID)
	if r.life.Err() != nil || errors.Is(err, vm.ErrNotFound) {
		return
	}
	if err != nil {
		reason = "lost: " + err.Error()
	}
	if sb.Life.Lock(r.life) != nil {
		return
	}
	defer sb.Life.Unlock()
	if row, now, condemned := sb.Look(); condemned || now != run || row.State != sandbox.StateRunning {
		return // it was paused or killed, or it runs in another machine
	}
	if err := r.terminateLocked(r.life, sb, reason); err != nil {
		r.log.Warn("sandbox ended by itself and cannot be freed yet", "sandbox_id", sb.ID, "error", err)
	}
}
