package simulate

import (
	"math"
	"time"
)

// start schedules all that the scenario has.
func (n *node) start() {
	s := n.cfg.Scenario
	n.arriveLater()
	for _, e := range []struct {
		do   event
		mean time.Duration
	}{{burst, s.Bursts}, {pressureOn, s.Pressure}, {rebuild, s.Rebuild}, {sicken, s.Sick}, {crash, s.Crash}} {
		if e.mean > 0 {
			n.clock.After(time.Minute+n.draw.gap(e.mean), e.do, nil)
		}
	}
	n.clock.After(n.cfg.Duration, finish, nil)
	n.settle()
}

// arriveLater schedules arrivals at the highest rate; arrive thins them out.
func (n *node) arriveLater() {
	if n.cfg.Scenario.Rate > 0 && !n.over {
		n.clock.After(n.draw.gap(time.Duration(float64(time.Second)/n.cfg.Scenario.Rate)), arrive, nil)
	}
}

func (n *node) arrive() {
	n.arriveLater()
	busy := 1.0
	if n.cfg.Scenario.Day {
		busy = 0.15 + 0.85*math.Pow(math.Sin(math.Pi*n.clock.Now().Hours()/24), 2)
	}
	if !n.over && n.draw.happens(busy) {
		n.request(n.host.create(n.draw.pick(tenants), n.draw.pick(templates)))
	}
}

func (n *node) burst() {
	if n.over {
		return
	}
	tenant, template := n.draw.pick(tenants), n.draw.pick(templates)
	for range 10 + n.draw.IntN(31) {
		n.clock.After(time.Duration(n.draw.Int64N(int64(5*time.Second))), burstArrival, n.host.create(tenant, template))
	}
	n.clock.After(n.draw.gap(n.cfg.Scenario.Bursts), burst, nil)
}

// request is a tenant asking for a sandbox.
func (n *node) request(m *machine) {
	if n.over {
		return
	}
	n.record.Requests++
	m.asked = n.clock.Now()
	m.life = min(n.draw.spread(n.cfg.Scenario.Life, 1.2), maxLife)
	m.pauses = n.draw.happens(n.cfg.Scenario.Pauses)
	m.turn = n.turns.arrive(m.tenant)
	n.daemon.request(m)
}

// rebuild gives a template a new snapshot.
func (n *node) rebuild() {
	template := n.draw.IntN(pooled)
	n.images.revision[template]++
	n.daemon.rebuilt(template)
	if !n.over {
		n.clock.After(n.draw.gap(n.cfg.Scenario.Rebuild), rebuild, nil)
	}
}

// sicken makes the launches of a template fail for a while.
func (n *node) sicken() {
	if n.over {
		return
	}
	n.images.sick = n.draw.IntN(templates)
	n.episode.filling = false
	n.clock.After(3*time.Minute, heal, nil)
	n.clock.After(4*time.Minute+n.draw.gap(n.cfg.Scenario.Sick), sicken, nil)
}

func (n *node) heal() {
	n.images.sick = -1
	n.daemon.replan()
}
