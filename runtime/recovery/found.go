package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// adoptMachines returns the machines that are left, by id, and the reasons for
// those that are not.
func (r *recovery) adoptMachines(ctx context.Context) (map[string]vm.View, map[string]string, error) {
	adopter, ok := r.Driver.(vm.Adopter)
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

// adoptSlots keeps the slots of sandboxes that may go on, and those that are in use
// anyway, and returns those that
// are not there any more. All others are freed.
func (r *recovery) adoptSlots(ctx context.Context, rows []store.Sandbox, machines map[string]vm.View, inUse []string) map[string]bool {
	goesOn := func(row store.Sandbox) bool {
		_, present := machines[row.ID]
		return present && (row.State == sandbox.StateRunning || row.State == sandbox.StatePausing)
	}
	for _, row := range rows {
		if (goesOn(row) || !slices.Contains(sandbox.States, row.State)) && row.SlotID != "" {
			inUse = append(inUse, row.SlotID)
		}
	}
	missing, err := r.Network.Adopt(ctx, inUse)
	if err != nil {
		// What could be kept is kept. It is not a reason to leave all sandboxes alone.
		r.Log.Error("could not take over the whole network of an earlier process", "error", err)
		r.Notes.Note("network", err)
	}
	noSlot := map[string]bool{}
	for _, id := range missing {
		noSlot[id] = true
	}
	for _, row := range rows {
		// A change of the policy may have been broken off before its row was written.
		if goesOn(row) && row.SlotID != "" && !noSlot[row.SlotID] {
			if err := r.Network.SetEgress(ctx, row.SlotID, egress.Of(row.AllowInternet, row.Egress)); err != nil {
				r.Log.Error("could not set what a sandbox may reach; it reaches what it did before, and nothing by name", "sandbox_id", row.ID, "error", err)
				r.Notes.Note("network", err)
			}
		}
	}
	return noSlot
}

// probe asks a sandbox's agent for an answer. Only what shows that there is no
// agent any more counts against it: on a busy machine one may take longer than a
// start should, and the heartbeat gives it the time that it needs. One that answers trusts the authority of now.
func (r *recovery) probe(ctx context.Context, row store.Sandbox) reconcile.Answer {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	err := envd.Health(ctx, r.Machines.Agent(row.ID))
	var answered *envd.StatusError
	switch {
	case err == nil:
		if err := r.Machines.Trust(ctx, row.ID, egress.Of(row.AllowInternet, row.Egress)); err != nil {
			r.Log.Warn("a sandbox may not trust what sets the headers of its requests", "sandbox_id", row.ID, "error", err)
		}
		return reconcile.Yes
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &answered):
		return reconcile.No
	}
	return reconcile.Unknown
}
