package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/latency"
	"github.com/rundlet/rundlet/vm"
)

// Kill ends a sandbox at a client's request.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	sb, ok := r.find(id)
	if !ok {
		return notFound(id)
	}
	return r.terminate(ctx, sb, "killed by request")
}

// terminate ends a sandbox for a reason. It waits for a lifecycle call that is
// under way. ErrSandboxNotFound if another call ended it meanwhile.
func (r *Runtime) terminate(ctx context.Context, sb *sandbox, reason string) error {
	sb.life.Lock()
	defer sb.life.Unlock()
	if sb.state() == StateKilled {
		return notFound(sb.id)
	}
	err := r.terminateLocked(ctx, sb, reason)
	if err != nil && !errors.Is(err, errUnwritten) {
		return fmt.Errorf("kill sandbox %s: %w (it is being retried)", sb.id, err)
	}
	return nil
}

// terminateLocked stops the machine, then frees the network, then releases the
// capacity, then writes the outcome, then records the sample. When a step fails
// the sandbox stays in killing, keeps its capacity, and is retried in the
// background until it is gone. The caller holds sb.life.
func (r *Runtime) terminateLocked(ctx context.Context, sb *sandbox, reason string) error {
	sb.disarm()
	retrying := sb.state() == StateKilling
	err := r.tryTerminate(ctx, sb, reason)
	if err != nil && !retrying {
		r.retryTermination(sb, reason)
	}
	return err
}

// errUnwritten: nothing is left of the sandbox but its row, which could not be
// written, as on a full disk. Whoever asked for the end has it; the row is
// retried.
var errUnwritten = errors.New("the end of the sandbox could not be recorded")

func (r *Runtime) tryTerminate(ctx context.Context, sb *sandbox, reason string) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	begin := time.Now()
	wasRunning := sb.state() == StateRunning
	row := sb.update(func(row *store.Sandbox) {
		row.State = string(StateKilling)
		if row.Reason == "" {
			row.Reason = reason
		}
	})
	// An intent that cannot be written (a full disk) must not keep a sandbox
	// alive: after a crash the row still says running, the machine is found
	// dead, and the sandbox is reported lost.
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		r.log.Warn("could not write the intent to kill", "sandbox", sb.id, "error", err)
	}
	if err := r.destroy(ctx, sb.id); err != nil {
		return err
	}
	if row.SlotID != "" {
		if err := r.cfg.Network.Release(ctx, row.SlotID); err != nil {
			return fmt.Errorf("free network %s: %w", row.SlotID, err)
		}
	}
	if sb.reservation != nil {
		sb.reservation.Release()
	}
	row = sb.snapshot()
	row.State, row.KilledAt = string(StateKilled), time.Now()
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return fmt.Errorf("%w: %w", errUnwritten, err)
	}
	sb.update(func(row *store.Sandbox) { row.State = string(StateKilled) })
	r.forget(sb)
	if wasRunning {
		r.cfg.Latency.Record(latency.KillDelete, time.Since(begin))
	}
	r.log.Info("sandbox ended", "sandbox", sb.id, "reason", row.Reason)
	return nil
}

// destroy ends a machine; one that is gone already is no error.
func (r *Runtime) destroy(ctx context.Context, id string) error {
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	if err != nil {
		return err
	}
	if !ok || view.Status == vm.StatusDestroyed {
		return nil
	}
	if err := r.cfg.Driver.Destroy(ctx, id); err != nil && !errors.Is(err, vm.ErrNotFound) {
		return err
	}
	if f, ok := r.cfg.Driver.(vm.Forgetter); ok {
		// No id comes back, so the driver need not keep it.
		return f.Forget(ctx, id)
	}
	return nil
}

// The pause between attempts to end a sandbox that could not be ended.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// retryTermination owns a sandbox in killing until it is gone.
func (r *Runtime) retryTermination(sb *sandbox, reason string) {
	r.background.Go(func() {
		pause := retryFirst
		for {
			select {
			case <-r.life.Done():
				return // the next Open finds the row in killing
			case <-time.After(pause):
			}
			sb.life.Lock()
			err := error(nil)
			if sb.state() != StateKilled {
				err = r.tryTerminate(r.life, sb, reason)
			}
			sb.life.Unlock()
			if err == nil {
				return
			}
			r.log.Warn("sandbox cannot be ended yet", "sandbox", sb.id, "error", err, "next try", pause*2)
			pause = min(pause*2, retryMost)
		}
	})
}

// watch ends a sandbox whose machine ended by itself.
func (r *Runtime) watch(waiter vm.Waiter, sb *sandbox) {
	reason, err := waiter.Wait(r.life, sb.id)
	if r.life.Err() != nil || errors.Is(err, vm.ErrNotFound) {
		return
	}
	if err != nil {
		reason = "lost: " + err.Error()
	}
	// After a Kill this finds nothing to do.
	if err := r.terminate(r.life, sb, reason); err != nil && !errors.Is(err, ErrSandboxNotFound) {
		r.log.Warn("sandbox ended by itself and cannot be freed yet", "sandbox", sb.id, "error", err)
	}
}

func notFound(id string) error {
	return fmt.Errorf("sandbox %q: %w", id, ErrSandboxNotFound)
}
