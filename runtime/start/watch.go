package start

import (
	"errors"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Expose arms the timeout and watches the machine. The sandbox is running.
func (t *Starter) Expose(sb *live.Sandbox) {
	sb.Arm(0, func() { t.cfg.Saver.Expire(sb) })
	t.Watch(sb)
}

// Watch watches the machine that a sandbox has from now on, and begins the sync that it waits for. The caller has sb.Life.
func (t *Starter) Watch(sb *live.Sandbox) {
	run := sb.NextRun()
	t.cfg.Refresh(sb)
	if waiter, ok := t.cfg.Driver.(vm.Waiter); ok {
		t.cfg.Background.Go(func() { t.watch(waiter, sb, run) })
	}
}

// watch ends a sandbox whose machine ended without a call.
func (t *Starter) watch(waiter vm.Waiter, sb *live.Sandbox, run int) {
	reason, err := waiter.Wait(t.life, sb.ID)
	if t.life.Err() != nil || errors.Is(err, vm.ErrNotFound) {
		return
	}
	if err != nil {
		reason = "lost: " + err.Error()
	}
	if sb.Life.Lock(t.life) != nil {
		return
	}
	defer sb.Life.Unlock()
	if row, now, condemned := sb.Look(); condemned || now != run || row.State != sandbox.StateRunning {
		return // it was paused or killed, or it runs in another machine
	}
	if err := t.cfg.Ender.EndHeld(t.life, sb, reason); err != nil {
		t.cfg.Log.Warn("sandbox exited and cannot be freed yet", "sandbox_id", sb.ID, "error", err)
	}
}
