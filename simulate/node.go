package simulate

import (
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/world"
)

// node is a machine of 2 processors, 16 GiB of memory and 200 GiB of disk with its
// daemon, and what happens to them: clients, mishaps, and other programs that need
// the host.
type node struct {
	*world.World
	cfg     Config
	policy  daemon.Policy
	daemon  *daemon.Daemon
	episode episode
}

func newNode(cfg Config, p daemon.Policy) *node {
	if cfg.Warm != (warmpool.Target{}) {
		p.Warm = cfg.Warm
	}
	w := world.New(cfg.Seed, kept)
	return &node{World: w, cfg: cfg, policy: p, daemon: daemon.Boot(w, p, cfg.Duration)}
}

// next lets the next event happen. It returns false at the end.
func (n *node) next() bool {
	e, ok := n.Clock.Next()
	if !ok {
		return false
	}
	if m := e.Subject; m != nil {
		n.Clock.Fold(m.Number, uint64(m.State))
	}
	n.handle(e.Kind, e.Subject)
	n.settle()
	return true
}

// handle lets an event happen.
func (n *node) handle(e world.Event, m *world.Machine) {
	switch e {
	case world.Arrive:
		n.arrive()
	case world.Burst:
		n.burst()
	case world.BurstArrival:
		n.request(m)
	case world.PressureOn:
		n.pressureOn()
	case world.PressureOff:
		n.pressureOff()
	case world.Rebuild:
		n.rebuild()
	case world.Sicken:
		n.sicken()
	case world.Heal:
		n.heal()
	case world.Crash:
		n.crash()
	case world.Restart:
		n.restart()
	default:
		n.daemon.Handle(e, m)
	}
}

// settle lets the daemon do what follows from the last event.
func (n *node) settle() {
	n.daemon.Settle()
	n.Host.WatchReserve()
	if n.Over {
		return
	}
	n.Record.Observe(n.daemon.Utilisation())
	n.watchEpisode()
}

func (n *node) report() report.Report {
	_, pool := n.daemon.Entries()
	n.Record.Pool(pool)
	n.Record.Events = n.Clock.Count()
	return n.Record.Report(report.Run{
		Scenario: n.cfg.Scenario.Name, Nodes: 1, Hours: n.cfg.Duration.Hours(), Seed: n.cfg.Seed, About: about(n.policy),
	}, n.Clock.Digest())
}
