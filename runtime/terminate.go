package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/latency"
)

// Kill ends a sandbox at a client's request.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	sb, ok := r.find(id)
	if !ok {
		return notFound(id)
	}
	sb.interrupt()
	return r.terminate(ctx, sb, "killed by request")
}

// terminate ends a sandbox for a reason. It waits for a lifecycle call that is
// under way. ErrSandboxNotFound if another call ended it meanwhile.
func (r *Runtime) terminate(ctx context.Context, sb *sandbox, reason string) error {
	if err := sb.life.lock(ctx); err != nil {
		return fmt.Errorf("kill sandbox %s: %w", sb.id, err)
	}
	defer sb.life.unlock()
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
// capacity, then removes what a paused sandbox would have resumed from, then
// writes the outcome, then records the sample. When a step fails the sandbox
// stays in killing, keeps its capacity, and is retried in the background until
// it is gone. The caller holds sb.life.
func (r *Runtime) terminateLocked(ctx context.Context, sb *sandbox, reason string) error {
	sb.disarm()
	retrying := sb.state() == StateKilling
	err := r.tryTerminate(ctx, sb, reason)
	if err != nil && !retrying {
		r.retry(sb, "sandbox cannot be ended yet", StateKilling, func(sb *sandbox) error {
			return r.tryTerminate(r.life, sb, reason)
		})
	}
	return err
}

// errUnwritten: nothing is left of the sandbox but its row, which could not be
// written, as on a full disk. Whoever asked for the end has it; the row is
// retried.
var errUnwritten = errors.New("the end of the sandbox could not be recorded")

func (r *Runtime) tryTerminate(ctx context.Context, sb *sandbox, reason string) (err error) {
	ctx, cancel := detached(ctx)
	defer cancel()
	ctx, end := r.cfg.Tracer.Start(ctx, latency.KillDelete, slog.String("sandbox", sb.id), slog.String("reason", reason))
	defer func() { end(err) }()
	begin := time.Now()
	wasRunning := sb.state() == StateRunning
	row := sb.update(func(row *store.Sandbox) {
		if State(row.State) != StateKilling {
			row.State, row.Deadline = string(StateKilling), begin.Add(killTimeout)
		}
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
	if err := r.at(StepKillIntent); err != nil {
		return err
	}
	if err := r.unmake(ctx, sb, StepKillEnded, StepKillFreed); err != nil {
		return err
	}
	if row.SnapshotID != "" {
		if err := r.drop(ctx, row.SnapshotID); err != nil {
			return err
		}
		if err := r.at(StepKillDropped); err != nil {
			return err
		}
	}
	row = sb.snapshot()
	row.State, row.KilledAt, row.Deadline, row.SnapshotID = string(StateKilled), time.Now(), time.Time{}, ""
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return fmt.Errorf("%w: %w", errUnwritten, err)
	}
	sb.update(func(r *store.Sandbox) { *r = row })
	_ = r.at(StepKillOutcome)
	r.ends.remember(row)
	r.forget(sb)
	r.tally.killed(row.Reason)
	r.pool.wake()
	if wasRunning {
		r.cfg.Latency.Record(latency.KillDelete, time.Since(begin))
	}
	r.log.Info("sandbox ended", "sandbox", sb.id, "reason", row.Reason)
	return nil
}

// killTimeout is the deadline of the state killing. It is not given up then, but
// counted as stuck.
const killTimeout = time.Minute

// The pause between attempts to carry on with what could not be ended.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

func notFound(id string) error {
	return fmt.Errorf("sandbox %q: %w", id, ErrSandboxNotFound)
}
