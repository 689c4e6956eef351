package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// reasonKill is the reason of a sandbox that a client ended.
const reasonKill = "killed by request"

// Kill ends a sandbox at a client's request. It always wins: see terminate. A
// client that goes away does not take it back. Kills at the same time join; a
// sandbox that ends for another reason is not found.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	sb, ok := r.live.Find(id)
	if !ok {
		return r.live.Ended.Gone(id)
	}
	if sb.Elsewhere != nil {
		return fault.Classify(sb.Elsewhere)
	}
	_, err := await(ctx, r, func() (struct{}, error) {
		return struct{}{}, r.terminate(context.WithoutCancel(ctx), sb, reasonKill)
	})
	if errors.Is(err, sandbox.ErrNotFound) && sb.Reason() == reasonKill {
		return nil
	}
	return fault.Classify(err)
}

// terminate ends a sandbox for a reason. It breaks off the lifecycle call that
// is under way, and destroys the machine under one that does not let go.
// ErrSandboxNotFound if another call ended it meanwhile.
func (r *Runtime) terminate(ctx context.Context, sb *live.Sandbox, reason string) error {
	sb.Condemn(reason)
	err := r.seize(ctx, sb)
	if err != nil {
		r.insist(sb, reason)
		return fmt.Errorf("kill sandbox %s: %w (it is being retried)", sb.ID, err)
	}
	defer sb.Life.Unlock()
	if sb.Recorded() == sandbox.StateKilled {
		return fault.NotFound(sb.ID)
	}
	err = r.terminateLocked(ctx, sb, reason)
	if err != nil && !errors.Is(err, errUnwritten) {
		return fmt.Errorf("kill sandbox %s: %w (it is being retried)", sb.ID, err)
	}
	return nil
}

// seize takes the life of a condemned sandbox. A call that hangs in the driver
// fails when its machine is gone, and lets go then.
func (r *Runtime) seize(ctx context.Context, sb *live.Sandbox) error {
	if sb.Life.LockWithin(ctx, supervise.Grace) == nil {
		return nil
	}
	if sb.Recorded() != sandbox.StateKilling { // Another kill destroys it itself.
		r.destroyUnder(ctx, sb)
	}
	if sb.Life.LockWithin(ctx, background.CleanupTimeout) != nil {
		return errors.New("a call to the driver does not end, although the machine was destroyed")
	}
	return nil
}

// destroyUnder destroys the machine of a sandbox whose life another call has, so
// that this call fails.
func (r *Runtime) destroyUnder(ctx context.Context, sb *live.Sandbox) {
	r.log.Warn("a lifecycle call hangs; destroying the machine under it", "sandbox_id", sb.ID, "state", sb.Recorded())
	err := r.cfg.Driver.Destroy(ctx, sb.ID)
	if err != nil && !errors.Is(err, vm.ErrNotFound) && !errors.Is(err, vm.ErrInvalidTransition) {
		r.log.Warn("could not destroy the machine under a call that hangs", "sandbox_id", sb.ID, "error", err)
	}
}

// insist goes on with a kill in the background.
func (r *Runtime) insist(sb *live.Sandbox, reason string) {
	if !sb.FirstInsistence() {
		return
	}
	r.background.Go(func() {
		_ = retries.Again(r.life, func() error {
			if err := r.seize(r.life, sb); err != nil {
				return err
			}
			defer sb.Life.Unlock()
			if sb.Recorded() != sandbox.StateKilled {
				_ = r.terminateLocked(r.life, sb, reason) // It retries by itself.
			}
			return nil
		}, nil)
	})
}

// terminateLocked stops the machine, then frees the network, then releases the
// capacity, then removes what a paused sandbox would have resumed from, then
// writes the outcome, then records the sample. When a step fails the sandbox
// stays in killing, keeps its capacity, and is retried in the background until
// it is gone. The caller holds sb.Life.
func (r *Runtime) terminateLocked(ctx context.Context, sb *live.Sandbox, reason string) error {
	sb.Disarm()
	err := r.tryTerminate(ctx, sb, reason)
	if err != nil && sb.FirstRetry() {
		r.retry(sb, "sandbox cannot be ended yet", sandbox.StateKilling, func(sb *live.Sandbox) error {
			return r.tryTerminate(r.life, sb, reason)
		})
	}
	return err
}

// errUnwritten: nothing is left of the sandbox but its row, which could not be
// written, as on a full disk. The caller has its answer; the row is
// retried.
var errUnwritten = errors.New("the end of the sandbox could not be recorded")

func (r *Runtime) tryTerminate(ctx context.Context, sb *live.Sandbox, reason string) (err error) {
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	ctx, end := r.steps.Span(ctx, latency.KillDelete, slog.String("sandbox", sb.ID), slog.String("reason", reason))
	defer func() { end(err) }()
	begin := time.Now()
	wasRunning := sb.Recorded() == sandbox.StateRunning
	row := sb.Kill(reason, begin.Add(killTimeout))
	if err := r.putOver(ctx, sb, &row); errors.Is(err, store.ErrStale) {
		return err
	} else if err != nil {
		// An intent that cannot be written (a full disk) must not keep a sandbox
		// alive: after a crash the row still says running, the machine is found
		// dead, and the sandbox is reported lost.
		r.log.Warn("could not write the intent to kill", "sandbox_id", sb.ID, "error", err)
	}
	if err := r.steps.At(step.KillIntent); err != nil {
		return err
	}
	if err := r.unmake(ctx, sb, step.KillEnded, step.KillFreed); err != nil {
		return err
	}
	if row.SnapshotID != "" {
		if err := r.claims.Drop(ctx, row.SnapshotID); err != nil {
			return err
		}
		if err := r.steps.At(step.KillDropped); err != nil {
			return err
		}
	}
	row = sb.Row()
	row.State, row.KilledAt, row.Deadline, row.SnapshotID = sandbox.StateKilled, time.Now(), time.Time{}, ""
	row.Spec = "" // Nothing is made from it any more.
	if err := r.put(ctx, sb, &row); err != nil {
		return fmt.Errorf("%w: %w", errUnwritten, err)
	}
	sb.Update(func(r *store.Sandbox) { *r = row })
	_ = r.steps.At(step.KillOutcome)
	r.live.Ended.Remember(row)
	r.forget(sb)
	r.tally.killed(row.Reason)
	r.pool.Wake()
	if wasRunning {
		r.steps.Latency.Record(latency.KillDelete, time.Since(begin))
	}
	r.log.Info("sandbox ended", "sandbox_id", sb.ID, "reason", row.Reason, "memory_mib", row.MemoryMiB)
	return nil
}

// killTimeout is the deadline of the state killing. It is not given up then, but
// counted as stuck.
const killTimeout = time.Minute

// retries are the pauses between attempts to carry on with what could not be
// ended.
var retries = retry.Pauses{First: 100 * time.Millisecond, Most: 30 * time.Second}
