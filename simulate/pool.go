package simulate

import (
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// settle does what the daemon does after each event: it keeps the limit, lets
// warm entries yield, starts who was admitted and plans the pool, until nothing
// more follows from it.
func (n *node) settle() {
	for !n.down {
		n.throttle(capacity.Budget{})
		again := n.yield()
		again = n.serveQueue() || again
		again = n.refill() || again
		if !again {
			break
		}
	}
	n.watch()
}

// throttle keeps what may be admitted to what the host really has left, once
// leaving is released. A release admits the next in line by itself, and what was
// promised to a machine is more than what it used, so the limit goes down first.
func (n *node) throttle(leaving capacity.Budget) {
	spare := n.policy.spare(n.policy.scale, n.sample())
	u := n.ledger.Usage()
	used := u.Active.Plus(u.Warm).Minus(leaving)
	limit := u.Capacity
	limit.MemoryBytes = used.MemoryBytes + spare.MemoryBytes
	limit.DiskBytes = used.DiskBytes + spare.DiskBytes
	if limit = limit.Min(u.Capacity); limit != u.Limit {
		n.queue.SetLimit(limit)
	}
}

// yield ends the warm entries that active work needs the place of.
func (n *node) yield() bool {
	again := len(n.yields) > 0
	for len(n.yields) > 0 {
		id := n.yields[0]
		n.yields = n.yields[1:]
		m := n.byID[id]
		if m == nil {
			continue // it is being retired already.
		}
		n.figures.Yielded++
		n.pool.Remove(id)
		if m.flight != nil {
			m.flight.Cancel()
		}
		n.endWarm(m)
	}
	return again
}

// endWarm kills a machine of the pool that the pool has let go.
func (n *node) endWarm(m *machine) {
	delete(n.byID, m.id)
	m.flight = nil
	n.dirty = true
	if m.owned {
		n.violate("warm entry %s ends with a tenant in it", m.id)
	}
	n.kill(m)
}

// serveQueue starts all that the queue has admitted, in the order of each tenant.
func (n *node) serveQueue() (again bool) {
	for tenant := range n.waiting {
		for len(n.waiting[tenant]) > 0 && isAdmitted(n.waiting[tenant][0]) {
			m := n.waiting[tenant][0]
			n.waiting[tenant] = n.waiting[tenant][1:]
			n.admitted(m)
			again = true
		}
		for _, m := range n.waiting[tenant] {
			if isAdmitted(m) {
				n.violate("request %s was admitted before an earlier one of its tenant", m.id)
			}
		}
	}
	return again
}

func isAdmitted(m *machine) bool {
	select {
	case <-m.ticket.Admitted():
		return true
	default:
		return false
	}
}

// limit says what the pool may do. Measures are counted from the last step of
// the scaler; growth follows what is spare now.
func (n *node) limit() warmpool.Limits {
	w := autoscale.Warm{Configured: pooled * target.Ready, PerEntry: perReady, InFlight: processors}
	w.Ready, w.Prepared = n.pool.Depth(n.clock())
	lim := autoscale.Limits(n.decisions, n.policy.spare(n.policy.scale, n.sample()), w)
	// More than the ledger has room for would be tried in vain.
	lim.Ready = min(lim.Ready, w.Ready+autoscale.WarmTarget(lim.Ready, n.ledger.Usage().Available, perSandbox))
	return lim
}

// refill is one tick of the warm pool service.
func (n *node) refill() (again bool) {
	if !n.dirty {
		return false
	}
	n.dirty = false
	if n.limits.Refill != warmpool.RefillNone {
		n.limits = n.limit()
	}
	for _, a := range n.pool.Plan(n.clock(), n.limits) {
		f, ok := n.pool.Begin(a, n.clock())
		if !ok {
			continue
		}
		m := n.byID[a.ID]
		switch {
		case a.Op == warmpool.Launch:
			n.launchWarm(f)
		case m == nil:
			f.Cancel()
			n.violate("the pool has %s, which has left it", a.ID)
		case a.Op == warmpool.Raise:
			m.flight = f
			n.enter(m, raising)
			n.grow(m, memoryReady, m.disk)
			n.launch(m, costStart)
		default:
			n.figures.Retired++
			n.endWarm(m)
		}
		again = true
	}
	return again
}

// launchWarm reserves before it launches.
func (n *node) launchWarm(f *warmpool.Flight) {
	kind := 0
	for keys[kind] != f.Action.Key {
		kind++
	}
	m := n.machine(-1, kind)
	r, err := n.ledger.ReserveWarm(capacity.WarmEntry{ID: m.id, Key: capacity.WarmKey(f.Action.Key), Budget: perLaunch})
	if err != nil {
		f.Cancel()
		return
	}
	m.reservation, m.budget, m.warm, m.flight, m.snapshot = r, perLaunch, true, f, f.Snapshot
	n.byID[m.id] = m
	n.enter(m, launching)
	if f.Action.Stage == warmpool.Prepared {
		n.grow(m, memoryPrepared, diskFresh)
		n.launch(m, costRestore-costStart)
		return
	}
	n.grow(m, memoryReady, diskFresh)
	n.launch(m, costRestore)
}

// warmed puts a launched or raised entry into the pool.
func (n *node) warmed(m *machine) {
	f := m.flight
	m.flight = nil
	n.dirty = true
	if err := f.Done(m.id, n.clock()); err != nil {
		n.violate("%v", err)
		n.endWarm(m)
		return
	}
	if f.Action.Stage == warmpool.Ready {
		n.enter(m, ready)
	} else {
		n.enter(m, prepared)
	}
}

// warmFailed ends a flight and its machine.
func (n *node) warmFailed(m *machine) {
	n.figures.LaunchFailures++
	m.flight.Fail(n.clock())
	for _, s := range n.pool.Stats(n.clock()) {
		if s.Key == m.flight.Action.Key {
			n.after(s.RetryAt.Sub(n.clock()), sweep, nil)
		}
	}
	n.endWarm(m)
}
