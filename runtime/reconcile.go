package runtime

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// foundAfter is a row of an earlier process as the policy sees it. The driver has
// only what is complete: if there is no machine that could be saved again, what it
// has was saved, and that process had no time to write so.
func (r *Runtime) foundAfter(ctx context.Context, row store.Sandbox, machine bool) reconcile.Row {
	if snap, err := r.cfg.Store.Snapshot(ctx, row.SnapshotID); !machine && err == nil && snap.State == store.SnapshotSaving {
		_ = r.claims.Saved(ctx, &snap) // If it cannot be, it is not complete.
	}
	return r.found(ctx, row)
}

// found is a row as the policy sees it.
func (r *Runtime) found(ctx context.Context, row store.Sandbox) reconcile.Row {
	out := reconcile.Row{
		State: row.State, Reason: row.Reason,
		Expired: !row.EndAt.IsZero() && !time.Now().Before(row.EndAt), PauseOnTimeout: pauseKind(sandbox.OnTimeout(row.OnTimeout)) != "",
	}
	var err error
	if out.Snapshot, err = r.complete(ctx, row.SnapshotID); err != nil {
		out.Unread = err.Error()
	}
	return out
}

// complete reports whether a claim is filled and the driver has what it claims.
// An error says nothing about either.
func (r *Runtime) complete(ctx context.Context, claimID string) (bool, error) {
	if claimID == "" {
		return false, nil
	}
	snap, err := r.cfg.Store.Snapshot(ctx, claimID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case snap.State != store.SnapshotReady:
		return false, nil
	}
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return true, nil
	}
	_, err = inspector.InspectSnapshot(ctx, snap.VMID, snap.Snapshot)
	switch {
	case err == nil:
		return true, nil
	case host.Lack(err) == "" && (errors.Is(err, vm.ErrNotFound) || errors.Is(err, vm.ErrIncompatible)):
		return false, nil
	}
	return false, err
}

// carryOut does what was decided about a sandbox of an earlier process. machine
// says whether it has one.
func (r *Runtime) carryOut(ctx context.Context, rec reconcile.Record, sb *live.Sandbox, machine bool) error {
	row := sb.Row()
	if rec.Action == reconcile.Quarantine && (rec.Next != sandbox.StatePaused || machine) {
		// No call may reach it: even a resume would end a machine that is left. Its machine, its network, what was saved of it and its row stay as they are.
		r.held.Hold(row.ID, row.SlotID, row.SnapshotID)
		r.forget(sb)
		r.log.Error("sandbox quarantined; operator action required", "sandbox_id", row.ID, "state", row.State, "reason", rec.Reason)
		if slices.Contains(sandbox.States, row.State) {
			_, err := r.quarantine(ctx, row, rec.Reason)
			return err
		}
		return nil // A newer program knows what its row says.
	}
	if err := sb.Life.Lock(ctx); err != nil {
		return err
	}
	defer sb.Life.Unlock()
	if sb.Recorded() == sandbox.StateKilled {
		return nil // A client ended it meanwhile.
	}
	if rec.Action != reconcile.Quarantine && !row.QuarantinedAt.IsZero() {
		row = sb.Update(func(row *store.Sandbox) { row.QuarantinedAt, row.Reason = time.Time{}, "" })
		if err := r.put(ctx, sb, &row); err != nil {
			return err
		}
	}
	if rec.Action != reconcile.KeepPaused && rec.Action != reconcile.Quarantine {
		sb.Reservation = r.admission.Ledger.Adopt(adopted(row))
	}
	r.log.Info("recovering sandbox", "sandbox_id", sb.ID, "state", row.State, "action", rec.Action, "reason", rec.Reason)
	err := r.enact(ctx, sb, rec)
	switch {
	case err == nil:
	case rec.Action == reconcile.UndoPause && sb.State() == sandbox.StatePausing:
		r.retry(sb, "a pause was not finished and cannot be undone yet", sandbox.StatePausing, func(sb *live.Sandbox) error {
			return r.enact(r.life, sb, rec)
		})
	case rec.Action == reconcile.FinishPause:
		r.retry(sb, "sandbox paused; could not destroy its machine yet", sandbox.StatePausing, r.finishPause)
	case rec.Action == reconcile.BackToPaused:
		r.retry(sb, "could not undo an interrupted resume yet", sandbox.StateResuming, r.backToPaused)
	}
	return err
}

// enact does what was decided about a sandbox whose life the caller holds.
func (r *Runtime) enact(ctx context.Context, sb *live.Sandbox, rec reconcile.Record) error {
	switch rec.Action {
	case reconcile.Keep:
		r.expose(sb)
	case reconcile.UndoPause:
		sb.Update(func(row *store.Sandbox) {
			row.State = sandbox.StatePausing
			// Of an earlier process, it has passed; an undo has some time yet.
			if row.Deadline.Before(time.Now()) {
				row.Deadline = time.Now().Add(2 * background.CleanupTimeout)
			}
		})
		if err := r.undoPause(sb); err != nil {
			return err
		}
		if sb.State() != sandbox.StateRunning {
			return errors.New("it could not go on")
		}
		r.expose(sb)
	case reconcile.Pause:
		sb.Update(func(row *store.Sandbox) { row.State = sandbox.StateRunning })
		kind := claim.KindPause
		if rec.Reason == reconcile.TimedOut {
			kind = pauseKind(sandbox.OnTimeout(sb.Row().OnTimeout))
		}
		r.pauseLater(sb, kind, rec.Reason)
	case reconcile.FinishPause:
		return r.finishPause(sb)
	case reconcile.BackToPaused:
		sb.Update(func(row *store.Sandbox) { row.State = sandbox.StateResuming })
		return r.backToPaused(sb)
	case reconcile.Kill:
		return r.terminateLocked(ctx, sb, rec.Reason)
	case reconcile.Quarantine:
		r.log.Error("sandbox quarantined; operator action required", "sandbox_id", sb.ID, "state", sb.State(), "reason", rec.Reason)
		row := sb.Update(func(row *store.Sandbox) { row.State = sandbox.StatePaused })
		row, err := r.quarantine(ctx, row, rec.Reason)
		sb.Update(func(now *store.Sandbox) { *now = row })
		return err
	}
	return nil
}

// quarantine writes that a sandbox needs an operator, and why, and returns its row.
func (r *Runtime) quarantine(ctx context.Context, row store.Sandbox, reason string) (store.Sandbox, error) {
	if row.QuarantinedAt.IsZero() {
		row.QuarantinedAt = time.Now()
	}
	row.Reason = reason
	return row, r.cfg.Store.PutSandbox(ctx, &row)
}

// free ends a machine that belongs to no sandbox, and goes on trying.
func (r *Runtime) free(ctx context.Context, id string) error {
	err := r.machines.Destroy(ctx, id)
	if err == nil {
		return nil
	}
	r.background.Go(func() {
		_ = retries.Again(r.life, func() error { return r.machines.Destroy(r.life, id) }, nil)
	})
	return err
}
