package simulate

import (
	"math"
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

// handlers say what each kind of event does.
var handlers [kinds]func(*node, *machine)

func init() { // the handlers refer to what refers to them.
	handlers = [kinds]func(*node, *machine){
		arrive:       func(n *node, _ *machine) { n.arrive() },
		burst:        func(n *node, _ *machine) { n.burst() },
		burstArrival: (*node).request,
		landed:       (*node).landed,
		landFailed:   (*node).landFailed,
		expired:      (*node).expire,
		grown: func(n *node, m *machine) {
			n.use(m, min(int64(n.spread(110*mib, 0.5)), memoryMost), min(int64(n.spread(30*mib, 0.5)), 64*mib))
		},
		leave:       daemon(leave, (*node).kill),
		pauseNow:    daemon(pauseNow, (*node).pause),
		paused:      (*node).suspended,
		resumeNow:   daemon(resumeNow, (*node).resume),
		killed:      (*node).bury,
		killFailed:  (*node).killFailed,
		tick:        func(n *node, _ *machine) { n.step() },
		rested:      func(n *node, _ *machine) { n.resting = false },
		pressureOn:  func(n *node, _ *machine) { n.pressureOn() },
		pressureOff: func(n *node, _ *machine) { n.pressureOff() },
		rebuild:     func(n *node, _ *machine) { n.rebuild() },
		sicken:      func(n *node, _ *machine) { n.sicken() },
		heal:        func(n *node, _ *machine) { n.sick, n.dirty = -1, true },
		crash:       func(n *node, _ *machine) { n.crash() },
		restart:     func(n *node, _ *machine) { n.reconcile() },
		retry:       (*node).tryKill,
		sweep:       func(n *node, m *machine) { n.dirty = true },
		finish:      func(n *node, _ *machine) { n.finish() },
	}
}

// daemon is a handler of what the daemon does on time: when it is back.
func daemon(again kind, do func(*node, *machine)) func(*node, *machine) {
	return func(n *node, m *machine) {
		if n.down {
			n.after(time.Second, again, m)
			return
		}
		do(n, m)
	}
}

func (n *node) start() {
	s := n.cfg.Scenario
	n.arriveLater()
	for _, e := range []struct {
		do   kind
		mean time.Duration
	}{{burst, s.Bursts}, {pressureOn, s.Pressure}, {rebuild, s.Rebuild}, {sicken, s.Sick}, {crash, s.Crash}} {
		if e.mean > 0 {
			n.after(time.Minute+n.gap(e.mean), e.do, nil)
		}
	}
	n.after(n.cfg.Duration, finish, nil)
	n.settle()
}

// arriveLater schedules arrivals at the highest rate; arrive thins them out.
func (n *node) arriveLater() {
	if n.cfg.Scenario.Rate > 0 && !n.over {
		n.after(n.gap(time.Duration(float64(time.Second)/n.cfg.Scenario.Rate)), arrive, nil)
	}
}

func (n *node) arrive() {
	n.arriveLater()
	busy := 1.0
	if n.cfg.Scenario.Day {
		busy = 0.15 + 0.85*math.Pow(math.Sin(math.Pi*n.now.Hours()/24), 2)
	}
	if !n.over && n.chance(busy) {
		n.request(n.machine(n.pick(tenants), n.pick(templates)))
	}
}

// pick draws one of few, the first most often.
func (n *node) pick(of int) int {
	return int(float64(of) * math.Pow(n.rand.Float64(), 2))
}

func (n *node) burst() {
	if n.over {
		return
	}
	tenant, kind := n.pick(tenants), n.pick(templates)
	for range 10 + n.rand.IntN(31) {
		n.after(time.Duration(n.rand.Int64N(int64(5*time.Second))), burstArrival, n.machine(tenant, kind))
	}
	n.after(n.gap(n.cfg.Scenario.Bursts), burst, nil)
}

func (n *node) landed(m *machine) {
	switch m.state {
	case launching:
		n.made(m)
		n.warmed(m)
	case raising:
		n.warmed(m)
	default:
		n.made(m)
		n.run(m)
	}
}

func (n *node) landFailed(m *machine) {
	if m.flight != nil {
		n.warmFailed(m)
		return
	}
	n.figures.CreateFailures++
	if m.state == resuming { // Its snapshot is still there.
		n.backToPaused(m)
		return
	}
	n.kill(m)
}

// expire is the end of a wait in the queue.
func (n *node) expire(m *machine) {
	if m.ticket == nil {
		return // It was admitted.
	}
	n.unqueue(m)
	n.lose(m)
}

func (n *node) unqueue(m *machine) {
	m.ticket.Cancel()
	m.ticket = nil
	n.waiting[m.tenant] = slices.DeleteFunc(n.waiting[m.tenant], func(w *machine) bool { return w == m })
}

// lose is a request that the queue does not have any more.
func (n *node) lose(m *machine) {
	if !m.resumes {
		n.figures.Expired++
	}
	n.turnAway(m)
}

// turnAway ends a request; what was to be resumed stays paused, and the machine of
// one that was handed over is ended.
func (n *node) turnAway(m *machine) {
	if m.state == creating {
		n.kill(m)
		return
	}
	if m.resumes {
		n.enter(m, suspended)
		n.after(maxWait, resumeNow, m)
		return
	}
	n.enter(m, gone)
}

func (n *node) resume(m *machine) {
	m.resumes = true
	if !n.hasRoom(n.policy.floors.Restore) {
		n.turnAway(m)
		return
	}
	n.ask(m)
}

// rebuild gives a template a new snapshot.
func (n *node) rebuild() {
	kind := n.rand.IntN(pooled)
	n.revision[kind]++
	n.dirty = true
	if !n.down {
		n.pool.SetSnapshot(keys[kind], n.snapshot(kind))
	}
	if !n.over {
		n.after(n.gap(n.cfg.Scenario.Rebuild), rebuild, nil)
	}
}

// sicken makes the launches of a template fail for a while.
func (n *node) sicken() {
	if n.over {
		return
	}
	n.sick = n.rand.IntN(templates)
	n.episode.filling = false
	n.after(3*time.Minute, heal, nil)
	n.after(4*time.Minute+n.gap(n.cfg.Scenario.Sick), sicken, nil)
}

// finish ends the traffic and everything that lives.
func (n *node) finish() {
	if n.down {
		n.after(time.Second, finish, nil)
		return
	}
	n.over = true
	for i := range pooled {
		n.pool.SetTarget(keys[i], warmpool.Target{})
	}
	n.dirty = true
	for _, m := range slices.Clone(n.live) {
		switch m.state {
		case asking:
			n.expire(m)
			if m.state == suspended {
				n.kill(m)
			}
		case running, suspended:
			n.kill(m)
		}
	}
}
