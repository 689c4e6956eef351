package daemon

import (
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/simulate/world"
	"github.com/rundlet/rundlet/vm"
)

// states are those that the store has of machines with a row.
var states = map[world.State]sandbox.State{
	world.Creating: sandbox.StateCreating, world.Running: sandbox.StateRunning, world.Pausing: sandbox.StatePausing,
	world.Suspended: sandbox.StatePaused, world.Resuming: sandbox.StateResuming, world.Killing: sandbox.StateKilling,
}

// Recover is the recovery after a crash. It finds every row and every machine. What
// becomes of each is decided by policy/reconcile and applied in its order.
// Machines of the pool have no row: they are orphans.
func (d *Daemon) Recover() {
	byID := make(map[string]*world.Machine, len(d.Host.Machines))
	plan := make([]reconcile.Record, 0, len(d.Host.Machines))
	for _, m := range d.Host.Machines {
		byID[m.ID] = m
		if !m.Row {
			plan = append(plan, reconcile.Found(reconcile.KindOrphan, m.ID))
			continue
		}
		row, found, network := d.find(m)
		plan = append(plan, reconcile.Record{Kind: reconcile.KindSandbox, ID: m.ID, Decision: d.policy.Decide(row, found, network)})
	}
	report, err := reconcile.Apply(plan, 1, func(r reconcile.Record) error {
		d.carryOut(byID[r.ID], r.Decision)
		return nil
	})
	if err != nil {
		d.Record.Violate("recovery: %v", err)
	}
	d.Record.Recovered += uint64(report.Recovered)
	d.Record.CleanedUp += uint64(report.CleanedUp)
	d.Record.Quarantined += uint64(report.Quarantined)
}

// find returns a sandbox as the policy sees it.
func (d *Daemon) find(m *world.Machine) (reconcile.Row, reconcile.Machine, bool) {
	row := reconcile.Row{
		State: states[m.State], Reason: "killed",
		Snapshot: m.State == world.Resuming || m.State == world.Suspended && m.Harm != world.SnapshotGone || m.State == world.Pausing && m.Saved,
		Expired:  m.State == world.Running && d.Clock.Now() >= m.Ends,
	}
	found := reconcile.Machine{Present: m.State != world.Suspended && m.Harm != world.MachineGone, Status: vm.StatusRunning, Agent: reconcile.Yes}
	if m.State == world.Pausing {
		found.Status = vm.StatusStopped
	}
	if m.Harm == world.AgentSilent {
		found.Agent = reconcile.No
	}
	return row, found, m.Harm != world.NetworkGone
}

// carryOut does what was decided about a machine.
func (d *Daemon) carryOut(m *world.Machine, decided reconcile.Decision) {
	was, ends := m.State, m.Ends
	if m.Row && decided.Action != reconcile.KeepPaused && decided.Action != reconcile.Quarantine {
		d.reserved.adopt(m)
	}
	switch decided.Action {
	case reconcile.Keep, reconcile.KeepPaused, reconcile.Preserve:
	case reconcile.UndoPause:
		d.lifecycle.run(m)
	case reconcile.Pause:
		d.lifecycle.save(m)
	case reconcile.FinishPause, reconcile.BackToPaused:
		d.lifecycle.backToPaused(m)
	case reconcile.Kill, reconcile.Free:
		d.lifecycle.kill(m)
	case reconcile.Quarantine:
		d.Host.Enter(m, world.Suspended) // It waits for an operator, and is not resumed.
	}
	d.checkRecovery(m, was, ends)
	m.Harm = world.Unharmed
}

// checkRecovery checks that what could be kept was kept, whatever the policy under
// test thinks.
func (d *Daemon) checkRecovery(m *world.Machine, was world.State, ends time.Duration) {
	lives := m.State != world.Killing && m.State != world.Gone
	switch {
	case !m.Row:
		if lives {
			d.Record.Violate("orphan machine %s was kept", m.ID)
		}
		return
	case was == world.Creating, was == world.Killing:
		if lives {
			d.Record.Violate("sandbox %s in state %d was kept", m.ID, was)
		}
		return
	case lives, was == world.Running && d.Clock.Now() >= ends:
		return
	}
	d.Record.Lost++
	if m.Harm == world.Unharmed || m.Harm == world.NetworkGone || m.Harm == world.SnapshotGone {
		d.Record.ActiveEvictions++
		d.Record.Violate("sandbox %s in state %d was ended by a recovery", m.ID, was)
	}
}
