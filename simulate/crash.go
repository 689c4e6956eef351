package simulate

import (
	"slices"
	"time"
)

// crash ends the daemon: all that only it knew is lost, machines go on.
func (n *node) crash() {
	if n.over {
		return
	}
	n.record.Crashes++
	_, pool := n.daemon.entries()
	n.record.Pool(pool)
	n.episode.filling = false
	n.down = true
	for _, m := range slices.Clone(n.host.machines) {
		waited := m.ticket != nil
		m.held = held{}
		switch {
		case m.state == asking:
			n.daemon.abandon(m)
			continue
		case m.state == creating && waited:
			n.record.Expired++ // Its request is lost; its machine is an orphan.
		case m.state == pausing && !m.saved:
			m.saved = n.draw.happens(0.3)
		}
		if m.state.transitional() {
			n.host.enter(m, m.state) // No operation drives it any more.
		}
		m.harm = harmOf(m, n.draw)
	}
	n.clock.After(time.Second+n.draw.gap(2*time.Second), restart, nil)
	n.clock.After(10*time.Second+n.draw.gap(n.cfg.Scenario.Crash), crash, nil)
}

// restart starts the next daemon after a crash.
func (n *node) restart() {
	n.daemon, n.down = boot(n.world, n.policy, n.cfg.Duration), false
	n.daemon.recover()
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

// harmOf draws what a crash did to m.
func harmOf(m *machine, draw chances) harm {
	switch {
	case !m.row || !draw.happens(0.05):
		return unharmed
	case m.state == suspended:
		return snapshotGone
	}
	return []harm{machineGone, agentSilent, networkGone}[draw.IntN(3)]
}
