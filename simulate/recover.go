package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// states are those that the store has of machines with a row.
var states = map[state]sandbox.State{
	creating: sandbox.StateCreating, running: sandbox.StateRunning, pausing: sandbox.StatePausing,
	suspended: sandbox.StatePaused, resuming: sandbox.StateResuming, killing: sandbox.StateKilling,
}

// recover is the recovery after a crash. It finds every row and every machine. What
// becomes of each is decided by policy/reconcile and applied in its order.
// Machines of the pool have no row: they are orphans.
func (d *daemon) recover() {
	byID := make(map[string]*machine, len(d.host.machines))
	plan := make([]reconcile.Record, 0, len(d.host.machines))
	for _, m := range d.host.machines {
		byID[m.id] = m
		if !m.row {
			plan = append(plan, reconcile.Found(reconcile.KindOrphan, m.id))
			continue
		}
		row, found, network := d.find(m)
		plan = append(plan, reconcile.Record{Kind: reconcile.KindSandbox, ID: m.id, Decision: d.policy.decide(row, found, network)})
	}
	report, err := reconcile.Apply(plan, 1, func(r reconcile.Record) error {
		d.carryOut(byID[r.ID], r.Decision)
		return nil
	})
	if err != nil {
		d.record.Violate("recovery: %v", err)
	}
	d.record.Recovered += uint64(report.Recovered)
	d.record.CleanedUp += uint64(report.CleanedUp)
	d.record.Quarantined += uint64(report.Quarantined)
}

// find returns a sandbox as the policy sees it.
func (d *daemon) find(m *machine) (reconcile.Row, reconcile.Machine, bool) {
	row := reconcile.Row{
		State: states[m.state], Reason: "killed",
		Snapshot: m.state == resuming || m.state == suspended && m.harm != snapshotGone || m.state == pausing && m.saved,
		Expired:  m.state == running && d.clock.Now() >= m.ends,
	}
	found := reconcile.Machine{Present: m.state != suspended && m.harm != machineGone, Status: vm.StatusRunning, Agent: reconcile.Yes}
	if m.state == pausing {
		found.Status = vm.StatusStopped
	}
	if m.harm == agentSilent {
		found.Agent = reconcile.No
	}
	return row, found, m.harm != networkGone
}

// carryOut does what was decided about a machine.
func (d *daemon) carryOut(m *machine, decided reconcile.Decision) {
	was, ends := m.state, m.ends
	if m.row && decided.Action != reconcile.KeepPaused && decided.Action != reconcile.Quarantine {
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
		d.host.enter(m, suspended) // It waits for an operator, and is not resumed.
	}
	d.checkRecovery(m, was, ends)
	m.harm = unharmed
}

// checkRecovery checks that what could be kept was kept, whatever the policy under
// test thinks.
func (d *daemon) checkRecovery(m *machine, was state, ends time.Duration) {
	lives := m.state != killing && m.state != gone
	switch {
	case !m.row:
		if lives {
			d.record.Violate("orphan machine %s was kept", m.id)
		}
		return
	case was == creating, was == killing:
		if lives {
			d.record.Violate("sandbox %s in state %d was kept", m.id, was)
		}
		return
	case lives, was == running && d.clock.Now() >= ends:
		return
	}
	d.record.Lost++
	if m.harm == unharmed || m.harm == networkGone || m.harm == snapshotGone {
		d.record.ActiveEvictions++
		d.record.Violate("sandbox %s in state %d was ended by a recovery", m.id, was)
	}
}
