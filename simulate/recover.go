package simulate

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// crash ends the daemon: all that only it knew is lost, machines go on.
func (n *node) crash() {
	if n.over {
		return
	}
	n.figures.Crashes++
	n.figures.pool(n.pool.Stats(n.clock()))
	n.episode.filling = false
	n.down = true
	for _, m := range slices.Clone(n.live) {
		waited := m.ticket != nil
		m.ticket, m.reservation, m.turn, m.flight, m.budget, m.warm = nil, nil, nil, nil, capacity.Budget{}, false
		switch {
		case m.state == asking:
			n.lose(m)
			continue
		case m.state == creating && waited:
			n.figures.Expired++ // Its request is lost; its machine is an orphan.
		case m.state == pausing && !m.saved:
			m.saved = n.chance(0.3)
		}
		if m.state.transitional() {
			n.enter(m, m.state) // No operation drives it any more.
		}
		m.harm = n.harm(m)
	}
	n.after(time.Second+n.gap(2*time.Second), restart, nil)
	n.after(10*time.Second+n.gap(n.cfg.Scenario.Crash), crash, nil)
}

// harm is what a crash did to a sandbox besides.
type harm uint8

const (
	unharmed     harm = iota
	machineGone       // its machine ended with the daemon
	agentSilent       // its agent does not answer any more
	networkGone       // its network was taken away
	snapshotGone      // what was saved of it is missing
)

func (n *node) harm(m *machine) harm {
	switch {
	case !m.row || !n.chance(0.05):
		return unharmed
	case m.state == suspended:
		return snapshotGone
	}
	return []harm{machineGone, agentSilent, networkGone}[n.rand.IntN(3)]
}

// states are those that the store has of machines with a row.
var states = map[state]sandbox.State{
	creating: sandbox.StateCreating, running: sandbox.StateRunning, pausing: sandbox.StatePausing,
	suspended: sandbox.StatePaused, resuming: sandbox.StateResuming, killing: sandbox.StateKilling,
}

// reconcile starts the daemon again, which finds every row and every machine. What
// becomes of each is decided by policy/reconcile and applied in its order.
// Machines of the pool have no row: they are orphans.
func (n *node) reconcile() {
	n.boot()
	byID := make(map[string]*machine, len(n.live))
	plan := make([]reconcile.Record, 0, len(n.live))
	for _, m := range n.live {
		byID[m.id] = m
		if !m.row {
			plan = append(plan, reconcile.Found(reconcile.KindOrphan, m.id))
			continue
		}
		row, found, network := n.found(m)
		plan = append(plan, reconcile.Record{Kind: reconcile.KindSandbox, ID: m.id, Decision: n.policy.decide(row, found, network)})
	}
	report, err := reconcile.Apply(plan, 1, func(r reconcile.Record) error {
		n.carryOut(byID[r.ID], r.Decision)
		return nil
	})
	if err != nil {
		n.violate("recovery: %v", err)
	}
	n.figures.Recovered += uint64(report.Recovered)
	n.figures.CleanedUp += uint64(report.CleanedUp)
	n.figures.Quarantined += uint64(report.Quarantined)
}

// found is a sandbox as the policy sees it.
func (n *node) found(m *machine) (reconcile.Row, reconcile.Machine, bool) {
	row := reconcile.Row{
		State: states[m.state], Reason: "killed",
		Snapshot: m.state == resuming || m.state == suspended && m.harm != snapshotGone || m.state == pausing && m.saved,
		Expired:  m.state == running && n.now >= m.ends,
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
func (n *node) carryOut(m *machine, d reconcile.Decision) {
	was, ends := m.state, m.ends
	if m.row && d.Action != reconcile.KeepPaused && d.Action != reconcile.Quarantine {
		m.reservation, m.budget = n.ledger.Adopt(perSandbox), perSandbox
	}
	switch d.Action {
	case reconcile.Keep, reconcile.KeepPaused, reconcile.Preserve:
	case reconcile.UndoPause:
		n.run(m)
	case reconcile.Pause:
		m.life = max(ends-n.now, time.Second)
		n.enter(m, pausing)
		n.job(m, costPause, paused)
	case reconcile.FinishPause, reconcile.BackToPaused:
		n.backToPaused(m)
	case reconcile.Kill, reconcile.Free:
		n.kill(m)
	case reconcile.Quarantine:
		n.enter(m, suspended) // It waits for an operator, and is not resumed.
	}
	n.checkRecovery(m, was, ends)
	m.harm = unharmed
}

// checkRecovery checks that what could be kept was kept, whatever the policy under
// test thinks.
func (n *node) checkRecovery(m *machine, was state, ends time.Duration) {
	lives := m.state != killing && m.state != gone
	switch {
	case !m.row:
		if lives {
			n.violate("orphan machine %s was kept", m.id)
		}
		return
	case was == creating, was == killing:
		if lives {
			n.violate("sandbox %s in state %d was kept", m.id, was)
		}
		return
	case lives, was == running && n.now >= ends:
		return
	}
	n.figures.Lost++
	if m.harm == unharmed || m.harm == networkGone || m.harm == snapshotGone {
		n.figures.ActiveEvictions++
		n.violate("sandbox %s in state %d was ended by a recovery", m.id, was)
	}
}
