package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
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
	if n.down {
		n.figures.Refused++
		n.turnAway(m)
		return
	}
	// A request never overtakes one that waits. A warm machine needs no room, so it is
	// handed out while new work is refused, too.
	if n.queue.Stats().Pending == 0 || n.policy.overtakes {
		for {
			e, ok := n.policy.checkout(n.pool, keys[m.kind], n.clock())
			if !ok {
				break
			}
			if n.handOver(m, e) {
				return
			}
		}
	} else if m.kind < pooled {
		n.figures.Misses++
	}
	if !n.hasRoom(n.policy.floors.Restore) {
		n.figures.Refused++
		n.turnAway(m)
		return
	}
	n.ask(m)
}

// ask puts m into the queue, for a create or a resume.
func (n *node) ask(m *machine) {
	t, err := n.queue.Ask(tenantName(m.tenant), perLaunch)
	if err != nil {
		if !m.resumes {
			n.figures.Refused++
		}
		n.turnAway(m)
		return
	}
	n.enter(m, asking)
	m.asked = n.now
	n.wait(m, t)
}

func tenantName(tenant int) string { return string(rune('a' + tenant)) }

func (n *node) wait(m *machine, t *capacity.Ticket) {
	m.ticket = t
	n.waiting[m.tenant] = append(n.waiting[m.tenant], m)
	n.after(maxWait, expired, m)
}

// handOver gives a warm entry to the tenant that m is the request of. It reports
// whether the entry could be had: one that yields cannot.
func (n *node) handOver(m *machine, e warmpool.Entry) bool {
	w := n.byID[e.ID]
	if w == nil || w.owned || w.state != ready && w.state != prepared {
		n.violate("entry %s was handed out twice", e.ID)
		return true
	}
	n.dirty = true
	if err := w.reservation.Promote(); err != nil {
		n.endWarm(w)
		return false
	}
	delete(n.byID, e.ID)
	n.taken = n.now
	n.enter(m, gone)
	w.warm, w.owned = false, true
	w.tenant, w.order, w.life, w.pauses, w.asked = m.tenant, m.order, m.life, m.pauses, m.asked
	n.enter(w, creating)
	if e.Stage == warmpool.Ready {
		n.serve(w)
		n.run(w)
		return true
	}
	// To start it is work for a processor, and waits for one.
	t, err := n.queue.Ask(tenantName(w.tenant), perStart)
	if err != nil {
		n.figures.Refused++
		n.kill(w)
		return true
	}
	n.enter(w, creating)
	w.deadline += maxWait
	n.wait(w, t)
	return true
}

// admitted starts what the queue has let in.
func (n *node) admitted(m *machine) {
	r := m.ticket.Reservation()
	m.ticket = nil
	n.figures.wait(n.now - m.asked)
	switch {
	case m.state == creating: // A prepared machine.
		m.turn = r
		m.budget = m.budget.Plus(perStart)
		n.serve(m)
		n.enter(m, creating)
		n.grow(m, memoryReady, m.disk)
		n.launch(m, costStart)
	case m.resumes:
		m.reservation, m.budget, m.owned, m.resumes = r, perLaunch, true, false
		n.enter(m, resuming)
		n.grow(m, memoryReady, m.disk)
		n.launch(m, costResume)
	default:
		m.reservation, m.budget, m.owned, m.row = r, perLaunch, true, true
		n.serve(m)
		n.enter(m, creating)
		n.grow(m, memoryReady, diskFresh)
		n.launch(m, costRestore)
	}
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
	if m.turn != nil {
		m.turn.Release()
		m.turn = nil
	}
	m.reservation.Launched()
	m.budget.Launches = 0
	n.dirty = true
}

func (n *node) run(m *machine) {
	if n.over {
		n.kill(m)
		return
	}
	n.enter(m, running)
	m.row, m.ends = true, n.now+m.life
	n.after(2*time.Second, grown, m)
	if m.pauses {
		n.after(m.life/2, pauseNow, m)
	}
	n.after(m.life, leave, m)
}

// pause saves m and gives its capacity back; it is resumed later. Without room on
// the disk it is refused, and m runs on.
func (n *node) pause(m *machine) {
	m.pauses = false
	if !n.hasRoom(n.policy.floors.Save) {
		return
	}
	m.life = max(m.ends-n.now, time.Second)
	n.enter(m, pausing)
	n.job(m, costPause, paused)
}

// backToPaused ends the machine of a sandbox whose snapshot is there.
func (n *node) backToPaused(m *machine) {
	n.enter(m, pausing)
	m.saved = true
	n.job(m, costKill, paused)
}

// suspended is the end of a pause.
func (n *node) suspended(m *machine) {
	n.use(m, 0, max(m.disk, diskFresh+m.memory))
	n.free(m)
	m.saved = false
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
		n.after(min(100*time.Millisecond<<min(m.tries, 10), 30*time.Second), retry, m)
	}
}

func (n *node) bury(m *machine) {
	n.use(m, 0, 0)
	n.free(m)
	n.enter(m, gone)
}

// serve checks that no request of the same tenant was overtaken.
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
	if n.deep > 0 && n.now-n.deep > noticed {
		n.violate("%s was started %v after half of a reserve was gone", m.id, n.now-n.deep)
	}
}

// noticed is how long the daemon may take to refuse new work once half of a reserve
// is gone: it knows the disk by a figure of CacheTTL ago.
const noticed = disk.CacheTTL + pressure.Interval

// free gives back what the daemon holds for m.
func (n *node) free(m *machine) {
	if m.turn != nil {
		m.turn.Release()
		m.turn = nil
	}
	if m.reservation != nil {
		n.policy.release(m.reservation)
		n.dirty = true
	}
	m.reservation, m.budget, m.warm = nil, capacity.Budget{}, false
}
