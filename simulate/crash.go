package simulate

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/world"
)

// crash ends the daemon: all that only it knew is lost, machines go on.
func (n *node) crash() {
	if n.Over {
		return
	}
	n.Record.Crashes++
	_, pool := n.daemon.Entries()
	n.Record.Pool(pool)
	n.episode.filling = false
	n.Down = true
	for _, m := range slices.Clone(n.Host.Machines) {
		waited := m.Ticket != nil
		m.Held = world.Held{}
		switch {
		case m.State == world.Asking:
			n.daemon.Abandon(m)
			continue
		case m.State == world.Creating && waited:
			n.Record.Expired++ // Its request is lost; its machine is an orphan.
		case m.State == world.Pausing && !m.Saved:
			m.Saved = n.Draw.Happens(0.3)
		}
		if m.State.Transitional() {
			n.Host.Enter(m, m.State) // No operation drives it any more.
		}
		m.Harm = world.HarmOf(m, n.Draw)
	}
	n.Clock.After(time.Second+n.Draw.Gap(2*time.Second), world.Restart, nil)
	n.Clock.After(10*time.Second+n.Draw.Gap(n.cfg.Scenario.Crash), world.Crash, nil)
}

// restart starts the next daemon after a crash.
func (n *node) restart() {
	n.daemon, n.Down = daemon.Boot(n.World, n.policy, n.cfg.Duration), false
	n.daemon.Recover()
}
