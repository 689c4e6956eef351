package runtime

import (
	"context"
	"errors"
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

const (
	// resumeTimeout is the deadline of the state resuming.
	resumeTimeout = 2 * time.Minute
	// leastWake is what a sandbox has at least that traffic resumed, as in E2B.
	leastWake = 5 * time.Minute
)

// Connect makes sure that a sandbox runs for at least timeout from now: it
// resumes a paused one, and never shortens the timeout of a running one.
func (r *Runtime) Connect(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	if err := r.validateTimeout(timeout); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	for resumed := false; ; {
		waked, err := r.awake(ctx, id, timeout)
		if err != nil {
			return sandbox.Sandbox{}, false, err
		}
		resumed = resumed || waked
		row, err := r.moveEnd(ctx, id, timeout, true)
		if err == nil {
			return r.view(row), resumed, nil
		}
		// It was paused in between, by its timeout or by another client.
		if !errors.Is(err, sandbox.ErrConflict) || ctx.Err() != nil {
			return sandbox.Sandbox{}, false, err
		}
	}
}

// Wake waits for a pause or a resume that is under way. Then it returns a running
// sandbox as it is, and resumes a paused one that is to be resumed by traffic and
// has its memory. ErrNotRunning for others. Calls at the same time share one
// resume.
func (r *Runtime) Wake(ctx context.Context, id string) (sandbox.Sandbox, error) {
	for {
		view, err := r.Settled(ctx, id)
		if err != nil || view.State == sandbox.StateRunning {
			return view, err
		}
		if !view.AutoResume || view.FilesystemOnly {
			return sandbox.Sandbox{}, fmt.Errorf("sandbox %s is paused: %w", id, sandbox.ErrNotRunning)
		}
		sb, err := r.live.Serving(ctx, id)
		if err != nil {
			return sandbox.Sandbox{}, err
		}
		if err := sb.MayWake(time.Now()); err != nil {
			return sandbox.Sandbox{}, fmt.Errorf("resume sandbox %s: %w", id, err)
		}
		_, err = r.awake(ctx, id, wakeTimeout(sb.Row()))
		if err == nil {
			return r.Get(ctx, id)
		}
		// It was paused in between, and what comes of that is waited for again.
		if !errors.Is(err, sandbox.ErrConflict) {
			return sandbox.Sandbox{}, err
		}
	}
}

// wakeTimeout is what a sandbox has that traffic resumed, as in E2B: what its
// create asked for, if that is more than the least.
func wakeTimeout(row store.Sandbox) time.Duration { return max(leastWake, row.Timeout) }

// Settled waits until the sandbox is not on its way between two states, and
// returns it running or paused, as it is then. ErrSandboxNotFound if it ended.
func (r *Runtime) Settled(ctx context.Context, id string) (sandbox.Sandbox, error) {
	for {
		view, err := r.Get(ctx, id)
		if err != nil || !view.State.Moving() {
			return view, err
		}
		sb, err := r.live.Serving(ctx, id)
		if err != nil {
			return sandbox.Sandbox{}, err
		}
		if err := sb.LockSettled(ctx); err != nil {
			return sandbox.Sandbox{}, fmt.Errorf("wait for sandbox %s: %w", id, err)
		}
		sb.Life.Unlock()
	}
}

// awake returns when the sandbox runs, and whether it had to be resumed.
func (r *Runtime) awake(ctx context.Context, id string, timeout time.Duration) (resumed bool, err error) {
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return false, err
	}
	if sb.State() == sandbox.StateRunning {
		return false, nil
	}
	f := r.fly(sb, timeout)
	if f == nil {
		return false, fmt.Errorf("resume sandbox %s: %w: the daemon is shutting down", id, sandbox.ErrUnavailable)
	}
	select {
	case <-f.Done:
		return true, f.Err
	case <-ctx.Done():
		return false, fmt.Errorf("resume sandbox %s: %w", id, context.Cause(ctx))
	}
}

// fly joins the resume under way or begins one; nil if the runtime is closing.
func (r *Runtime) fly(sb *live.Sandbox, timeout time.Duration) *live.Flight {
	var f *live.Flight
	r.live.IfOpen(func() {
		f = sb.Join(r.background.Go, func() error { return fault.Classify(r.resume(sb, timeout)) })
	})
	return f
}

// resume restores a paused sandbox under its own id. The order is that of
// Create: reserve, write the intent, network, restore, deliver, write the
// outcome, expose; then what it was restored from is dropped. On an error it is
// paused as before.
func (r *Runtime) resume(sb *live.Sandbox, timeout time.Duration) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("resume sandbox %s: %w", sb.ID, err)
		}
	}()
	ctx, end := r.operation(sb, resumeTimeout)
	defer end()
	defer func() { err = live.BrokenOff(ctx, err) }()
	// A pause that is under way is waited for, before capacity is asked for.
	if paused, err := r.settled(ctx, sb); !paused || err != nil {
		return err
	}
	ctx, done := r.steps.Stage(ctx, latency.Resume, slog.String("sandbox", sb.ID))
	defer func() { done(err) }()
	if err := r.admission.CheckMachine(); err != nil {
		return err
	}
	row := sb.Row()
	if snap, err := r.cfg.Store.Snapshot(ctx, row.SnapshotID); err != nil {
		return err
	} else if err := r.claims.Fits(claim.OfSnapshot(snap)); err != nil {
		return err
	}
	if err := r.admission.Places.Run(sb.Place); err != nil {
		return err
	}
	defer func() {
		if err != nil && sb.State() == sandbox.StatePaused {
			r.admission.Places.Rest(sb.Place)
		}
	}()
	inAdmit, admitted := r.steps.Stage(ctx, latency.CreateAdmit)
	reservation, err := r.admission.Admit(inAdmit, row.KeyID, budget(row))
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
		return stateError(sb, s)
	}
	deadline, _ := ctx.Deadline()
	sb.Life.Extend(deadline)
	sb.Reservation = reservation
	snap := sb.Row().SnapshotID
	if err := r.resumeLocked(ctx, sb, snap, timeout); err != nil {
		if sb.Condemned() {
			return err // The kill that broke it off does the rest.
		}
		r.log.Warn("sandbox could not be resumed", "sandbox_id", sb.ID, "error", err)
		if undo := r.backToPaused(sb); undo != nil {
			r.retry(sb, "could not undo a failed resume yet", sandbox.StateResuming, r.backToPaused)
		}
		return err
	}
	r.expose(sb)
	if err := r.claims.Drop(ctx, snap); err != nil {
		// The sandbox runs. What it was resumed from is collected at the next start.
		r.log.Warn("could not remove a snapshot that was resumed", "sandbox_id", sb.ID, "error", err)
	}
	_ = r.steps.At(step.ResumeDropped)
	return nil
}

// settled waits for the call under way and reports whether the sandbox is
// paused then. It is not an error if it runs.
func (r *Runtime) settled(ctx context.Context, sb *live.Sandbox) (paused bool, err error) {
	if err := sb.LockSettled(ctx); err != nil {
		return false, err
	}
	defer sb.Life.Unlock()
	s := sb.State()
	if s == sandbox.StatePaused {
		return true, nil
	}
	return false, stateError(sb, s)
}

// stateError says why a sandbox in a state cannot be resumed; nil if it runs.
func stateError(sb *live.Sandbox, s sandbox.State) error {
	switch s {
	case sandbox.StateRunning:
		return nil
	case sandbox.StateKilling, sandbox.StateKilled:
		return sb.Gone()
	}
	return fmt.Errorf("sandbox %s is %s: %w", sb.ID, s, sandbox.ErrConflict)
}

func (r *Runtime) resumeLocked(ctx context.Context, sb *live.Sandbox, claimID string, timeout time.Duration) error {
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.Deadline = sandbox.StateResuming, time.Now().Add(resumeTimeout)
	})
	if err := r.steps.At(step.ResumeReserved); err != nil {
		return err
	}
	snap, err := r.cfg.Store.Snapshot(ctx, claimID)
	if err != nil {
		return err
	}
	if err := r.put(ctx, sb, &row); err != nil {
		return err
	}
	if err := r.steps.At(step.ResumeIntent); err != nil {
		return err
	}
	from := claim.OfSnapshot(snap)
	if err := r.relaunch(ctx, sb, machine.Launch{
		Origin: from, Resumed: !from.Filesystem,
		Network: step.ResumeNetwork, Machine: step.ResumeMachine, Delivered: step.ResumeDelivered,
	}); err != nil {
		return err
	}
	if err := r.nowRunning(ctx, sb, timeout); err != nil {
		return err
	}
	_ = r.steps.At(step.ResumeOutcome)
	return nil
}

// backToPaused undoes a resume that failed. It can be repeated.
func (r *Runtime) backToPaused(sb *live.Sandbox) error {
	ctx, cancel := background.Detached(r.life)
	defer cancel()
	if err := r.unmake(ctx, sb, step.None, step.None); err != nil {
		return err
	}
	return r.nowPaused(ctx, sb)
}
