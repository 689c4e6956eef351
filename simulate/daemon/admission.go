package daemon

import (
	"slices"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/world"
)

// admission is how the daemon lets new work in: out of the warm pool, or through the
// queue. A request is a machine that is not made yet.
type admission struct {
	*world.World
	policy    Policy
	reserved  *reservations
	space     diskSpace
	lifecycle *lifecycle
	pool      *warmPool

	queue   *capacity.Queue
	waiting [world.Tenants][]*world.Machine // in the queue, in the order of each tenant
}

func newAdmission(w *world.World, l *lifecycle, p *warmPool) *admission {
	return &admission{
		World: w, policy: l.policy, reserved: l.reserved, space: l.space, lifecycle: l, pool: p,
		queue: capacity.NewQueue(l.reserved.ledger, capacity.QueueConfig{
			MaxPending: l.policy.MaxPending, OnYield: func(id string) { p.yields = append(p.yields, id) },
		}),
	}
}

// create serves a request out of the pool if it has an entry, else through the queue.
func (a *admission) create(m *world.Machine) {
	// A request never overtakes one that waits. A warm machine needs no room, so it is
	// handed out while new work is refused, too.
	if a.queue.Stats().Pending == 0 || a.policy.Overtakes {
		for {
			e, ok := a.policy.Checkout(a.pool.entries, world.Keys[m.Template], a.Clock.Time())
			if !ok {
				break
			}
			if a.handOver(m, e) {
				return
			}
		}
	} else if m.Template < world.Pooled {
		a.Record.Misses++
	}
	if !a.space.above(a.policy.Floors.Restore) {
		a.refuse(m)
		return
	}
	a.ask(m)
}

// resume asks for capacity for a paused sandbox.
func (a *admission) resume(m *world.Machine) {
	m.Resumes = true
	if !a.space.above(a.policy.Floors.Restore) {
		a.turnAway(m)
		return
	}
	a.ask(m)
}

// ask puts m into the queue, for a create or a resume.
func (a *admission) ask(m *world.Machine) {
	t, err := a.queue.Ask(tenantName(m.Tenant), PerLaunch)
	if err != nil {
		if m.Resumes {
			a.turnAway(m)
		} else {
			a.refuse(m)
		}
		return
	}
	a.Host.Enter(m, world.Asking)
	m.Asked = a.Clock.Now()
	a.wait(m, t)
}

func tenantName(tenant int) string { return string(rune('a' + tenant)) }

func (a *admission) wait(m *world.Machine, t *capacity.Ticket) {
	m.Ticket = t
	a.waiting[m.Tenant] = append(a.waiting[m.Tenant], m)
	a.Clock.After(world.MaxWait, world.Expired, m)
}

// handOver gives a warm entry to the tenant that m is the request of. It reports
// whether the entry could be had: one that yields cannot.
func (a *admission) handOver(m *world.Machine, e warmpool.Entry) bool {
	w := a.pool.byID[e.ID]
	if w == nil || w.Owned || w.State != world.Ready && w.State != world.Prepared {
		a.Record.Violate("entry %s was handed out twice", e.ID)
		return true
	}
	if !a.pool.handOut(w) {
		return false
	}
	a.Host.Enter(m, world.Gone)
	w.Owned = true
	w.Tenant, w.Turn, w.Life, w.Pauses, w.Asked = m.Tenant, m.Turn, m.Life, m.Pauses, m.Asked
	a.Host.Enter(w, world.Creating)
	if e.Stage == warmpool.Ready {
		a.serve(w)
		a.lifecycle.run(w)
		return true
	}
	// To start it is work for a processor, and waits for one.
	t, err := a.queue.Ask(tenantName(w.Tenant), perStart)
	if err != nil {
		a.Record.Refused++
		a.lifecycle.kill(w)
		return true
	}
	a.Host.Enter(w, world.Creating)
	w.Deadline += world.MaxWait
	a.wait(w, t)
	return true
}

// serveAdmitted starts all that the queue has admitted, in the order of each tenant.
func (a *admission) serveAdmitted() (again bool) {
	for tenant := range a.waiting {
		for len(a.waiting[tenant]) > 0 && a.waiting[tenant][0].Admitted() {
			m := a.waiting[tenant][0]
			a.waiting[tenant] = a.waiting[tenant][1:]
			a.start(m)
			again = true
		}
		for _, m := range a.waiting[tenant] {
			if m.Admitted() {
				a.Record.Violate("request %s was admitted before an earlier one of its tenant", m.ID)
			}
		}
	}
	return again
}

// start launches what the queue has let in.
func (a *admission) start(m *world.Machine) {
	a.reserved.admit(m)
	a.Record.Wait(a.Clock.Now() - m.Asked)
	m.Owned = true
	switch {
	case m.State == world.Creating: // A prepared machine.
		a.serve(m)
		a.Host.Enter(m, world.Creating)
		a.lifecycle.grow(m, memoryReady, m.Disk)
		a.lifecycle.launch(m, costStart)
	case m.Resumes:
		m.Resumes = false
		a.Host.Enter(m, world.Resuming)
		a.lifecycle.grow(m, memoryReady, m.Disk)
		a.lifecycle.launch(m, costResume)
	default:
		m.Row = true
		a.serve(m)
		a.Host.Enter(m, world.Creating)
		a.lifecycle.grow(m, memoryReady, diskFresh)
		a.lifecycle.launch(m, costRestore)
	}
}

// serve counts a request that is served, and checks that no other of the same tenant
// was overtaken.
func (a *admission) serve(m *world.Machine) {
	if !a.Turns.Serve(m.Tenant, m.Turn) {
		a.Record.Violate("request %s was served after a later one of its tenant", m.ID)
	}
	if a.Clock.Now() == m.Asked {
		a.Record.AtOnce++
	} else {
		a.Record.Queued++
	}
}

// expire is the end of a wait in the queue.
func (a *admission) expire(m *world.Machine) {
	if m.Ticket == nil {
		return // It was admitted.
	}
	m.Ticket.Cancel()
	m.Ticket = nil
	a.waiting[m.Tenant] = slices.DeleteFunc(a.waiting[m.Tenant], func(w *world.Machine) bool { return w == m })
	a.lose(m)
}

// lose is a request that the queue does not have any more.
func (a *admission) lose(m *world.Machine) {
	if !m.Resumes {
		a.Record.Expired++
	}
	a.turnAway(m)
}

// refuse turns a new request away.
func (a *admission) refuse(m *world.Machine) {
	a.Record.Refused++
	a.turnAway(m)
}

// turnAway ends a request; what was to be resumed stays paused, and the machine of
// one that was handed over is ended.
func (a *admission) turnAway(m *world.Machine) {
	switch {
	case m.State == world.Creating:
		a.lifecycle.kill(m)
	case m.Resumes:
		a.Host.Enter(m, world.Suspended)
		a.Clock.After(world.MaxWait, world.ResumeNow, m)
	default:
		a.Host.Enter(m, world.Gone)
	}
}
