package simulate

import (
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// settle does what the daemon does after each event: it lets warm entries yield,
// starts admitted requests and refills the pool, until nothing changes.
func (n *node) settle() {
	for !n.down {
		again := n.yield()
		again = n.serveQueue() || again
		again = n.refill() || again
		if !again {
			break
		}
	}
	n.watch()
}

// yield ends the warm entries that active work needs the place of. One that is
// still being made is ended when it is done.
func (n *node) yield() bool {
	again := len(n.yields) > 0
	for len(n.yields) > 0 {
		id := n.yields[0]
		n.yields = n.yields[1:]
		if _, ok := n.pool.Remove(id); ok {
			n.figures.Yielded++
			n.endWarm(n.byID[id])
		}
	}
	return again
}

// endWarm kills a machine of the pool that the pool has let go.
func (n *node) endWarm(m *machine) {
	delete(n.byID, m.id)
	m.flight = nil
	n.dirty = true
	if m.owned {
		n.figures.ActiveEvictions++
		n.violate("active sandbox %s was ended as a warm entry", m.id)
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

// refill does once what the pool needs.
func (n *node) refill() (again bool) {
	if !n.dirty {
		return false
	}
	ready, _ := n.pool.Depth(n.clock())
	if rest := warmpool.Rest(n.clock(), n.at(n.taken), ready); rest > 0 {
		if !n.resting {
			n.resting = true
			n.after(rest, rested, nil)
		}
		return false
	}
	n.dirty = false
	for _, a := range n.pool.Plan(n.clock(), n.limits.Refilling(processors, n.hasRoom(n.policy.floors.WarmPool))) {
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
	if m.reservation.Yielding() { // It was asked to yield while it was created.
		n.yields = append(n.yields, m.id)
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

// freeDisk is what statfs would return.
type freeDisk struct{ n *node }

func (f freeDisk) FreeBytes(string) (int64, error) { return f.n.diskFree(), nil }

// hasRoom reports whether the disk is at or above a floor, as far as the daemon
// knows.
func (n *node) hasRoom(floor int64) bool {
	_, err := disk.Guard{MinimumFree: floor}.Check(n.room)
	return err == nil
}
