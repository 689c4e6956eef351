// Package recovery brings rows, machines and network slots together after a
// restart. policy/reconcile decides about each of them; the state machine applies the
// decisions through an interface of a few verbs. The package may import envd, sandbox,
// policy, store, vm and the parts of the runtime below it.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

const (
	// atOnce bounds the sandboxes that are probed or recovered at the same time.
	atOnce = 16
	// EachTimeout is how long the start waits for one sandbox, and AllTimeout for all
	// of them. A longer recovery continues in the background.
	EachTimeout = 10 * time.Second
	AllTimeout  = 30 * time.Second
	// ProbeTimeout is how long the start waits for the answer of an agent. A sandbox
	// whose agent answers later is served then.
	ProbeTimeout = 500 * time.Millisecond
)

// Why a sandbox is not served yet, in words for its clients.
const (
	WaitsForTurn  = "the server has just started"
	WaitsForAgent = "its agent does not answer yet"
	WaitsForPause = "it is being paused"
)

// errSlow: a sandbox is recovered in the background.
var errSlow = fmt.Errorf("not finished after %s; continues in the background", EachTimeout)

// Sandboxes is the part of the state machine that recovery uses.
type Sandboxes interface {
	// Elsewhere returns why a row is none of this daemon's: its node or its driver is
	// another one. It is known and left alone; nil if it is ours.
	Elsewhere(row store.Sandbox) error
	// Know makes the sandbox of a row known. Its clients wait until Serve.
	Know(row store.Sandbox, why string)
	// Serve opens a sandbox to clients, or, with why, sets the reason why they wait.
	Serve(id, why string)
	// Found returns a row as the policy sees it; present: it has a machine.
	Found(ctx context.Context, row store.Sandbox, present bool) reconcile.Row
	// CarryOut applies the decision about a known sandbox; present: it has a machine.
	CarryOut(ctx context.Context, rec reconcile.Record, present bool) error
	// CarryOutMachine applies the decision about a machine without a row.
	CarryOutMachine(ctx context.Context, rec reconcile.Record) error
	// Running reports whether a sandbox runs.
	Running(id string) bool
}

// Store is what recovery uses of the store, by table.
type Store struct {
	Sandboxes interface {
		Live(ctx context.Context, instance string) ([]store.Sandbox, error)
	}
}

// Config holds the dependencies and settings of a recovery. All fields are required.
type Config struct {
	Instance string
	// Ephemeral: machines without a row are ended at once.
	Ephemeral  bool
	Driver     vm.Runtime
	Network    machine.Network
	Store      Store
	Machines   *machine.Machines
	Sandboxes  Sandboxes
	Notes      *Notes
	Background *background.Group
	// Progress receives how many sandboxes were recovered, of how many. It is called
	// from several goroutines.
	Progress func(done, total int)
	Log      *slog.Logger
}

type recovery struct {
	Config
	life context.Context
	// waits has the reasons why the clients of a sandbox wait after its decision was applied.
	waits map[string]string
}

// Run recovers the state that an earlier process of the instance left, in one order:
// recover, clean up, quarantine. One sandbox that cannot be recovered, or not soon,
// delays neither the others nor the start of the daemon: its recovery continues in the
// background, and its clients get the error that it is being recovered. An error means
// that the existing objects are not known.
func Run(ctx context.Context, cfg Config) (reconcile.Report, error) {
	r := &recovery{Config: cfg, life: cfg.Background.Context(), waits: map[string]string{}}
	rows, err := r.Store.Sandboxes.Live(ctx, r.Instance)
	if err != nil {
		return reconcile.Report{}, err
	}
	var ended atomic.Int64
	r.Progress(0, len(rows))
	patience, cancel := context.WithTimeout(ctx, AllTimeout)
	defer cancel()
	marked := r.Machines.Marks() // A mark is made before its machine.
	machines, lost, err := r.adoptMachines(ctx)
	if err != nil {
		return reconcile.Report{}, err
	}
	present := map[string]bool{}
	for id := range machines {
		present[id] = true
	}
	rows, slots := r.leaveElsewhere(rows, machines)
	noSlot := r.adoptSlots(ctx, rows, machines, slots)
	plan, known := r.plan(patience, rows, machines, lost, noSlot)
	if err := ctx.Err(); err != nil {
		return reconcile.Report{}, err // What was found while the start was broken off says nothing.
	}
	for id := range machines {
		kind := reconcile.KindUnclaimed
		if marked[id] || r.Machines.Marked(id) || r.Ephemeral {
			kind = reconcile.KindOrphan // A template build or a warm machine.
		}
		plan = append(plan, reconcile.Found(kind, id))
	}
	report, err := reconcile.Apply(plan, atOnce, func(rec reconcile.Record) error {
		err := r.recover(patience, rec, known[rec.ID], present[rec.ID])
		if known[rec.ID] {
			r.Progress(int(ended.Add(1)), len(rows))
		}
		return err
	})
	if err != nil {
		r.Log.Warn("recovery incomplete", "error", err)
	}
	r.Machines.Sweep(ctx, machines)
	if len(plan) > 0 {
		r.Log.Info("recovered from an earlier process", "recovered", report.Recovered, "cleaned_up", report.CleanedUp,
			"quarantined", report.Quarantined, "failed", report.Failed)
	}
	return report, nil
}

// leaveElsewhere returns the rows of this node and its driver. The others are known,
// and nothing else is done about them: what this driver does not have of them may be
// where it belongs. Their network slots, which it returns too, are kept.
func (r *recovery) leaveElsewhere(rows []store.Sandbox, machines map[string]vm.View) (ours []store.Sandbox, slots []string) {
	for _, row := range rows {
		err := r.Sandboxes.Elsewhere(row)
		if err == nil {
			ours = append(ours, row)
			continue
		}
		r.Sandboxes.Know(row, "")
		delete(machines, row.ID)
		if row.SlotID != "" {
			slots = append(slots, row.SlotID)
		}
		r.Notes.Note(row.ID, err)
		r.Log.Error("sandbox of another node or driver is left alone", "sandbox_id", row.ID, "state", row.State, "error", err)
	}
	return ours, slots
}

// plan decides about each row, and takes its machine out of machines.
// The sandboxes of the rows are known from now on.
func (r *recovery) plan(ctx context.Context, rows []store.Sandbox, machines map[string]vm.View, lost map[string]string,
	noSlot map[string]bool) ([]reconcile.Record, map[string]bool) {
	known := map[string]bool{}
	plan := make([]reconcile.Record, len(rows))
	silent := make([]bool, len(rows))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, row := range rows {
		r.Sandboxes.Know(row, WaitsForTurn)
		known[row.ID] = true
		view, present := machines[row.ID]
		delete(machines, row.ID)
		found := reconcile.Machine{Present: present, Status: view.Status, Lost: lost[row.ID]}
		if view.ExitReason != "" {
			found.Lost = view.ExitReason
		}
		network := row.SlotID != "" && !noSlot[row.SlotID]
		group.Go(func() error {
			if present && network && view.Status == vm.StatusRunning && row.State == sandbox.StateRunning {
				found.Agent = reconcile.Unknown
				if view.Busy == "" { // Else the agent would not answer either.
					found.Agent = r.probe(ctx, row)
				}
				if found.Agent == reconcile.Unknown {
					silent[i] = true
					r.Sandboxes.Serve(row.ID, WaitsForAgent)
				}
			}
			plan[i] = reconcile.Sandbox(row.ID, r.Sandboxes.Found(ctx, row, present), found, network)
			return nil
		})
	}
	_ = group.Wait()
	for i, row := range rows {
		if silent[i] {
			r.waits[row.ID] = WaitsForAgent
		}
	}
	return plan, known
}

// recover applies one record, and waits for that as long as a start may.
func (r *recovery) recover(patience context.Context, rec reconcile.Record, known, present bool) error {
	ctx, cancel := context.WithTimeout(patience, EachTimeout)
	defer cancel()
	var finished atomic.Bool
	done := make(chan error, 1)
	r.Background.Go(func() {
		var err error
		if known {
			err = r.Sandboxes.CarryOut(r.life, rec, present)
		} else {
			err = r.Sandboxes.CarryOutMachine(r.life, rec)
		}
		finished.Store(true)
		if known {
			r.recovered(rec, err)
		} else {
			r.Notes.Note(rec.ID, err)
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		r.Notes.noteUnless(&finished, rec.ID, errSlow)
		return errSlow
	}
}

// recovered notes the end of a sandbox's recovery. Its clients are served from now
// on, unless there is something left to wait for.
func (r *recovery) recovered(rec reconcile.Record, err error) {
	why := r.waits[rec.ID]
	switch {
	case err != nil:
		r.Notes.Note(rec.ID, err)
	case rec.Action == reconcile.Quarantine:
		r.Notes.Note(rec.ID, errors.New("quarantined: "+rec.Reason))
	case rec.Action == reconcile.Keep && why == WaitsForAgent:
		r.Notes.Note(rec.ID, errors.New(why))
		r.Background.Go(func() { r.await(rec.ID) })
		return
	case rec.Action == reconcile.Pause:
		return // The state machine pauses it, and serves it then.
	default:
		r.Notes.Note(rec.ID, nil)
	}
	r.Sandboxes.Serve(rec.ID, "")
}

// await waits until a sandbox that runs again has answered. The heartbeat ends one
// that is silent for too long.
func (r *recovery) await(id string) {
	defer r.Sandboxes.Serve(id, "")
	defer r.Notes.Note(id, nil)
	for r.Sandboxes.Running(id) && r.life.Err() == nil {
		ctx, cancel := context.WithTimeout(r.life, machine.BootTimeout)
		err := r.Machines.AwaitAgent(ctx, id)
		cancel()
		if err == nil {
			r.Log.Info("recovered sandbox responds", "sandbox_id", id)
			return
		}
	}
}
