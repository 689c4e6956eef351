package simulate

import (
	"math"
	"time"

	"github.com/rundlet/rundlet/simulate/world"
)

// start schedules all that the scenario has.
func (n *node) start() {
	s := n.cfg.Scenario
	n.arriveLater()
	for _, e := range []struct {
		do   world.Event
		mean time.Duration
	}{{world.Burst, s.Bursts}, {world.PressureOn, s.Pressure}, {world.Rebuild, s.Rebuild}, {world.Sicken, s.Sick}, {world.Crash, s.Crash}} {
		if e.mean > 0 {
			n.Clock.After(time.Minute+n.Draw.Gap(e.mean), e.do, nil)
		}
	}
	n.Clock.After(n.cfg.Duration, world.Finish, nil)
	n.settle()
}

// arriveLater schedules arrivals at the highest rate; arrive thins them out.
func (n *node) arriveLater() {
	if n.cfg.Scenario.Rate > 0 && !n.Over {
		n.Clock.After(n.Draw.Gap(time.Duration(float64(time.Second)/n.cfg.Scenario.Rate)), world.Arrive, nil)
	}
}

func (n *node) arrive() {
	n.arriveLater()
	busy := 1.0
	if n.cfg.Scenario.Day {
		busy = 0.15 + 0.85*math.Pow(math.Sin(math.Pi*n.Clock.Now().Hours()/24), 2)
	}
	if !n.Over && n.Draw.Happens(busy) {
		n.request(n.Host.Create(n.Draw.Pick(world.Tenants), n.Draw.Pick(world.Templates)))
	}
}

func (n *node) burst() {
	if n.Over {
		return
	}
	tenant, template := n.Draw.Pick(world.Tenants), n.Draw.Pick(world.Templates)
	for range 10 + n.Draw.IntN(31) {
		n.Clock.After(time.Duration(n.Draw.Int64N(int64(5*time.Second))), world.BurstArrival, n.Host.Create(tenant, template))
	}
	n.Clock.After(n.Draw.Gap(n.cfg.Scenario.Bursts), world.Burst, nil)
}

// maxLife bounds the life of a sandbox.
const maxLife = time.Hour

// request is a tenant asking for a sandbox.
func (n *node) request(m *world.Machine) {
	if n.Over {
		return
	}
	n.Record.Requests++
	m.Asked = n.Clock.Now()
	m.Life = min(n.Draw.Spread(n.cfg.Scenario.Life, 1.2), maxLife)
	m.Pauses = n.Draw.Happens(n.cfg.Scenario.Pauses)
	m.Turn = n.Turns.Arrive(m.Tenant)
	n.daemon.Request(m)
}

// rebuild gives a template a new snapshot.
func (n *node) rebuild() {
	template := n.Draw.IntN(world.Pooled)
	n.Images.Revision[template]++
	n.daemon.Rebuilt(template)
	if !n.Over {
		n.Clock.After(n.Draw.Gap(n.cfg.Scenario.Rebuild), world.Rebuild, nil)
	}
}

// sicken makes the launches of a template fail for a while.
func (n *node) sicken() {
	if n.Over {
		return
	}
	n.Images.Sick = n.Draw.IntN(world.Templates)
	n.episode.filling = false
	n.Clock.After(3*time.Minute, world.Heal, nil)
	n.Clock.After(4*time.Minute+n.Draw.Gap(n.cfg.Scenario.Sick), world.Sicken, nil)
}

func (n *node) heal() {
	n.Images.Sick = -1
	n.daemon.Replan()
}
