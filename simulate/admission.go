package simulate

import (
	"slices"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// admission is how the daemon lets new work in: out of the warm pool, or through the
// queue. A request is a machine that is not made yet.
type admission struct {
	*world
	policy    policy
	reserved  *reservations
	space     diskSpace
	lifecycle *lifecycle
	pool      *warmPool

	queue   *capacity.Queue
	waiting [tenants][]*machine // in the queue, in the order of each tenant
}

func newAdmission(w *world, l *lifecycle, p *warmPool) *admission {
	return &admission{
		world: w, policy: l.policy, reserved: l.reserved, space: l.space, lifecycle: l, pool: p,
		queue: capacity.NewQueue(l.reserved.ledger, capacity.QueueConfig{
			MaxPending: l.policy.maxPending, OnYield: func(id string) { p.yields = append(p.yields, id) },
		}),
	}
}

// create serves a request out of the pool if it has an entry, else through the queue.
func (a *admission) create(m *machine) {
	// A request never overtakes one that waits. A warm machine needs no room, so it is
	// handed out while new work is refused, too.
	if a.queue.Stats().Pending == 0 || a.policy.overtakes {
		for {
			e, ok := a.policy.checkout(a.pool.entries, keys[m.template], a.clock.Time())
			if !ok {
				break
			}
			if a.handOver(m, e) {
				return
			}
		}
	} else if m.template < pooled {
		a.record.Misses++
	}
	if !a.space.above(a.policy.floors.Restore) {
		a.refuse(m)
		return
	}
	a.ask(m)
}

// resume asks for capacity for a paused sandbox.
func (a *admission) resume(m *machine) {
	m.resumes = true
	if !a.space.above(a.policy.floors.Restore) {
		a.turnAway(m)
		return
	}
	a.ask(m)
}

// ask puts m into the queue, for a create or a resume.
func (a *admission) ask(m *machine) {
	t, err := a.queue.Ask(tenantName(m.tenant), perLaunch)
	if err != nil {
		if m.resumes {
			a.turnAway(m)
		} else {
			a.refuse(m)
		}
		return
	}
	a.host.enter(m, asking)
	m.asked = a.clock.Now()
	a.wait(m, t)
}

func tenantName(tenant int) string { return string(rune('a' + tenant)) }

func (a *admission) wait(m *machine, t *capacity.Ticket) {
	m.ticket = t
	a.waiting[m.tenant] = append(a.waiting[m.tenant], m)
	a.clock.After(maxWait, expired, m)
}

// handOver gives a warm entry to the tenant that m is the request of. It reports
// whether the entry could be had: one that yields cannot.
func (a *admission) handOver(m *machine, e warmpool.Entry) bool {
	w := a.pool.byID[e.ID]
	if w == nil || w.owned || w.state != ready && w.state != prepared {
		a.record.Violate("entry %s was handed out twice", e.ID)
		return true
	}
	if !a.pool.handOut(w) {
		return false
	}
	a.host.enter(m, gone)
	w.owned = true
	w.tenant, w.turn, w.life, w.pauses, w.asked = m.tenant, m.turn, m.life, m.pauses, m.asked
	a.host.enter(w, creating)
	if e.Stage == warmpool.Ready {
		a.serve(w)
		a.lifecycle.run(w)
		return true
	}
	// To start it is work for a processor, and waits for one.
	t, err := a.queue.Ask(tenantName(w.tenant), perStart)
	if err != nil {
		a.record.Refused++
		a.lifecycle.kill(w)
		return true
	}
	a.host.enter(w, creating)
	w.deadline += maxWait
	a.wait(w, t)
	return true
}

// serveAdmitted starts all that the queue has admitted, in the order of each tenant.
func (a *admission) serveAdmitted() (again bool) {
	for tenant := range a.waiting {
		for len(a.waiting[tenant]) > 0 && a.waiting[tenant][0].admitted() {
			m := a.waiting[tenant][0]
			a.waiting[tenant] = a.waiting[tenant][1:]
			a.start(m)
			again = true
		}
		for _, m := range a.waiting[tenant] {
			if m.admitted() {
				a.record.Violate("request %s was admitted before an earlier one of its tenant", m.id)
			}
		}
	}
	return again
}

// start launches what the queue has let in.
func (a *admission) start(m *machine) {
	a.reserved.admit(m)
	a.record.Wait(a.clock.Now() - m.asked)
	m.owned = true
	switch {
	case m.state == creating: // A prepared machine.
		a.serve(m)
		a.host.enter(m, creating)
		a.lifecycle.grow(m, memoryReady, m.disk)
		a.lifecycle.launch(m, costStart)
	case m.resumes:
		m.resumes = false
		a.host.enter(m, resuming)
		a.lifecycle.grow(m, memoryReady, m.disk)
		a.lifecycle.launch(m, costResume)
	default:
		m.row = true
		a.serve(m)
		a.host.enter(m, creating)
		a.lifecycle.grow(m, memoryReady, diskFresh)
		a.lifecycle.launch(m, costRestore)
	}
}

// serve counts a request that is served, and checks that no other of the same tenant
// was overtaken.
func (a *admission) serve(m *machine) {
	if !a.turns.serve(m.tenant, m.turn) {
		a.record.Violate("request %s was served after a later one of its tenant", m.id)
	}
	if a.clock.Now() == m.asked {
		a.record.AtOnce++
	} else {
		a.record.Queued++
	}
}

// expire is the end of a wait in the queue.
func (a *admission) expire(m *machine) {
	if m.ticket == nil {
		return // It was admitted.
	}
	m.ticket.Cancel()
	m.ticket = nil
	a.waiting[m.tenant] = slices.DeleteFunc(a.waiting[m.tenant], func(w *machine) bool { return w == m })
	a.lose(m)
}

// lose is a request that the queue does not have any more.
func (a *admission) lose(m *machine) {
	if !m.resumes {
		a.record.Expired++
	}
	a.turnAway(m)
}

// refuse turns a new request away.
func (a *admission) refuse(m *machine) {
	a.record.Refused++
	a.turnAway(m)
}

// turnAway ends a request; what was to be resumed stays paused, and the machine of
// one that was handed over is ended.
func (a *admission) turnAway(m *machine) {
	switch {
	case m.state == creating:
		a.lifecycle.kill(m)
	case m.resumes:
		a.host.enter(m, suspended)
		a.clock.After(maxWait, resumeNow, m)
	default:
		a.host.enter(m, gone)
	}
}
