package runtime

import (
	"errors"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// expose arms the timeout and watches the machine. The sandbox is running.
func (r *Runtime) expose(sb *handle) {
	sb.arm(0, func() { r.expire(sb) })
	r.watchOver(sb)
}

// watchOver watches the machine that a sandbox has from now on.
func (r *Runtime) watchOver(sb *handle) {
	run := sb.nextRun()
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		r.background.Go(func() { r.watch(waiter, sb, run) })
	}
}

// watch ends a sandbox whose machine ended by itself.
func (r *Runtime) watch(waiter vm.Waiter, sb *handle, run int) {
	reason, err := waiter.Wait(r.life, sb.id)
	if r.life.Err() != nil || errors.Is(err, vm.ErrNotFound) {
		return
	}
	if err != nil {
		reason = "lost: " + err.Error()
	}
	if sb.life.lock(r.life) != nil {
		return
	}
	defer sb.life.unlock()
	if row, now, condemned := sb.look(); condemned || now != run || row.State != sandbox.StateRunning {
		return // it was paused or killed, or it runs in another machine
	}
	if err := r.terminateLocked(r.life, sb, reason); err != nil {
		r.log.Warn("sandbox ended by itself and cannot be freed yet", "sandbox_id", sb.id, "error", err)
	}
}
