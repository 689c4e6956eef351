package runtime

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/reconcile"
	"github.com/rundlet/rundlet/vm"
)

const (
	// probeTimeout is how long a sandbox's agent has for its answer.
	probeTimeout = 3 * time.Second
	// probesAtOnce bounds the probes that run at the same time.
	probesAtOnce = 8
)

// reconcile brings rows, machines and network slots of this instance together.
// What becomes of each is decided by package reconcile, and carried out in one
// order: recover, clean up, quarantine. One sandbox that cannot be dealt with
// holds up no other, and not the start of the daemon.
func (r *Runtime) reconcile(ctx context.Context) error {
	rows, err := r.cfg.Store.LiveSandboxes(ctx, r.cfg.Instance)
	if err != nil {
		return err
	}
	machines, lost, err := r.adoptMachines(ctx)
	if err != nil {
		return err
	}
	noSlot, err := r.adoptSlots(ctx, rows, machines)
	if err != nil {
		return err
	}
	byID := map[string]store.Sandbox{}
	plan := make([]reconcile.Record, len(rows))
	var probes errgroup.Group
	probes.SetLimit(probesAtOnce)
	for i, row := range rows {
		byID[row.ID] = row
		view, present := machines[row.ID]
		delete(machines, row.ID)
		machine := reconcile.Machine{Present: present, Status: view.Status, Lost: lost[row.ID]}
		if view.ExitReason != "" {
			machine.Lost = view.ExitReason
		}
		network := row.SlotID != "" && !noSlot[row.SlotID]
		probes.Go(func() error {
			if present && network && view.Status == vm.StatusRunning && State(row.State) == StateRunning {
				machine.Agent = r.probe(ctx, row.ID)
			}
			plan[i] = reconcile.Sandbox(row.ID, r.found(ctx, row), machine, network)
			return nil
		})
	}
	_ = probes.Wait()
	for id := range machines {
		// A template build, a warm machine, or a create whose intent was never
		// written.
		plan = append(plan, reconcile.Found(reconcile.KindOrphan, id))
	}
	report, err := reconcile.Apply(plan, func(rec reconcile.Record) error { return r.carryOut(ctx, rec, byID[rec.ID]) })
	if err != nil {
		r.log.Warn("not all that an earlier process left could be dealt with", "error", err)
	}
	r.reconciled = report
	if len(plan) > 0 {
		r.log.Info("reconciled with an earlier process", "recovered", report.Recovered, "cleaned up", report.CleanedUp,
			"quarantined", report.Quarantined, "failed", report.Failed)
	}
	if _, err := r.cfg.Store.DropKilled(ctx, time.Now().Add(-killedKept)); err != nil {
		r.log.Warn("could not forget old sandboxes", "error", err)
	}
	return nil
}

// adoptMachines returns the machines that are left, by id, and the reasons for
// those that are not.
func (r *Runtime) adoptMachines(ctx context.Context) (map[string]vm.View, map[string]string, error) {
	adopter, ok := r.cfg.Driver.(vm.Adopter)
	if !ok {
		return map[string]vm.View{}, nil, nil
	}
	views, lost, err := adopter.Adopt(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("adopt machines: %w", err)
	}
	machines := map[string]vm.View{}
	for _, v := range views {
		machines[v.ID] = v
	}
	return machines, lost, nil
}

// adoptSlots keeps the slots of sandboxes that may go on and returns those that
// are not there any more. All others are freed.
func (r *Runtime) adoptSlots(ctx context.Context, rows []store.Sandbox, machines map[string]vm.View) (map[string]bool, error) {
	var inUse []string
	for _, row := range rows {
		_, present := machines[row.ID]
		goesOn := State(row.State) == StateRunning || State(row.State) == StatePausing
		if present && goesOn && row.SlotID != "" {
			inUse = append(inUse, row.SlotID)
		}
	}
	missing, err := r.cfg.Network.Adopt(ctx, inUse)
	if err != nil {
		return nil, fmt.Errorf("adopt network: %w", err)
	}
	noSlot := map[string]bool{}
	for _, id := range missing {
		noSlot[id] = true
	}
	return noSlot, nil
}

// found is a row as the policy sees it.
func (r *Runtime) found(ctx context.Context, row store.Sandbox) reconcile.Row {
	out := reconcile.Row{
		State: reconcile.State(row.State), Reason: row.Reason,
		Expired: !row.EndAt.IsZero() && !time.Now().Before(row.EndAt), PauseOnTimeout: pauseKind(OnTimeout(row.OnTimeout)) != "",
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
	claim, err := r.cfg.Store.Snapshot(ctx, claimID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case claim.State != store.SnapshotReady:
		return false, nil
	}
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return true, nil
	}
	_, err = inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
	switch {
	case err == nil:
		return true, nil
	case host.Lack(err) == "" && (errors.Is(err, vm.ErrNotFound) || errors.Is(err, vm.ErrIncompatible)):
		return false, nil
	}
	return false, err
}

// probe asks a sandbox's agent for an answer. Only what shows that there is no
// agent any more counts against it: on a busy machine one may take longer than a
// start should, and the heartbeat gives it the time that it needs.
func (r *Runtime) probe(ctx context.Context, id string) reconcile.Answer {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := control.Health(ctx, r.agentDial(id))
	var answered *control.StatusError
	switch {
	case err == nil:
		return reconcile.Yes
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &answered):
		return reconcile.No
	}
	return reconcile.Unknown
}

// carryOut does what was decided about a sandbox of a row, or a machine of none.
func (r *Runtime) carryOut(ctx context.Context, rec reconcile.Record, row store.Sandbox) error {
	if row.ID == "" {
		return r.free(ctx, rec.ID)
	}
	if rec.Action == reconcile.Quarantine && rec.Next != reconcile.Paused {
		r.log.Error("sandbox is kept for a person to look at", "sandbox", row.ID, "state", row.State, "reason", rec.Reason)
		r.own(row.ID, row.SlotID, row.SnapshotID)
		return nil // Not even its state is known: touch nothing.
	}
	sb := newSandbox(row)
	if rec.Action != reconcile.KeepPaused && rec.Action != reconcile.Quarantine {
		sb.reservation = r.ledger.Adopt(adopted(row))
	}
	r.mu.Lock()
	r.sandboxes[sb.id] = sb
	r.mu.Unlock()
	if err := sb.life.lock(ctx); err != nil {
		return err
	}
	defer sb.life.unlock()
	r.log.Info("sandbox found", "sandbox", sb.id, "state", row.State, "action", rec.Action, "reason", rec.Reason)
	err := r.enact(ctx, sb, rec)
	switch {
	case err == nil:
	case rec.Action == reconcile.FinishPause:
		r.retry(sb, "sandbox is saved and its machine cannot be ended yet", StatePausing, r.finishPause)
	case rec.Action == reconcile.BackToPaused:
		r.retry(sb, "a resume was not finished and cannot be undone yet", StateResuming, r.backToPaused)
	}
	return err
}

// enact does what was decided about a sandbox whose life the caller holds.
func (r *Runtime) enact(ctx context.Context, sb *sandbox, rec reconcile.Record) error {
	switch rec.Action {
	case reconcile.Keep:
		r.expose(sb)
	case reconcile.UndoPause:
		sb.update(func(row *store.Sandbox) { row.State = string(StatePausing) })
		r.undoPause(sb)
		if sb.state() != StateRunning {
			return errors.New("it could not go on")
		}
		r.expose(sb)
	case reconcile.Pause:
		sb.update(func(row *store.Sandbox) { row.State = string(StateRunning) })
		kind := kindPause
		if rec.Reason == reconcile.TimedOut {
			kind = pauseKind(OnTimeout(sb.snapshot().OnTimeout))
		}
		if err := r.pauseLocked(sb, kind); err != nil && sb.state() == StateRunning {
			if rec.Reason == reconcile.TimedOut {
				r.expose(sb) // It runs on, and its time-out tries again.
				return err
			}
			return errors.Join(err, r.terminateLocked(ctx, sb, "lost: "+rec.Reason+", and it could not be paused: "+err.Error()))
		}
	case reconcile.FinishPause:
		return r.finishPause(sb)
	case reconcile.BackToPaused:
		sb.update(func(row *store.Sandbox) { row.State = string(StateResuming) })
		return r.backToPaused(sb)
	case reconcile.Kill:
		return r.terminateLocked(ctx, sb, rec.Reason)
	case reconcile.Quarantine:
		r.log.Error("sandbox is kept for a person to look at", "sandbox", sb.id, "state", sb.state(), "reason", rec.Reason)
		sb.update(func(row *store.Sandbox) { row.State, row.Reason = string(StatePaused), rec.Reason })
	}
	return nil
}

// free ends a machine that belongs to no sandbox, and goes on trying.
func (r *Runtime) free(ctx context.Context, id string) error {
	err := r.destroy(ctx, id)
	if err == nil {
		return nil
	}
	r.spawn(func() {
		for pause := retryFirst; ; pause = min(pause*2, retryMost) {
			select {
			case <-r.life.Done():
				return
			case <-time.After(pause):
			}
			if r.destroy(r.life, id) == nil {
				return
			}
		}
	})
	return err
}
