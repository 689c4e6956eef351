package end

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// EndHeld stops the machine, then frees the network, then releases the
// capacity, then drops the snapshot of a paused sandbox, then
// writes the outcome, then records the sample. When a step fails the sandbox
// stays in killing, keeps its capacity, and is retried in the background until
// it is gone. The caller holds sb.Life.
func (e *Ender) EndHeld(ctx context.Context, sb *live.Sandbox, reason string) error {
	sb.Disarm()
	err := e.try(ctx, sb, reason)
	if err != nil && sb.FirstRetry() {
		e.Retry(sb, "sandbox cannot be ended yet", sandbox.StateKilling, func(sb *live.Sandbox) error {
			return e.try(e.life, sb, reason)
		})
	}
	return err
}

// ErrUnwritten: nothing is left of the sandbox but its row, which could not be
// written, as on a full disk. The caller has its answer; the row is
// retried.
var ErrUnwritten = errors.New("the end of the sandbox could not be recorded")

func (e *Ender) try(ctx context.Context, sb *live.Sandbox, reason string) (err error) {
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	ctx, end := e.cfg.Steps.Span(ctx, latency.KillDelete, slog.String("sandbox", sb.ID), slog.String("reason", reason))
	defer func() { end(err) }()
	begin := time.Now()
	wasRunning := sb.Recorded() == sandbox.StateRunning
	row := sb.Kill(reason, begin.Add(KillTimeout))
	if err := e.cfg.Rows.PutOver(ctx, sb, &row); errors.Is(err, store.ErrStale) {
		return err
	} else if err != nil {
		// An intent that cannot be written (a full disk) must not keep a sandbox
		// alive: after a crash the row still says running, the machine is found
		// dead, and the sandbox is reported lost.
		e.cfg.Log.Warn("could not write the intent to kill", "sandbox_id", sb.ID, "error", err)
	}
	if err := e.cfg.Steps.At(step.KillIntent); err != nil {
		return err
	}
	if err := e.Unmake(ctx, sb, step.KillEnded, step.KillFreed); err != nil {
		return err
	}
	if row.SnapshotID != "" {
		if err := e.cfg.Claims.Drop(ctx, row.SnapshotID); err != nil {
			return err
		}
		if err := e.cfg.Steps.At(step.KillDropped); err != nil {
			return err
		}
	}
	row = sb.Row()
	row.State, row.KilledAt, row.Deadline, row.SnapshotID = sandbox.StateKilled, time.Now(), time.Time{}, ""
	row.Spec = "" // Nothing is made from it any more.
	if err := e.cfg.Rows.Put(ctx, sb, &row); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritten, err)
	}
	sb.Update(func(r *store.Sandbox) { *r = row })
	_ = e.cfg.Steps.At(step.KillOutcome)
	e.cfg.Live.Ended.Remember(row)
	e.Forget(sb)
	e.cfg.Ended(row.Reason)
	if wasRunning {
		e.cfg.Steps.Latency.Record(latency.KillDelete, time.Since(begin))
	}
	e.cfg.Log.Info("sandbox ended", "sandbox_id", sb.ID, "reason", row.Reason, "memory_mib", row.MemoryMiB)
	return nil
}

// Unmake ends the machine, then frees the network, then releases the capacity.
// When a step fails the later ones are not begun: existing resources stay
// counted. The caller holds sb.Life.
func (e *Ender) Unmake(ctx context.Context, sb *live.Sandbox, ended, freed step.Step) error {
	if err := e.cfg.Machines.Destroy(ctx, sb.ID); err != nil {
		return err
	}
	if err := e.cfg.Steps.At(ended); err != nil {
		return err
	}
	if slot := sb.Row().SlotID; slot != "" {
		if err := e.cfg.Machines.Release(ctx, slot); err != nil {
			return err
		}
		sb.Update(func(row *store.Sandbox) { row.SlotID = "" })
	}
	if sb.Reservation != nil {
		sb.Reservation.Release()
		sb.Reservation = nil
	}
	return e.cfg.Steps.At(freed)
}

// Forget removes a sandbox of which nothing is left.
func (e *Ender) Forget(sb *live.Sandbox) {
	e.cfg.Live.Remove(sb)
	e.cfg.Places.Free(sb.Place)
	e.cfg.Note(sb.ID, nil)
}

// KillTimeout is the deadline of the state killing. It is not given up then, but
// counted as stuck.
const KillTimeout = time.Minute
