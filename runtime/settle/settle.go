// Package settle brings sandboxes into a state that holds, when recovery after a restart or
// supervision has decided which: it implements the interfaces of both.
package settle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/runtime/start"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Config holds the dependencies and settings of a Settler. All fields are required.
type Config struct {
	Driver     vm.Runtime
	Store      Store
	Rows       *rows.Writer
	Live       *live.Set
	Admission  *admission.Controller
	Machines   *machine.Machines
	Claims     *claim.Claims
	Ender      *end.Ender
	Saver      *save.Saver
	Starter    *start.Starter
	Orphans    *orphan.Keeper
	Held       *orphan.InUse
	Background *background.Group
	Log        *slog.Logger
}

// Store is what a Settler uses of the store, by table.
type Store struct {
	Snapshots interface {
		Get(ctx context.Context, idOrName string) (store.Snapshot, error)
	}
}

// Settler applies decisions about sandboxes. Safe for concurrent use.
type Settler struct {
	cfg  Config
	life context.Context
}

// New returns a Settler.
func New(cfg Config) *Settler { return &Settler{cfg: cfg, life: cfg.Background.Context()} }

// Recovering returns the side of recovery.
func (l *Settler) Recovering() Recovering { return Recovering{l} }

// Watched returns the side of supervision.
func (l *Settler) Watched() Watched { return Watched{l} }

// carryOut applies the decision about a sandbox of an earlier process. machine reports
// whether it has one.
func (l *Settler) carryOut(ctx context.Context, rec reconcile.Record, sb *live.Sandbox, machine bool) error {
	row := sb.Row()
	if rec.Action == reconcile.Quarantine && (rec.Next != sandbox.StatePaused || machine) {
		// No call may reach it: even a resume would end a machine that is left. Its machine,
		// its network, its snapshot and its row stay as they are.
		l.cfg.Held.Hold(row.ID, row.SlotID, row.SnapshotID)
		if machine {
			l.cfg.Machines.Assign(ctx, row.ID, row.KeyID)
		}
		l.cfg.Ender.Forget(sb)
		l.cfg.Log.Error("sandbox quarantined; operator action required", "sandbox_id", row.ID, "state", row.State, "reason", rec.Reason)
		if slices.Contains(sandbox.States, row.State) {
			return l.quarantine(ctx, sb, row, rec.Reason)
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
		if err := l.cfg.Rows.Put(ctx, sb, &row); err != nil {
			return err
		}
	}
	if rec.Action != reconcile.KeepPaused && rec.Action != reconcile.Quarantine {
		sb.Reservation = l.cfg.Admission.Ledger.Adopt(start.Adopted(row))
		if machine {
			l.cfg.Machines.Assign(ctx, sb.ID, row.KeyID)
		}
	}
	l.cfg.Log.Info("recovering sandbox", "sandbox_id", sb.ID, "state", row.State, "action", rec.Action, "reason", rec.Reason)
	err := l.enact(ctx, sb, rec)
	switch {
	case err == nil:
	case rec.Action == reconcile.UndoPause && sb.State() == sandbox.StatePausing:
		l.cfg.Ender.Retry(sb, "a pause was not finished and cannot be undone yet", sandbox.StatePausing, func(sb *live.Sandbox) error {
			return l.enact(l.life, sb, rec)
		})
	case rec.Action == reconcile.FinishPause:
		l.cfg.Ender.Retry(sb, "sandbox paused; could not destroy its machine yet", sandbox.StatePausing, l.cfg.Saver.Finish)
	case rec.Action == reconcile.BackToPaused:
		l.cfg.Ender.Retry(sb, "could not undo an interrupted resume yet", sandbox.StateResuming, l.cfg.Starter.BackToPaused)
	}
	return err
}

// enact applies the decision about a sandbox whose life the caller holds.
func (l *Settler) enact(ctx context.Context, sb *live.Sandbox, rec reconcile.Record) error {
	switch rec.Action {
	case reconcile.Keep:
		l.cfg.Starter.Expose(sb)
	case reconcile.UndoPause:
		sb.Update(func(row *store.Sandbox) {
			row.State = sandbox.StatePausing
			// Of an earlier process, it has passed; an undo has some time yet.
			if row.Deadline.Before(time.Now()) {
				row.Deadline = time.Now().Add(2 * background.CleanupTimeout)
			}
		})
		if err := l.cfg.Saver.Undo(sb); err != nil {
			return err
		}
		if sb.State() != sandbox.StateRunning {
			return errors.New("the sandbox could not continue")
		}
		l.cfg.Starter.Expose(sb)
	case reconcile.Pause:
		sb.Update(func(row *store.Sandbox) { row.State = sandbox.StateRunning })
		kind := claim.KindPause
		if rec.Reason == reconcile.TimedOut {
			kind = save.PauseKind(sandbox.OnTimeout(sb.Row().OnTimeout))
		}
		l.cfg.Saver.PauseLater(sb, kind, rec.Reason)
	case reconcile.FinishPause:
		return l.cfg.Saver.Finish(sb)
	case reconcile.BackToPaused:
		sb.Update(func(row *store.Sandbox) { row.State = sandbox.StateResuming })
		return l.cfg.Starter.BackToPaused(sb)
	case reconcile.Kill:
		return l.cfg.Ender.EndHeld(ctx, sb, rec.Reason)
	case reconcile.Quarantine:
		l.cfg.Log.Error("sandbox quarantined; operator action required", "sandbox_id", sb.ID, "state", sb.State(), "reason", rec.Reason)
		row := sb.Update(func(row *store.Sandbox) { row.State = sandbox.StatePaused })
		return l.quarantine(ctx, sb, row, rec.Reason)
	}
	return nil
}

// quarantine writes into the row of a sandbox that it needs an operator, and why.
func (l *Settler) quarantine(ctx context.Context, sb *live.Sandbox, row store.Sandbox, reason string) error {
	if row.QuarantinedAt.IsZero() {
		row.QuarantinedAt = time.Now()
	}
	row.Reason = reason
	sb.Update(func(now *store.Sandbox) { *now = row })
	return l.cfg.Rows.Put(ctx, sb, &row)
}

// free ends a machine that belongs to no sandbox, and keeps trying.
func (l *Settler) free(ctx context.Context, id string) error {
	err := l.cfg.Machines.Destroy(ctx, id)
	if err == nil {
		return nil
	}
	l.cfg.Background.Go(func() {
		_ = end.Retries.Again(l.life, func() error { return l.cfg.Machines.Destroy(l.life, id) }, nil)
	})
	return err
}
