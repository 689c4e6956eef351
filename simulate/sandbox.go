package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// request is a tenant asking for a sandbox: out of the pool if there is one,
// else through the queue.
func (n *node) request(m *machine) {
	if n.over {
		return
	}
	n.figures.Requests++
	m.asked = n.now
	m.life = min(n.spread(n.cfg.Scenario.Life, 1.2), maxLife)
	m.pauses = n.chance(n.cfg.Scenario.Pauses)
	m.order = n.arrivals[m.tenant]
	n.arrivals[m.tenant]++
	if n.down || n.refusing {
		n.figures.Refused++
		n.turnAway(m)
		return
	}
	if len(n.waiting[m.tenant]) == 0 || n.policy.overtakes {
		if e, ok := n.policy.checkout(n.pool, keys[m.kind], n.clock()); ok {
			n.handOver(m, e)
			return
		}
	} else if m.kind < pooled {
		n.figures.Misses++ // nobody overtakes the others of its tenant.
	}
	n.ask(m)
}

// ask puts m into the queue, for a create or a resume.
func (n *node) ask(m *machine) {
	t, err := n.queue.Ask(string(rune('a'+m.tenant)), perLaunch)
	if err != nil {
		if !m.resumes {
			n.figures.Refused++
		}
		n.turnAway(m)
		return
	}
	n.enter(m, asking)
	m.asked, m.ticket = n.now, t
	n.waiting[m.tenant] = append(n.waiting[m.tenant], m)
	n.after(maxWait, expired, m)
}

// handOver gives a warm entry to the tenant that m is the request of.
func (n *node) handOver(m *machine, e warmpool.Entry) {
	w := n.byID[e.ID]
	if w == nil || w.owned || w.state != ready && w.state != prepared {
		n.violate("entry %s was handed out twice", e.ID)
		return
	}
	delete(n.byID, e.ID)
	n.dirty = true
	if err := w.reservation.Promote(); err != nil {
		n.violate("promote %s: %v", e.ID, err)
		return
	}
	n.serve(m)
	n.enter(m, gone)
	w.warm, w.owned = false, true
	w.tenant, w.order, w.life, w.pauses = m.tenant, m.order, m.life, m.pauses
	n.enter(w, creating)
	if e.Stage == warmpool.Ready {
		n.run(w)
		return
	}
	n.use(w, memoryReady, w.disk)
	n.launch(w, costStart)
}

// admitted starts what the queue has let in.
func (n *node) admitted(m *machine) {
	m.reservation = m.ticket.Reservation()
	m.ticket, m.budget, m.owned = nil, perLaunch, true
	n.figures.wait(n.now - m.asked)
	if m.resumes {
		m.resumes = false
		n.enter(m, resuming)
		n.grow(m, memoryReady, m.disk)
		n.launch(m, costResume)
		return
	}
	n.serve(m)
	n.enter(m, creating)
	n.grow(m, memoryReady, diskFresh)
	n.launch(m, costRestore)
}

// launch runs the job that ends creating, resuming, launching or raising. It
// can fail, and it can hang until its owner gives up.
func (n *node) launch(m *machine, cost time.Duration) {
	fails := 0.005
	if m.kind == n.sick {
		fails = 0.5
	}
	switch {
	case n.chance(0.0005):
		n.after(hangTime, landFailed, m)
	case n.chance(fails):
		n.job(m, cost, landFailed)
	default:
		n.job(m, cost, landed)
	}
}

// made gives the launch part of the budget back.
func (n *node) made(m *machine) {
	m.reservation.Launched()
	m.budget.Launches = 0
}

func (n *node) run(m *machine) {
	if n.over {
		n.kill(m)
		return
	}
	n.enter(m, running)
	m.idle = false
	n.after(2*time.Second, grown, m)
	busy := time.Duration(float64(m.life) * (1 - n.cfg.Scenario.Idle))
	if busy < m.life {
		n.after(busy, idled, m)
	}
	if m.pauses {
		n.after(m.life/2, pauseNow, m)
	}
	n.after(m.life, leave, m)
}

// pause saves m and gives its capacity back; it is resumed later.
func (n *node) pause(m *machine) {
	m.pauses = false
	m.life = max(m.life-(n.now-m.since), time.Second)
	n.enter(m, pausing)
	n.job(m, costPause, paused)
}

func (n *node) suspend(m *machine) {
	n.use(m, 0, diskFresh+m.memory)
	n.free(m)
	if n.over {
		n.kill(m)
		return
	}
	n.enter(m, suspended)
	n.after(n.gap(10*time.Minute), resumeNow, m)
}

// kill ends a machine; its capacity is held until it is gone.
func (n *node) kill(m *machine) {
	n.enter(m, killing)
	m.tries = 0
	n.tryKill(m)
}

func (n *node) tryKill(m *machine) {
	do := killed
	if n.chance(0.01) {
		do = killFailed
	}
	n.job(m, costKill, do)
}

func (n *node) killFailed(m *machine) {
	n.figures.KillRetries++
	n.stopJob(m)
	m.tries++
	if n.policy.retryKill {
		n.after(min(time.Second<<m.tries, 10*time.Second), retry, m)
	}
}

func (n *node) bury(m *machine) {
	n.use(m, 0, 0)
	n.free(m)
	n.enter(m, gone)
}

// serve checks that nobody of the same tenant was overtaken.
func (n *node) serve(m *machine) {
	if m.order < n.served[m.tenant] {
		n.violate("request %s was served after a later one of its tenant", m.id)
	}
	n.served[m.tenant] = m.order + 1
	if n.now == m.asked {
		n.figures.AtOnce++
	} else {
		n.figures.Queued++
	}
}

// grow starts to use memory and disk of the host for something new, which must
// leave the reserve alone.
func (n *node) grow(m *machine, memory, disk int64) {
	n.use(m, memory, disk)
	if n.available() < floorMemory || n.diskFree() < floorDisk {
		n.figures.FloorViolations++
		n.violate("%s was started below the reserve: %d MiB of memory, %d MiB of disk are left", m.id, n.available()/mib, n.diskFree()/mib)
	}
}

// free gives back what the daemon holds for m.
func (n *node) free(m *machine) {
	if m.reservation != nil {
		n.throttle(m.budget)
		n.policy.release(m.reservation)
		n.dirty = true
	}
	m.reservation, m.budget, m.warm = nil, capacity.Budget{}, false
}
