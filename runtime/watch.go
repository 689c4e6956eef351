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
	sb.mu.Lock()
	sb.run++
	run := sb.run
	sb.mu.Unlock()
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
	sb.mu.Lock()
	mine := sb.doom == "" && sb.run == run && sb.row.State == sandbox.StateRunning
	sb.mu.Unlock()
	if !mine {
		return // it was paused or killed, or it runs in another machine
	}
	if err := r.terminateLocked(r.life, sb, reason); err != nil {
		r.log.Warn("sandbox exited; could not clean it up yet", "sandbox_id", sb.id, "error", err)
	}
}
