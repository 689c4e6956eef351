package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/latency"
	"github.com/rundlet/rundlet/vm"
)

// pauseTimeout is the deadline of the state pausing: saving is bounded by the
// memory of a sandbox and the speed of a disk.
const pauseTimeout = 5 * time.Minute

// Pause saves a running sandbox, with its memory or only its files, and ends
// its machine. It returns when nothing of the machine is left. The order is:
// write the intent, freeze, save, write that it is saved, end the machine, free
// the network, release the capacity, write the outcome. What fails before it is
// saved is undone, and the sandbox runs on; afterwards it is carried on with
// until it is done. A client that goes away does not break it off.
func (r *Runtime) Pause(ctx context.Context, id string, memory bool) error {
	sb, ok := r.find(id)
	if !ok {
		return notFound(id)
	}
	if err := sb.life.lock(ctx); err != nil {
		return fmt.Errorf("pause sandbox %s: %w", id, err)
	}
	defer sb.life.unlock()
	switch s := sb.state(); s {
	case StateRunning:
	case StateKilling, StateKilled:
		return notFound(id)
	default:
		return fmt.Errorf("pause sandbox %s: %w: it is %s", id, ErrConflict, s)
	}
	kind := kindPause
	if !memory {
		kind = kindFilesystemPause
	}
	if err := r.pauseLocked(sb, kind); err != nil {
		return fmt.Errorf("pause sandbox %s: %w", id, classifySave(id, err))
	}
	return nil
}

// pauseLocked is Pause of a running sandbox. The caller holds sb.life.
func (r *Runtime) pauseLocked(sb *sandbox, kind string) (err error) {
	saver, err := r.saver(kind)
	if err != nil {
		return err
	}
	if err := r.roomForSnapshot(); err != nil {
		return err
	}
	ctx, end := r.operation(sb, pauseTimeout)
	defer end()
	ctx, done := r.stage(ctx, latency.Pause, slog.String("sandbox", sb.id), slog.String("kind", kind))
	defer func() { done(err) }()
	claim := r.newClaim(sb.snapshot(), kind)
	row := sb.update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = string(StatePausing), claim.ID, time.Now().Add(pauseTimeout)
		row.FilesystemOnly = kind == kindFilesystemPause
	})
	sb.disarm()
	inSave, saved := r.stage(ctx, latency.SnapshotSave)
	err = r.savePaused(inSave, sb, row, &claim, saver)
	if saved(err); err != nil {
		r.undoPause(sb)
		return brokenOff(ctx, err)
	}
	r.seal(claim)
	if err := r.finishPause(sb); err != nil {
		r.retry(sb, "sandbox is saved and its machine cannot be ended yet", StatePausing, r.finishPause)
		return fmt.Errorf("%w (it is saved; ending its machine is being retried)", err)
	}
	return nil
}

// savePaused writes the intent, freezes the machine and saves it.
func (r *Runtime) savePaused(ctx context.Context, sb *sandbox, row store.Sandbox, claim *store.Snapshot, saver saver) error {
	if err := r.cfg.Store.PutSnapshot(ctx, *claim); err != nil {
		return err
	}
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return err
	}
	if err := r.at(StepPauseIntent); err != nil {
		return err
	}
	// Frozen first: what the guest did after it was saved would be lost.
	if err := r.freeze(ctx, sb.id); err != nil {
		return err
	}
	if err := r.at(StepPauseStopped); err != nil {
		return err
	}
	if err := saver(ctx, sb.id, claim.Snapshot); err != nil {
		return err
	}
	if err := r.at(StepPauseSaved); err != nil {
		return err
	}
	if err := r.saved(ctx, claim); err != nil {
		return err
	}
	return r.at(StepPauseClaimed)
}

// freeze stops a machine, which may be frozen since an earlier process.
func (r *Runtime) freeze(ctx context.Context, id string) error {
	err := r.cfg.Driver.Stop(ctx, id)
	if errors.Is(err, vm.ErrInvalidTransition) {
		view, ok, getErr := r.cfg.Driver.Get(ctx, id)
		if getErr == nil && ok && view.Status == vm.StatusStopped && view.ExitReason == "" {
			return nil
		}
	}
	return err
}

// finishPause ends the machine of a sandbox that is saved. It can be repeated.
func (r *Runtime) finishPause(sb *sandbox) error {
	ctx, cancel := detached(r.life)
	defer cancel()
	if err := r.unmake(ctx, sb, StepPauseEnded, StepPauseFreed); err != nil {
		return err
	}
	if err := r.nowPaused(ctx, sb); err != nil {
		return err
	}
	r.log.Info("sandbox paused", "sandbox", sb.id)
	_ = r.at(StepPauseOutcome)
	return nil
}

// nowPaused writes the outcome of a pause, or of a resume that was undone.
func (r *Runtime) nowPaused(ctx context.Context, sb *sandbox) error {
	row := sb.snapshot()
	row.State, row.Deadline = string(StatePaused), time.Time{}
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return err
	}
	sb.update(func(r *store.Sandbox) { *r = row })
	return nil
}

// undoPause lets a sandbox run on whose pause failed before it was saved.
func (r *Runtime) undoPause(sb *sandbox) {
	ctx, cancel := detached(r.life)
	defer cancel()
	claim := sb.snapshot().SnapshotID
	err := r.cfg.Driver.Start(ctx, sb.id)
	if err != nil && !errors.Is(err, vm.ErrInvalidTransition) {
		err = fmt.Errorf("continue it after a pause that failed: %w", err)
	} else if view, ok, getErr := r.cfg.Driver.Get(ctx, sb.id); getErr != nil || !ok || view.Status != vm.StatusRunning {
		err = errors.Join(getErr, errors.New("its machine ended while it was being paused"))
	} else {
		err = nil // It was not frozen yet, or it runs again.
	}
	if err != nil {
		reason := r.endReason(ctx, sb.id)
		if reason == "" {
			reason = "lost: " + err.Error()
		}
		// The claim goes with the sandbox.
		if err := r.terminateLocked(ctx, sb, reason); err != nil {
			r.log.Warn("sandbox cannot be ended yet", "sandbox", sb.id, "error", err)
		}
		return
	}
	row := sb.update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = string(StateRunning), "", time.Time{}
	})
	// If this is not written, the next Open finds a machine that runs and a
	// snapshot that is not complete, and comes to the same.
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		r.log.Warn("could not write that a pause was undone", "sandbox", sb.id, "error", err)
	}
	if err := r.drop(ctx, claim); err != nil {
		r.log.Warn("could not remove what a failed pause saved", "sandbox", sb.id, "error", err)
	}
	sb.arm(expireRetry, func() { r.expire(sb) })
}

// retry repeats the end of an operation, with growing pauses, until it is done
// or the sandbox has left the state.
func (r *Runtime) retry(sb *sandbox, what string, in State, try func(*sandbox) error) {
	r.spawn(func() {
		for pause := retryFirst; ; pause = min(pause*2, retryMost) {
			select {
			case <-r.life.Done():
				return // the next Open carries on
			case <-time.After(pause):
			}
			if sb.life.lock(r.life) != nil {
				return
			}
			err := error(nil)
			if sb.state() == in {
				err = try(sb)
			}
			sb.life.unlock()
			if err == nil {
				return
			}
			r.log.Warn(what, "sandbox", sb.id, "error", err, "next try", min(pause*2, retryMost))
		}
	})
}
