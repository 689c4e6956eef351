package simulate

import "github.com/rundlet/rundlet/simulate/report"

// node is a machine of 2 processors, 16 GiB of memory and 200 GiB of disk with its
// daemon, and what happens to them: clients, mishaps, and other programs that need
// the host.
type node struct {
	*world
	daemon  *daemon
	episode episode
}

func newNode(cfg Config, p policy) *node {
	w := newWorld(cfg, p)
	return &node{world: w, daemon: boot(w)}
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
	handlers[e.Kind](n, e.Subject)
	n.settle()
	return true
}

// settle lets the daemon do what follows from the last event.
func (n *node) settle() {
	if !n.down {
		n.daemon.settle()
	}
	n.host.watchReserve()
	if n.over {
		return
	}
	n.record.Observe(n.daemon.utilisation())
	n.watchEpisode()
}

func (n *node) report() report.Report {
	n.record.Pool(n.daemon.pool.stats())
	n.record.Events = n.clock.Count()
	return n.record.Report(report.Run{
		Scenario: n.cfg.Scenario.Name, Nodes: 1, Hours: n.cfg.Duration.Hours(), Seed: n.cfg.Seed, About: about(n.policy),
	}, n.clock.Digest())
}
