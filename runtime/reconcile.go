package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// probeTimeout is how long an adopted sandbox's agent has for its answer.
const probeTimeout = 3 * time.Second

// reconcile brings rows, machines and network slots of this instance together,
// in one order: recover what still runs, then clean up what does not, then free
// what belongs to nothing.
func (r *Runtime) reconcile(ctx context.Context) error {
	rows, err := r.cfg.Store.LiveSandboxes(ctx, r.cfg.Instance)
	if err != nil {
		return err
	}
	machines, lost, err := r.adoptMachines(ctx)
	if err != nil {
		return err
	}
	var inUse []string
	for _, row := range rows {
		if machines[row.ID].Status == vm.StatusRunning && State(row.State) == StateRunning && row.SlotID != "" {
			inUse = append(inUse, row.SlotID)
		}
	}
	missing, err := r.cfg.Network.Adopt(ctx, inUse)
	if err != nil {
		return fmt.Errorf("adopt network: %w", err)
	}
	noSlot := map[string]bool{}
	for _, id := range missing {
		noSlot[id] = true
	}
	for _, row := range rows {
		machine, alive := machines[row.ID]
		delete(machines, row.ID)
		reason := r.verdict(ctx, row, machine, alive, lost[row.ID], noSlot[row.SlotID])
		r.takeOver(ctx, row, reason)
	}
	for id := range machines {
		// A template build or a create whose intent was never written.
		if err := r.destroy(ctx, id); err != nil {
			return fmt.Errorf("end %s, which belongs to no sandbox: %w", id, err)
		}
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

// verdict decides whether a sandbox goes on (the empty reason) or why it ends.
func (r *Runtime) verdict(ctx context.Context, row store.Sandbox, machine vm.View, alive bool, lost string, noSlot bool) string {
	switch State(row.State) {
	case StateKilling:
		return row.Reason
	case StateRunning:
	default:
		return "lost: the daemon ended while the sandbox was " + row.State
	}
	switch {
	case !alive && lost != "":
		return "lost: " + lost
	case !alive:
		return "lost: it was gone when the daemon started"
	case machine.Status != vm.StatusRunning:
		return "lost: its machine was " + string(machine.Status)
	case noSlot:
		return "lost: its network was gone when the daemon started"
	case !time.Now().Before(row.EndAt):
		return "timeout"
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := control.Health(ctx, r.agentDial(row.ID)); err != nil {
		return "lost: its agent did not answer when the daemon started"
	}
	return ""
}

// takeOver makes a sandbox of a row again, and ends it if there is a reason to.
func (r *Runtime) takeOver(ctx context.Context, row store.Sandbox, reason string) {
	sb := &sandbox{id: row.ID, row: row, reservation: r.ledger.Adopt(budget(row))}
	r.mu.Lock()
	r.sandboxes[sb.id] = sb
	r.mu.Unlock()
	if reason == "" {
		r.expose(sb)
		r.log.Info("sandbox adopted", "sandbox", sb.id)
		return
	}
	if err := r.terminate(ctx, sb, reason); err != nil && !errors.Is(err, ErrSandboxNotFound) {
		r.log.Warn("sandbox cannot be ended yet", "sandbox", sb.id, "error", err)
	}
}
