package start

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// ResumeTimeout is the deadline of the state resuming.
const ResumeTimeout = 2 * time.Minute

// Resume joins the resume under way or begins one; nil if the runtime is closing.
func (t *Starter) Resume(sb *live.Sandbox, timeout time.Duration) *live.Flight {
	var f *live.Flight
	t.cfg.Live.IfOpen(func() {
		f = sb.Join(t.cfg.Background.Go, func() error { return fault.Classify(t.resume(sb, timeout)) })
	})
	return f
}

// resume restores a paused sandbox under its own id. The order is that of
// Create: reserve, write the intent, network, restore, deliver, write the
// outcome, expose; then the snapshot is dropped. On an error it is
// paused as before.
func (t *Starter) resume(sb *live.Sandbox, timeout time.Duration) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("resume sandbox %s: %w", sb.ID, err)
		}
	}()
	ctx, end := sb.Begin(t.life, ResumeTimeout)
	defer end()
	defer func() { err = live.BrokenOff(ctx, err) }()
	// A pause that is under way is waited for, before capacity is asked for.
	if paused, err := t.settled(ctx, sb); !paused || err != nil {
		return err
	}
	ctx, done := t.cfg.Steps.Stage(ctx, latency.Resume, slog.String("sandbox", sb.ID))
	defer func() { done(err) }()
	if err := t.cfg.Admission.CheckMachine(); err != nil {
		return err
	}
	row := sb.Row()
	if snap, err := claim.ByID(ctx, t.cfg.Store.Snapshots, row.SnapshotID); err != nil {
		return err
	} else if err := t.cfg.Claims.Fits(claim.OfSnapshot(snap)); err != nil {
		return err
	}
	if err := t.cfg.Admission.Places.Run(sb.Place); err != nil {
		return err
	}
	defer func() {
		if err != nil && sb.State() == sandbox.StatePaused {
			t.cfg.Admission.Places.Rest(sb.Place)
		}
	}()
	inAdmit, admitted := t.cfg.Steps.Stage(ctx, latency.CreateAdmit)
	reservation, err := t.cfg.Admission.Admit(inAdmit, row.KeyID, budget(row))
	if admitted(err); err != nil {
		return err
	}
	if err := sb.Life.Lock(ctx); err != nil {
		reservation.Release()
		return err
	}
	defer sb.Life.Unlock()
	if s := sb.State(); s != sandbox.StatePaused {
		reservation.Release()
		return live.StateError(sb, s)
	}
	deadline, _ := ctx.Deadline()
	sb.Life.Extend(deadline)
	sb.Reservation = reservation
	snap := sb.Row().SnapshotID
	if err := t.resumeLocked(ctx, sb, snap, timeout); err != nil {
		if sb.Condemned() {
			return err // The kill that broke it off does the rest.
		}
		t.cfg.Log.Warn("sandbox could not be resumed", "sandbox_id", sb.ID, "error", err)
		if undo := t.BackToPaused(sb); undo != nil {
			t.cfg.Ender.Retry(sb, "could not undo a failed resume yet", sandbox.StateResuming, t.BackToPaused)
		}
		return err
	}
	t.Expose(sb)
	if err := t.cfg.Claims.Drop(ctx, snap); err != nil {
		// The sandbox runs. Its former snapshot is collected at the next start.
		t.cfg.Log.Warn("could not remove a snapshot that was resumed", "sandbox_id", sb.ID, "error", err)
	}
	_ = t.cfg.Steps.At(step.ResumeDropped)
	return nil
}

// settled waits for the call under way and reports whether the sandbox is
// paused then. It is not an error if it runs.
func (t *Starter) settled(ctx context.Context, sb *live.Sandbox) (paused bool, err error) {
	if err := sb.LockSettled(ctx); err != nil {
		return false, err
	}
	defer sb.Life.Unlock()
	s := sb.State()
	if s == sandbox.StatePaused {
		return true, nil
	}
	return false, live.StateError(sb, s)
}

func (t *Starter) resumeLocked(ctx context.Context, sb *live.Sandbox, claimID string, timeout time.Duration) error {
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.Deadline = sandbox.StateResuming, time.Now().Add(ResumeTimeout)
	})
	if err := t.cfg.Steps.At(step.ResumeReserved); err != nil {
		return err
	}
	snap, err := claim.ByID(ctx, t.cfg.Store.Snapshots, claimID)
	if err != nil {
		return err
	}
	if err := t.cfg.Rows.Put(ctx, sb, &row); err != nil {
		return err
	}
	if err := t.cfg.Steps.At(step.ResumeIntent); err != nil {
		return err
	}
	from := claim.OfSnapshot(snap)
	if err := t.relaunch(ctx, sb, machine.Launch{
		Origin: from, Resumed: !from.Filesystem,
		Network: step.ResumeNetwork, Machine: step.ResumeMachine, Delivered: step.ResumeDelivered,
	}); err != nil {
		return err
	}
	if err := t.nowRunning(ctx, sb, timeout); err != nil {
		return err
	}
	_ = t.cfg.Steps.At(step.ResumeOutcome)
	return nil
}

// BackToPaused undoes a resume that failed. It can be repeated.
func (t *Starter) BackToPaused(sb *live.Sandbox) error {
	ctx, cancel := background.Detached(t.life)
	defer cancel()
	if err := t.cfg.Ender.Unmake(ctx, sb, step.None, step.None); err != nil {
		return err
	}
	return t.cfg.Saver.Paused(ctx, sb)
}
