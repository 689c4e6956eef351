package settle

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// foundAfter is a row of an earlier process as the policy sees it. The driver has
// only what is complete: if there is no machine that could be saved again, what it
// has was saved, and that process had no time to write so.
func (l *Settler) foundAfter(ctx context.Context, row store.Sandbox, machine bool) reconcile.Row {
	if snap, err := claim.ByID(ctx, l.cfg.Store.Snapshots, row.SnapshotID); !machine && err == nil && snap.State == store.SnapshotSaving {
		_ = l.cfg.Claims.Saved(ctx, &snap) // If it cannot be, it is not complete.
	}
	return l.found(ctx, row)
}

// found is a row as the policy sees it.
func (l *Settler) found(ctx context.Context, row store.Sandbox) reconcile.Row {
	out := reconcile.Row{
		State: row.State, Reason: row.Reason,
		Expired: !row.EndAt.IsZero() && !time.Now().Before(row.EndAt), PauseOnTimeout: save.PauseKind(sandbox.OnTimeout(row.OnTimeout)) != "",
	}
	var err error
	if out.Snapshot, err = l.complete(ctx, row.SnapshotID); err != nil {
		out.Unread = err.Error()
	}
	return out
}

// complete reports whether a claim is filled and the driver has what it claims.
// An error says nothing about either.
func (l *Settler) complete(ctx context.Context, claimID string) (bool, error) {
	if claimID == "" {
		return false, nil
	}
	snap, err := claim.ByID(ctx, l.cfg.Store.Snapshots, claimID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case snap.State != store.SnapshotReady:
		return false, nil
	}
	inspector, ok := l.cfg.Driver.(vm.SnapshotInspector)
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
