package simulate

import (
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/report"
)

// node is a machine of 2 processors, 16 GiB of memory and 200 GiB of disk with its
// daemon, and what happens to them: clients, mishaps, and other programs that need
// the host.
type node struct {
	*world
	cfg     Config
	policy  policy
	daemon  *daemon
	episode episode
}

func newNode(cfg Config, p policy) *node {
	if cfg.Warm != (warmpool.Target{}) {
		p.warm = cfg.Warm
	}
	w := newWorld(cfg.Seed, kept)
	return &node{world: w, cfg: cfg, policy: p, daemon: boot(w, p, cfg.Duration)}
}

// next lets the next event happen. It returns false at the end.
func (n *node) next() bool {
	e, ok := n.clock.Next()
	if !ok {
		return false
	}
	if m := e.Subject; m != nil {
		n.clock.Fold(m.number, uint64(m.state))
	}
	n.handle(e.Kind, e.Subject)
	n.settle()
	return true
}

// handle lets an event happen.
func (n *node) handle(e event, m *machine) {
	switch e {
	case arrive:
		n.arrive()
	case burst:
		n.burst()
	case burstArrival:
		n.request(m)
	case pressureOn:
		n.pressureOn()
	case pressureOff:
		n.pressureOff()
	case rebuild:
		n.rebuild()
	case sicken:
		n.sicken()
	case heal:
		n.heal()
	case crash:
		n.crash()
	case restart:
		n.restart()
	default:
		n.daemon.handle(e, m)
	}
}

// settle lets the daemon do what follows from the last event.
func (n *node) settle() {
	n.daemon.settle()
	n.host.watchReserve()
	if n.over {
		return
	}
	n.record.Observe(n.daemon.utilisation())
	n.watchEpisode()
}

func (n *node) report() report.Report {
	_, pool := n.daemon.entries()
	n.record.Pool(pool)
	n.record.Events = n.clock.Count()
	return n.record.Report(report.Run{
		Scenario: n.cfg.Scenario.Name, Nodes: 1, Hours: n.cfg.Duration.Hours(), Seed: n.cfg.Seed, About: about(n.policy),
	}, n.clock.Digest())
}
