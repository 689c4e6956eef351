package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

const (
	// recoveriesAtOnce bounds the sandboxes that are probed or dealt with at the
	// same time.
	recoveriesAtOnce = 16
	// recoverTimeout is how long the start waits for one sandbox, and
	// recoveryTimeout for all of them. What takes longer goes on in the background.
	recoverTimeout  = 10 * time.Second
	recoveryTimeout = 30 * time.Second
	// collectTimeout is how long the start waits for the collection of garbage,
	// which waits for the template builds of other processes.
	collectTimeout = 5 * time.Second
)

// errSlow: a sandbox is recovered in the background.
var errSlow = fmt.Errorf("it is not done after %s and goes on in the background", recoverTimeout)

// reconcile brings rows, machines and network slots of this instance together.
// What becomes of each is decided by package reconcile, and carried out in one
// order: recover, clean up, quarantine. One sandbox that cannot be dealt with, or
// not soon, holds up no other, and not the start of the daemon: its clients are
// told that it is being recovered.
func (r *Runtime) reconcile(ctx context.Context) error {
	rows, err := r.cfg.Store.LiveSandboxes(ctx, r.cfg.Instance)
	if err != nil {
		return err
	}
	var ended atomic.Int64
	r.cfg.Recovering(0, len(rows))
	patience, cancel := context.WithTimeout(ctx, recoveryTimeout)
	defer cancel()
	marked := r.machines.Marks() // A mark is made before its machine.
	machines, lost, err := r.adoptMachines(ctx)
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for id := range machines {
		present[id] = true
	}
	noSlot := r.adoptSlots(ctx, rows, machines)
	plan, known := r.plan(patience, rows, machines, lost, noSlot)
	if err := ctx.Err(); err != nil {
		return err // What was found while the start was broken off says nothing.
	}
	for id := range machines {
		kind := reconcile.KindUnclaimed
		if marked[id] || r.machines.Marked(id) || r.cfg.Ephemeral {
			kind = reconcile.KindOrphan // A template build or a warm machine.
		}
		plan = append(plan, reconcile.Found(kind, id))
	}
	report, err := reconcile.Apply(plan, recoveriesAtOnce, func(rec reconcile.Record) error {
		err := r.recover(patience, rec, known[rec.ID], present[rec.ID])
		if known[rec.ID] != nil {
			r.cfg.Recovering(int(ended.Add(1)), len(rows))
		}
		return err
	})
	if err != nil {
		r.log.Warn("not all that an earlier process left could be dealt with", "error", err)
	}
	r.reconciled = report
	r.machines.Sweep(machines)
	if len(plan) > 0 {
		r.log.Info("reconciled with an earlier process", "recovered", report.Recovered, "cleaned up", report.CleanedUp,
			"quarantined", report.Quarantined, "failed", report.Failed)
	}
	if err := r.rememberEnds(ctx); err != nil {
		r.log.Warn("could not read which sandboxes ran out of memory", "error", err)
	}
	if _, err := r.cfg.Store.DropKilled(ctx, time.Now().Add(-supervise.KilledKept), supervise.MostKilled); err != nil {
		r.log.Warn("could not forget old sandboxes", "error", err)
	}
	return nil
}

// collectSoon collects garbage, and waits for that as long as a start may.
func (r *Runtime) collectSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	_, _ = await(ctx, r, func() (struct{}, error) {
		r.collect(r.life)
		return struct{}{}, nil
	})
}

// plan decides what becomes of each row, and takes its machine out of machines.
// The sandboxes of the rows are known from now on.
func (r *Runtime) plan(ctx context.Context, rows []store.Sandbox, machines map[string]vm.View, lost map[string]string,
	noSlot map[string]bool) ([]reconcile.Record, map[string]*handle) {
	known := map[string]*handle{}
	plan := make([]reconcile.Record, len(rows))
	var group errgroup.Group
	group.SetLimit(recoveriesAtOnce)
	for i, row := range rows {
		sb := newHandle(row)
		sb.setRecovering(waitsForTurn)
		known[row.ID] = sb
		sb.place = r.admission.Places.Adopt(row.KeyID, row.State != sandbox.StatePaused)
		r.mu.Lock()
		r.sandboxes[sb.id] = sb
		sb.enroll(r.roster)
		r.mu.Unlock()
		view, present := machines[row.ID]
		delete(machines, row.ID)
		machine := reconcile.Machine{Present: present, Status: view.Status, Lost: lost[row.ID]}
		if view.ExitReason != "" {
			machine.Lost = view.ExitReason
		}
		network := row.SlotID != "" && !noSlot[row.SlotID]
		group.Go(func() error {
			if present && network && view.Status == vm.StatusRunning && row.State == sandbox.StateRunning {
				machine.Agent = reconcile.Unknown
				if view.Busy == "" { // Else the agent would not answer either.
					machine.Agent = r.probe(ctx, row.ID)
				}
				if machine.Agent == reconcile.Unknown {
					sb.setRecovering(waitsForAgent)
				}
			}
			plan[i] = reconcile.Sandbox(row.ID, r.foundAfter(ctx, row, present), machine, network)
			return nil
		})
	}
	_ = group.Wait()
	return plan, known
}

// recover carries out one record, and waits for that as long as a start may.
func (r *Runtime) recover(patience context.Context, rec reconcile.Record, sb *handle, machine bool) error {
	ctx, cancel := context.WithTimeout(patience, recoverTimeout)
	defer cancel()
	var finished atomic.Bool
	done := make(chan error, 1)
	r.background.Go(func() {
		err := r.carryOut(r.life, rec, sb, machine)
		finished.Store(true)
		if sb != nil {
			r.recovered(rec, sb, err)
		} else {
			r.note(rec.ID, err)
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		r.sup.mu.Lock()
		defer r.sup.mu.Unlock()
		if !finished.Load() {
			r.sup.unrecovered[rec.ID] = errSlow.Error()
		}
		return errSlow
	}
}

// recovered notes the end of a sandbox's recovery. Who asks for it is answered
// from now on, unless there is something left to wait for.
func (r *Runtime) recovered(rec reconcile.Record, sb *handle, err error) {
	why := sb.recoveringFor()
	switch {
	case err != nil:
		r.note(sb.id, err)
	case rec.Action == reconcile.Quarantine:
		r.note(sb.id, errors.New("quarantined: "+rec.Reason))
	case rec.Action == reconcile.Keep && why == waitsForAgent:
		r.note(sb.id, errors.New(why))
		r.background.Go(func() { r.awaitRecovered(sb) })
		return
	case rec.Action == reconcile.Pause:
		return // It is being paused; see pauseLater.
	default:
		r.note(sb.id, nil)
	}
	sb.setRecovering("")
}

// awaitRecovered waits until a sandbox that runs again has answered. What is
// silent for too long is ended by the heartbeat.
func (r *Runtime) awaitRecovered(sb *handle) {
	defer sb.setRecovering("")
	defer r.note(sb.id, nil)
	for sb.state() == sandbox.StateRunning && r.life.Err() == nil {
		ctx, cancel := context.WithTimeout(r.life, machine.BootTimeout)
		err := r.machines.AwaitAgent(ctx, sb.id)
		cancel()
		if err == nil {
			r.log.Info("a sandbox that was kept answers", "sandbox_id", sb.id)
			return
		}
	}
}

// Why a sandbox is being recovered, in words for its clients.
const (
	waitsForTurn  = "the server has just started"
	waitsForAgent = "its agent does not answer yet"
	waitsForPause = "it is being paused"
)

// setRecovering says why the sandbox is not served, or, empty, that it is.
func (sb *handle) setRecovering(why string) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.recovering == "" && why != "" {
		sb.recovered = make(chan struct{})
	}
	if sb.recovering != "" && why == "" {
		close(sb.recovered)
	}
	sb.recovering = why
}

func (sb *handle) recoveringFor() string {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.recovering
}

const (
	// recoveringPatience is how long a request waits for a sandbox that is being
	// recovered, so that clients see nothing of one that answers a bit late.
	recoveringPatience = 2 * time.Second
	// retryRecovering is when to ask again for one that is not recovered then.
	retryRecovering = 2 * time.Second
)

// serving returns a sandbox that can be worked with: ErrSandboxNotFound, or a
// RetryError if it is being recovered and is not soon. A kill does without.
func (r *Runtime) serving(ctx context.Context, id string) (*handle, error) {
	sb, ok := r.find(id)
	if !ok {
		return nil, r.ends.gone(id)
	}
	sb.mu.Lock()
	why, recovered := sb.recovering, sb.recovered
	sb.mu.Unlock()
	if why == "" || sb.condemned() {
		return sb, nil
	}
	patience := time.NewTimer(recoveringPatience)
	defer patience.Stop()
	select {
	case <-recovered:
		return sb, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-patience.C:
		return nil, &sandbox.RetryError{After: retryRecovering, Detail: "it is being recovered: " + why}
	}
}

// note keeps what could not be recovered, and why, for the report, or, with nil,
// that it was in the end.
func (r *Runtime) note(id string, err error) {
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	if err != nil {
		r.sup.unrecovered[id] = err.Error()
	} else {
		delete(r.sup.unrecovered, id)
	}
}
