package simulate

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
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
		m.ticket, m.reservation, m.flight, m.budget, m.warm = nil, nil, nil, capacity.Budget{}, false
		switch {
		case m.state == asking:
			n.lose(m)
		case m.state.transitional():
			n.enter(m, m.state) // nobody drives it any more.
		}
	}
	n.after(time.Second+n.gap(2*time.Second), restart, nil)
	n.after(10*time.Second+n.gap(n.cfg.Scenario.Crash), crash, nil)
}

// reconcile finds every machine after a restart: what runs is counted first,
// what was on its way is finished or undone, warm entries come back last.
func (n *node) reconcile() {
	n.boot()
	all := slices.Clone(n.live)
	for _, m := range all {
		switch m.state {
		case pausing: // the snapshot was not complete.
			n.adopt(m)
			n.run(m)
		case resuming: // the snapshot is still there.
			n.use(m, 0, m.disk)
			n.enter(m, suspended)
			n.after(maxWait, resumeNow, m)
		case running:
			n.adopt(m)
		case creating, launching, raising, killing:
			n.adopt(m)
			n.kill(m)
		}
	}
	for _, m := range all {
		if m.state == ready || m.state == prepared {
			n.retain(m)
		}
	}
}

func (n *node) adopt(m *machine) { m.reservation, m.budget = n.ledger.Adopt(perSandbox), perSandbox }

func (n *node) retain(m *machine) {
	key := keys[m.kind]
	r, err := n.ledger.ReserveWarm(capacity.WarmEntry{ID: m.id, Key: capacity.WarmKey(key), Budget: perSandbox})
	if err != nil {
		n.adopt(m)
		n.kill(m)
		return
	}
	m.reservation, m.budget, m.warm = r, perSandbox, true
	n.byID[m.id] = m
	e := warmpool.Entry{ID: m.id, Key: key, Snapshot: m.snapshot, Since: time.Unix(0, int64(m.since)).UTC()}
	if m.state == ready {
		e.Stage = warmpool.Ready
	}
	if err := n.pool.Put(e); err != nil {
		n.violate("%v", err)
	}
}
